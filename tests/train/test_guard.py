"""The leak gate stands in front of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kkwarm.errors import KkwarmError, LeakError
from kkwarm.plugins import registry
from kkwarm.train import WarmupConfig, warmup
from kkwarm.train.traces import write_traces
from kkwarm.types import Trace

CONFIG = WarmupConfig(max_steps=1, batch_size=2, threads=1)


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    """Traces that ask two of the benchmark's questions, once in capitals."""
    asked = list(registry().benchmark("toy").load())[:2]
    questions = [asked[0].question.upper(), asked[1].question]
    path = tmp_path / "traces.jsonl"
    write_traces(path, [Trace(f"t{i}", "toy", q, "the word is red", "red", "x") for i, q in enumerate(questions)])
    return path


def test_traces_that_ask_the_benchmarks_questions_are_refused(base: Path, leaking: Path, tmp_path: Path) -> None:
    with pytest.raises(LeakError, match=r"2 evaluation items are also trained on: .*toy/0 = trained t0 \(text\)"):
        warmup(base, leaking, tmp_path / "r", CONFIG, progress=False)
    assert not (tmp_path / "r" / "checkpoint").exists()


def test_a_leak_that_is_allowed_is_kept_with_the_run(base: Path, leaking: Path, tmp_path: Path) -> None:
    run = warmup(base, leaking, tmp_path / "r", replace(CONFIG, allow_leak=True), progress=False)
    assert [(k["domain"], k["trained"], k["how"]) for k in run.manifest["leaks"]] == [
        ("toy", "t0", "text"),
        ("toy", "t1", "text"),
    ]


def test_another_benchmark_can_be_named(base: Path, leaking: Path, tmp_path: Path) -> None:
    run = warmup(base, leaking, tmp_path / "r", replace(CONFIG, against=("mini_math",)), progress=False)
    assert run.manifest["compared_with"] == ["mini_math"]
    assert run.manifest["leaks"] == []
    with pytest.raises(KkwarmError, match="unknown benchmark"):
        warmup(base, leaking, tmp_path / "s", replace(CONFIG, against=("tory",)), progress=False)
