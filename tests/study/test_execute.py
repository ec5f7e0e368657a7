"""The executor: whole plans, resume, crashes, failures, kills. Steps are real runs without models."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from kkwarm import tracking
from kkwarm.backends.memory import MEMORY_LIMIT, free_memory
from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry
from kkwarm.reporting.terminal import render_text
from kkwarm.schema.recipe import Recipe, load_recipe
from kkwarm.schema.report import parse_report
from kkwarm.scoring.verify_run import verify_run
from kkwarm.store import Run
from kkwarm.study.local import LocalExecutor, default_jobs
from kkwarm.study.plan import Plan
from kkwarm.study.progress import Estimate
from kkwarm.study.run import default_folder, find_extendable, run_study
from kkwarm.train.memory import available_memory

HERE = Path(__file__).parent
Without = Callable[[Recipe], Plan]


def did(out: Path) -> Counter[str]:
    return Counter((out / "trace.txt").read_text().split())


def test_whole_study_then_nothing_left(
    recipe: Recipe, without_models: Without, tmp_path: Path, quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "study"
    tracker = MagicMock()
    monkeypatch.setattr(tracking, "TRACKERS", {"mock": tracker})
    monkeypatch.setenv(tracking.TRACK, "mock")  # as `kkwarm study --track mock` sets it
    document = run_study(recipe, out, 2, quiet, render_text)
    steps = without_models(recipe).steps
    assert did(out) == Counter(dict.fromkeys(steps, 1))
    assert document.state == "done"
    assert set(document.matrix) == {"base", "warmed", "base + RLVR", "warmed + RLVR"}
    cell = document.matrix["warmed"]["mini_math"]
    assert cell.n == 60
    assert cell.change.baseline == "base"
    assert [c.id for c in document.claims] == ["i", "ii", "iii", "iv"]
    assert parse_report((out / "report.json").read_text()) == document
    assert "warmed + RLVR" in (out / "report.txt").read_text()
    manifest = Run.read(out).manifest
    assert manifest.state == "done"
    assert set(manifest.seconds) == set(steps)
    (session,) = manifest.sessions
    assert {attempt.step for attempt in session.attempts} == set(steps)
    assert {attempt.worker for attempt in session.attempts} <= {"worker 0", "worker 1"}
    assert all(0 <= attempt.started <= attempt.ended <= session.wall_s for attempt in session.attempts)
    assert manifest.worker_s == pytest.approx(sum(attempt.seconds for attempt in session.attempts), abs=0.1)
    (figures, _), _ = tracker.return_value.log.call_args
    assert figures["accuracy/warmed/mini_math"] == cell.accuracy and len(figures) == len(document.cells())
    again = run_study(recipe, out, 2, quiet, render_text)
    assert did(out) == Counter(dict.fromkeys(steps, 1))
    assert again.matrix == document.matrix


@pytest.mark.slow
def test_more_seeds_join_a_study(recipe: Recipe, without_models: Without, tmp_path: Path, quiet: Any) -> None:
    """Only what they need is done, and the report counts them; fewer seeds or other settings are another study."""

    def of(seeds: list[int], **more: Any) -> Recipe:
        return recipe.model_copy(update={"seeds": tuple(seeds), "data": {**recipe.data, "seeds": seeds, **more}})

    out = tmp_path / "study"
    first = run_study(recipe, out, 2, quiet, render_text)
    assert list(first.matrix["warmed"]["mini_math"].seeds) == [0, 1] == recipe.data["seeds"]
    before = did(out)
    second = run_study(of([0, 1, 2]), out, 2, quiet, render_text)
    assert second.matrix["warmed"]["mini_math"].seeds == (0, 1, 2)
    steps = without_models(of([0, 1, 2])).steps
    assert did(out) == Counter(dict.fromkeys(steps, 1)) and set(before) < set(steps)
    manifest = Run.read(out).manifest
    assert manifest.config["seeds"] == [0, 1, 2] and manifest.state == "done"
    assert {f.state.value for f in verify_run(Run.read(out), registry()) if f.what == "settings"} == {"agrees"}
    for other in (recipe, of([0, 2, 3]), of([0, 1, 2, 3], title="Another")):
        with pytest.raises(KkwarmError, match="already holds a run with different settings"):
            run_study(other, out, 2, quiet, render_text)
    assert Run.read(out).manifest.config["seeds"] == [0, 1, 2]


@pytest.mark.slow
def test_a_study_that_seeds_can_join_is_found(
    recipe: Recipe, without_models: Without, tmp_path: Path, quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KKWARM_HOME", str(tmp_path))
    recipe = recipe.model_copy(update={"name": "mine"})
    assert find_extendable(recipe) == {}
    run_study(recipe, default_folder(recipe), 2, quiet, render_text)
    (tmp_path / "mine-damaged").mkdir()
    (tmp_path / "mine-damaged" / "manifest.json").write_text("{")
    more, other = (
        recipe.model_copy(update={"seeds": (0, 1, 2), "data": {**recipe.data, "seeds": [0, 1, 2], **changed}})
        for changed in ({}, {"title": "Another"})
    )
    assert find_extendable(more) == {default_folder(recipe): [0, 1]}
    assert default_folder(more) != default_folder(recipe)
    assert find_extendable(other) == {}


def test_needs_come_first(recipe: Recipe, without_models: Without, tmp_path: Path, quiet: Any) -> None:
    run_study(recipe, tmp_path / "s", 3, quiet, render_text)
    order = (tmp_path / "s" / "trace.txt").read_text().split()
    for step in without_models(recipe).steps.values():
        assert all(order.index(need) < order.index(step.id) for need in step.needs)


@pytest.mark.slow
def test_a_worker_that_dies_once_is_replaced(
    recipe: Recipe, without_models: Without, tmp_path: Path, quiet: Any
) -> None:
    out = tmp_path / "s"
    out.mkdir()
    (out / "die-once.base-warm-s0").touch()
    run_study(recipe, out, 2, quiet, render_text)
    twice = [key for key, count in did(out).items() if count == 2]
    assert [key.rpartition("-")[0] for key in twice] == ["base-warm-s0"]
    attempts = Run.read(out).manifest.sessions[0].attempts
    assert [(attempt.number, attempt.outcome) for attempt in attempts if attempt.step == twice[0]] == [
        (1, "lost"),
        (2, "done"),
    ]


@pytest.mark.slow
def test_a_step_that_always_dies_stops_only_what_needs_it(
    recipe: Recipe, without_models: Without, tmp_path: Path, quiet: Any
) -> None:
    out = tmp_path / "s"
    out.mkdir()
    (out / "die.base-warm-s0").touch()
    with pytest.raises(
        KkwarmError, match=r"base-warm-s0-\w+ failed: its worker process ended with code 9.*3 steps wait"
    ):
        run_study(recipe, out, 2, quiet, render_text)
    names = {key.rpartition("-")[0]: count for key, count in did(out).items()}
    assert names["base-warm-s0"] == 2
    assert "bench-warmed-s1" in names
    assert "bench-warmed-s0" not in names
    (out / "die.base-warm-s0").unlink()
    assert run_study(recipe, out, 2, quiet, render_text).state == "done"


def test_a_users_mistake_is_not_tried_twice(
    recipe: Recipe, without_models: Without, tmp_path: Path, quiet: Any
) -> None:
    out = tmp_path / "s"
    out.mkdir()
    (out / "fail.base-rlvr-s1").touch()
    with pytest.raises(KkwarmError, match=r"base-rlvr-s1 has no data \(get some\)"):
        run_study(recipe, out, 2, quiet, render_text)
    assert {k.rpartition("-")[0]: n for k, n in did(out).items()}["base-rlvr-s1"] == 1


def test_a_folder_of_another_recipe_is_refused(
    recipe: Recipe, recipe_file: Path, without_models: Without, tmp_path: Path, quiet: Any
) -> None:
    out = tmp_path / "s"
    run_study(recipe, out, 2, quiet, render_text)
    with pytest.raises(KkwarmError, match=r"stages\..* there"):
        run_study(load_recipe(str(recipe_file), ["stages.rlvr.steps=11"]), out, 2, quiet, render_text)


def driver(recipe_file: Path, out: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *[p for p in sys.path if p]])}
    return subprocess.Popen(
        [sys.executable, "-m", "fake_steps", str(recipe_file), "-o", str(out), "--jobs", "2"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def alive(text: str) -> list[int]:
    """Processes whose environment or command line holds `text` (their standard error is a log there)."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if text in str((entry / "fd" / "2").readlink()):
                    pids.append(int(entry.name))
            except OSError:
                continue
    return pids


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks for orphans in /proc")
@pytest.mark.slow
@pytest.mark.parametrize(
    "by",
    [
        pytest.param(signal.SIGINT, id="ctrl-c"),
        pytest.param(signal.SIGTERM, id="SIGTERM"),
        pytest.param(signal.SIGKILL, id="kill -9"),
    ],
)
def test_an_ended_study_leaves_no_orphan_and_goes_on(recipe_file: Path, tmp_path: Path, by: signal.Signals) -> None:
    out = tmp_path / "s"
    out.mkdir()
    hang = out / "hang.base-warm-s1"
    hang.touch()
    first = driver(recipe_file, out)
    # Everything that does not need the hanging step is done; then the end comes.
    until(lambda: (out / "trace.txt").exists() and len(did(out)) == 15)
    until(lambda: Run.read(out).manifest.seconds.__len__() == 14)
    first.send_signal(by)
    _, err = first.communicate(timeout=90)
    assert first.returncode == (-9 if by == signal.SIGKILL else 130), err
    until(lambda: not alive(str(out / "logs")), 60)
    if by != signal.SIGKILL:
        assert Run.read(out).manifest.state == "interrupted"
        assert "repeat the command to resume" in err
    hang.unlink()
    second = driver(recipe_file, out)
    text, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert json.loads(text)["state"] == "done"
    twice = [k.rpartition("-")[0] for k, n in did(out).items() if n > 1]
    assert twice == ["base-warm-s1"]


def test_jobs_follow_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert default_jobs() == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert default_jobs() >= 1


def test_time_left_learns_from_what_was_measured(recipe: Recipe, without_models: Without) -> None:
    plan = without_models(recipe)
    estimate = Estimate(plan, set(), 2)
    before = estimate.left({})
    step = next(s for s in plan.steps.values() if s.kind == "warmup")
    estimate.add(step, step.cost.seconds * 10)
    assert estimate.left({}) > before * 2
    assert Estimate(plan, set(plan.steps), 2).left({}) == 0


def test_workers_on_one_machine_share_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kkwarm.study.local.gpus", lambda: 0)
    whole = free_memory()
    environment = LocalExecutor(tmp_path, 4)._environment(0)
    monkeypatch.setenv(MEMORY_LIMIT, environment[MEMORY_LIMIT])
    assert 0 < free_memory() <= 0.3 * whole
    assert available_memory(cuda=False, processes=2) <= 0.15 * whole
