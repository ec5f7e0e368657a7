"""A benchmark run on a scripted model, in a folder that is thrown away: does it build in lm-eval, and add up?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict

import pluggy

from kkwarm import hookspecs
from kkwarm.analysis.metrics import summarize
from kkwarm.backends.base import Backend
from kkwarm.evaluation.collect import SampleCollector
from kkwarm.evaluation.config import BenchConfig
from kkwarm.evaluation.plan import entry
from kkwarm.evaluation.progress import Bars
from kkwarm.plugins import Registry
from kkwarm.store import Run
from kkwarm.types import Example
from kkwarm.verify import Judge

__all__ = ["smoke_run"]


def smoke_run(
    registry: Registry,
    name: str,
    model: Callable[[dict[str, Example]], Backend],
    judge: Judge,
    *,
    limit: int = 4,
    samples: int = 2,
) -> tuple[float, float]:
    """Accuracy by kkwarm and by lm-eval of `limit` questions, `samples` times each. Plugins are told nothing.

    :param model: makes the backend from the questions by prompt.
    :raises KkwarmError: the benchmark cannot be prepared.
    """
    from kkwarm.evaluation.lm import evaluated

    config = BenchConfig(samples=samples, limit=limit)
    scripted = model({})
    built = entry(name, registry, config, scripted.tokenizer)
    scripted = model({item.prompt: item.example for item in built.items})
    manager = pluggy.PluginManager("kkwarm")
    manager.add_hookspecs(hookspecs)
    with (
        tempfile.TemporaryDirectory() as folder,
        Run.open(folder, kind="bench", config=asdict(config)) as run,
        Bars(False) as bars,
    ):
        collector = SampleCollector(run, lambda: scripted, samples, judge, Registry(manager), bars)
        theirs = evaluated([built], samples, collector)
        ours = summarize(run.samples())
    return float(ours["accuracy"]), float(theirs[built.name]["accuracy"])
