"""``reasoning_gym:NAME`` on a stand-in with reasoning-gym's interface, and on reasoning-gym where it is installed."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kkwarm.errors import KkwarmError
from kkwarm.plugins import Registry, load
from kkwarm.testing import check_domain
from kkwarm.types import Completion, Example, Status, Verdict
from kkwarm.verify import Judge, verify

STAND_IN = Path(__file__).parent / "stand_in"
REAL = importlib.util.find_spec("reasoning_gym") is not None


def clear_caches() -> None:
    from kkwarm_bridges import gym

    for cached in (gym.load_dataset, gym.load_entries, gym.load_examples):
        cached.cache_clear()
    for name in [n for n in sys.modules if n.partition(".")[0] == "reasoning_gym"]:
        del sys.modules[name]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Registry]:
    monkeypatch.syspath_prepend(str(STAND_IN))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    clear_caches()
    yield load()
    clear_caches()


def verdicts(reg: Registry, name: str, *answers: str) -> list[Verdict]:
    """On answers to the first test example; `{gold}` stands for the right one."""
    benchmark = reg.benchmark(name)
    example: Example = next(iter(benchmark.load()))
    protocol = reg.protocol(benchmark)
    texts = [a.replace("{gold}", str(example.answer["gold"])) for a in answers]
    pairs = [(example, Completion(protocol.compose("so", t), finish_reason="stop")) for t in texts]
    return verify(reg.verifier(benchmark.verifier), protocol, pairs)


def test_partial_credit_is_wrong(stand_in: Registry) -> None:
    right, padded, other = verdicts(stand_in, "reasoning_gym:backwards", "{gold}", "it is {gold} or so", "x")
    assert right.status is Status.CORRECT
    assert padded.status is Status.WRONG and 0 < padded.metrics["score"] < 1
    assert other.status is Status.WRONG and other.metrics["score"] == 0


def test_it_is_a_complete_domain(stand_in: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    domain = stand_in.domain("reasoning_gym:backwards")
    sides = [e.split for e in domain.load()]
    assert (sides.count("train"), sides.count("test")) == (100, 200)
    trained = {e.question for e in stand_in.task(domain.name).load()}
    assert not trained & {e.question for e in stand_in.benchmark(domain.name).load()}
    assert stand_in.origin["domain", domain.name].name == "bridges"
    with Judge() as judge:
        assert [f for f in check_domain(stand_in, domain.name, judge) if not f.ok] == []
    assert capsys.readouterr().out == ""  # what the library prints stays out of a JSON document


def test_model_output_is_not_run(stand_in: Registry, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    attack = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    for name in ("evaluating", "formula"):
        (verdict,) = verdicts(stand_in, f"reasoning_gym:{name}", attack)
        assert not verdict.correct and verdict.status is not Status.ERROR
    assert not mark.exists()
    # The stand-in would really have run it.
    sys.modules["reasoning_gym.factory"].DATASETS["formula"][0].score_answer(None, attack, {"metadata": {}})  # type: ignore[attr-defined]
    assert mark.exists()


def test_a_formula_is_scored(stand_in: Registry) -> None:
    value = next(iter(stand_in.benchmark("reasoning_gym:formula").load())).answer["index"]
    right, wrong, prose = verdicts(stand_in, "reasoning_gym:formula", f"{value} * 1", f"{value} + 1", "it is so")
    assert [v.status for v in (right, wrong, prose)] == [Status.CORRECT, Status.WRONG, Status.UNPARSED]


def test_a_megabyte_is_unparsed(stand_in: Registry) -> None:
    (long,) = verdicts(stand_in, "reasoning_gym:backwards", "0" * 1_000_000 + "1")
    assert long.status is Status.UNPARSED and "1,000,001 characters" in long.reason


def test_a_full_score_is_not_always_accepted(stand_in: Registry) -> None:
    answers = ["{gold}", "({gold})", "not {gold}", "8, {gold}", "many"]
    found = verdicts(stand_in, "reasoning_gym:gullible", *answers)
    assert [v.status.value for v in found] == ["correct", "wrong", "wrong", "wrong", "wrong"]
    assert found[2].metrics["score"] == 1.0 and "more than the gold answer" in found[2].reason
    for verdict in (found[1], found[4]):  # neither a bracket nor a word: most scorers would give 0
        assert "cannot read the answer: ValueError" in verdict.reason and verdict.metrics["score"] == 0


def test_a_failing_scorer_is_an_error_that_names_it(stand_in: Registry) -> None:
    right, other, unable = verdicts(stand_in, "reasoning_gym:broken", "{gold}", "x", "unable")
    assert right.correct  # no scorer is asked
    assert (other.status, unable.status) == (Status.ERROR, Status.ERROR)
    assert other.reason.startswith("verifier reasoning_gym:broken failed: KeyError: 'words' (gym.py, line ")
    assert "RuntimeError: a library is missing" in unable.reason


def test_a_scorer_may_read_its_own_literal(stand_in: Registry) -> None:
    index = next(iter(stand_in.benchmark("reasoning_gym:sorted").load())).answer["index"]
    right, wrong = verdicts(stand_in, "reasoning_gym:sorted", f"0 {index}", f"{index} 0 1")
    assert (right.status, wrong.status) == (Status.CORRECT, Status.WRONG)


def test_every_process_has_the_same_questions(stand_in: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    name = "reasoning_gym:hashed"
    first = list(stand_in.domain(name).load())
    # The worker that judges is another process, with another hash seed: it finds the same entry.
    words = first[0].question.partition(": ")[2]
    assert verdicts(stand_in, name, words)[0].status is not Status.ERROR
    for kept in Path(os.environ["XDG_CACHE_HOME"]).rglob("*.pickle"):
        kept.unlink()
    clear_caches()
    monkeypatch.setenv("PYTHONHASHSEED", "8")
    assert list(load().domain(name).load()) == first


def test_puzzles_without_a_named_answer(stand_in: Registry) -> None:
    domain = stand_in.domain("reasoning_gym:unnamed")
    assert domain.gold is None
    n = next(iter(stand_in.benchmark(domain.name).load())).answer["index"] + 1
    right, wrong = verdicts(stand_in, domain.name, "a" * n, "a" * (n + 1))
    assert right.correct and not wrong.correct


def test_errors_name_the_cause(stand_in: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KkwarmError, match=r"unknown data set of reasoning-gym 'backward'.*backwards"):
        stand_in.benchmark("reasoning_gym:backward")
    clear_caches()
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(KkwarmError, match=r"needs reasoning-gym.*pip install 'kkwarm\[bridges\]'"):
        load().benchmark("reasoning_gym:backwards")


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="needs reasoning-gym: pip install 'kkwarm[bridges]'")
@pytest.mark.parametrize("name", ["spell_backward", "chain_sum", "polynomial_multiplication", "word_ladder"])
def test_the_real_one(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    clear_caches()
    with Judge(workers=1) as judge:
        assert [f for f in check_domain(load(), f"reasoning_gym:{name}", judge) if not f.ok] == []


@pytest.mark.skipif(not REAL, reason="needs reasoning-gym: pip install 'kkwarm[bridges]'")
def test_every_scorer_that_evaluates_text_is_guarded() -> None:
    from kkwarm_bridges.eval_guard import evaluates_text

    clear_caches()
    from reasoning_gym.factory import DATASETS

    guarded = {name for name, (kind, _) in DATASETS.items() if evaluates_text(kind.score_answer)}
    assert guarded >= {"countdown", "puzzle24", "polynomial_multiplication", "simple_integration"}
