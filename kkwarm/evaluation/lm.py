"""kkwarm's benchmarks as lm-eval tasks, and a backend's samples as an lm-eval model.

lm-eval sends each sample as a separate request and keeps texts only. Here all samples of a prompt go to the backend
together, stored samples are not generated again, and verification runs while generation goes on. lm-eval's own tasks
(``lm_eval:NAME``) run on the same model, with every sample of a question scored.
"""

from __future__ import annotations

import contextlib
import logging
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import datasets
from lm_eval.api.filter import Filter, FilterEnsemble
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate

from kkwarm.evaluation.collect import SampleKey
from kkwarm.evaluation.lm_eval_tasks import Document, LmEvalBenchmark, uses_several_samples
from kkwarm.evaluation.plan import EvalTask
from kkwarm.types import Sample, Status

# lm-eval warns about every task that is not from its own folder.
for _name in ("lm_eval", "lm-eval"):
    logging.getLogger(_name).setLevel(logging.ERROR)

Table = dict[str, dict[str, float | str]]  # lm-eval's figures by task or group and metric
_BOOTSTRAP_ITERATIONS = 1000


class Collector(Protocol):
    """Generates the missing samples of tasks; returns all samples by (benchmark, id, index)."""

    def __call__(self, tasks: Sequence[EvalTask]) -> Mapping[SampleKey, Sample]: ...

    def text_likelihoods(self, name: str, texts: Sequence[str]) -> list[float]:
        """The log-likelihood of each text, for a task that has no samples."""
        ...


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
    """An lm-eval model that answers requests with verified samples."""

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
        raise NotImplementedError("kkwarm's own benchmarks generate text")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise NotImplementedError("kkwarm's own benchmarks generate text")


def evaluate_tasks(tasks: Sequence[EvalTask], samples: int, collector: Collector) -> dict[str, dict[str, float | str]]:
    """lm-eval's scores of kkwarm's benchmarks: ``accuracy``, ``accuracy_stderr``, ``metric:NAME``."""
    lm = StoredLM(tasks, collector)
    lm_eval_tasks = {task.name: LmEvalTask(task, samples) for task in tasks}
    results = evaluate(lm, lm_eval_tasks, bootstrap_iters=2, log_samples=False)
    assert results is not None  # None only on ranks other than 0
    return {
        name: {key.partition(",")[0]: value for key, value in scores.items()}
        for name, scores in results["results"].items()
    }


# -- lm-eval's own tasks -----------------------------------------------------------------------------------------------


class _Several(list[Any]):
    """Values of the samples of one question, each on its own."""


class _EachSample(Filter):
    """Applies a filter ensemble of lm-eval to each sample as if there were no others."""

    def __init__(self, ensemble: FilterEnsemble) -> None:
        super().__init__()
        self.ensemble = ensemble

    def apply(self, resps: Any, docs: Any) -> Any:
        columns = []
        for values in zip(*resps, strict=True):
            column: Any = [[value] for value in values]
            for step in self.ensemble.filters:
                column = step().apply(column, docs)
            columns.append(list(column))
        return [_Several(row) for row in zip(*columns, strict=True)]


class _TaskLM(LM):
    """An lm-eval model that answers the requests of one of lm-eval's own benchmarks.

    :param documents: by name of the task and number of the document in this evaluation: the example's id.
    """

    def __init__(self, task: EvalTask, documents: Mapping[tuple[str, int], str], collector: Collector) -> None:
        super().__init__()
        assert task.lm_eval is not None
        self.task, self.benchmark = task, task.lm_eval
        self.documents = documents
        self.collector = collector

    def generate_until(self, requests: list[Instance]) -> list[str]:
        samples = self.collector([self.task])
        next_index: defaultdict[str, int] = defaultdict(int)
        texts = []
        for request in requests:
            id_ = self._id(request)
            texts.append(self.benchmark.cut(samples[self.task.name, id_, next_index[id_]].completion.text))
            next_index[id_] += 1
        return texts

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        samples = self.collector([self.task])
        stored = (samples[self.task.name, self._id(r), 0].meta["likelihoods"][r.idx] for r in requests)  # type: ignore[index]
        return [(float(value), bool(greedy)) for value, greedy in stored]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        return self.collector.text_likelihoods(self.task.name, [str(r.args[0]) for r in requests])

    def _id(self, request: Instance) -> str:
        return self.documents[str(request.task_name), int(request.doc_id or 0)]


def evaluate_lm_eval_task(task: EvalTask, samples: int, collector: Collector) -> Table:
    """lm-eval's own figures of one of its benchmarks, after generating what is missing.

    With several samples each figure is the mean over them, except those of filters that combine samples, such as a
    majority vote; these are left out where they need more samples. The table is empty where the scorer failed on a
    sample.
    """
    benchmark = task.lm_eval
    assert benchmark is not None
    if benchmark.has_scores and any(s.verdict.status is Status.ERROR for s in _collect(task, collector)):
        return {}
    documents = {item.example.id: benchmark.documents[item.example.id] for item in task.items}
    tasks, selected, ids = _prepare_tasks(benchmark, documents, task.samples_per_question(samples))
    complete = len(tasks) == len(benchmark.tasks)
    loaded = {**benchmark.loaded, "tasks": tasks} if complete else {"tasks": tasks}
    with _one_process(), contextlib.redirect_stdout(sys.stderr):  # lm-eval prints to stdout, which --json reserves
        results = evaluate(
            _TaskLM(task, ids, collector),
            loaded,
            samples=selected,
            bootstrap_iters=_BOOTSTRAP_ITERATIONS,
            log_samples=False,
        )
    assert results is not None  # None only on ranks other than 0
    return {
        name: {k: v for k, v in row.items() if isinstance(v, int | float | str)}
        for name, row in results["results"].items()
    }


def _collect(task: EvalTask, collector: Collector) -> list[Sample]:
    samples = collector([task])
    ids = {item.example.id for item in task.items}
    return [s for (name, id_, _), s in samples.items() if name == task.name and id_ in ids]


def _prepare_tasks(
    benchmark: LmEvalBenchmark, documents: Mapping[str, Document], samples: int
) -> tuple[dict[str, Any], dict[str, list[int]], dict[tuple[str, int], str]]:
    """The tasks with their requests on these documents, the indices of the documents, and the ids of the examples."""
    tasks: dict[str, Any] = {}
    selected: dict[str, list[int]] = {}
    ids: dict[tuple[str, int], str] = {}
    for name, task in benchmark.tasks.items():
        own = {id_: d for id_, d in documents.items() if d.task is task}
        if not own:
            continue
        instances = []
        for position, (id_, document) in enumerate(sorted(own.items(), key=lambda pair: pair[1].index)):
            ids[str(document.instances[0].task_name), position] = id_
            for instance in document.instances:
                instance.doc_id, instance.repeats, instance.resps, instance.filtered_resps = position, samples, [], {}
                instances.append(instance)
        task._instances = instances
        task.build_all_requests = lambda **_: None  # they are built, and building them again would change the shots
        if samples > 1:
            _score_each_sample(task, samples)
        tasks[name] = task
        if len(own) < len(task.eval_docs):
            selected[name] = sorted(d.index for d in own.values())
    return tasks, selected, ids


def _score_each_sample(task: Any, samples: int) -> None:
    """Makes a task score every sample on its own, and average over them; lm-eval scores one answer of a question."""
    score, aggregation = task.process_results, task.aggregation()
    filters = []
    for ensemble in task._filters:
        if not uses_several_samples(ensemble):
            filters.append(FilterEnsemble(ensemble.name, [lambda e=ensemble: _EachSample(e)]))
        elif all(step.keywords.get("k", 1) <= samples for step in ensemble.filters):
            filters.append(ensemble)
    task._filters = filters

    def process_results(doc: Any, results: list[Any]) -> dict[str, Any]:
        if not isinstance(results[0], _Several):
            return dict(score(doc, results))
        each = [score(doc, [result[k] for result in results]) for k in range(samples)]
        return {name: _combine([metrics[name] for metrics in each], aggregation.get(name, mean)) for name in each[0]}

    task.process_results = process_results
    task.aggregation = lambda: {name: _over_samples(function, samples) for name, function in aggregation.items()}


def _combine(values: list[Any], aggregate: Any) -> Any:
    """A question's metric from those of its samples: their mean, or all of them where they are not simply averaged."""
    if aggregate is mean and all(isinstance(v, bool | int | float) for v in values):
        return statistics.fmean(values)
    return _Several(values)


def _over_samples(aggregate: Callable[[list[Any]], Any], samples: int) -> Callable[[list[Any]], Any]:
    """`aggregate` for values of several samples each: applied to all first samples, all second ones and so on; the mean
    of the results.
    """
    if aggregate is mean:
        return aggregate  # type: ignore[no-any-return]  # lm-eval knows its standard error

    def function(items: list[Any]) -> Any:
        if not all(isinstance(item, _Several) for item in items):
            return aggregate(items)
        return statistics.fmean(float(aggregate([item[k] for item in items])) for k in range(samples))

    return function


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    """Keeps lm-eval's bootstrap in one process. Its forked pool can deadlock, because threads of torch and tqdm are
    running; the resamples are the same (lm_eval/api/metrics.py).
    """
    earlier = os.environ.get("DISABLE_MULTIPROC")
    os.environ["DISABLE_MULTIPROC"] = "1"
    try:
        yield
    finally:
        if earlier is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = earlier
