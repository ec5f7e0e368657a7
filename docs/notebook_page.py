"""Writes docs/pages/notebook.md from the stored outputs of docs/notebook.ipynb: ``python docs/notebook_page.py``.

With ``--execute``, the notebook is run first, in an empty folder, and its outputs are stored.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

NOTEBOOK = Path(__file__).parent / "notebook.ipynb"
PAGE = Path(__file__).parent / "pages" / "notebook.md"
HEAD = "<!-- Written by docs/notebook_page.py from docs/notebook.ipynb. Do not edit. -->\n"
TIMEOUT_S = 1200  # of one cell, on a busy machine


def execute(folder: Path) -> Any:
    """The notebook with its outputs, run in a folder.

    :raises nbclient.exceptions.CellExecutionError: a cell raised an exception.
    """
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    env = os.environ | {"PYTHONWARNINGS": "ignore:IProgress not found"}  # tqdm's hint to install ipywidgets
    NotebookClient(notebook, timeout=TIMEOUT_S, resources=resources, record_timing=False).execute(env=env)
    for output in (o for cell in notebook.cells for o in cell.get("outputs", ())):
        if "text/html" in output.get("data", {}):
            output["data"].pop("text/plain", None)  # of a whole report
    return notebook


def render() -> str:
    """The page as Markdown."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    return "\n".join([HEAD, *(part for cell in cells for part in render_cell(cell))])


def render_cell(cell: Any) -> list[str]:
    """A text, or code with its outputs."""
    if cell.cell_type == "markdown":
        return [cell.source + "\n"]
    return [f"```python\n{cell.source}\n```\n", *map(render_output, cell.outputs)]


def render_output(output: Any) -> str:
    """HTML where an output has it, otherwise its text."""
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```\n"
    if html := output.get("data", {}).get("text/html"):
        return f'<div class="output">\n{html}\n</div>\n'
    return f"```text\n{output.data['text/plain']}\n```\n"


if __name__ == "__main__":
    if "--execute" in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(execute(Path(folder)), NOTEBOOK)
    PAGE.write_text(render(), "utf-8")
