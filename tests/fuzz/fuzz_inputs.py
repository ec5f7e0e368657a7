"""The undamaged inputs of the fuzzers: runs, a study, results of other tools, recipes, tables, saved outputs."""

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from fuzz_server import ANSWERS
from kkwarm_mini import BASE

from kkwarm.evaluation.plan import make_eval_task
from kkwarm.plugins import registry
from kkwarm.schema.manifest import PlanCondition, StepAttempt, StudyPlan, StudySession
from kkwarm.schema.settings import BenchConfig, RlvrConfig, WarmupConfig
from kkwarm.store import Run
from kkwarm.types import Completion, Sample, Status, Verdict

__all__ = ["make_inputs"]

QUESTIONS = 6
BENCHMARKS = ("mini_math", "mini_mcq")
RECORDED = Path(__file__).parent.parent / "importers" / "recorded"
RECIPE = """\
title = "A recipe"
note = "A note."
seeds = [0, 1]
margin = 5

[models]
base = "kkwarm_mini:BASE"

[traces.symbolic]
domain = "mini_kk"
teacher = "symbolic"
n = 20

[stages.warm]
kind = "warmup"
traces = "symbolic"
epochs = 1
batch_size = 16
learning_rate = 1e-3
betas = [0.9, 0.95]

[stages.rlvr]
kind = "rlvr"
domain = "mini_math"
examples = [10, 20]
steps = 3
temperature = 1.0

[evaluate]
domains = ["mini_kk", "mini_math:1"]
limit = 20
samples = 2
force = true

[[conditions]]
name = "base"
chain = ["base"]

[[conditions]]
name = "warmed"
chain = ["base", "warm"]
baseline = "base"

[[conditions]]
name = "warmed + RLVR"
chain = ["base", "warm", "rlvr"]
baseline = "warmed"

[[claims]]
base = "base"
warmed = "warmed"
base_rlvr = "warmed + RLVR"
warmed_rlvr = "warmed + RLVR"
on = "mini_math"
warmup = "mini_kk"

[assume]
unit = "core-hours"
parameters = 1.8e6
"""
TABLE = """\
data = "rows.csv"
question = "q"
answer = "a"
train = 2
facet = "area"
description = "Capitals."
verifier = "text"
"""
ROWS = "q,a,area\n" + "".join(f"Capital of land {i}?,City {i},{i % 2}\n" for i in range(8))


def make_inputs(root: Path) -> None:
    """Writes all inputs into the folder `root`."""
    root.mkdir(parents=True)
    for number, name in enumerate(("a", "b")):
        make_bench(root / name, "kkwarm_mini:BASE", number)
    make_study(root / "study")
    shutil.copytree(RECORDED / "lm_eval", root / "lm_eval")
    shutil.copytree(RECORDED / "evalplus", root / "evalplus")
    _shorten_recorded(root)
    (root / "recipe.toml").write_text(RECIPE)
    (root / "recipe.yaml").write_text(as_yaml(RECIPE))
    (root / "table.toml").write_text(TABLE)
    (root / "rows.csv").write_text(ROWS)
    (root / "config.yaml").write_text(
        "distributed_type: MULTI_CPU\nnum_processes: 2\nnum_machines: 1\nmixed_precision: 'no'\n"
    )
    (root / "sums.toml").write_text(
        'data = "sums.jsonl"\nquestion = "question"\nanswer = "answer"\nverifier = "number"\n'
    )
    rows_ = [json.loads(line)["doc"] for f in (root / "lm_eval").rglob("*gen*.jsonl") for line in f.open()]
    (root / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_))
    (root / "capitals.jsonl").write_text(
        "".join(json.dumps({"id": f"test/{i}", "completion": f"City {i}"}) + "\n" for i in range(4))
    )
    (root / "server").mkdir()
    for name, answer in ANSWERS.items():
        (root / "server" / name).write_text(json.dumps(answer))
    make_tasks(root / "data" / "humaneval_plus" / "HumanEvalPlus.jsonl.gz")
    examples = list(registry().benchmark("mini_math").load())[:QUESTIONS]
    rows: list[dict[str, Any]] = [
        {"id": e.id, "completion": [str(e.answer), "x"], "n_tokens": [2, 1]} for e in examples
    ]
    rows += [{"id": f"own{i}", "completion": "3", "reference": "3", "finish_reason": "stop"} for i in range(3)]
    (root / "outputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_tasks(path: Path) -> None:
    """HumanEval+ with tiny tasks."""
    path.parent.mkdir(parents=True)
    rows = [
        {"task_id": f"HumanEval/{i}", "prompt": f"def plus_{i}(x):\n", "entry_point": f"plus_{i}", "base_input": [[1]],
         "canonical_solution": f"    return x + {i}\n", "plus_input": [[3]], "atol": 0}
        for i in range(164)
    ]  # fmt: skip
    with gzip.open(path, "wt") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def as_yaml(recipe: str) -> str:
    """A TOML recipe as YAML."""
    import tomllib

    import yaml

    return str(yaml.safe_dump(tomllib.loads(recipe)))


def _shorten_recorded(root: Path) -> None:
    for file in (root / "lm_eval").rglob("*.jsonl"):
        file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:6]))
    for file in (root / "evalplus").glob("*.json"):
        document = json.loads(file.read_text())
        document["eval"] = dict(list(document["eval"].items())[:4])
        file.write_text(json.dumps(document))


def make_bench(path: Path, model: str, number: int) -> None:
    """A bench run of both benchmarks with the prompts of a real one, so that it resumes."""
    config = BenchConfig(limit=QUESTIONS, samples=2, backend="openai", base_url="http://localhost:1/v1")
    tasks = [make_eval_task(name, registry(), config, None) for name in BENCHMARKS]
    from kkwarm.evaluation.engine import _settings

    settings = _settings(config, list(BENCHMARKS), "openai", tasks)
    inputs = {"checkpoint": "0123456789abcdef"}
    for task in tasks:
        inputs |= task.fingerprints()
    with Run.open(path, kind="bench", config=settings, inputs=inputs) as run:
        samples = []
        for task in tasks:
            for i, item in enumerate(task.items):
                for k in range(2):
                    status = (Status.CORRECT, Status.WRONG, Status.UNPARSED)[(i + k + number * (i % 2)) % 3]
                    text = f"thinking </think> <answer>{item.example.answer}</answer>"
                    verdict = Verdict(status, "3", "why", {"base": 1.0} if i % 2 else {})
                    samples.append(
                        Sample(task.name, item.example.id, k, Completion(text, 9 + i, "stop", (1, 2)), verdict,
                               item.prompt_hash)
                    )  # fmt: skip
        run.append(samples)
        from kkwarm.analysis.metrics import summarize

        figures = {t.name: summarize([s for s in samples if s.benchmark == t.name], t.facets) for t in tasks}
        run.record(model={"name": "base", "checkpoint": model}, labels={"seed": "0"})
        run.record(contamination=[{"domain": "mini_math", "id": samples[0].id, "trained": "t", "how": "text"}])
        run.record_verifiers({name: {"code": "0" * 16, "libraries": {"click": "8"}} for name in BENCHMARKS})
        run.record(generation={"tokens": 99, "seconds": 1.5, "tokens_known": True})
        run.finish(results={"benchmarks": figures, "model": "base", "run": str(path)})


def make_study(path: Path) -> None:
    """A study of two conditions and two seeds, with distillation, warm-up, RLVR and bench steps; nothing is trained."""
    from kkwarm.analysis.build import build_report
    from kkwarm.analysis.load import load
    from kkwarm.reporting.terminal import render_text
    from kkwarm.schema.settings import DistillConfig
    from kkwarm.train.distillation import distill

    steps, kinds = ["traces"], {"traces": "distill"}
    rows: dict[str, dict[str, dict[str, str]]] = {"base": {}, "warmed": {}}
    distill(DistillConfig(domain="mini_kk", teacher="symbolic", n=6), path / "steps" / "traces", progress=False)
    for seed in (0, 1):
        warm, rlvr, bench, benched = f"warm-s{seed}", f"rlvr-s{seed}", f"bench-base-s{seed}", f"bench-warmed-s{seed}"
        _train(path / "steps" / warm, "warmup", WarmupConfig(seed=seed).dump(), path)
        _train(path / "steps" / rlvr, "rlvr", RlvrConfig(domain="mini_math", examples=4, seed=seed).dump(), path)
        make_bench(path / "steps" / bench, "kkwarm_mini:BASE", seed)
        make_bench(path / "steps" / benched, str(path / "steps" / rlvr / "checkpoint"), seed + 1)
        rows["base"][str(seed)] = {"bench": bench}
        rows["warmed"][str(seed)] = {"warm": warm, "rlvr": rlvr, "bench": benched}
        new = {warm: "warmup", rlvr: "rlvr", bench: "bench", benched: "bench"}
        kinds |= new
        steps += new
    plan = StudyPlan(
        name="study",
        title="A study",
        note="A note.",
        margin=5.0,
        domains=list(BENCHMARKS),
        conditions=[
            PlanCondition(name="base", baseline=None, chain=["base"]),
            PlanCondition(name="warmed", baseline="base", chain=["base", "warm", "rlvr"]),
        ],
        claims=[
            {
                "base": "base",
                "warmed": "warmed",
                "base_rlvr": "base",
                "warmed_rlvr": "warmed",
                "on": "mini_math",
                "warmup": "mini_kk",
            }
        ],
        grids={"rlvr": {"4": "warmed"}},
        rows=rows,
        steps=steps,
        kinds=kinds,
    )
    with Run.open(path, kind="study", config={"seeds": [0, 1], "title": "A study"}) as run:
        attempt = StepAttempt(step="traces", number=1, worker="w", started=0.1, ended=0.2, seconds=0.1, outcome="done")
        session = StudySession(executor="local", slots=2, wall_s=1.0, attempts=[attempt])
        run.record(plan=plan, seconds={"traces": 0.1}, wall_s=1.0, worker_s=1.0, jobs=2, sessions=[session])
        run.finish()
    report = build_report(load([path]))
    (path / "report.json").write_text(report.model_dump_json(indent=1))
    (path / "report.txt").write_text(render_text(report))


def _train(path: Path, kind: Any, config: dict[str, Any], study: Path) -> None:
    traces = study / "steps" / "traces" / "traces.jsonl"
    inputs = {"checkpoint": "0" * 16}
    inputs |= (
        {"examples": "0" * 16} if kind == "rlvr" else {"traces": hashlib.sha256(traces.read_bytes()).hexdigest()[:16]}
    )
    with Run.open(path, kind=kind, config=config, inputs=inputs) as run:
        (path / "checkpoint").symlink_to(BASE)
        log = [
            {"step": n, "reward": 0.1 * n, "accuracy": 0.1 * n, "status": {"correct": 0.5}, "loss": 0.1, "seconds": 0.5}
            for n in range(1, 8)
        ]
        (path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
        evals = [
            {
                "step": n,
                "accuracy": {"mini_math": 0.5, "mini_mcq": 0.25},
                "correct": {"mini_math": [1, 0], "mini_mcq": [0, 1]},
            }
            for n in (0, 3, 6)
        ]
        (path / "evals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in evals))
        run.record(
            model={"name": "base", "checkpoint": "kkwarm_mini:BASE"},
            alarms=[
                {"kind": "length", "step": 4, "text": "completions grew"},
                {"kind": "forgetting", "step": 4, "text": "mini_mcq fell"},
            ],
            traces=str(traces) if kind == "warmup" else "",
            example_ids=["mini_math/train/1"],
            contamination=[{"domain": "mini_math", "id": "x", "trained": "t", "how": "text"}],
            compared_with=["mini_math"],
            device="cpu",
            threads=1,
            memory={"gib": {"total": 0.1}, "rows": 4},
        )
        run.finish(results={"loss": 0.1, "steps": 7})
