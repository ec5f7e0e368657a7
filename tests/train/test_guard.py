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


def test_a_leak_is_inherited_and_marked_up_to_the_report(base: Path, leaking: Path, tmp_path: Path) -> None:
    """What a checkpoint was trained on follows it: through RLVR into its benchmark and the report."""
    from kkwarm.harness import BenchConfig, bench
    from kkwarm.report.terminal import render_text
    from kkwarm.train import RlvrConfig, rlvr
    from kkwarm.transfer.analyse import analyse
    from kkwarm.transfer.load import load

    config = RlvrConfig("toy", examples=2, steps=1, prompts_per_step=2, generations=2, max_tokens=4, threads=1)
    warmed = warmup(base, leaking, tmp_path / "warmed", replace(CONFIG, allow_leak=True), progress=False)
    trained = rlvr(warmed.path, config, tmp_path / "trained", progress=False)
    assert [(k["id"], k["trained"]) for k in trained.manifest["leaks"]] == [("toy/0", "t0"), ("toy/4", "t1")]
    short = BenchConfig(max_tokens=4)
    clean = bench(str(base), ["toy"], tmp_path / "clean", short, progress=False)
    leaky = bench(str(trained.path / "checkpoint"), ["toy"], tmp_path / "leaky", short, progress=False)
    assert leaky.manifest["results"]["benchmarks"]["toy"]["leaked"] == 2
    assert "leaked" not in clean.manifest["results"]["benchmarks"]["toy"]
    document = analyse(load([clean.path, leaky.path]))
    assert document["matrix"]["clean"]["toy"]["leaked"] == 0
    assert document["matrix"]["leaky"]["toy"]["leaked"] == 2
    assert document["matrix"]["leaky"]["toy"]["change"]["leaked"] is True
    text = render_text(document, 100)
    assert "† LEAK: leaky was trained on 2 questions of toy" in text
    assert text.count("†") == 3  # the cell, its change, the note


def test_distill_is_guarded_too(tmp_path: Path) -> None:
    from kkwarm.train import DistillConfig, distill

    config = DistillConfig("toy", "symbolic", 20, against=("toy_train",))
    with pytest.raises(KkwarmError, match="unknown benchmark"):
        distill(config, tmp_path / "d", progress=False)
    run = distill(replace(config, against=()), tmp_path / "d", progress=False)
    assert run.manifest["compared_with"] == ["toy"]
    assert run.manifest["leaks"] == []


def test_another_benchmark_can_be_named(base: Path, leaking: Path, tmp_path: Path) -> None:
    run = warmup(base, leaking, tmp_path / "r", replace(CONFIG, against=("mini_math",)), progress=False)
    assert run.manifest["compared_with"] == ["mini_math"]
    assert run.manifest["leaks"] == []
    with pytest.raises(KkwarmError, match="unknown benchmark"):
        warmup(base, leaking, tmp_path / "s", replace(CONFIG, against=("tory",)), progress=False)
