"""``lm_eval:NAME``: lm-eval's own tasks, run with lm-eval's own models and scoring; results are stored as samples."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from kkwarm.analysis.metrics import summarize
from kkwarm.backends.checkpoint import default_device, default_dtype, resolve
from kkwarm.errors import KkwarmError, unknown_name
from kkwarm.evaluation.lm_eval_logs import main_metric, read_answer, read_scores, read_verdict
from kkwarm.evaluation.plan import LM_EVAL_PREFIX
from kkwarm.progress import GenerationProgress
from kkwarm.schema.settings import BenchConfig
from kkwarm.store import Run
from kkwarm.types import Completion, Sample

__all__ = ["run_lm_eval_task"]


def run_lm_eval_task(name: str, model: str, config: BenchConfig, run: Run, bars: GenerationProgress) -> dict[str, Any]:
    """Runs the task unless the run already has its results; a task is resumed only as a whole.

    A question counts as correct if lm-eval's main metric is 1 for it. lm-eval's own results table is kept too.

    :raises KkwarmError: lm-eval does not have the task, cannot load its data, has no scores of single questions for
        it, or would run untrusted code for it.
    """
    tables: dict[str, Any] = dict(run.manifest.lm_eval)
    if name not in tables:
        with contextlib.redirect_stdout(sys.stderr):  # lm-eval prints to stdout, which --json reserves
            table, samples = _evaluate(name, model, config)
        bars.start(name, len(samples), 0)
        stored = {(s.id, s.index) for s in run.samples(name)}
        run.append(s for s in samples if (s.id, s.index) not in stored)
        bars.add_samples(samples)
        tables[name] = table
        run.record(lm_eval=tables)
    return summarize(run.samples(name)) | {"lm_eval": tables[name]}


def _evaluate(name: str, model: str, config: BenchConfig) -> tuple[dict[str, Any], list[Sample]]:
    import torch
    from lm_eval.evaluator import evaluate

    loaded = _load_task(name.removeprefix(LM_EVAL_PREFIX))
    tasks = loaded["tasks"]
    documents = None
    if config.limit is not None:
        documents = {n: _select_documents(len(t.eval_docs), config.limit) for n, t in tasks.items()}
    torch.manual_seed(config.seed)
    with _without_multiprocessing():
        results = evaluate(
            _load_model(model, config), loaded, samples=documents, bootstrap_iters=1000, log_samples=True
        )
    assert results is not None  # None only on ranks other than 0
    table = {
        n: {k: v for k, v in row.items() if isinstance(v, int | float | str)} for n, row in results["results"].items()
    }
    prefixes = {n: "" if len(tasks) == 1 else f"{n}/" for n in results["samples"]}
    return table, [s for n, rows in results["samples"].items() for s in _make_samples(name, prefixes[n], rows)]


def _load_task(task: str) -> Any:
    from lm_eval.tasks import TaskManager

    is_file = task.endswith((".yaml", ".yml"))
    manager = TaskManager(include_defaults=not is_file)  # indexing lm-eval's thousands of tasks takes seconds
    if not is_file and task not in manager.all_tasks:
        raise unknown_name("lm-eval task", task, manager.all_tasks)
    try:
        loaded = manager.load([task])
    except Exception as err:  # data sets fail in many ways
        cause = " ".join(str(err).split())[:300]
        raise KkwarmError(
            f"lm-eval cannot load {task}: {type(err).__name__}: {cause}", hint="its data may be missing"
        ) from err
    if any(getattr(t, "UNSAFE_CODE", False) for t in loaded["tasks"].values()):
        raise KkwarmError(f"{task} runs model-written code without a sandbox", hint="use kkwarm's own humaneval_plus")
    return loaded


def _load_model(model: str, config: BenchConfig) -> Any:
    checkpoint = resolve(model)
    if config.backend == "vllm":
        from lm_eval.models.vllm_causallms import VLLM

        return VLLM(pretrained=checkpoint, seed=config.seed)
    from lm_eval.models.huggingface import HFLM

    device = config.device or default_device()
    dtype = str(default_dtype(device)).removeprefix("torch.")
    return HFLM(pretrained=checkpoint, device=device, dtype=dtype, batch_size=config.batch_size or 8)


@contextlib.contextmanager
def _without_multiprocessing() -> Iterator[None]:
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


def _select_documents(count: int, limit: int) -> list[int]:
    """Indices of at most `limit` documents: a fixed pseudo-random selection."""
    ranked = sorted(range(count), key=lambda i: hashlib.sha256(f"kkwarm-limit-1:{i}".encode()).digest())
    return sorted(ranked[:limit])


def _make_samples(benchmark: str, prefix: str, rows: list[Mapping[str, Any]]) -> list[Sample]:
    """One sample for each document, by the task's first filter."""
    first_filter = rows[0]["filter"] if rows else None
    samples = []
    for row in rows:
        if row["filter"] != first_filter:
            continue
        metric = main_metric(read_scores(row))
        if metric is None:
            raise KkwarmError(
                f"{benchmark} has no score for single questions, so runs cannot be compared",
                hint="run lm-eval itself, for example for perplexities of whole texts",
            )
        completion = Completion(read_answer(row)[0][0])
        verdict = read_verdict(row, metric)
        samples.append(Sample(benchmark, f"{prefix}{row['doc_id']}", 0, completion, verdict, row["prompt_hash"][:16]))
    return samples
