"""Five real runs, each a few seconds on one core, and what each leaves that must not depend on how often it was killed.

They use the shipped base of 1.8 M parameters. Batches of one row make generation exact: in another batch a token may
tip between two nearly equal ones.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["WORKS", "preload", "prepare", "product", "progress"]

# In-training evaluations fall on other steps than step checkpoints do, so that kills between the two are met.
WATCHED: dict[str, Any] = {"eval_on": ("mini_kk", "mini_code"), "eval_every": 3, "eval_questions": 6}

RECIPE = """
title = "A study to be killed"
seeds = [0]

[models]
base = "kkwarm_mini:BASE"

[traces.worked]
domain = "mini_kk"
teacher = "symbolic"
n = 48

[stages.warm]
kind = "warmup"
traces = "worked"
epochs = 1
batch_size = 8
learning_rate = 1e-3
save_every = 2
threads = 1

[stages.rlvr]
kind = "rlvr"
domain = "mini_code"
examples = 6
steps = 3
prompts_per_step = 2
generations = 4
learning_rate = 3e-4
save_every = 1
threads = 1
max_tokens = 48

[[conditions]]
name = "base"
chain = ["base"]

[[conditions]]
name = "warmed + RLVR"
chain = ["base", "warm", "rlvr"]
baseline = "base"

[evaluate]
domains = ["mini_kk", "mini_mcq"]
limit = 5
batch_size = 1
max_tokens = 48
"""


def preload() -> None:
    """Imports what the works need; nothing is computed, so that no thread is there when the process forks."""
    import datasets  # noqa: F401

    import kkwarm.evaluation.engine
    import kkwarm.evaluation.lm
    import kkwarm.study.run
    import kkwarm.train.callback
    import kkwarm.train.grpo_trainer
    import kkwarm.train.rollout  # noqa: F401
    from kkwarm.evaluation import collect
    from kkwarm.plugins import registry

    registry()
    # Little is stored at a time, so that many kills fall between two stores.
    collect._BATCH_SIZE = 3


def prepare(folder: Path) -> None:
    """The traces that `warmup` reads, and the recipe that `study` does."""
    from kkwarm.train import DistillConfig, distill

    distill(DistillConfig(domain="mini_kk", teacher="symbolic", n=64), folder / "traces", progress=False)
    (folder / "killed.toml").write_text(RECIPE)


def _distill(given: Path, out: Path) -> None:
    from kkwarm_mini import BASE

    from kkwarm.train import DistillConfig, distill

    config = DistillConfig(
        domain="mini_kk", teacher=str(BASE), n=12, samples=2, temperature=1.0, top_p=1.0, max_tokens=48
    )
    distill(config, out, options={"batch_size": 1}, progress=False)


def _warmup(given: Path, out: Path) -> None:
    from kkwarm_mini import BASE

    from kkwarm.train import WarmupConfig, warmup

    config = WarmupConfig(learning_rate=1e-3, epochs=2, batch_size=8, save_every=2, threads=1, **WATCHED)
    warmup(str(BASE), given / "traces", out, config, progress=False)


def _rlvr(given: Path, out: Path) -> None:
    from kkwarm_mini import BASE

    from kkwarm.train import RlvrConfig, rlvr

    config = RlvrConfig(
        domain="mini_code", examples=8, learning_rate=3e-4, steps=6, prompts_per_step=2, generations=4, save_every=2,
        threads=1, max_tokens=48, keep_rollouts=True, **WATCHED,
    )  # fmt: skip
    rlvr(str(BASE), config, out, progress=False)


def _bench(given: Path, out: Path) -> None:
    from kkwarm_mini import BASE

    from kkwarm.evaluation import BenchConfig, bench

    bench(
        str(BASE),
        ["mini_kk", "mini_mcq", "mini_code"],
        out,
        BenchConfig(samples=2, limit=5, batch_size=1, max_tokens=48),
        progress=False,
    )


def _study(given: Path, out: Path) -> None:
    import io

    from rich.console import Console

    from kkwarm.reporting.terminal import render_text
    from kkwarm.schema.recipe import load_recipe
    from kkwarm.study.run import run_study

    run_study(load_recipe(str(given / "killed.toml")), out, 2, Console(file=io.StringIO()), render_text)


WORKS: dict[str, Callable[[Path, Path], None]] = {
    "distill": _distill,
    "warmup": _warmup,
    "rlvr": _rlvr,
    "bench": _bench,
    "study": _study,
}


def product(out: Path) -> dict[str, Any]:
    """What a run leaves, as data that two runs can be compared by: weights and texts by their hash; no times."""
    from kkwarm.store import Run

    run = Run.read(out)
    assert run.done, f"{out} is not done"
    own = [out / "steps"] if run.manifest.kind == "study" else []  # its steps' runs, not a training's weights
    left = [p for pattern in (".*.new", ".best-*", "steps") for p in out.rglob(pattern) if p not in own]
    assert not left, f"left behind: {left}"
    files: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.name == "model.safetensors" or path.name in ("traces.jsonl", "rollouts.jsonl", "evals.jsonl"):
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        elif path.name == "samples.jsonl":
            lines = sorted(path.read_bytes().splitlines())
            assert len(set(lines)) == len(lines), "a sample was stored twice"
            files[name] = [len(lines), hashlib.sha256(b"\n".join(lines)).hexdigest()[:16]]
        elif path.name == "log.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            files[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
        elif path.name == "manifest.json":
            results = json.loads(path.read_text()).get("results", {})
            files[name] = dict(_timeless(results))
    if (out / "report.json").exists():
        report = json.loads((out / "report.json").read_text())
        files["report"] = {key: report[key] for key in ("matrix", "claims")}
    return files


def _timeless(results: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in results.items():
        if key not in ("throughput", "run", "checkpoint", "model", "seconds", "seconds_per_step"):
            yield key, value


def progress(out: Path) -> int:
    """Samples and steps stored so far."""
    files = [p for name in ("samples.jsonl", "log.jsonl") for p in out.rglob(name)]
    return sum(p.read_bytes().count(b"\n") for p in files)
