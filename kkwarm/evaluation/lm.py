"""lm-eval's view of a backend, and of a benchmark.

lm-eval asks for each sample as a request of its own and keeps texts only. Here the samples of a prompt go to the
backend together, what the store has is not asked for again, and verdicts are made and stored while generation goes on.
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

from kkwarm.evaluation.plan import Entry
from kkwarm.types import Sample

__all__ = ["EntryTask", "SampledText", "StoredLM", "evaluated"]

# lm-eval warns about every task that is not from its own folder.
for _name in ("lm_eval", "lm-eval"):
    logging.getLogger(_name).setLevel(logging.ERROR)


class SampledText(str):
    """A completion's text with its judged sample: lm-eval passes it through as a string."""

    sample: Sample

    def __new__(cls, sample: Sample) -> SampledText:
        made = super().__new__(cls, sample.completion.text)
        made.sample = sample
        return made

    def __deepcopy__(self, memo: Any) -> SampledText:
        return self  # frozen; lm-eval copies all documents when it collects results


class _KeepAll(Filter):
    """All samples of a question, where lm-eval's default keeps the first alone."""

    def apply(self, resps: Any, docs: Any) -> Any:
        return [list(r) for r in resps]


class EntryTask(ConfigurableTask):
    """A benchmark as an lm-eval task; its documents are the rows of `entry.items`."""

    def __init__(self, entry: Entry, samples: int) -> None:
        self.entry = entry
        super().__init__(
            config={
                "task": entry.name,
                "custom_dataset": self._data,
                "test_split": "test",
                "output_type": "generate_until",
                "doc_to_text": lambda doc: doc["prompt"],
                "doc_to_target": lambda doc: "",
                "process_results": self._scores,
                "metric_list": [{"metric": "accuracy", "aggregation": "mean", "higher_is_better": True}],
                "generation_kwargs": {"until": list(entry.format.stop), "do_sample": entry.sampling.temperature > 0},
                "repeats": samples,
            }
        )
        self._filters = [FilterEnsemble("all", [_KeepAll])]

    def build_all_requests(self, **_: Any) -> None:
        """One instance for each question; lm-eval's own way adds few-shot text, a cache and a progress bar."""
        self._instances = [
            Instance(
                "generate_until",
                {"row": row, "prompt": item.prompt},
                (item.prompt, self.config.generation_kwargs),
                0,
                (self.entry.name, row, self.config.repeats),
            )
            for row, item in enumerate(self.entry.items)
        ]

    def _data(self, **_: Any) -> dict[str, Any]:
        rows = [{"row": row, "prompt": item.prompt} for row, item in enumerate(self.entry.items)]
        return {"test": datasets.Dataset.from_list(rows)}

    @staticmethod
    def _scores(doc: Any, results: list[list[SampledText]]) -> dict[str, float]:
        """Means over the samples of one question; lm-eval averages them over questions."""
        samples = [text.sample for text in results[0]]
        scores: dict[str, float] = {"accuracy": sum(s.verdict.correct for s in samples) / len(samples)}
        totals: defaultdict[str, float] = defaultdict(float)
        for sample in samples:
            for name, value in sample.verdict.metrics.items():
                totals[f"metric:{name}"] += value / len(samples)
        return scores | totals


Draw = Callable[[Sequence[Entry]], dict[tuple[str, str, int], Sample]]


class StoredLM(LM):
    """Answers lm-eval's requests by judged samples.

    :param draw: completes the store for these benchmarks and returns its samples by (benchmark, id, index).
    """

    def __init__(self, entries: Sequence[Entry], draw: Draw) -> None:
        super().__init__()
        self.entries = {entry.name: entry for entry in entries}
        self.draw = draw

    def generate_until(self, requests: list[Instance]) -> list[str]:
        samples = self.draw([self.entries[name] for name in dict.fromkeys(str(r.task_name) for r in requests)])
        seen: defaultdict[tuple[str, int], int] = defaultdict(int)
        texts: list[str] = []
        for request in requests:  # lm-eval repeats a request for each sample
            name, row = str(request.task_name), int(request.doc_id or 0)
            example = self.entries[name].items[row].example
            texts.append(SampledText(samples[name, example.id, seen[name, row]]))
            seen[name, row] += 1
        return texts

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("benchmarks of kkwarm generate; lm_eval:NAME runs on lm-eval's own models")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise NotImplementedError("benchmarks of kkwarm generate; lm_eval:NAME runs on lm-eval's own models")


def evaluated(entries: Sequence[Entry], samples: int, draw: Draw) -> dict[str, dict[str, float | str]]:
    """lm-eval's own figures of each benchmark: ``accuracy``, ``accuracy_stderr``, ``metric:NAME``."""
    lm = StoredLM(entries, draw)
    tasks = {entry.name: EntryTask(entry, samples) for entry in entries}
    results = evaluate(lm, tasks, bootstrap_iters=2, log_samples=False)
    assert results is not None  # None on other ranks than the first; here there is one
    return {
        name: {key.partition(",")[0]: value for key, value in figures.items()}
        for name, figures in results["results"].items()
    }
