"""``lm_eval:NAME``: tasks that lm-eval itself knows, by lm-eval's own models and scoring, stored as samples."""

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
from kkwarm.evaluation.config import BenchConfig
from kkwarm.evaluation.lm_eval_logs import main_metric, said, scores, verdict
from kkwarm.evaluation.plan import KNOWN
from kkwarm.evaluation.progress import Bars
from kkwarm.store import Run
from kkwarm.types import Completion, Sample

__all__ = ["run_known"]


def run_known(name: str, model: str, config: BenchConfig, run: Run, bars: Bars) -> dict[str, Any]:
    """Runs the task, unless the run has it already; it resumes by whole tasks.

    A question counts as correct where lm-eval's main metric of it is 1. Other metrics and lm-eval's own table are kept.

    :raises KkwarmError: lm-eval does not know the task, cannot load its data, scores no single questions of it, or
        would run untrusted code for it.
    """
    tables: dict[str, Any] = dict(run.manifest.lm_eval)
    if name not in tables:
        with contextlib.redirect_stdout(sys.stderr):  # lm-eval prints there; ours may be a JSON document
            table, samples = _evaluated(name, model, config)
        bars.begin(name, len(samples), 0)
        stored = {(s.id, s.index) for s in run.samples(name)}
        run.append(s for s in samples if (s.id, s.index) not in stored)
        bars.advance(len(samples))
        tables[name] = table
        run.record(lm_eval=tables)
    return summarize(run.samples(name)) | {"lm_eval": tables[name]}


def _evaluated(name: str, model: str, config: BenchConfig) -> tuple[dict[str, Any], list[Sample]]:
    import torch
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    task = name.removeprefix(KNOWN)
    own = task.endswith((".yaml", ".yml"))
    manager = TaskManager(include_defaults=not own)  # reading lm-eval's thousands of tasks takes seconds
    if not own and task not in manager.all_tasks:
        raise unknown_name("lm-eval task", task, manager.all_tasks)
    try:
        loaded = manager.load([task])
    except Exception as err:  # data sets fail in many ways
        cause = " ".join(str(err).split())[:300]
        raise KkwarmError(
            f"lm-eval cannot load {task}: {type(err).__name__}: {cause}", hint="its data may be missing"
        ) from err
    tasks = loaded["tasks"]
    if any(getattr(t, "UNSAFE_CODE", False) for t in tasks.values()):
        raise KkwarmError(f"{task} runs model-written code without a sandbox", hint="use kkwarm's own humaneval_plus")
    chosen = {n: _chosen(len(t.eval_docs), config.limit) for n, t in tasks.items()} if config.limit else None
    torch.manual_seed(config.seed)
    with _in_one_process():
        found = evaluate(_model(model, config), loaded, samples=chosen, bootstrap_iters=1000, log_samples=True)
    assert found is not None  # None on other ranks than the first; here there is one
    table = {
        n: {k: v for k, v in row.items() if isinstance(v, int | float | str)} for n, row in found["results"].items()
    }
    alone = len(tasks) == 1
    return table, [s for n, rows in found["samples"].items() for s in _samples(name, "" if alone else f"{n}/", rows)]


def _model(model: str, config: BenchConfig) -> Any:
    source = resolve(model)
    if config.backend == "vllm":
        from lm_eval.models.vllm_causallms import VLLM

        return VLLM(pretrained=source, seed=config.seed)
    from lm_eval.models.huggingface import HFLM

    device = config.device or default_device()
    dtype = str(default_dtype(device)).removeprefix("torch.")
    return HFLM(pretrained=source, device=device, dtype=dtype, batch_size=config.batch_size or 8)


@contextlib.contextmanager
def _in_one_process() -> Iterator[None]:
    """lm-eval's bootstrap forks a pool, though torch's and tqdm's threads are running: a child can then wait forever
    for a lock that no thread of its own holds. One process draws the same resamples (lm_eval/api/metrics.py)."""
    before = os.environ.get("DISABLE_MULTIPROC")
    os.environ["DISABLE_MULTIPROC"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = before


def _chosen(count: int, limit: int) -> list[int]:
    """Indices of at most `limit` documents, not the first ones but always the same."""
    ranked = sorted(range(count), key=lambda i: hashlib.sha256(f"kkwarm-limit-1:{i}".encode()).digest())
    return sorted(ranked[:limit])


def _samples(benchmark: str, prefix: str, rows: list[Mapping[str, Any]]) -> list[Sample]:
    """One sample for each document, by the task's first filter."""
    first = rows[0]["filter"] if rows else None
    made = []
    for row in rows:
        if row["filter"] != first:
            continue
        main = main_metric(scores(row))
        if main is None:
            raise KkwarmError(
                f"{benchmark} has no score for each question, so nothing to compare",
                hint="perplexities of whole texts are lm-eval's own: run lm-eval",
            )
        completion = Completion(said(row)[0][0])
        shown = f"{prefix}{row['doc_id']}"
        made.append(Sample(benchmark, shown, 0, completion, verdict(row, main), row["prompt_hash"][:16]))
    return made
