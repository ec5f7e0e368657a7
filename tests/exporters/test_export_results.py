"""Results in the forms of other tools: read again by kkwarm, by huggingface_hub, and by Every Eval Ever's schemas."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kkwarm.cli import cli
from kkwarm.errors import KkwarmError
from kkwarm.evaluation import bench
from kkwarm.plugins import registry
from kkwarm.schema.settings import BenchConfig
from kkwarm.store import Run
from kkwarm.testing.scripted import ScriptedModel

SCHEMAS = Path(__file__).parent / "every_eval_ever"
QUESTIONS, SAMPLES = 6, 2


def scripted(name: str) -> ScriptedModel:
    """Correct answers to half of the questions at least once, wrong ones, and text without tags."""
    task, protocol = registry().task(name), registry().protocol(registry().benchmark(name))
    assert task.gold is not None
    golds = {e.question: protocol.compose("thought", task.gold(e)) for e in registry().benchmark(name).load()}

    def reply(prompt: str, index: int) -> str:
        gold = next(text for question, text in golds.items() if question in prompt)
        kind = (len(gold) + index) % 3
        return (gold, protocol.compose("thought", "7777"), "no tags")[kind]

    return ScriptedModel(reply)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("results") / "run"
    config = BenchConfig(samples=SAMPLES, limit=QUESTIONS)
    return bench("org/model", ["mini_math"], folder, config, backend=scripted("mini_math"), progress=False)


def export(run: Run, tool: str, out: Path, *options: str) -> list[str]:
    args = ["export", "results", str(run.path), "--to", tool, "-o", str(out), "--json", *options]
    result = CliRunner().invoke(cli, args, standalone_mode=False, catch_exceptions=False)
    files: list[str] = json.loads(result.stdout)["files"]
    assert all((out / f).is_file() for f in files)
    return files


def test_lm_evals_form_comes_back_with_every_verdict(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "lm_eval"
    export(run, "lm-eval", out)
    args = ["import", "lm-eval", str(out), "--as", "mini_math=mini_math", "-o", str(tmp_path / "back"), "--json"]
    CliRunner().invoke(cli, args, standalone_mode=False, catch_exceptions=False)
    back = Run.read(tmp_path / "back")
    before = {(s.id, s.index): (s.verdict.status, s.completion.text) for s in run.samples()}
    assert {(s.id, s.index): (s.verdict.status, s.completion.text) for s in back.samples()} == before
    assert len({status for status, _ in before.values()}) > 1
    for key in ("n", "samples", "accuracy", "stderr", "status", "pass@2"):
        assert back.manifest.benchmarks["mini_math"][key] == run.manifest.benchmarks["mini_math"][key]
    settings = back.manifest.config["evaluation"]["mini_math"]
    sampling = run.manifest.config["sampling"]["mini_math"]
    assert settings["scorer"] == "kkwarm" and settings["samples"] == SAMPLES
    assert settings["max_tokens"] == sampling["max_tokens"]
    protocol = run.manifest.config["protocols"]["mini_math"]
    assert settings["protocol"] == protocol  # known by the stored hashes of the prompts


def validated(schema: str, document: Any) -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator(json.loads((SCHEMAS / schema).read_text())).validate(document)
    return document


def test_every_eval_evers_records_are_valid(run: Run, tmp_path: Path) -> None:
    files = export(run, "every-eval-ever", tmp_path)
    record_file, samples_file = sorted(files, key=len)
    record = validated("eval.schema.json", json.loads((tmp_path / record_file).read_text()))
    rows = [json.loads(line) for line in (tmp_path / samples_file).read_text().splitlines()]
    for row in rows:
        validated("instance_level_eval.schema.json", row)
    figures = run.manifest.benchmarks["mini_math"]
    (result,) = record["evaluation_results"]
    assert result["score_details"]["score"] == figures["accuracy"]
    interval = result["score_details"]["uncertainty"]["confidence_interval"]
    assert [interval["lower"], interval["upper"]] == figures["ci"]["pass@1"]
    assert len(rows) == QUESTIONS * SAMPLES and record["model_info"]["id"].endswith("/model")
    assert sum(r["evaluation"]["score"] for r in rows) == figures["status"]["correct"]
    assert record["detailed_evaluation_results"]["file_path"] == samples_file
    assert export(run, "every-eval-ever", tmp_path / "again") == files  # the same export has the same names


def test_the_hubs_results_are_read_by_its_library(shared_data: Path, tmp_path: Path) -> None:
    import yaml
    from huggingface_hub import parse_eval_result_entries

    config = BenchConfig(samples=1, limit=QUESTIONS)
    names = ["math", "mini_math"]
    replies = {name: scripted(name) for name in names}
    model = ScriptedModel(lambda prompt, index: _first(replies, prompt, index))
    run = bench("org/model", names, tmp_path / "run", config, backend=model, progress=False)
    (file,) = export(run, "hub", tmp_path / "hub")
    (entry,) = parse_eval_result_entries(yaml.safe_load((tmp_path / "hub" / file).read_text()))
    pin = registry().benchmark("math").pin
    assert pin is not None
    assert file == ".eval_results/math-500.yaml" and entry.dataset_id == pin.repo == "HuggingFaceH4/MATH-500"
    assert entry.dataset_revision == pin.revision
    assert entry.value == pytest.approx(100 * run.manifest.benchmarks["math"]["accuracy"], abs=0.01)
    assert entry.notes is not None and "6 questions, 1 sample each, protocol paper, 95% interval" in entry.notes


def _first(replies: dict[str, ScriptedModel], prompt: str, index: int) -> Any:
    for model in replies.values():
        try:
            return model.reply(prompt, index)
        except (StopIteration, RuntimeError):
            continue
    raise AssertionError(prompt)


def test_what_cannot_be_exported_is_one_clear_line(run: Run, tmp_path: Path) -> None:
    export(run, "lm-eval", tmp_path)
    with pytest.raises(KkwarmError, match=r"results_.*\.json exists already \(give another folder"):
        export(run, "lm-eval", tmp_path)
    with pytest.raises(KkwarmError, match=r"has no results for the hub \(mini_math: it is no data set of the hub\)"):
        export(run, "hub", tmp_path / "hub")
    other = Run.open(tmp_path / "training", kind="rlvr", config={})
    other.close()
    with pytest.raises(KkwarmError, match="is a run of rlvr, which has no results to export"):
        export(other, "lm-eval", tmp_path / "x")
    partial = Run.open(tmp_path / "partial", kind="bench", config={})
    partial.close()
    with pytest.raises(KkwarmError, match="is in progress"):
        export(partial, "lm-eval", tmp_path / "x")
