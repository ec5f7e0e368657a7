"""`kkwarm push` against a local stand-in for the hub's HTTP API."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hub_stand_in import TOKEN, Hub

from kkwarm.cli import cli
from kkwarm.errors import KkwarmError
from kkwarm.evaluation import bench
from kkwarm.schema.manifest import StudyPlan
from kkwarm.schema.settings import BenchConfig, RlvrConfig, WarmupConfig
from kkwarm.store import Run
from kkwarm.testing.scripted import ScriptedModel


def training_run(folder: Path, kind: Any, config: Any, inputs: dict[str, str], **fields: Any) -> Path:
    """A finished training run with a small checkpoint."""
    checkpoint = folder / "checkpoint"
    with Run.open(folder, kind=kind, config=config.dump(), inputs=inputs) as run:
        checkpoint.mkdir()
        (checkpoint / "config.json").write_text('{"model_type": "llama"}')
        (checkpoint / "tokenizer.json").write_text("{}")
        (checkpoint / "model.safetensors").write_bytes(folder.name.encode() * 1000)
        run.finish(products={"checkpoint": f"weights of {folder.name}"}, **fields)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Traces, a warm-up, RLVR from it, and bench runs of the base and of the result."""
    home = tmp_path_factory.mktemp("push") / "secret-folder"
    traces, warm, rlvr = home / "traces", home / "warm", home / "rlvr"
    settings = {"domain": "mini_kk", "teacher": "symbolic", "n": 40, "seed": 0}
    with Run.open(traces, kind="distill", config=settings) as run:
        run.finish(products={"traces.jsonl": "hash-of-traces"}, compared_with=["mini_kk"])
    inputs = {"checkpoint": "weights of base", "traces": "hash-of-traces"}
    about: dict[str, Any] = {"model": {"checkpoint": "someone/base-model"}, "traces": str(traces / "traces.jsonl")}
    about |= {"prompting": {"protocols": {"mini_kk": "mini"}}, "results": {"traces": 40}}
    training_run(warm, "warmup", WarmupConfig(learning_rate=1e-3), inputs, **about)
    overlap = [{"domain": "mini_code", "id": "mini_code/test/1", "trained": "mini_code/train/1", "how": "text"}]
    about = {"model": {"checkpoint": str(warm / "checkpoint")}, "example_ids": ["a", "b"], "contamination": overlap}
    inputs = {"checkpoint": "weights of warm", "examples": "hash-of-examples"}
    training_run(rlvr, "rlvr", RlvrConfig(domain="mini_code", examples=2), inputs, **about)
    config = BenchConfig(samples=1, limit=4)
    for name in ("base", "trained"):
        model = ScriptedModel(lambda prompt, index: "x")
        bench(name, ["mini_math"], home / name, config, backend=model, progress=False)
    return {name: home / name for name in ("traces", "warm", "rlvr", "base", "trained")}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    import huggingface_hub.constants as constants

    made = Hub()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in speaks git LFS
    yield made
    made.close()


def push(runs: dict[str, Path], *options: str, to: str = "someone/trained", run: str = "rlvr") -> dict[str, Any]:
    args = ["push", str(runs[run]), "--to", to, "--json", *options]
    result = CliRunner().invoke(cli, args, standalone_mode=False, catch_exceptions=False)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_push_uploads_checkpoint_results_and_card(runs: dict[str, Path], hub: Hub) -> None:
    from huggingface_hub import ModelCard

    results = ["--results", str(runs["base"]), "--results", str(runs["trained"])]
    document = push(runs, *results, "--license", "apache-2.0")
    files = hub.repos["someone/trained"]
    assert document["url"].startswith(f"{hub.url}/someone/trained/commit/")
    assert set(files) == set(document["files"]) >= {"README.md", "config.json", "tokenizer.json", "model.safetensors"}
    assert files["model.safetensors"] == (runs["rlvr"] / "checkpoint" / "model.safetensors").read_bytes()
    card = ModelCard(files["README.md"].decode())
    assert "POST /api/validate-yaml" in hub.requests  # the hub accepted the metadata
    assert card.data.base_model == "someone/base-model" and card.data.license == "apache-2.0"
    (result,) = card.data.eval_results or []
    report = json.loads(files["kkwarm/report.json"])
    assert result.metric_value == round(100 * report["matrix"]["trained"]["mini_math"]["accuracy"], 2)
    assert "95% interval" in result.metric_name and result.dataset_type == "mini_math"
    stages = json.loads(files["kkwarm/training.json"])
    assert [stage["kind"] for stage in stages] == ["distill", "warmup", "rlvr"]
    assert stages[1]["changed"]["learning_rate"] == 1e-3 and "epochs" not in stages[1]["changed"]
    for fact in ("hash-of-traces", "hash-of-examples", "weights of rlvr", "40 traces of mini", "† 1 questions of mini"):
        assert fact in card.text, fact
    assert "| trained | base | " in card.text
    assert "kkwarm bench someone/trained --on mini_math --samples 1 --limit 4" in card.text
    assert not [name for name, content in files.items() if b"secret-folder" in content]  # no folder of this machine


def test_a_dry_run_writes_the_same_folder_and_asks_nobody(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    document = push(runs, "--dry-run", "-o", str(tmp_path / "hub"))
    assert document["folder"] == str(tmp_path / "hub") and "url" not in document
    written = {str(p.relative_to(tmp_path / "hub")) for p in (tmp_path / "hub").rglob("*") if p.is_file()}
    assert written == set(document["files"])
    assert "No evaluation was stored" in (tmp_path / "hub" / "README.md").read_text()
    with pytest.raises(KkwarmError, match=r"hub is not empty \(give another folder"):
        push(runs, "--dry-run", "-o", str(tmp_path / "hub"))
    assert push(runs, "--dry-run")["folder"] == str(runs["rlvr"] / "hub")
    shutil.rmtree(runs["rlvr"] / "hub")


@pytest.fixture
def study(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A study of two conditions, with the runs above as its steps."""
    out = tmp_path / "study"
    for name in runs:
        shutil.copytree(runs[name], out / "steps" / name)
    rows = {
        "base": {"0": {"bench": "base"}},
        "warmed + RLVR": {"0": {"warm": "warm", "rlvr": "rlvr", "bench": "trained"}},
    }
    conditions = [
        {"name": "base", "baseline": None, "chain": ["base"]},
        {"name": "warmed + RLVR", "baseline": "base", "chain": ["base", "warm", "rlvr"]},
    ]
    plan = {"title": "Two rows", "note": "", "margin": 5.0, "domains": ["mini_math"], "conditions": conditions}
    plan |= {"claims": [], "rows": rows, "steps": list(runs), "kinds": {"warm": "warmup", "rlvr": "rlvr"}}
    with Run.open(out, kind="study", config={}) as run:
        run.finish(plan=StudyPlan.model_validate(plan))
    return out


def test_a_study_pushes_one_condition_and_seed(study: Path, tmp_path: Path) -> None:
    document = push({"study": study}, "--dry-run", "-o", str(tmp_path / "hub"), run="study")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "it is seed 0 of the condition **warmed + RLVR**" in card and "**Two rows**" in card
    stages = json.loads((tmp_path / "hub" / "kkwarm" / "training.json").read_text())
    assert [stage["kind"] for stage in stages] == ["distill", "warmup", "rlvr"]
    assert "model.safetensors" in document["files"]
    with pytest.raises(KkwarmError, match=r"unknown trained condition 'base' .*warmed \+ RLVR"):
        push({"study": study}, "--dry-run", "--condition", "base", run="study")
    with pytest.raises(KkwarmError, match=r"unknown seed '3'"):
        push({"study": study}, "--dry-run", "--seed", "3", run="study")
    shutil.rmtree(study / "steps" / "rlvr" / "checkpoint")
    with pytest.raises(KkwarmError, match=r"rlvr.checkpoint holds no checkpoint"):
        push({"study": study}, "--dry-run", run="study")


def test_an_existing_name_needs_update(runs: dict[str, Path], hub: Hub) -> None:
    push(runs)
    with pytest.raises(KkwarmError, match=r"someone/trained exists already .*--update"):
        push(runs)
    assert push(runs, "--update")["url"]


def test_refusals_are_one_clear_line(runs: dict[str, Path], hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KkwarmError, match="the token may not write to another/name"):
        push(runs, to="another/name")
    with pytest.raises(KkwarmError, match=r"names no user or organization .write --to USER/NAME"):
        push(runs, to="name")
    with pytest.raises(KkwarmError, match="is no name of a repository"):
        push(runs, to="some one/x y")
    hub.status["/api/models/someone/broken/commit"] = 400
    with pytest.raises(KkwarmError, match=r"refused the push \(400\).*someone/broken exists now: repeat with --update"):
        push(runs, to="someone/broken")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(KkwarmError, match="the hub does not accept the token"):
        push(runs)


def test_without_token_or_hub(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    with pytest.raises(KkwarmError, match=r"a push needs a token of the Hugging Face hub \(`hf auth login`"):
        push(runs)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(KkwarmError, match=r"HF_HUB_OFFLINE is set"):
        push(runs)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(KkwarmError, match=r"cannot be pushed: ConnectError.*check the network and HF_ENDPOINT"):
        push(runs)


def test_what_has_no_checkpoint_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(KkwarmError, match=r"is a run of bench, which has no checkpoint .push the training run"):
        push(runs, run="base")
    with pytest.raises(KkwarmError, match="--condition and --seed choose from a study"):
        push(runs, "--seed", "1")
    with pytest.raises(KkwarmError, match="--out is the folder of --dry-run"):
        push(runs, "-o", str(tmp_path))
    Run.open(tmp_path / "running", kind="rlvr", config={}).close()
    with pytest.raises(KkwarmError, match="running is in progress"):
        push({"x": tmp_path / "running"}, run="x")
