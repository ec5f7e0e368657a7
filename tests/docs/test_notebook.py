"""The notebook runs from its first to its last cell, on the checkpoint that ships with kkwarm."""

import os
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for name in [name for name in os.environ if name.startswith("KKWARM_")]:
        monkeypatch.delenv(name)  # the kernel inherits the environment
    notebook = runpy.run_path(str(DOCS / "notebook_page.py"))
    cells = [c for c in notebook["execute"](tmp_path).cells if c.cell_type == "code"]
    stored = [c for c in notebook["nbformat"].read(notebook["NOTEBOOK"], 4).cells if c.cell_type == "code"]
    kinds = [[sorted(o.get("data", {})) for o in c.outputs if o.output_type != "stream"] for c in cells]
    assert kinds == [[sorted(o.get("data", {})) for o in c.outputs if o.output_type != "stream"] for c in stored]
    assert (tmp_path / "runs" / "warmed-rlvr" / "checkpoint").is_dir()


def test_the_stored_outputs_hold_no_error_and_no_local_path() -> None:
    notebook = runpy.run_path(str(DOCS / "notebook_page.py"))
    page = notebook["render"]()
    assert not [text for text in ("Traceback", "/tmp/", "site-packages", str(Path.home())) if text in page]
    code = [c for c in notebook["nbformat"].read(notebook["NOTEBOOK"], 4).cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
