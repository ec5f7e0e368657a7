"""Experiment trackers: they get a run's figures, and a tracker that fails never ends a run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kkwarm import tracking
from kkwarm.errors import KkwarmError
from kkwarm.evaluation import bench
from kkwarm.schema.settings import BenchConfig
from kkwarm.store import Run
from kkwarm.testing.scripted import ScriptedModel
from kkwarm.tracking import TRACK, check_trackers, track


def run_bench(folder: Path, *trackers: str) -> Run:
    config = BenchConfig(samples=1, limit=2, track=trackers)
    model = ScriptedModel(lambda prompt, index: "x")
    run = bench("scripted", ["mini_math"], folder / "run", config, backend=model, progress=False)
    assert run.done and "mini_math" in run.manifest.benchmarks
    return run


@pytest.fixture
def wandb() -> Iterator[Any]:
    """wandb, whose process reads its environment anew."""
    module = pytest.importorskip("wandb")
    module.teardown()
    yield module
    module.teardown()


def stored_offline(run: Run) -> bytes:
    """What wandb stored in the run folder, for `wandb sync`, once its own process has ended."""
    import wandb

    wandb.teardown()
    (file,) = run.path.glob("wandb/offline-run-*/*.wandb")
    return file.read_bytes()


def test_wandb_offline_gets_the_figures_of_bench(wandb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = run_bench(tmp_path, "wandb")
    stored = stored_offline(run)
    assert b"bench/mini_math/accuracy" in stored and b"bench/mini_math/status/malformed" in stored
    assert not run.manifest.warnings


def test_an_unreachable_wandb_server_costs_no_figure(
    wandb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setattr(tracking, "START_TIMEOUT", 1.0)
    run = run_bench(tmp_path, "wandb")
    (warning,) = run.manifest.warnings
    assert "--track wandb cannot be reached" in warning and "for `wandb sync`" in warning
    assert warning in capsys.readouterr().err
    assert b"bench/mini_math/accuracy" in stored_offline(run)


def test_tensorboard_gets_the_figures_of_bench(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = run_bench(tmp_path, "tensorboard")
    read = EventAccumulator(str(run.path / "tensorboard"))
    read.Reload()
    (event,) = read.Scalars("bench/mini_math/accuracy")
    assert event.value == run.manifest.benchmarks["mini_math"]["accuracy"]


class Recorder:
    """A tracker that keeps what it gets, and fails at the figures that have `fail`."""

    def __init__(self, run: Run, note: Any) -> None:
        self.rows: list[tuple[Mapping[str, float], int | None]] = []
        made.append(self)

    def log(self, figures: Mapping[str, float], step: int | None) -> None:
        if "fail" in figures:
            raise ConnectionError("no route to host")
        self.rows.append((figures, step))

    def close(self) -> None:
        self.rows.append(({}, None))


made: list[Recorder] = []


def test_a_tracker_that_fails_is_dropped_and_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "TRACKERS", {"recorder": Recorder})
    monkeypatch.setenv(TRACK, "recorder")  # as the workers of `kkwarm study --track recorder` have it
    made.clear()
    with Run.open(tmp_path, kind="rlvr", config={}) as run, track(run, ()) as trackers:
        trackers.log({"loss": 1.0, "nan": float("nan"), "text": "x", "rewards": {"format": 0.5}}, 1)
        trackers.log({"fail": 1.0}, 2)
        trackers.log({"loss": 0.5}, 3)
        run.finish()
    assert made[0].rows == [({"loss": 1.0, "rewards/format": 0.5}, 1)]
    assert Run.read(tmp_path).manifest.warnings == ["--track recorder failed: ConnectionError: no route to host"]


def test_trackers_that_cannot_be_used_are_refused_before_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(KkwarmError, match=r"unknown tracker .wandbb. \(did you mean wandb\?\)"):
        check_trackers(["wandbb"])
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    for name in ("wandb", "trackio", "tensorboard"):
        with pytest.raises(KkwarmError, match=rf"--track {name} needs {name} \(pip install 'kkwarm\[{name}\]'\)"):
            check_trackers([name])
    with pytest.raises(KkwarmError, match="--track wandb needs wandb"):
        run_bench(tmp_path, "wandb")
    assert not (tmp_path / "run").exists()
