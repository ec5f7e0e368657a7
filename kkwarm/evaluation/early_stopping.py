"""Stops a benchmark early: its questions are answered in pseudo-random order, and a rule is applied after each part.

The rule sees the same questions in the same order in a resumed run, so it stops at the same one. A stopped run is
done; the same command without the rule resumes it and answers all questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from kkwarm.analysis.cells import evaluation_settings
from kkwarm.analysis.stats.sequential import ConfidenceSequence, GroupSequentialTest
from kkwarm.errors import KkwarmError
from kkwarm.evaluation.collect import SampleKey
from kkwarm.evaluation.plan import EvalTask, Item, shuffle_items
from kkwarm.schema.manifest import Manifest
from kkwarm.schema.settings import BenchConfig
from kkwarm.store import Run, find_run
from kkwarm.types import Sample

PART = 64  # questions between two applications of the half-width rule
Collector = Callable[[Sequence[EvalTask]], Mapping[SampleKey, Sample]]


@dataclass(slots=True)
class EarlyStopping:
    """Stops by a half-width of the score, or by a decision against the baseline's scores.

    :param baseline: mean score of each question, by task; empty for a half-width.
    :param family: number of decisions that share the error rate.
    :param baseline_hash: the configuration hash of the baseline's run.
    """

    config: BenchConfig
    baseline: Mapping[str, Mapping[str, float]]
    family: int
    baseline_hash: str = ""

    def run(self, tasks: Sequence[EvalTask], collector: Collector) -> tuple[list[EvalTask], dict[str, dict[str, Any]]]:
        """Collects samples until the rule stops each task. Returns tasks with the answered questions only, and why each
        stopped.
        """
        shortened, reasons = [], {}
        for task in tasks:
            order = shuffle_items(task.items)
            rule = self._until_half_width if self.config.until else self._until_decided
            stop = rule(task, order, collector)
            answered = {item.example.id for item in order[: stop["questions"]]}
            shortened.append(replace(task, items=tuple(i for i in task.items if i.example.id in answered)))
            saved = (len(order) - stop["questions"]) * task.samples_per_question(self.config.samples)
            reasons[task.name] = stop | {"of": len(order), "generations_saved": saved}
        return shortened, reasons

    def _until_half_width(self, task: EvalTask, order: Sequence[Item], collector: Collector) -> dict[str, Any]:
        assert self.config.until is not None
        sequence = ConfidenceSequence(len(order), self.config.until / 100)
        while sequence.count < len(order) and not sequence.reached:
            part = order[: sequence.count + PART]
            sequence.add(self._scores(task, part, collector)[sequence.count :])
        interval = list(sequence.interval)
        return {"rule": "half-width", "until": self.config.until, "questions": sequence.count, "interval": interval}

    def _until_decided(self, task: EvalTask, order: Sequence[Item], collector: Collector) -> dict[str, Any]:
        by_id = self.baseline[task.name]
        baseline = np.array([by_id[item.example.id] for item in order])
        test = GroupSequentialTest(len(order), self.config.margin / 100, self.family)
        for questions in test.counts:
            result = test.test(baseline[:questions], self._scores(task, order[:questions], collector))
            if result.verdict is not None:
                break
        rule = {"rule": "decided", "baseline": self.config.until_decided, "margin": self.config.margin}
        rule["baseline_hash"] = self.baseline_hash
        points = {key: 100 * getattr(result, key) for key in ("value", "low", "high", "tie_low", "tie_high")}
        return rule | asdict(result) | points

    def _scores(self, task: EvalTask, items: Sequence[Item], collector: Collector) -> Any:
        """Mean score of each question, in the order of `items`."""
        stored = collector([replace(task, items=tuple(items))])
        k = task.samples_per_question(self.config.samples)
        return np.array([sum(stored[task.name, i.example.id, n].verdict.correct for n in range(k)) / k for i in items])


def make_early_stopping(config: BenchConfig, tasks: Sequence[EvalTask], manifest: Manifest) -> EarlyStopping | None:
    """The early stopping that the configuration asks for, or None. `manifest` is that of the run to stop.

    :raises KkwarmError: the baseline has other questions, prompts or settings, or a benchmark has no score of single
        questions.
    """
    if config.until is None and config.until_decided is None:
        return None
    for task in tasks:
        if task.lm_eval is not None and not task.lm_eval.has_scores:
            raise KkwarmError(f"{task.name} has no scores of single questions", hint="leave out --until for it")
    baseline, baseline_hash = {}, ""
    if config.until_decided is not None:
        run = Run.read(find_run(config.until_decided))
        baseline_hash = run.manifest.config_hash
        baseline = {task.name: _baseline_scores(run, task, manifest) for task in tasks}
    return EarlyStopping(config, baseline, len(tasks), baseline_hash)


def _baseline_scores(run: Run, task: EvalTask, manifest: Manifest) -> dict[str, float]:
    ours, theirs = evaluation_settings(manifest, task.name), evaluation_settings(run.manifest, task.name)
    if ours != theirs:
        differences = ", ".join(k for k in sorted({*ours, *theirs}) if ours.get(k) != theirs.get(k))
        raise KkwarmError(f"{run.path} was run on {task.name} with other settings ({differences})")
    correct: dict[str, list[bool]] = {}
    prompts: dict[str, str] = {}
    for sample in run.samples(task.name):
        correct.setdefault(sample.id, []).append(sample.verdict.correct)
        prompts[sample.id] = sample.prompt_hash
    missing = [i for i in task.items if i.example.id not in correct]
    if missing:
        raise KkwarmError(
            f"{run.path} has no answer to {len(missing)} of the {len(task.items)} questions of {task.name}",
            hint="the run to decide against must answer all questions: run bench for it without --until",
        )
    changed = next((i.example.id for i in task.items if prompts[i.example.id] != i.prompt_hash), None)
    if changed is not None:
        raise KkwarmError(f"{run.path} has another prompt for question {changed} of {task.name}")
    return {id_: sum(c) / len(c) for id_, c in correct.items()}
