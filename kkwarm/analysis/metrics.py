"""Metrics of one benchmark from its samples: avg@k, pass@k, errors and intervals clustered by question, status counts.

Every metric is a mean over questions of each question's own mean. A question with more samples does not weigh more than
another, and the samples of one question never count as independent observations.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kkwarm.types import Sample, Status

Facets = Mapping[str, Mapping[str, str]]  # facet -> question id -> value


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Probability that at least one of `k` samples, chosen without replacement from `n`, is correct.

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374), in product form.

    :raises ValueError: not 1 <= k <= n, or not 0 <= correct <= n.
    """
    if not 1 <= k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@k needs 1 <= k <= n and 0 <= correct <= n, got n={n}, correct={correct}, k={k}")
    if n - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - correct + 1, n + 1))


def clustered_mean(means: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard error (sd / sqrt(n), n - 1 in the sd) of per-question means; no error for one question."""
    n = len(means)
    if n == 0:
        raise ValueError("no questions")
    mean = math.fsum(means) / n
    if n == 1:
        return mean, None
    variance = math.fsum((m - mean) ** 2 for m in means) / (n - 1)
    return mean, math.sqrt(variance / n)


def advise_on_unusable(status: Mapping[str, int]) -> str:
    """What to do where none of the completions can be scored; empty where one can.

    :param status: number of completions by status.
    """
    unusable = {name: n for name in ("truncated", "malformed", "unparsed") if (n := status.get(name, 0))}
    total = sum(unusable.values())
    if not total or total != sum(status.values()):
        return ""
    other = "use another --protocol that the checkpoint knows, or warm it up first (`kkwarm warmup`)"
    advice = {"truncated": f"raise --max-tokens; if it has no end even then, {other}", "malformed": other}
    most = max(unusable, key=lambda name: unusable[name])
    counts = " or ".join(unusable) if len(unusable) > 1 else most
    return f"all {total:,} completions are {counts}, so nothing was measured: {advice.get(most, other)}"


@dataclass(slots=True)
class QuestionTally:
    """Sums over the samples of one question."""

    samples: int = 0
    correct: int = 0
    status: Counter[Status] = field(default_factory=Counter)
    metrics: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    chars: int = 0
    tokens: int = 0
    with_tokens: int = 0  # samples whose number of tokens is known

    def add(self, sample: Sample) -> None:
        self.samples += 1
        self.correct += sample.verdict.correct
        self.status[sample.verdict.status] += 1
        for name, value in sample.metrics.items():
            self.metrics[name] += value
        text = sample.completion.text
        self.chars += (len(text) if isinstance(text, str) else 0) + len(sample.completion.reasoning or "")
        if sample.completion.n_tokens is not None:
            self.tokens += sample.completion.n_tokens
            self.with_tokens += 1


def summarize(samples: Iterable[Sample], facets: Facets | None = None) -> dict[str, Any]:
    """The metrics of one benchmark, as JSON data. Accuracies and errors are fractions.

    ``n`` questions, ``samples`` completions, ``accuracy`` (mean over questions; equals avg@k and pass@1), ``stderr``
    (clustered by question; None for a single question), ``pass@1`` ... ``pass@K`` (unbiased; K: the fewest samples that
    any question has), ``avg@K`` where every question has K samples, ``ci`` (95% intervals of the pass@k, clustered by
    question), ``status`` (counts of completions), ``metrics``, ``metrics_stderr`` and ``metrics_ci`` (means over
    questions of the samples' metrics, the reward among them, with 95% intervals; a sample without one counts 0; no
    interval where all values outside 0..1 are equal), ``mean_chars``, ``mean_tokens`` (over completions; None where
    unknown), and, given `facets`, ``by``: the same by facet and value. Without samples ``n`` is 0 and the metrics are
    None.

    :raises ValueError: the samples belong to several benchmarks.
    """
    questions: dict[str, QuestionTally] = {}
    benchmarks: set[str] = set()
    for sample in samples:
        benchmarks.add(sample.benchmark)
        if sample.id not in questions:
            questions[sample.id] = QuestionTally()
        questions[sample.id].add(sample)
    if len(benchmarks) > 1:
        raise ValueError(f"samples of several benchmarks: {', '.join(sorted(benchmarks))}")
    result = _metrics(list(questions.values()))
    for facet, values in (facets or {}).items():
        groups: dict[str, list[QuestionTally]] = defaultdict(list)
        for id_, question in questions.items():
            if id_ in values:
                groups[values[id_]].append(question)
        by = {value: _metrics(groups[value]) for value in sorted(groups, key=natural_order)}
        result.setdefault("by", {})[facet] = by
    return result


def natural_order(value: str) -> tuple[int, float, str]:
    """Sort key of facet values: numbers by size, before other texts."""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def _metrics(questions: Sequence[QuestionTally]) -> dict[str, Any]:
    status: Counter[Status] = Counter()
    for q in questions:
        status += q.status
    counts = [q.samples for q in questions]
    result: dict[str, Any] = {"n": len(questions), "samples": sum(counts), "accuracy": None, "stderr": None}
    result |= {"pass@1": None, "ci": {}}
    if questions:
        fewest = min(counts)
        passes = {k: [pass_at_k(q.samples, q.correct, k) for q in questions] for k in range(2, fewest + 1)}
        passes[1] = [q.correct / q.samples for q in questions]
        result["accuracy"], result["stderr"] = clustered_mean(passes[1])
        result["pass@1"] = result["accuracy"]
        for k in range(2, fewest + 1):
            result[f"pass@{k}"] = math.fsum(passes[k]) / len(questions)
        result["ci"] = {f"pass@{k}": list(mean_interval([passes[k]]) or ()) for k in sorted(passes)}
        if fewest == max(counts):
            result[f"avg@{fewest}"] = result["accuracy"]
    result["status"] = {s.value: status[s] for s in Status if status[s]}
    names = sorted({name for q in questions for name in q.metrics})
    values = {m: [q.metrics[m] / q.samples for q in questions] for m in names}
    metrics = {m: clustered_mean(v) for m, v in values.items()}
    result["metrics"] = {m: mean for m, (mean, _) in metrics.items()}
    result["metrics_stderr"] = {m: error for m, (_, error) in metrics.items()}
    result["metrics_ci"] = {m: None if (ci := mean_interval([v])) is None else list(ci) for m, v in values.items()}
    with_tokens = sum(q.with_tokens for q in questions)
    result["mean_chars"] = sum(q.chars for q in questions) / sum(counts) if questions else None
    result["mean_tokens"] = sum(q.tokens for q in questions) / with_tokens if with_tokens else None
    return result


def mean_interval(scores: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """The 95% interval of the mean of scores of shape (seeds, questions), clustered by question; None where it has no
    width.
    """
    import numpy as np

    from kkwarm.analysis.stats.estimates import estimate_mean

    return estimate_mean(np.array(scores, float)).interval


def reported_k(fewest: int) -> list[int]:
    """The k for which tables show pass@k, where every question has `fewest` samples: powers of two, and the largest."""
    return sorted({fewest, *(2**i for i in range(1, fewest.bit_length()) if 2**i <= fewest)} - {0, 1})
