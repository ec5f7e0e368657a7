"""A benchmark run on a scripted model in a temporary folder, to check that the benchmark works in lm-eval."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import pluggy

from kkwarm import hookspecs
from kkwarm.analysis.metrics import summarize
from kkwarm.backends.base import Backend
from kkwarm.evaluation.engine import SampleCollector
from kkwarm.evaluation.plan import make_eval_task
from kkwarm.plugins import Registry
from kkwarm.progress import GenerationProgress
from kkwarm.schema.settings import BenchConfig
from kkwarm.store import Run
from kkwarm.types import Example
from kkwarm.verify import Judge


def smoke_run(
    registry: Registry,
    name: str,
    make_backend: Callable[[dict[str, Example]], Backend],
    judge: Judge,
    *,
    protocol: str | None = None,
    limit: int = 4,
    samples: int = 2,
) -> tuple[float, float]:
    """Accuracy by kkwarm and by lm-eval on `limit` questions with `samples` samples each. No plugin hook is called.

    :param make_backend: makes the backend from the questions by prompt.
    """
    from kkwarm.evaluation.lm import evaluate_tasks

    config = BenchConfig(samples=samples, limit=limit, protocol=protocol)
    task = make_eval_task(name, registry, config, make_backend({}).tokenizer)
    backend = make_backend({item.prompt: item.example for item in task.items})
    manager = pluggy.PluginManager("kkwarm")
    manager.add_hookspecs(hookspecs)
    with (
        tempfile.TemporaryDirectory() as folder,
        Run.open(folder, kind="bench", config=config.dump()) as run,
        GenerationProgress(False) as bars,
    ):
        collector = SampleCollector(run, lambda: backend, samples, judge, Registry(manager), bars)
        by_lm_eval = evaluate_tasks([task], samples, collector)
        by_kkwarm = summarize(run.samples())
    return float(by_kkwarm["accuracy"]), float(by_lm_eval[task.name]["accuracy"])
