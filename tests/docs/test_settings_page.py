"""The page that lists all settings is the one that their definitions give."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_settings_page_is_current() -> None:
    page = runpy.run_path(str(DOCS / "settings_page.py"))
    assert (DOCS / "pages" / "settings.md").read_text("utf-8") == page["render"](), "run python docs/settings_page.py"
