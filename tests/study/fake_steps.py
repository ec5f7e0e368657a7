"""Steps without models: each writes a real run, as fast as it can. A worker imports this by name."""

import dataclasses
import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.schema.recipe import Recipe
from kkwarm.store import Run
from kkwarm.study.plan import Plan, make_plan
from kkwarm.types import Completion, Sample, Status, Verdict

SKILL = {"base": 0.4, "warm": 0.3, "rlvr": 0.15, "direct": -0.1}
QUESTIONS = 60


def planned(recipe: Recipe) -> Plan:
    """The recipe's plan, with these steps in place of the real ones."""
    plan = make_plan(recipe)
    return Plan({k: dataclasses.replace(s, function="fake_steps:run") for k, s in plan.steps.items()}, plan.rows)


def run(spec: Mapping[str, Any]) -> None:
    """What the real steps do, as far as the store and the report can see."""
    out = Path(spec["out"])
    trace(out.parent.parent / "trace.txt", spec["id"])
    act(spec)
    with Run.open(out, kind=spec["kind"], config=spec["config"]) as opened:
        opened.record(labels=dict(spec["labels"]))
        if spec["kind"] == "bench":
            bench(opened, spec)
        elif spec["kind"] == "rlvr":
            start = 0.4 if "warm" in spec["id"] else 0.1
            rows = [{"step": i + 1, "reward": start + i / 20, "accuracy": min(1, start + i / 20)} for i in range(10)]
            (out / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        opened.finish()


def trace(file: Path, step: str) -> None:
    with file.open("a") as log:
        log.write(f"{step}\n")


def act(spec: Mapping[str, Any]) -> None:
    """What tests ask of a step by files in the study's folder: die once, die always, fail, hang."""
    root = Path(spec["out"]).parent.parent
    name = spec["id"].rpartition("-")[0]
    if (root / f"die-once.{name}").exists():
        (root / f"die-once.{name}").unlink()
        os._exit(7)
    if (root / f"die.{name}").exists():
        os._exit(9)
    if (root / f"fail.{name}").exists():
        raise KkwarmError(f"{name} has no data", hint="get some")
    if (root / f"hang.{name}").exists():
        time.sleep(120)


def bench(opened: Run, spec: Mapping[str, Any]) -> None:
    samples: list[Sample] = []
    suffix = "+forced" if spec["config"].get("force") else ""
    skill = sum(v for k, v in SKILL.items() if k in spec["inputs"]["model"] or k == "base")
    for domain in spec["config"]["domains"]:
        rng = random.Random(f"{domain} {spec['id']}")
        for i in range(QUESTIONS):
            hard = int(hashlib.sha256(f"{domain}{i}".encode()).hexdigest()[:4], 16) / 65536
            right = rng.random() < min(0.98, max(0.02, skill + 0.3 * (0.5 - hard)))
            shown = rng.random() < (0.9 if "warm" in spec["inputs"]["model"] else 0.1)
            text = ("<think> a b </think> " if shown else "") + "<answer> 1 </answer>"
            verdict = Verdict(Status.CORRECT if right else rng.choice([Status.WRONG, Status.MALFORMED]), "1")
            sample = Sample(domain + suffix, f"q{i}", 0, Completion(text, 7, "stop"), verdict, f"{domain}{i}")
            samples.append(sample)
    opened.append(samples)


if __name__ == "__main__":  # `kkwarm study` with these steps; its arguments
    from kkwarm.cli import main
    from kkwarm.study import run as runs

    runs.make_plan = planned
    main(["study", *sys.argv[1:], "--json"])
