"""What a step costs: tokens and seconds, by the assumptions of its recipe. Estimates, to plan by; never results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kkwarm.study.recipe import Assume

__all__ = ["Cost", "bench_cost", "distill_cost", "is_model_teacher", "rlvr_cost", "warmup_cost"]

MODEL_FREE = 20_000.0  # tokens per second of a symbolic teacher: its traces cost next to nothing
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
    is_model = is_model_teacher(str(config["teacher"]))
    count = int(config["n"]) * (int(config.get("samples", 1)) if is_model else 1)
    tokens = count * assume.trace
    rate = assume.rates[2] if is_model else MODEL_FREE
    return Cost(tokens, 0, count, count, tokens / rate + (assume.start_s if is_model else 0))


def warmup_cost(config: Mapping[str, Any], traces: Mapping[str, Any], assume: Assume) -> Cost:
    """SFT: every trace, with its prompt, once an epoch."""
    from kkwarm.config import build
    from kkwarm.train.config import WarmupConfig

    made = distill_cost(traces, assume).completions
    settings = build(WarmupConfig, config, "recipe")
    batch = settings.batch_size
    steps = math.ceil(made / batch) * settings.epochs
    if settings.max_steps is not None:
        steps = min(steps, settings.max_steps)
    tokens = round(steps * batch * (assume.prompt + assume.trace))
    return Cost(0, tokens, 0, math.ceil(steps), tokens / assume.rates[1] + assume.start_s)


def rlvr_cost(config: Mapping[str, Any], assume: Assume) -> Cost:
    """GRPO: prompts x generations a step, each generated once and trained on once."""
    from kkwarm.config import build
    from kkwarm.train.config import RlvrConfig

    settings = build(RlvrConfig, config, "recipe")
    steps = settings.steps or math.ceil(settings.examples * settings.epochs / settings.prompts_per_step)
    completions = steps * settings.completions
    generated = completions * assume.answer
    trained = completions * (assume.prompt + assume.answer)
    generate, train, _ = assume.rates
    return Cost(generated, trained, completions, steps, generated / generate + trained / train + assume.start_s)


def bench_cost(config: Mapping[str, Any], domains: Sequence[str], assume: Assume) -> Cost:
    """Evaluation: questions x samples, on each benchmark."""
    limit = config.get("limit")
    samples = int(config.get("samples", 1))
    questions = 0
    for domain in domains:
        known = assume.questions.get(domain, DEFAULT_QUESTIONS)
        questions += min(known, int(limit)) if limit else known
    completions = questions * samples
    tokens = completions * assume.answer
    return Cost(tokens, 0, completions, completions, tokens / assume.rates[0] + assume.start_s)


def is_model_teacher(teacher: str) -> bool:
    """Whether a teacher is a model: a hub id, a folder or a server, rather than a registered name."""
    return "/" in teacher or ":" in teacher
