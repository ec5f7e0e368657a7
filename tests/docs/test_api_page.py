"""The pages about the Python API: every public name is on them, and every example gives what the page shows."""

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

import kkwarm
from kkwarm.schema.manifest import PlanCondition, StudyPlan
from kkwarm.store import Run

PAGES = Path(__file__).parents[2] / "docs" / "pages"
PAGE = (PAGES / "api.md").read_text("utf-8")
SLOW = "Train and evaluate"
SECTIONS = {section.partition("\n")[0]: section for section in PAGE.split("\n## ")}
FOR_PLUGINS = ("helpers.md", "programs.md", "testing.md")
SLOW_MARK = "<!-- slow -->\n"  # above an example that loads torch
MODULES = ("data", "errors", "files", "plugins", "protocols", "sandbox", "testing", "types", "verify")
ROWS = [{"id": f"mini_math/test/{i}", "completion": "<answer> 4 </answer>"} for i in range(2)]


def write_study(folder: Path) -> None:
    """A study of two conditions, whose benchmarks were scored from saved outputs."""
    rows = {name: {"0": {"bench": f"bench-{name}"}} for name in ("base", "warmed")}
    plan = StudyPlan(
        title="A study",
        note="",
        margin=5,
        domains=["mini_math"],
        conditions=[
            PlanCondition(name="base", baseline=None, chain=["base"]),
            PlanCondition(name="warmed", baseline="base", chain=["base", "warm"]),
        ],
        claims=[],
        rows=rows,
        steps=["bench-base", "bench-warmed"],
    )
    with Run.open(folder, kind="study", config={}) as run:
        run.record(plan=plan)
        for step in plan.steps:
            kkwarm.score(ROWS, benchmark="mini_math", out=folder / "steps" / step)
        run.finish()


def read_examples(page: str, folder: Path) -> str:
    """The text of a page without its reference sections. Its Python code is written to modules, which are imported."""
    text = re.sub(r"^<!-- reference: .*?^<!-- end", "", (PAGES / page).read_text("utf-8"), flags=re.M | re.S)

    def write(block: re.Match[str]) -> str:
        name = f"{Path(page).stem}_{block.start()}"
        (folder / f"{name}.py").write_text(block[1], "utf-8")
        return f">>> from {name} import *\n"

    return re.sub(r"^```python\n(.*?)^```", write, text, flags=re.M | re.S)


def failures(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the examples in a folder; returns a description of those that give something else."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("KKWARM_HOME", str(folder / "runs"))
    write_study(folder / "runs" / "mini")
    test = doctest.DocTestParser().get_doctest(text, {}, "api.md", "api.md", 0)
    assert test.examples
    shown: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=shown.append)
    return "".join(shown)


def test_the_examples_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(section for name, section in SECTIONS.items() if name != SLOW)
    assert failures(text, tmp_path, monkeypatch) == ""


@pytest.mark.parametrize("page", FOR_PLUGINS)
def test_the_examples_for_plugins(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))  # an example sets it
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    text = read_examples(page, tmp_path).partition(SLOW_MARK)[0]
    assert failures(text, tmp_path, monkeypatch) == ""


@pytest.mark.slow
def test_the_examples_that_make_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = read_examples("testing.md", tmp_path).partition(SLOW_MARK)[2]
    assert failures(text, tmp_path, monkeypatch) == ""


@pytest.mark.slow
def test_the_examples_that_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert failures(f">>> import kkwarm\n\n{SECTIONS[SLOW]}", tmp_path, monkeypatch) == ""


def test_every_public_name_has_an_example() -> None:
    examples = "\n".join(e.source for e in doctest.DocTestParser().get_examples(PAGE))
    documented = set(re.findall(r"^<!-- reference: kkwarm\.[\w.]*?(\w+)[ \w]* -->$", PAGE, re.M))
    types = {name for name in kkwarm.__all__ if name[0].isupper()}
    for name in set(kkwarm.__all__) - types - {"__version__"}:
        assert name in documented, f"api.md does not document {name}"
        assert f"kkwarm.{name}(" in examples, f"api.md has no example of {name}"
    for name in types - documented:
        assert re.search(rf"\b{name}\b", examples), f"api.md has no example of {name}"


@pytest.mark.parametrize("name", MODULES)
def test_every_name_for_plugins_has_an_example(name: str, tmp_path: Path) -> None:
    module = import_module(f"kkwarm.{name}")
    pages = [read_examples(page, tmp_path) for page in (*FOR_PLUGINS, "api.md")]
    examples = [e.source for page in pages for e in doctest.DocTestParser().get_examples(page)]
    examples += [file.read_text("utf-8") for file in tmp_path.glob("*.py")]
    examples += re.findall(r"^```python title=.*?^```", (PAGES / "tutorial.md").read_text("utf-8"), re.M | re.S)
    own = [
        n for n, thing in vars(module).items() if n[0] != "_" and getattr(thing, "__module__", "") == module.__name__
    ]
    shown = set(re.findall(r"\w+", "\n".join(examples)))
    assert [n for n in getattr(module, "__all__", own) if n not in shown] == []


def test_the_check_reports_an_example_that_gives_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Expected:" in failures(">>> 1 + 1\n3\n", tmp_path, monkeypatch)
