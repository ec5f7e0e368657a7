"""Writes the reference of docs/pages/hooks.md, with code of built-in plugins: ``python docs/hooks_page.py``."""

import importlib
import inspect
from pathlib import Path

from kkwarm import hookspecs

PAGE = Path(__file__).parent / "pages" / "hooks.md"
BEGIN, END = "<!-- Written by docs/hooks_page.py. Do not edit. -->\n", "<!-- End of the reference. -->\n"
# The first one that implements a hook gives the example.
MODULES = ("kkwarm_kk", "kkwarm_math", "kkwarm_humaneval_plus", "kkwarm_bridges")


def render() -> str:
    """The page, with the reference and an example of each hook."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    hooks = [name for name in vars(hookspecs) if name.startswith("kkwarm_")]
    return before + BEGIN + "".join(map(section, hooks)) + END + rest.partition(END)[2]


def section(hook: str) -> str:
    """The reference of a hook, and the source of one implementation with the file that it is from."""
    module = next(m for m in map(importlib.import_module, MODULES) if hasattr(m, hook))
    source = inspect.getsource(getattr(module, hook))
    heading = "\n## Notifications\n" if hook == "kkwarm_sample_scored" else ""
    return f"""{heading}
::: kkwarm.hookspecs.{hook}

```python title="plugins/{module.__name__}/__init__.py"
{source}```
"""


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
