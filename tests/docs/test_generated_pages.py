"""The generated pages are what the definitions and the kept results give."""

import runpy
import tomllib
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["settings", "commands", "model_card", "notebook"])
def test_generated_pages_are_current(name: str) -> None:
    page = runpy.run_path(str(DOCS / f"{name}_page.py"))
    assert (DOCS / "pages" / f"{name}.md").read_text("utf-8") == page["render"](), f"run python docs/{name}_page.py"


def test_reference_sections_are_current() -> None:
    reference = runpy.run_path(str(DOCS / "reference.py"))
    for page in (DOCS / "pages").glob("*.md"):
        text = page.read_text("utf-8")
        assert text == reference["render"](page), f"{page.name}: run python docs/reference.py"
        assert "\n:::" not in text, f"{page.name}: write <!-- reference: NAME --> and <!-- end of reference -->"


def test_the_keyword_arguments_are_those_of_the_settings_models() -> None:
    module = runpy.run_path(str(DOCS / "arguments.py"))
    assert module["TARGET"].read_text("utf-8") == module["render"](), "run python docs/arguments.py"


def test_the_version_is_the_same_everywhere() -> None:
    root = DOCS.parent
    version = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (root / "CITATION.cff").read_text("utf-8")
    assert f"\n## [{version}] - " in (root / "CHANGELOG.md").read_text("utf-8")
