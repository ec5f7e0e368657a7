"""The documentation is true: the tutorial's steps run, every hook and command is documented."""

import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import kkwarm
from kkwarm import hookspecs
from kkwarm.plugins import Registry, load, registry
from kkwarm.protocols import BUILT_IN
from kkwarm.testing import check_domain
from kkwarm.testing.conformance import RULES
from kkwarm.types import Completion, Example
from kkwarm.verify import Judge, verify

PAGES = Path(__file__).parents[2] / "docs" / "pages"
TUTORIAL = (PAGES / "tutorial.md").read_text("utf-8")
BLOCKS = dict(re.findall(r'```\w+ title="(?:[^"/]+/)?([^"/]+)"\n(.*?)```', TUTORIAL, re.S))
STEPS = re.findall(r'```python title="kkwarm-units/kkwarm_units.py"\n(.*?)```', TUTORIAL, re.S)


Plugged = Callable[[int], Registry]


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugged:
    """The registry with a step of the tutorial plugged in, from a file that other processes find too."""

    def load_step(step: int) -> Registry:
        (tmp_path / "kkwarm_units.py").write_text(STEPS[step])
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "kkwarm_units", raising=False)
        reg = load([("units", importlib.import_module("kkwarm_units"))])
        assert reg.failures == []
        return reg

    return load_step


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_each_step_registers_a_benchmark(step: int, plugged: Plugged) -> None:
    reg = plugged(step)
    examples = list(reg.benchmark("units").load())
    assert examples
    text = Completion(f"so </think> <answer> {examples[0].answer} </answer>", finish_reason="stop")
    assert verify(reg.verifier("units"), BUILT_IN["paper"], [(examples[0], text)])[0].correct


@pytest.mark.parametrize("step", range(1, len(STEPS)))
def test_each_step_with_a_gold_answer_keeps_every_rule(step: int, plugged: Plugged) -> None:
    with Judge() as judge:
        assert [f for f in check_domain(plugged(step), "units", judge) if not f.ok] == []


def test_the_last_step_has_what_it_says(plugged: Plugged) -> None:
    reg = plugged(len(STEPS) - 1)
    assert {e.meta["length"] for e in reg.benchmark("units:long").load()} == {"long"}
    assert len(list(reg.teacher("units", "textbook").traces(5, 0))) == 5
    assert {t.meta["length"] for t in reg.teacher("units:long", "textbook").traces(5, 0)} == {"long"}


def test_the_table_of_the_tutorial_keeps_every_rule(tmp_path: Path) -> None:
    for name in ("planets.toml", "planets.csv"):
        (tmp_path / name).write_text(BLOCKS[name])
    reg, name = registry(), str(tmp_path / "planets.toml")
    assert len(list(reg.task(name).load())) == 4
    assert {e.meta["topic"] for e in reg.benchmark(f"{name}:size").load()} == {"size"}
    with Judge() as judge:
        assert [f for f in check_domain(reg, name, judge) if not f.ok] == []


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        (
            "miles",
            {"miles/50": [("31.1", 2.0), ("31.25", 1.9416), ("27", -0.5 + 2.5 * 0.476), ("300", -0.5), ("?", -1.0)]},
        ),
        (
            "filters",
            {"filters/sum": [("print(sum(map(int, input().split())))", 1.0), ("print(6)", 0.5), ("print()", 0.0)]},
        ),
    ],
)
def test_domains_with_partial_credit_keep_every_rule(
    name: str, answers: dict[str, list[tuple[str, float]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"kkwarm_{name}.py").write_text(BLOCKS[f"kkwarm_{name}.py"])
    monkeypatch.syspath_prepend(str(tmp_path))
    reg = load([(name, importlib.import_module(f"kkwarm_{name}"))])
    examples = {e.id: e for e in reg.benchmark(name).load_all()}
    with Judge() as judge:
        assert [f for f in check_domain(reg, name, judge) if not f.ok] == []
        for id_, rewards in answers.items():
            pairs = [(examples[id_], Completion(BUILT_IN["paper"].compose("so", text))) for text, _ in rewards]
            verdicts = judge.verify(reg.verifier(name), BUILT_IN["paper"], pairs)
            scored = reg.reward_of(reg.benchmark(name))([(*p, v) for p, v in zip(pairs, verdicts, strict=True)])
            assert [r.total for r in scored] == pytest.approx([reward for _, reward in rewards], abs=1e-3)


def test_the_verdicts_page_has_right_examples_of_answers() -> None:
    page = (PAGES / "verdicts.md").read_text("utf-8")
    rows = page.partition("### Mathematics")[2].partition("\n###")[0]
    cells = [re.findall(r"`([^`]+)`", c) for r in re.findall(r"^\| (`.*) \|$", rows, re.M) for c in r.split(" | ")]
    pairs: list[tuple[Example, Completion]] = []
    expected: list[bool] = []
    for gold, accepted, rejected in zip(cells[::3], cells[1::3], cells[2::3], strict=True):
        example = Example("x", "What is it?", gold[0])
        texts = [BUILT_IN["paper"].compose("so", answer) for answer in accepted + rejected]
        pairs += [(example, Completion(text, finish_reason="stop")) for text in texts]
        expected += [True] * len(accepted) + [False] * len(rejected)
    assert len(expected) > 30
    assert [v.correct for v in verify(registry().verifier("math"), BUILT_IN["paper"], pairs)] == expected


def test_every_hook_is_documented() -> None:
    page = (PAGES / "hooks.md").read_text("utf-8")
    for name in dir(hookspecs):
        if name.startswith("kkwarm_"):
            assert f"<!-- reference: kkwarm.hookspecs.{name} -->" in page
            assert getattr(hookspecs, name).__doc__


def test_every_hook_is_used_by_a_built_in_plugin() -> None:
    used = {hook for plugin in load().plugins if plugin.distribution == "kkwarm" for hook in plugin.hooks}
    assert used == {name for name in dir(hookspecs) if name.startswith("kkwarm_")}


def test_the_hook_table_has_every_hook() -> None:
    page = (PAGES / "hooks.md").read_text("utf-8")
    written = re.findall(r"^\| \[`(kkwarm_\w+)`\]\(#\1\) \|", page, re.M)
    assert written == [name for name in vars(hookspecs) if name.startswith("kkwarm_")]


def test_the_table_of_rules_is_whole() -> None:
    page = (PAGES / "testing.md").read_text("utf-8")
    assert re.findall(r"^\| ([^|`]+?) \|", page, re.M)[1:] == ["loads", *RULES]


def test_the_public_modules_are_the_ones_that_plugins_are_held_to() -> None:
    source = (PAGES.parents[1] / "tests" / "core" / "test_architecture.py").read_text("utf-8")
    held = re.findall(r'"(\w+)"', re.search(r"^PUBLIC = \((.*?)\)", source, re.M | re.S)[1])  # type: ignore[index]
    said = (PAGES / "hooks.md").read_text("utf-8").partition("compatible:\n")[2].partition("\n\n")[0]
    for text in (said, kkwarm.__doc__ or ""):
        assert sorted(re.findall(r"`kkwarm\.(\w+)`", text)) == sorted(held)


def test_figures_of_the_bridge_are_the_measured_ones() -> None:
    found = json.loads((PAGES.parents[1] / "benchmarks" / "results" / "reasoning_gym_scorers.json").read_text("utf-8"))
    page = " ".join((PAGES / "tutorial.md").read_text("utf-8").split())
    assert f"Of {found['data_sets']} data sets' scorers, {len(found['fooled'])} gave the full score" in page
    assert f"and {found['paying_for_padding']} paid for the right answer" in page
    assert found["accepted_by_the_bridge"] == []


def test_every_page_is_in_the_navigation() -> None:
    config = (PAGES.parent / "mkdocs.yml").read_text("utf-8")
    assert {p.name for p in PAGES.glob("*.md")} == set(re.findall(r": (\w+\.md)", config))


def test_the_files_that_the_architecture_names_exist() -> None:
    page = (PAGES / "architecture.md").read_text("utf-8").partition("## Source tree")[0]
    paths = re.findall(r"`((?:kkwarm|plugins)/[\w./]+)`", page)
    assert len(paths) > 20
    assert [path for path in paths if not (PAGES.parents[1] / path).exists()] == []
