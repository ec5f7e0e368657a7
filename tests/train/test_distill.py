import json
from pathlib import Path

import pytest
import toy_task as toy

from kkwarm.backends.base import Request
from kkwarm.backends.replay import ReplayBackend
from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry
from kkwarm.store import Run
from kkwarm.testing.checkpoint import tiny_checkpoint
from kkwarm.train import DistillConfig, distill, read_traces
from kkwarm.train.distillation import select_training_examples


def test_a_registered_teacher_gives_its_traces(tmp_path: Path) -> None:
    run = distill(DistillConfig(domain="toy", teacher="symbolic", n=10), tmp_path / "d")
    traces = read_traces(run.path)
    assert traces == toy._teach(10, 0)
    assert run.done and run.manifest.results["traces"] == 10
    assert run.manifest.provenance["distribution"] == "(in memory)"


def test_a_registered_teacher_gives_traces_of_one_facet(tmp_path: Path) -> None:
    run = distill(DistillConfig(domain="mini_kk:4", teacher="symbolic", n=5), tmp_path / "t", progress=False)
    assert {trace.meta["level"] for trace in read_traces(run.path)} == {4}
    assert run.manifest.provenance["plugin"] == "mini"


def test_a_recipe_may_put_a_registered_teacher_where_another_s_settings_stay(tmp_path: Path) -> None:
    config = DistillConfig(domain="mini_kk", teacher="symbolic", n=3, max_tokens=64, temperature=0.3)
    assert len(read_traces(distill(config, tmp_path / "d").path / "traces.jsonl")) == 3
    with pytest.raises(KkwarmError, match="temperature, max_tokens are for models"):
        distill(config, tmp_path / "e", options={})


def test_verified_only_drops_wrong_answers(tmp_path: Path) -> None:
    run = distill(DistillConfig(domain="toy", teacher="liar", n=10, verified_only=True), tmp_path / "d")
    assert [t.id for t in read_traces(run.path)] == ["t0", "t2", "t4", "t6", "t8"]
    assert run.manifest.results == {"traces": 5, "left_out": 5, "status": {"correct": 5, "wrong": 5}}


@pytest.mark.slow
def test_a_checkpoint_as_teacher_and_an_interrupted_run_resumes(tmp_path: Path, base: Path, traces: Path) -> None:
    from kkwarm.train import WarmupConfig, warmup

    teacher = warmup(base, traces, tmp_path / "w", WarmupConfig(learning_rate=1e-2, epochs=6, batch_size=8)).path
    config = DistillConfig(domain="toy", teacher=str(teacher), n=6, samples=3, temperature=1.0, top_p=1.0)
    whole = distill(config, tmp_path / "whole", progress=False)
    kept = read_traces(whole.path)
    stored = list(whole.samples())
    assert len(stored) == 18 and 0 < len(kept) <= 18
    assert whole.manifest.results["traces"] + whole.manifest.results["left_out"] == 18
    # Stop after 7 samples: the rest is drawn anew, and comes out the same.
    part = distill(config, tmp_path / "part", progress=False)
    lines = (part.path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (part.path / "samples.jsonl").write_bytes(b"".join(lines[:7]) + lines[7][:20])
    (part.path / "traces.jsonl").unlink()
    manifest = json.loads((part.path / "manifest.json").read_text())
    (part.path / "manifest.json").write_text(json.dumps({**manifest, "state": "running"}))
    again = distill(config, tmp_path / "part", progress=False)
    assert read_traces(again.path) == kept
    assert len(list(Run.read(again.path).samples())) == 18


def test_an_interrupted_run_keeps_every_completion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    completions = 0

    def reply(request: Request, index: int) -> str:
        nonlocal completions
        completions += 1
        if completions == 72:
            raise KeyboardInterrupt
        return f" sample {index} </think> <answer> x </answer>"

    monkeypatch.setattr("kkwarm.backends.open_backend", lambda *_, **__: ReplayBackend(reply))
    config = DistillConfig(domain="toy", teacher="teacher", n=25, samples=3)
    with pytest.raises(KeyboardInterrupt):
        distill(config, tmp_path / "d", base_url="http://localhost/v1", progress=False)
    assert len(list(Run.read(tmp_path / "d").samples())) == 71
    run = distill(config, tmp_path / "d", base_url="http://localhost/v1", progress=False)
    assert completions == 72 + (75 - 71) and run.manifest.results["traces"] == 75


def test_unknown_tokens_of_the_teacher_give_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = tiny_checkpoint(tmp_path / "words", vocab=["say"])
    with pytest.raises(KkwarmError, match="none of 4 completions became a trace"):
        distill(DistillConfig(domain="toy", teacher=str(words), n=4, max_tokens=4), tmp_path / "d", progress=False)
    (said,) = json.loads((tmp_path / "d" / "manifest.json").read_text())["warnings"]
    assert said.startswith("the tokenizer has no token for some text of 4 of 4 prompts")
    assert said in capsys.readouterr().err


def test_only_verified_completions_of_a_checkpoint(tmp_path: Path, base: Path) -> None:
    with pytest.raises(KkwarmError, match="none of 4 completions became a trace"):
        distill(DistillConfig(domain="toy", teacher=str(base), n=4, verified_only=True), tmp_path / "d", progress=False)


def test_no_true_trace_of_a_registered_teacher(tmp_path: Path) -> None:
    """Nothing was stored: the corrected command can use the folder."""
    says = r"none of 1 traces of the teacher became a trace \(1 wrong\) \(leave out --verified-only, or use another"
    with pytest.raises(KkwarmError, match=says):
        distill(DistillConfig(domain="toy", teacher="wrong", n=1, verified_only=True), tmp_path / "d")
    assert distill(DistillConfig(domain="toy", teacher="wrong", n=1), tmp_path / "d").done


def test_the_selection_is_nested_and_depends_on_the_seed() -> None:
    task = registry().task("toy")
    ids = [e.id for e in select_training_examples(task, 12, 0)]
    assert [e.id for e in select_training_examples(task, 5, 0)] == ids[:5]
    assert [e.id for e in select_training_examples(task, 12, 1)] != ids
    with pytest.raises(KkwarmError, match="has 36 training examples, not 37"):
        select_training_examples(task, 37, 0)


@pytest.mark.parametrize(
    ("domain", "teacher", "message"),
    [
        ("toyy", "symbolic", r"unknown task 'toyy' \(did you mean toy"),
        ("toy", "symbolical", r"unknown teacher of toy 'symbolical' \(did you mean symbolic"),
        ("toy", "./nowhere", r"nowhere does not exist"),
    ],
)
def test_unknown_names_offer_near_ones(tmp_path: Path, domain: str, teacher: str, message: str) -> None:
    with pytest.raises(KkwarmError, match=message):
        distill(DistillConfig(domain=domain, teacher=teacher, n=3), tmp_path / "d")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "a", "domain": "toy", "question": "q"}', "line 2: 'answer' is missing"),
        (b'{"id": "a", "domain": "toy", "question": "q", "answer": 3}', "line 2: 'answer' is int, not text"),
        (b'{"id": "a", "dom', "line 2: not JSON"),
        (b"\xff\xfe", "line 2: not UTF-8"),
    ],
)
def test_a_broken_trace_is_reported_with_its_line(tmp_path: Path, line: bytes, message: str) -> None:
    good = b'{"id": "a", "domain": "toy", "question": "q", "reasoning": null, "answer": "x"}'
    path = tmp_path / "traces.jsonl"
    path.write_bytes(good + b"\n" + line + b"\n")
    with pytest.raises(KkwarmError, match=message):
        read_traces(path)


def test_a_package_attribute_is_a_teacher() -> None:
    from kkwarm.train.distillation import DistillPlan

    assert DistillPlan(DistillConfig(domain="mini_math", teacher="kkwarm_mini:BASE", n=3)).backend == "hf"
    with pytest.raises(KkwarmError, match="kkwarm_mini has no BASS"):
        DistillPlan(DistillConfig(domain="mini_math", teacher="kkwarm_mini:BASS", n=3))
