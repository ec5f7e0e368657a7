"""The contamination check before training."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kkwarm.errors import ContaminationError, KkwarmError
from kkwarm.plugins import registry
from kkwarm.scoring.verify_run import verify_run
from kkwarm.train import WarmupConfig, read_traces, warmup
from kkwarm.train.distillation import select_training_examples
from kkwarm.train.traces import write_traces
from kkwarm.types import Example, Trace

CONFIG = WarmupConfig(max_steps=1, batch_size=2, threads=1)


@pytest.fixture
def contaminated(tmp_path: Path) -> Path:
    """Traces that ask two of the benchmark's questions, once in capitals."""
    examples = list(registry().benchmark("toy").load())[:2]
    questions = [examples[0].question.upper(), examples[1].question]
    path = tmp_path / "traces.jsonl"
    write_traces(path, [Trace(f"t{i}", "toy", q, "the word is red", "red", "x") for i, q in enumerate(questions)])
    return path


def test_rejects_traces_with_the_benchmarks_questions(base: Path, contaminated: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ContaminationError, match=r"2 evaluation questions are also trained on: .*toy/0 = training question t0 \(text\)"
    ):
        warmup(base, contaminated, tmp_path / "r", CONFIG, progress=False)
    assert not (tmp_path / "r" / "checkpoint").exists()


def test_allowed_contamination_is_recorded(base: Path, contaminated: Path, tmp_path: Path) -> None:
    run = warmup(base, contaminated, tmp_path / "r", CONFIG.replace(allow_contamination=True), progress=False)
    assert [(k["domain"], k["trained"], k["how"]) for k in run.manifest.contamination] == [
        ("toy", "t0", "text"),
        ("toy", "t1", "text"),
    ]


@pytest.mark.slow
def test_contamination_is_inherited_up_to_the_report(base: Path, contaminated: Path, tmp_path: Path) -> None:
    """What a checkpoint was trained on follows it: through RLVR into its benchmark and the report."""
    from kkwarm.analysis.build import build_report
    from kkwarm.analysis.load import load
    from kkwarm.evaluation import BenchConfig, bench
    from kkwarm.reporting.terminal import render_text
    from kkwarm.train import RlvrConfig, rlvr

    config = RlvrConfig(domain="toy", examples=2, steps=1, prompts_per_step=2, generations=2, max_tokens=4, threads=1)
    warmed = warmup(base, contaminated, tmp_path / "warmed", CONFIG.replace(allow_contamination=True), progress=False)
    trained = rlvr(warmed.path, config, tmp_path / "trained", progress=False)
    assert [(k["id"], k["trained"]) for k in trained.manifest.contamination] == [("toy/0", "t0"), ("toy/4", "t1")]
    short = BenchConfig(max_tokens=4)
    clean = bench(str(base), ["toy"], tmp_path / "clean", short, progress=False)
    leaky = bench(str(trained.path / "checkpoint"), ["toy"], tmp_path / "leaky", short, progress=False)
    assert leaky.manifest.benchmarks["toy"]["contaminated"] == 2
    assert "contaminated" not in clean.manifest.benchmarks["toy"]
    document = build_report(load([clean.path, leaky.path]))
    assert document.matrix["clean"]["toy"].contaminated == 0
    assert document.matrix["leaky"]["toy"].contaminated == 2
    assert document.matrix["leaky"]["toy"].change.contaminated
    text = render_text(document, 100, full=True)
    assert "† CONTAMINATED: leaky was trained on 2 questions of toy" in text
    assert text.count("†") == 3  # the cell, its change, the note


def _benchmark(name: str, asks: Sequence[Example]) -> None:
    """Registers a benchmark that asks what the toy trains on."""
    reg = registry()
    reg.benchmarks[name] = replace(reg.benchmark("toy"), name=name, load=lambda: list(asks))


def test_drops_contaminated_traces(base: Path, contaminated: Path, tmp_path: Path) -> None:
    clean = Trace("clean", "toy", "word now : blue", "the word is blue", "blue", "x")
    write_traces(contaminated, [*read_traces(contaminated), clean, *read_traces(contaminated)])
    config = CONFIG.replace(drop_contaminated=True)
    run = warmup(base, contaminated, tmp_path / "r", config, progress=False)
    assert run.manifest.warnings == ["4 of 5 traces contain evaluated questions and are left out"]
    results = run.manifest.results
    assert (run.manifest.contamination, results["traces"], results["left_out"]) == ([], 1, 4)
    assert warmup(base, contaminated, tmp_path / "r", config, progress=False).manifest.results == results
    assert run.manifest.contaminated == ["t0", "t1", "t0", "t1"]
    stopped = json.loads((run.path / "manifest.json").read_text()) | {"state": "running", "contaminated": ["t0"]}
    shutil.copytree(run.path, tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "checkpoint")
    (tmp_path / "stopped" / "manifest.json").write_text(json.dumps(stopped))
    with pytest.raises(KkwarmError, match="left out other traces when it started"):
        warmup(base, contaminated, tmp_path / "stopped", config, progress=False)
    with pytest.raises(KkwarmError, match="different settings"):  # other benchmarks leave out other traces
        warmup(base, contaminated, tmp_path / "r", config.replace(decontaminate_against=("mini_math",)), progress=False)
    write_traces(contaminated, read_traces(contaminated)[:2])
    with pytest.raises(KkwarmError, match="all 2 traces contain evaluated questions"):
        warmup(base, contaminated, tmp_path / "s", config, progress=False)
    with pytest.raises(KkwarmError, match="exclude each other"):
        config.replace(allow_contamination=True)


def test_skips_contaminated_examples(base: Path, tmp_path: Path) -> None:
    from kkwarm.train import RlvrConfig, rlvr

    task = registry().task("toy")
    ranked = [e.id for e in select_training_examples(task, 36, 0)]
    train = {e.id: e for e in task.load()}
    _benchmark("held", [replace(train[i], id=f"held/{i}") for i in ranked[1:4]])
    assert [e.id for e in select_training_examples(task, 5, 0, decontaminate_against=["held"])] == [
        ranked[0],
        *ranked[4:8],
    ]
    assert [e.id for e in select_training_examples(task, 2, 0, decontaminate_against=["held"])] == [
        ranked[0],
        ranked[4],
    ]
    assert [e.id for e in select_training_examples(task, 2, 0, decontaminate_against=[])] == ranked[
        :2
    ]  # the toy's own: its sides are apart
    with pytest.raises(KkwarmError, match="toy has 33 training examples that are not evaluated, not 34"):
        select_training_examples(task, 34, 0, decontaminate_against=["held"])
    config = RlvrConfig(domain="toy", examples=2, steps=1, prompts_per_step=2, generations=2, max_tokens=4, threads=1)
    config = config.replace(decontaminate_against=("held",))
    with pytest.raises(ContaminationError, match="--drop-contaminated removes them from training"):
        rlvr(base, config, tmp_path / "r", progress=False)
    run = rlvr(base, config.replace(drop_contaminated=True), tmp_path / "s", progress=False)
    assert run.manifest.example_ids == [ranked[0], ranked[4]] and run.manifest.contamination == []
    states = {f.what: f.state.value for f in verify_run(run, registry())}
    assert states["examples"] == "agrees"


def test_distill_is_checked_too(tmp_path: Path) -> None:
    from kkwarm.train import DistillConfig, distill

    config = DistillConfig(domain="toy", teacher="symbolic", n=20, decontaminate_against=("toy_train",))
    with pytest.raises(KkwarmError, match="unknown benchmark"):
        distill(config, tmp_path / "d", progress=False)
    run = distill(config.replace(decontaminate_against=()), tmp_path / "d", progress=False)
    assert run.manifest.compared_with == ["toy"]
    assert run.manifest.contamination == []


def test_drops_contaminated_traces_of_a_registered_teacher(tmp_path: Path) -> None:
    from kkwarm.train import DistillConfig, distill

    every = distill(DistillConfig(domain="toy", teacher="symbolic", n=12), tmp_path / "all", progress=False)
    questions = sorted({t.question for t in read_traces(every.path)})
    _benchmark("held", [Example(f"held/{i}", q, q.split()[-1]) for i, q in enumerate(questions[:4])])
    config = DistillConfig(domain="toy", teacher="symbolic", n=12, decontaminate_against=("held",))
    with pytest.raises(ContaminationError, match="4 evaluation questions"):
        distill(config, tmp_path / "d", progress=False)
    run = distill(config.replace(drop_contaminated=True, verified_only=True), tmp_path / "e", progress=False)
    traces = read_traces(run.path)
    assert traces == [t for t in read_traces(every.path) if t.question not in questions[:4]]
    results = run.manifest.results
    assert (run.manifest.contamination, results["traces"], results["left_out"]) == ([], len(traces), 12 - len(traces))
    assert {f.what: f.state.value for f in verify_run(run, registry())}["traces"] == "agrees"


def test_another_benchmark_can_be_named(base: Path, contaminated: Path, tmp_path: Path) -> None:
    run = warmup(
        base, contaminated, tmp_path / "r", CONFIG.replace(decontaminate_against=("mini_math",)), progress=False
    )
    assert run.manifest.compared_with == ["mini_math"]
    assert run.manifest.contamination == []
    with pytest.raises(KkwarmError, match="unknown benchmark"):
        warmup(base, contaminated, tmp_path / "s", CONFIG.replace(decontaminate_against=("tory",)), progress=False)
