"""`lm_eval:NAME` on tasks of the test's own, given to lm-eval as YAML."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from toy_benchmark import Toy

from kkwarm.errors import KkwarmError
from kkwarm.evaluation import BenchConfig, bench
from kkwarm.store import Run

ROWS = [{"question": f"Is {i} even?", "label": i % 2} for i in range(8)]


def written(folder: Path, name: str, **own: object) -> str:
    """A task of lm-eval in a file of its own, over `ROWS`."""
    data, path = folder / "rows.jsonl", folder / f"{name}.yaml"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    source = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test"}
    path.write_text(yaml.safe_dump({"task": f"own_{name}", **source, **own}))
    return f"lm_eval:{path}"


def mean(metric: str) -> dict[str, object]:
    return {"metric": metric, "aggregation": "mean", "higher_is_better": True}


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    choice = written(
        tmp_path,
        "choice",
        output_type="multiple_choice",
        doc_to_text="{{question}} Answer:",
        doc_to_choice=["yes", "no"],
        doc_to_target="{{label}}",
        metric_list=[mean("acc")],
    )
    free = written(
        tmp_path,
        "free",
        output_type="generate_until",
        doc_to_text="{{question}} Answer:",
        doc_to_target="{{['yes', 'no'][label]}}",
        generation_kwargs={"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
        metric_list=[mean("exact_match")],
    )
    return choice, free


def test_tasks_of_lm_eval(toy: Toy, tiny: Path, tasks: tuple[str, str], tmp_path: Path) -> None:
    config = BenchConfig(limit=6, device="cpu")
    run = bench(str(tiny), [*tasks, "toy"], tmp_path / "r", config)
    results = run.manifest.benchmarks
    assert set(results) == {*tasks, "toy"} and results["toy"]["n"] == 6
    for name, metric in zip(tasks, ("acc", "exact_match"), strict=True):
        figures = results[name]
        (theirs,) = figures["lm_eval"].values()
        assert figures["n"] == 6 == figures["samples"]
        assert figures["accuracy"] == pytest.approx(figures["metrics"][metric])
        own = next(value for key, value in theirs.items() if key.startswith(f"{metric},"))
        assert figures["accuracy"] == pytest.approx(own)
        assert sum(figures["status"].values()) == 6
    again = bench(str(tiny), [*tasks, "toy"], tmp_path / "r", config)
    assert again.manifest.benchmarks == results
    chosen = list(Run.read(tmp_path / "r").samples(tasks[0]))
    assert len(chosen) == 6
    for sample in chosen:  # of multiple choice, the likeliest choice is kept, and its verdict is lm-eval's
        assert sample.completion.text.strip() in ("yes", "no") and sample.verdict.answer in ("yes", "no")
        right = ["yes", "no"][ROWS[int(sample.id)]["label"]] == sample.verdict.answer
        assert right == (sample.verdict.status == "correct")


def test_the_last_word_is_scored_and_stdout_stays_empty(
    toy: Toy, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    name = written(
        tmp_path,
        "last_word",
        output_type="loglikelihood",
        doc_to_text="{{question}}",
        doc_to_target=" {{label}}",
        metric_list=[{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}, mean("acc")],
    )
    monkeypatch.setattr("multiprocessing.Pool", None)  # forked beside torch's threads, it can hang
    run = bench(str(tiny), [name], tmp_path / "r", BenchConfig(device="cpu"), progress=False)
    figures = run.manifest.benchmarks[name]
    # lm-eval calls a question's log-likelihood `perplexity`; its own table has the real one.
    assert set(figures["metrics"]) == {"acc", "loglikelihood"} and figures["metrics"]["loglikelihood"] < 0
    assert figures["lm_eval"]["own_last_word"]["perplexity,none"] > 1
    assert figures["lm_eval"]["own_last_word"]["perplexity_stderr,none"] > 0
    assert capsys.readouterr().out == ""  # lm-eval prints "bootstrapping for stddev" there


def test_a_task_without_a_score_of_each_question(
    toy: Toy, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    name = written(
        tmp_path,
        "whole_text",
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{question}}",
        metric_list=[{"metric": "word_perplexity"}],
    )
    with pytest.raises(KkwarmError, match=r"no score for single questions.*run lm-eval"):
        bench(str(tiny), [name], tmp_path / "r", BenchConfig(device="cpu"), progress=False)


@pytest.mark.slow  # lm-eval reads thousands of files for its list
def test_a_misspelt_task(toy: Toy, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(KkwarmError, match=r"unknown lm-eval task 'arc_eazy'.*arc_easy"):
        bench(str(tiny), ["lm_eval:arc_eazy"], tmp_path / "r", BenchConfig(device="cpu"))


def test_unknown_task(toy: Toy, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(KkwarmError, match=r"cannot load .*no_such"):
        bench(str(tiny), [f"lm_eval:{tmp_path}/no_such.yaml"], tmp_path / "r2", BenchConfig(device="cpu"))
    with pytest.raises(KkwarmError, match="runs with --backend hf or vllm only"):
        bench("m", ["lm_eval:arc_easy"], tmp_path / "r", BenchConfig(backend="openai", base_url="http://x"))
