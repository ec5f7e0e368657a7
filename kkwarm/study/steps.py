"""What a worker does for a step: the one place where a plan meets distill, warmup, rlvr and bench."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kkwarm.config import build

__all__ = ["run"]


def run(spec: Mapping[str, Any]) -> None:
    """Does one step; a step begun before goes on.

    :param spec: ``id``, ``kind``, ``config``, ``inputs`` (folders or hub ids by name), ``out``, ``labels``.
    """
    kind, config, out = spec["kind"], dict(spec["config"]), Path(spec["out"])
    inputs, labels = spec["inputs"], {"step": spec["id"], **spec["labels"]}
    where = f"step {spec['id']}"
    if kind == "distill":
        from kkwarm.train import DistillConfig, distill

        distill(build(DistillConfig, config, where), out, labels=labels, progress=False)
    elif kind == "warmup":
        from kkwarm.train import WarmupConfig, warmup

        warmup(
            inputs["model"], inputs["traces"], out, build(WarmupConfig, config, where), labels=labels, progress=False
        )
    elif kind == "rlvr":
        from kkwarm.train import RlvrConfig, rlvr

        rlvr(inputs["model"], build(RlvrConfig, config, where), out, labels=labels, progress=False)
    elif kind == "bench":
        from kkwarm.evaluation import BenchConfig, bench

        domains = config.pop("domains")
        settings = build(BenchConfig, config, where)
        kept = {key: str(value) for key, value in labels.items()}
        bench(inputs["model"], domains, out, settings, labels=kept, progress=False)
    else:
        raise ValueError(f"{where}: unknown kind {kind!r}")
