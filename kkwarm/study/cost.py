"""Estimated cost of a step, in tokens, seconds and disk space, by its settings, its model and the assumptions of its
recipe. For planning, never a result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kkwarm.backends.sizes import ModelSize, read_size
from kkwarm.cost import Hardware, Rates, estimate_rates, known_rates, sample_bytes, training_disk
from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry
from kkwarm.schema.recipe import Assume
from kkwarm.schema.settings import BenchConfig, DistillConfig, RlvrConfig, TrainConfig, WarmupConfig, value_of

SYMBOLIC_RATE = 20_000.0  # tokens per second of a symbolic teacher: its traces cost next to nothing
DEFAULT_QUESTIONS = 500


@dataclass(frozen=True, slots=True)
class Cost:
    """`generated` and `trained` tokens, completions, `units` of progress, seconds of one worker, and bytes that stay on
    disk.
    """

    generated: int = 0
    trained: int = 0
    completions: int = 0
    units: int = 0
    seconds: float = 0.0
    disk: float = 0.0


class Costs:
    """Costs of the steps of a recipe on some hardware."""

    def __init__(self, assume: Assume, hardware: Hardware) -> None:
        self.assume = assume
        self.hardware = Hardware(
            assume.device or hardware.name,
            assume.flops or hardware.flops,
            assume.generate_use or hardware.generate_use,
            assume.train_use or hardware.train_use,
            hardware.cuda,
            hardware.threads,
        )
        self._sizes: dict[str, ModelSize] = {}

    def size(self, model: str) -> ModelSize:
        """The size of a model of the recipe: the given number of parameters, or what its files say."""
        if model not in self._sizes:
            self._sizes[model] = read_size(model)
        size = self._sizes[model]
        return size if self.assume.parameters is None else ModelSize(self.assume.parameters, size.context)

    def rates(self, model: str) -> Rates:
        """Tokens per second of a model."""
        elsewhere = (self.assume.device, self.assume.flops, self.assume.generate_use, self.assume.train_use)
        look_up = estimate_rates if any(v is not None for v in elsewhere) else known_rates
        rates = look_up(self.size(model), self.hardware)
        given = self.assume.generate_rate and self.assume.train_rate
        return Rates(
            self.assume.generate_rate or rates.generate,
            self.assume.train_rate or rates.train,
            "given by the recipe" if given else rates.basis,
        )

    def teacher_rate(self, teacher: str) -> float:
        """Tokens per second that a teacher generates."""
        if self.assume.teacher_rate is not None:
            return self.assume.teacher_rate
        given = self.assume.teacher_parameters
        return estimate_rates(read_size(teacher) if given is None else ModelSize(given), self.hardware).generate

    def distill(self, config: Mapping[str, Any]) -> Cost:
        """Traces: `n` of a registered teacher, `n` x `samples` completions of a model."""
        settings = DistillConfig(**config)
        if not is_model_teacher(settings.teacher):
            tokens = settings.n * self.assume.trace
            seconds = tokens / SYMBOLIC_RATE + self.assume.start_s
            return Cost(tokens, 0, settings.n, settings.n, seconds, sample_bytes(tokens, settings.n))
        count = settings.n * settings.samples
        tokens = count * min(self.assume.trace, settings.max_tokens or _task_tokens(settings.domain))
        seconds = tokens / self.teacher_rate(settings.teacher) + self.assume.start_s
        return Cost(tokens, 0, count, count, seconds, 2 * sample_bytes(tokens, count))

    def warmup(self, model: str, config: Mapping[str, Any], traces: Mapping[str, Any]) -> Cost:
        """SFT: every trace, with its prompt, once per epoch."""
        settings = WarmupConfig(**config)
        made = self.distill(traces)
        count = max(1, made.completions)
        steps = settings.steps_for(count)
        sequences = steps * settings.batch_size
        if settings.max_steps is None:
            sequences = min(sequences, round(count * settings.epochs))
        length = self.assume.prompt + round(made.generated / count)
        tokens = sequences * min(length, settings.max_length or length)
        answers, evaluated = self._in_training_evals(settings, steps)
        rates = self.rates(model)
        seconds = tokens / rates.train + evaluated / rates.generate + self.assume.start_s
        return Cost(evaluated, tokens, answers, steps, seconds, self._checkpoint(model, settings))

    def rlvr(self, model: str, config: Mapping[str, Any]) -> Cost:
        """GRPO: prompts x generations per step, each generated once and trained on once."""
        settings = RlvrConfig(**config)
        steps = settings.steps_for(settings.examples)
        completions = steps * settings.completions
        answer = self._answer(settings.max_tokens or _task_tokens(settings.domain))
        answers, evaluated = self._in_training_evals(settings, steps)
        generated, trained = completions * answer + evaluated, completions * (self.assume.prompt + answer)
        rates = self.rates(model)
        seconds = generated / rates.generate + trained / rates.train + self.assume.start_s
        return Cost(generated, trained, completions + answers, steps, seconds, self._checkpoint(model, settings))

    def bench(self, model: str, config: BenchConfig, domains: Sequence[str]) -> Cost:
        """Evaluation: questions x samples, on each benchmark."""
        completions = tokens = 0
        for domain in domains:
            questions = self.assume.questions.get(domain) or _benchmark_questions(domain)
            count = min(questions, value_of(config.limit, domain) or questions) * config.samples
            completions += count
            tokens += count * self._answer(value_of(config.max_tokens, domain) or _benchmark_tokens(domain))
        seconds = tokens / self.rates(model).generate + self.assume.start_s
        return Cost(tokens, 0, completions, completions, seconds, sample_bytes(tokens, completions))

    def _in_training_evals(self, config: TrainConfig, steps: int) -> tuple[int, int]:
        """Answers and tokens of the in-training evaluations: at step 0, at every interval, and at the end."""
        times = 1 + -(-steps // config.eval_every)
        answers = [
            (
                times * config.eval_questions,
                self._answer(value_of(config.eval_max_tokens, name) or _benchmark_tokens(name)),
            )
            for name in config.eval_on
        ]
        return sum(n for n, _ in answers), sum(n * tokens for n, tokens in answers)

    def _answer(self, limit: int) -> int:
        return min(self.assume.answer, limit)

    def _checkpoint(self, model: str, config: TrainConfig) -> float:
        """Bytes that a finished training leaves: its checkpoint, and the best weights."""
        size = self.size(model)
        one = training_disk(size, lora=config.lora, keeps_best=bool(config.eval_on) and config.keep_best, steps=0)
        return one or 0.0


def _task_tokens(domain: str) -> int:
    """The token limit of a domain's training task; that of the paper for an unknown one, which is reported later."""
    try:
        return registry().task(domain).sampling.max_tokens
    except KkwarmError:
        return 4096


def _benchmark_questions(domain: str) -> int:
    """The number of questions of a table, whose data is at hand; an assumption for other benchmarks."""
    if not domain.partition(":")[0].endswith(".toml"):
        return DEFAULT_QUESTIONS
    try:
        return sum(1 for _ in registry().benchmark(domain).load())
    except KkwarmError:  # reported before the study begins
        return DEFAULT_QUESTIONS


def _benchmark_tokens(domain: str) -> int:
    try:
        return registry().benchmark(domain).sampling.max_tokens
    except KkwarmError:
        return 4096


def is_model_teacher(teacher: str) -> bool:
    """Whether a teacher is a model (a hub id, a folder or a server) rather than a registered name."""
    return "/" in teacher or ":" in teacher
