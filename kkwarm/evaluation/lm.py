"""kkwarm's benchmarks as lm-eval tasks, and a backend's samples as an lm-eval model.

lm-eval sends each sample as a separate request and keeps texts only. Here all samples of a prompt go to the backend
together, stored samples are not generated again, and verification runs while generation goes on.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import datasets
from lm_eval.api.filter import Filter, FilterEnsemble
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate

from kkwarm.evaluation.collect import SampleKey
from kkwarm.evaluation.plan import EvalTask
from kkwarm.types import Sample

__all__ = ["LmEvalTask", "SampledText", "StoredLM", "evaluate_tasks"]

# lm-eval warns about every task that is not from its own folder.
for _name in ("lm_eval", "lm-eval"):
    logging.getLogger(_name).setLevel(logging.ERROR)

Collector = Callable[[Sequence[EvalTask]], dict[SampleKey, Sample]]


class SampledText(str):
    """A completion's text that carries its sample; lm-eval treats it as a plain string."""

    sample: Sample

    def __new__(cls, sample: Sample) -> SampledText:
        text = super().__new__(cls, sample.completion.text)
        text.sample = sample
        return text

    def __deepcopy__(self, memo: Any) -> SampledText:
        return self  # immutable; lm-eval copies all documents when it collects results


class _KeepAll(Filter):
    """Keeps all samples of a question; lm-eval's default keeps only the first."""

    def apply(self, resps: Any, docs: Any) -> Any:
        return [list(r) for r in resps]


class LmEvalTask(ConfigurableTask):
    """A benchmark as an lm-eval task; its documents are the items of the task."""

    def __init__(self, task: EvalTask, samples: int) -> None:
        self.task = task
        super().__init__(
            config={
                "task": task.name,
                "custom_dataset": self._load_data,
                "test_split": "test",
                "output_type": "generate_until",
                "doc_to_text": lambda doc: doc["prompt"],
                "doc_to_target": lambda doc: "",
                "process_results": self._mean_scores,
                "metric_list": [{"metric": "accuracy", "aggregation": "mean", "higher_is_better": True}],
                "generation_kwargs": {"until": list(task.protocol.stop), "do_sample": task.sampling.temperature > 0},
                "repeats": samples,
            }
        )
        self._filters = [FilterEnsemble("all", [_KeepAll])]

    def build_all_requests(self, **_: Any) -> None:
        """One instance for each question, without lm-eval's few-shot text, request cache and progress bar."""
        self._instances = [
            Instance(
                "generate_until",
                {"row": row, "prompt": item.prompt},
                (item.prompt, self.config.generation_kwargs),
                0,
                (self.task.name, row, self.config.repeats),
            )
            for row, item in enumerate(self.task.items)
        ]

    def _load_data(self, **_: Any) -> dict[str, Any]:
        rows = [{"row": row, "prompt": item.prompt} for row, item in enumerate(self.task.items)]
        return {"test": datasets.Dataset.from_list(rows)}

    @staticmethod
    def _mean_scores(doc: Any, results: list[list[SampledText]]) -> dict[str, float]:
        """Means over the samples of one question; lm-eval averages them over questions."""
        samples = [text.sample for text in results[0]]
        scores: dict[str, float] = {"accuracy": sum(s.verdict.correct for s in samples) / len(samples)}
        metrics: defaultdict[str, float] = defaultdict(float)
        for sample in samples:
            for name, value in sample.verdict.metrics.items():
                metrics[f"metric:{name}"] += value / len(samples)
        return scores | metrics


class StoredLM(LM):
    """An lm-eval model that answers requests with verified samples.

    :param collector: generates the missing samples of tasks; returns all samples by (benchmark, id, index).
    """

    def __init__(self, tasks: Sequence[EvalTask], collector: Collector) -> None:
        super().__init__()
        self.tasks = {task.name: task for task in tasks}
        self.collector = collector

    def generate_until(self, requests: list[Instance]) -> list[str]:
        samples = self.collector([self.tasks[name] for name in dict.fromkeys(str(r.task_name) for r in requests)])
        next_index: defaultdict[tuple[str, int], int] = defaultdict(int)
        texts: list[str] = []
        for request in requests:  # lm-eval repeats a request for each sample
            name, row = str(request.task_name), int(request.doc_id or 0)
            example = self.tasks[name].items[row].example
            texts.append(SampledText(samples[name, example.id, next_index[name, row]]))
            next_index[name, row] += 1
        return texts

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("kkwarm's benchmarks generate text; lm_eval:NAME runs on lm-eval's own models")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise NotImplementedError("kkwarm's benchmarks generate text; lm_eval:NAME runs on lm-eval's own models")


def evaluate_tasks(tasks: Sequence[EvalTask], samples: int, collector: Collector) -> dict[str, dict[str, float | str]]:
    """lm-eval's scores of each task: ``accuracy``, ``accuracy_stderr``, ``metric:NAME``."""
    lm = StoredLM(tasks, collector)
    lm_eval_tasks = {task.name: LmEvalTask(task, samples) for task in tasks}
    results = evaluate(lm, lm_eval_tasks, bootstrap_iters=2, log_samples=False)
    assert results is not None  # None only on ranks other than 0
    return {
        name: {key.partition(",")[0]: value for key, value in scores.items()}
        for name, scores in results["results"].items()
    }
