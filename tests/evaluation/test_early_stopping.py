"""Stopping early: where, what is kept, that it resumes, and that it goes on to the whole run."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kkwarm import plugins
from kkwarm.analysis.compare import compare
from kkwarm.backends.base import Request
from kkwarm.backends.replay import ReplayBackend
from kkwarm.errors import KkwarmError
from kkwarm.evaluation import BenchConfig, bench
from kkwarm.plugins import hookimpl
from kkwarm.store import Run
from kkwarm.types import Domain, Example

N = 300
Script = Callable[[Request, int], str]


class Sums:
    @hookimpl
    def kkwarm_domains(self) -> list[Domain]:
        examples = [Example(f"sum/{i}", f"{i} + {i}?", str(2 * i)) for i in range(N)]
        return [Domain("sums", lambda: examples, lambda e, r: r.answer == e.answer)]


@pytest.fixture(autouse=True)
def sums(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    loaded = plugins.load(extra=[("sums", Sums())])
    monkeypatch.setattr(plugins, "load", lambda: loaded)
    plugins.registry.cache_clear()
    yield
    plugins.registry.cache_clear()


def model(accuracy: float, asked: list[str] | None = None) -> ReplayBackend:
    """Right on a fixed random part of the questions, the same one for all models."""

    def script(request: Request, index: int) -> str:
        if asked is not None:
            asked.append(request.key)
        i = int(request.key.rpartition("/")[2])
        right = int(hashlib.sha256(request.key.encode()).hexdigest(), 16) % 1000 < 1000 * accuracy
        return f" </think> <answer> {2 * i if right else -1} </answer>"

    return ReplayBackend(script, fingerprint=f"{accuracy}")


def run(path: Path, accuracy: float, asked: list[str] | None = None, **settings: object) -> Run:
    backend = model(accuracy, asked)
    return bench("m", ["sums"], path, BenchConfig(**settings), backend=backend, progress=False)  # type: ignore[arg-type]


def test_a_half_width_stops_early_and_its_interval_covers_the_full_score(tmp_path: Path) -> None:
    stopped = run(tmp_path / "r", 0.95, until=5)
    figures = stopped.manifest.benchmarks["sums"]
    why = figures["stopped"]
    assert why["questions"] == figures["n"] < N
    assert why["generations_saved"] == N - figures["n"]
    assert len(list(Run.read(stopped.path).samples())) == figures["n"]
    whole = run(tmp_path / "whole", 0.95).manifest.benchmarks["sums"]
    low, high = why["interval"]
    assert low <= whole["accuracy"] <= high
    assert (high - low) / 2 <= 0.05
    assert "stopped" not in whole


@pytest.mark.slow
def test_the_same_command_generates_nothing_and_one_without_the_rule_resumes(tmp_path: Path) -> None:
    asked: list[str] = []
    first = run(tmp_path / "r", 0.95, asked, until=5).manifest.benchmarks["sums"]
    count = len(asked)
    again = run(tmp_path / "r", 0.95, asked, until=5).manifest.benchmarks["sums"]
    assert (again, len(asked)) == (first, count)
    whole = run(tmp_path / "r", 0.95, asked)
    assert len(asked) == len(set(asked)) == N  # nothing twice, nothing left out
    assert whole.manifest.benchmarks["sums"]["n"] == N
    assert whole.manifest.stopped == {}
    assert len(set(list(asked)[:count])) == first["n"]


def test_a_limit_of_that_size_has_the_same_questions(tmp_path: Path) -> None:
    stopped = run(tmp_path / "r", 0.95, until=5)
    n = stopped.manifest.benchmarks["sums"]["n"]
    time_limited = run(tmp_path / "s", 0.95, limit=n)
    assert {s.id for s in stopped.samples()} == {s.id for s in time_limited.samples()}


def test_an_unreachable_width_uses_all_questions(tmp_path: Path) -> None:
    figures = run(tmp_path / "r", 0.5, until=0.01).manifest.benchmarks["sums"]
    assert figures["n"] == N
    assert figures["stopped"]["generations_saved"] == 0
    assert figures["stopped"]["interval"] == [figures["accuracy"]] * 2


@pytest.mark.slow
def test_a_decision_against_another_run(tmp_path: Path) -> None:
    before = run(tmp_path / "a", 0.3)
    after = run(tmp_path / "b", 0.7, until_decided=str(before.path))
    why = after.manifest.benchmarks["sums"]["stopped"]
    assert why["verdict"] == "gain"
    assert why["questions"] < N / 2
    row = compare(before.path, after.path, common=False).benchmarks["sums"]
    assert row.change.verdict == "gain"
    assert row.change.ci == (why["low"], why["high"])  # the interval that allows for the looks
    assert "group-sequential" in row.change.test
    same = run(tmp_path / "c", 0.3, until_decided=str(before.path))
    assert same.manifest.benchmarks["sums"]["stopped"]["verdict"] == "tie"


@pytest.mark.slow
def test_a_run_stopped_against_another_is_compared_with_a_warning(tmp_path: Path) -> None:
    reference, third = run(tmp_path / "a", 0.3), run(tmp_path / "c", 0.4)
    stopped = run(tmp_path / "b", 0.7, until_decided=str(reference.path))
    row = compare(third.path, stopped.path, common=False).benchmarks["sums"]
    assert any("p-value is too small" in text for text in row.settings_differences)


def test_an_unsuitable_baseline_is_refused_before_generation(tmp_path: Path) -> None:
    part, other = run(tmp_path / "part", 0.3, limit=100), run(tmp_path / "other", 0.3, temperature=0.0)
    asked: list[str] = []
    with pytest.raises(KkwarmError, match="no answer to 200 of the 300 questions"):
        run(tmp_path / "b", 0.7, asked, until_decided=str(part.path))
    with pytest.raises(KkwarmError, match=r"with other settings \(temperature\)"):
        run(tmp_path / "b", 0.7, asked, until_decided=str(other.path))
    with pytest.raises(KkwarmError, match=r"there is no run .*nowhere"):
        run(tmp_path / "b", 0.7, asked, until_decided=str(tmp_path / "nowhere"))
    with pytest.raises(KkwarmError, match="two stopping rules"):
        run(tmp_path / "b", 0.7, asked, until=0.1, until_decided=str(part.path))
    with pytest.raises(KkwarmError, match="until: 100 is too large; less than 100"):
        run(tmp_path / "b", 0.7, asked, until=100)
    assert asked == [] and not (tmp_path / "b").exists()
