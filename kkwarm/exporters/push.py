"""Pushes a trained checkpoint to the Hugging Face hub, with its model card, results and settings."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.files import write_file
from kkwarm.schema.settings import changed_settings
from kkwarm.store import Run, find_training_run

_VERSIONS = ("kkwarm", "torch", "transformers", "trl", "vllm")
Content = Path | str


@dataclass(frozen=True, slots=True)
class Push:
    """The files of a repository, by their paths in it: a local file, or a text."""

    repo: str
    files: Mapping[str, Content]

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(c.stat().st_size if isinstance(c, Path) else len(c.encode()) for c in self.files.values())


def prepare_push(
    run: Run,
    repo: str,
    *,
    condition: str | None = None,
    seed: int | None = None,
    results: Sequence[Path] = (),
    license_id: str = "",
) -> Push:
    """Collects the checkpoint, tokenizer, results and model card of a training run, or of a condition of a study.

    :param condition: row of the study; None: the last one that was trained.
    :param seed: seed of the study; None: the first.
    :param results: bench runs for the card of a training run; the last is that of this checkpoint.
    :param license_id: the hub's identifier of a licence.
    :raises KkwarmError: the run has no checkpoint, is in progress, or the name is not USER/NAME.
    """
    _check_name(repo)
    report = None
    if run.manifest.kind == "study":
        condition, seed, trained = _choose(run, condition, seed)
        report = _load_report([run.path])
    else:
        if condition is not None or seed is not None:
            raise KkwarmError("--condition and --seed choose from a study", hint=f"{run.path} is a training run")
        trained = run
        if results:
            report = _load_report(results)
            condition = report.conditions[-1].name
    _check_trained(trained)
    stages = [describe_stage(stage) for stage in _lineage(trained)]
    checkpoint = trained.path / "checkpoint"
    files: dict[str, Content] = {
        str(p.relative_to(checkpoint)): p
        for p in sorted(checkpoint.rglob("*"))
        if p.is_file() and not p.name.startswith(".") and p.name != "README.md"
    }
    base, base_id = _base(trained)
    card = {"stages": stages, "report": report, "condition": condition, "seed": seed, "license": license_id}
    files["README.md"] = _card(repo, base, base_id, adapter="adapter_config.json" in files, **card)
    files["kkwarm/training.json"] = json.dumps(stages, indent=1, sort_keys=True) + "\n"
    if report is not None:
        files["kkwarm/report.json"] = json.dumps(_without_folders(report.model_dump(mode="json")), indent=1) + "\n"
    for path in results if run.manifest.kind != "study" else ():
        files |= _eval_results(path, repo) if path == results[-1] else {}
    return Push(repo, files)


def _check_name(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as err:
        cause = " ".join(str(err).split())
        raise KkwarmError(f"{repo!r} is no name of a repository: {cause}", hint="write --to USER/NAME") from None
    if repo.count("/") != 1:
        raise KkwarmError(f"{repo!r} names no user or organization", hint="write --to USER/NAME")


def _check_trained(run: Run) -> None:
    if run.manifest.kind not in ("warmup", "rlvr"):
        hint = "push the training run, and name this one with --results" if run.manifest.kind == "bench" else ""
        raise KkwarmError(f"{run.path} is a run of {run.manifest.kind}, which has no checkpoint", hint=hint)
    if not run.done:
        raise KkwarmError(f"{run.path} is in progress", hint="wait until it is done, or repeat its command to resume")
    if (
        not (run.path / "checkpoint" / "config.json").is_file()
        and not (run.path / "checkpoint" / "adapter_config.json").is_file()
    ):
        raise KkwarmError(f"{run.path / 'checkpoint'} holds no checkpoint", hint="it was deleted: train again")


def _choose(study: Run, condition: str | None, seed: int | None) -> tuple[str, int, Run]:
    """The condition, the seed, and the training run that made its checkpoint."""
    from kkwarm.analysis.load import study_plan
    from kkwarm.errors import unknown_name

    plan = study_plan(study)
    trained = {
        c.name: [stage for stage in c.chain[1:] if any(stage in parts for parts in plan.rows[c.name].values())]
        for c in plan.conditions
    }
    trained = {name: stages for name, stages in trained.items() if stages}
    if not trained:
        raise KkwarmError(f"{study.path} trains no checkpoint")
    default = plan.claims[0]["warmed_rlvr"] if plan.claims else list(trained)[-1]
    name = default if condition is None else condition
    if name not in trained:
        raise unknown_name("trained condition", name, trained)
    seeds = {int(s): parts for s, parts in plan.rows[name].items()}
    number = min(seeds) if seed is None else seed
    if number not in seeds:
        raise unknown_name("seed", str(number), map(str, seeds))
    step = seeds[number][trained[name][-1]]
    try:
        return name, number, Run.read(study.path / "steps" / step)
    except KkwarmError:
        hint = "it is made when the study gets there: repeat `kkwarm study`"
        raise KkwarmError(f"{study.path} has no checkpoint of {name}, seed {number}, yet", hint=hint) from None


def _load_report(paths: Sequence[Path]) -> Any:
    from kkwarm.analysis.build import build_report
    from kkwarm.analysis.load import load

    return build_report(load(list(paths)))


# -- what made the checkpoint ------------------------------------------------------------------------------------------


def _lineage(run: Run) -> list[Run]:
    """The run and those that made its traces and the checkpoint that it started from, oldest first."""
    stages = [run]
    while (parent := _parent(stages[0])) is not None:
        stages.insert(0, parent)
    runs: list[Run] = []
    for stage in stages:
        if stage.manifest.kind == "warmup" and (traces := _traces(stage)) is not None:
            runs.append(traces)
        runs.append(stage)
    return runs


def _parent(run: Run) -> Run | None:
    """The run that made the checkpoint that `run` started from, known by the hash of the weights."""
    model, weights = run.manifest.model, run.manifest.inputs.get("checkpoint")
    candidates = [] if model is None else [find_training_run(model.checkpoint)]
    candidates += [_read(path.parent) for path in sorted(run.path.parent.glob("*/manifest.json"))]
    runs = [r for r in candidates if r is not None and r.path.resolve() != run.path.resolve()]
    return next((r for r in runs if weights in r.manifest.products.values()), None)


def _traces(run: Run) -> Run | None:
    """The run that made the traces, known by the hash of their file."""
    path, expected = Path(run.manifest.traces), run.manifest.inputs.get("traces")
    folders = [path if path.is_dir() else path.parent, run.path.parent / path.parent.name]
    found = [_read(folder) for folder in folders]
    return next((r for r in found if r is not None and expected in r.manifest.products.values()), None)


def _read(folder: Path) -> Run | None:
    with contextlib.suppress(KkwarmError):
        return Run.read(folder)
    return None


def _base(run: Run) -> tuple[str, str]:
    """The name of the checkpoint that the first stage started from, and its id on the hub (empty: it has none)."""
    stages = [s for s in _lineage(run) if s.manifest.kind != "distill"]
    model = stages[0].manifest.model
    reference = "an unknown checkpoint" if model is None else model.checkpoint
    if Path(reference).is_absolute() or Path(reference).exists() or reference.startswith((".", "~")):
        package = Path(reference).parent.name  # a checkpoint that a package ships is in the package's folder
        return (f"{package}/{Path(reference).name}" if package else reference), ""
    return reference, reference if reference.count("/") == 1 else ""


def describe_stage(run: Run) -> dict[str, Any]:
    """What the card says about one run, as JSON data without the folders of this machine."""
    manifest, config = run.manifest, dict(run.manifest.config)
    environment = manifest.environment
    if manifest.kind == "rlvr":
        data = {"domains": [config["domain"]], "count": len(manifest.example_ids), "hash": manifest.inputs["examples"]}
    elif manifest.kind == "warmup":
        domains = sorted(manifest.prompting.get("protocols", {})) or ["unknown"]
        count = int(manifest.results.get("traces", 0))
        data = {"domains": domains, "count": count, "hash": manifest.inputs["traces"]}
    else:
        data = {"domains": [config["domain"]], "count": config["n"], "hash": manifest.inputs.get("examples", "")}
    hashes = {"teacher": manifest.inputs.get("teacher"), "started from": manifest.inputs.get("checkpoint")}
    hashes["traces"] = manifest.products.get("traces.jsonl")
    hashes["checkpoint"] = manifest.products.get("checkpoint")
    overlaps = Counter(str(entry["domain"]) for entry in manifest.contamination)
    described = {
        "kind": manifest.kind,
        "data": data,
        "hashes": {name: value for name, value in hashes.items() if value},
        "settings": config,
        "changed": changed_settings(manifest.kind, config),
        "unpinned": manifest.unpinned,
        "contamination": dict(overlaps),
        "compared_with": list(manifest.compared_with),
        "not_compared": dict(manifest.not_compared),
        "versions": {k: v for k in _VERSIONS if (v := environment.get("versions", {}).get(k))},
        "hardware": ", ".join(environment.get("gpu", [])) or environment.get("processor", ""),
        "precision": manifest.precision,
        "command": _command(run),
        "finished": manifest.finished,
    }
    cleaned: dict[str, Any] = _without_folders(json.loads(json.dumps(described)))
    return cleaned


def _command(run: Run) -> str:
    """The command line that made the run; for a step of a study, that of the study."""
    import shlex

    command = run.manifest.environment.get("command") or []
    if command and command[0] != "kkwarm":  # a worker of a study
        study = _read(run.path.parent.parent)
        command = study.manifest.environment.get("command", []) if study is not None else []
    return shlex.join(_without_folders(list(command)))


def _without_folders(value: Any) -> Any:
    """The value with absolute paths shortened to their names: the folders of this machine are nobody's business."""
    if isinstance(value, dict):
        return {k: _without_folders(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_folders(v) for v in value]
    if isinstance(value, str) and value.startswith(("/", "~/")) and "\n" not in value:
        return Path(value).name
    return value


def _card(repo: str, base: str, base_id: str, *, adapter: bool, **fields: Any) -> str:
    from kkwarm.plugins import registry
    from kkwarm.reporting.model_card import Card, card_text

    domains = [d for stage in fields["stages"] if stage["kind"] == "rlvr" for d in stage["data"]["domains"]]
    pins = [task.pin for d in domains if (task := registry().tasks.get(d.partition(":")[0])) is not None]
    datasets = sorted({pin.repo for pin in pins if pin is not None and pin.repo})
    return card_text(Card(repo, base, base_id=base_id, datasets=datasets, adapter=adapter, **fields))


def _eval_results(path: Path, repo: str) -> dict[str, Content]:
    """The hub's evaluation results of a bench run; empty where none of its benchmarks is a data set of the hub."""
    from kkwarm.exporters.results import hub_files, load_results

    with contextlib.suppress(KkwarmError):
        return dict(hub_files(load_results(Run.read(path), repo)))
    return {}


# -- writing -----------------------------------------------------------------------------------------------------------


def write_folder(push: Push, folder: Path) -> None:
    """Writes the files of the repository into a folder."""
    import shutil

    if folder.is_dir() and any(folder.iterdir()):
        raise KkwarmError(f"{folder} is not empty", hint="give another folder with -o, or delete it")
    for name, content in push.files.items():
        target = folder / name
        if isinstance(content, str):
            write_file(target, content)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(content, target)


def require_token() -> None:
    """:raises KkwarmError: there is no token of the hub, or it is switched off."""
    from huggingface_hub import get_token
    from huggingface_hub.constants import is_offline_mode

    if not get_token():
        hint = "`hf auth login`, or set HF_TOKEN; --dry-run needs none"
        raise KkwarmError("a push needs a token of the Hugging Face hub", hint=hint)
    if is_offline_mode():
        raise KkwarmError("HF_HUB_OFFLINE is set", hint="unset it to push, or use --dry-run")


def upload(push: Push, *, private: bool = False, update: bool = False) -> str:
    """Creates the repository and uploads all files in one commit. Returns the address of the commit. Call
    `require_token` before.

    :param update: add a commit to an existing repository instead of refusing it.
    :raises KkwarmError: the token is not valid, the name exists, or the hub refuses or cannot be reached.
    """
    import httpx
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import disable_progress_bars

    from kkwarm.backends.hub import one_line

    disable_progress_bars()
    api = HfApi(library_name="kkwarm")
    done = ""
    try:
        api.whoami()
        if update:
            api.create_repo(push.repo, private=private or None, exist_ok=True)
        else:
            api.create_repo(push.repo, private=private or None)
        done = f"; the repository {push.repo} exists now: repeat with --update"
        operations = [
            CommitOperationAdd(name, content.encode() if isinstance(content, str) else content)
            for name, content in push.files.items()
        ]
        info = api.create_commit(push.repo, operations, commit_message="Upload checkpoint and results with kkwarm")
    except HfHubHTTPError as err:
        raise _refused(push.repo, err, done) from None
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as err:  # no connection, or rejected metadata
        message = f"{push.repo} cannot be pushed: {one_line(err)}{done}"
        raise KkwarmError(message, hint="check the network and HF_ENDPOINT") from None
    return str(info.commit_url)


def _refused(repo: str, err: Any, done: str) -> KkwarmError:
    """The hub's refusal in one line."""
    status = getattr(err.response, "status_code", None)
    if status == 401:
        return KkwarmError("the hub does not accept the token", hint="`hf auth login`, or set HF_TOKEN")
    if status == 403:
        hint = "use a token that may write, and your own user or an organization of yours"
        return KkwarmError(f"the token may not write to {repo}", hint=hint)
    if status == 409 and not done:
        return KkwarmError(f"{repo} exists already", hint="choose another --to, or add a commit with --update")
    cause = " ".join(str(getattr(err, "server_message", None) or err).split())[:300]
    return KkwarmError(f"the hub refused the push ({status}): {cause}{done}")
