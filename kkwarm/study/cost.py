"""Estimated cost of a step, in tokens and seconds, by the assumptions of its recipe. For planning, never a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kkwarm.schema.recipe import Assume
from kkwarm.schema.settings import BenchConfig, DistillConfig, RlvrConfig, WarmupConfig

__all__ = ["Cost", "bench_cost", "distill_cost", "is_model_teacher", "rlvr_cost", "warmup_cost"]

SYMBOLIC_RATE = 20_000.0  # tokens per second of a symbolic teacher: its traces cost next to nothing
DEFAULT_QUESTIONS = 500


@dataclass(frozen=True, slots=True)
class Cost:
    """`generated` and `trained` tokens, completions, `units` of progress, and seconds of one worker."""

    generated: int = 0
    trained: int = 0
    completions: int = 0
    units: int = 0
    seconds: float = 0.0


def distill_cost(config: Mapping[str, Any], assume: Assume) -> Cost:
    """Traces: `n` of a registered teacher, `n` x `samples` completions of a model."""
    settings = DistillConfig(**config)
    is_model = is_model_teacher(settings.teacher)
    count = settings.n * (settings.samples if is_model else 1)
    tokens = count * assume.trace
    rate = assume.rates[2] if is_model else SYMBOLIC_RATE
    return Cost(tokens, 0, count, count, tokens / rate + (assume.start_s if is_model else 0))


def warmup_cost(config: Mapping[str, Any], traces: Mapping[str, Any], assume: Assume) -> Cost:
    """SFT: every trace, with its prompt, once per epoch."""
    settings = WarmupConfig(**config)
    count = distill_cost(traces, assume).completions
    steps = settings.steps_for(count)
    sequences = steps * settings.batch_size
    if settings.max_steps is None:
        sequences = min(sequences, round(count * settings.epochs))
    tokens = sequences * (assume.prompt + assume.trace)
    return Cost(0, tokens, 0, steps, tokens / assume.rates[1] + assume.start_s)


def rlvr_cost(config: Mapping[str, Any], assume: Assume) -> Cost:
    """GRPO: prompts x generations per step, each generated once and trained on once."""
    settings = RlvrConfig(**config)
    steps = settings.steps_for(settings.examples)
    completions = steps * settings.completions
    generated = completions * assume.answer
    trained = completions * (assume.prompt + assume.answer)
    generate, train, _ = assume.rates
    return Cost(generated, trained, completions, steps, generated / generate + trained / train + assume.start_s)


def bench_cost(config: BenchConfig, domains: Sequence[str], assume: Assume) -> Cost:
    """Evaluation: questions x samples, on each benchmark."""
    questions = 0
    for domain in domains:
        count = assume.questions.get(domain, DEFAULT_QUESTIONS)
        questions += min(count, config.limit) if config.limit else count
    completions = questions * config.samples
    tokens = completions * assume.answer
    return Cost(tokens, 0, completions, completions, tokens / assume.rates[0] + assume.start_s)


def is_model_teacher(teacher: str) -> bool:
    """Whether a teacher is a model (a hub id, a folder or a server) rather than a registered name."""
    return "/" in teacher or ":" in teacher
