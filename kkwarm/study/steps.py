"""Runs a step of a plan with distill, warmup, rlvr or bench."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def run_step(spec: Mapping[str, Any]) -> None:
    """Runs one step; an interrupted step resumes. Its progress goes to the log of the worker.

    :param spec: ``id``, ``kind``, ``config``, ``inputs`` (folders or hub ids by name), ``out``, ``labels``, ``domains``
        (that the recipe names, so that traces may name them).
    """
    if spec.get("domains"):
        from kkwarm.plugins import registry

        for name in spec["domains"]:
            registry().task(name)
    kind, config, out = spec["kind"], dict(spec["config"]), Path(spec["out"])
    inputs, labels = spec["inputs"], {"step": spec["id"], **spec["labels"]}
    if kind == "distill":
        from kkwarm.train import DistillConfig, distill

        distill(DistillConfig(**config), out, labels=labels)
    elif kind == "warmup":
        from kkwarm.train import WarmupConfig, warmup

        warmup(inputs["model"], inputs["traces"], out, WarmupConfig(**config), labels=labels)
    elif kind == "rlvr":
        from kkwarm.train import RlvrConfig, rlvr

        rlvr(inputs["model"], RlvrConfig(**config), out, labels=labels)
    elif kind == "bench":
        from kkwarm.evaluation import BenchConfig, bench

        domains = config.pop("domains")
        labels = {key: str(value) for key, value in labels.items()}
        bench(inputs["model"], domains, out, BenchConfig(**config), labels=labels)
    else:
        raise ValueError(f"step {spec['id']}: unknown kind {kind!r}")
