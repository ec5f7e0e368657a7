"""Settings of distill, warmup and rlvr, and the paper's. Standard library only.

Every field that decides the result is part of the run's identity: a run goes on only with equal ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from kkwarm.errors import KkwarmError, shorten, unknown_name
from kkwarm.limits import LARGEST, affordable, check_sampling, check_seed, positive

__all__ = [
    "PAPER_DISTILL",
    "PAPER_RLVR",
    "PAPER_WARMUP",
    "DistillConfig",
    "RlvrConfig",
    "TrainConfig",
    "WarmupConfig",
    "changed",
    "identity",
]

Precision = Literal["auto", "bf16", "fp32"]
Device = Literal["auto", "cpu", "cuda"]
Attention = Literal["auto", "sdpa", "flash", "eager"]
Optim = Literal["adamw", "adamw_8bit"]
Vllm = Literal["none", "colocate", "server"]


def _either(config: DistillConfig | TrainConfig) -> None:
    if config.drop_contaminated and config.allow_contamination:
        raise KkwarmError("drop_contaminated and allow_contamination exclude each other", hint="give one of them")


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """Warm-up traces of one domain.

    :param teacher: a registered teacher of the domain, a checkpoint folder or hub id, or a server's model name.
    :param n: traces of a registered teacher; questions for a model.
    :param samples: completions of each question (a model only).
    :param max_tokens: None: as the domain's sampling says.
    :param verified_only: keep only traces whose answer the domain's verifier accepts.
    :param format: the teacher's prompt format; None: the domain's.
    :param decontaminate_against: benchmarks that will be evaluated: no trace may ask their questions. Empty: the domain's own.
    :param drop_contaminated: leave such traces out; of a model, ask the next questions instead.
    :param allow_contamination: make such traces nevertheless; the manifest says so.
    """

    domain: str
    teacher: str
    n: int
    seed: int = 0
    samples: int = 1
    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int | None = None
    verified_only: bool = False
    format: str | None = None
    decontaminate_against: tuple[str, ...] = ()
    drop_contaminated: bool = False
    allow_contamination: bool = False

    def __post_init__(self) -> None:
        if not self.teacher.strip():
            hint = "a registered teacher of the domain, a checkpoint folder or hub id, or a server's model name"
            raise KkwarmError("the teacher's name is empty", hint=hint)
        _either(self)
        positive(self, "n", "samples", "max_tokens")
        check_sampling(self.temperature, self.top_p)
        check_seed(self.seed)
        affordable(self.n * self.samples, "completions")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """What warm-up and RLVR have in common.

    :param schedule: ``constant``, ``linear`` or ``cosine``, after `warmup_steps` of linear rise.
    :param max_grad_norm: the largest gradient norm.
    :param lora: rank of a LoRA adapter, or True for 32; False trains every weight.
    :param precision: of the activations; weights are kept in fp32, because steps of 1e-6 vanish in bf16. ``auto``: bf16
        on a GPU, or on a CPU with bf16 instructions.
    :param gradient_checkpointing: recompute activations in the backward pass: less memory, a fifth slower.
    :param save_every: steps between step checkpoints; None: by time, at most a twentieth of it.
    :param threads: CPU threads; None leaves torch's number.
    :param device: ``auto`` takes CUDA where there is one.
    :param nproc: processes that share each step, by data; the result is the same up to rounding.
    :param accelerate: how they share: ``fsdp2``, ``zero3`` (weights in shards) or a file of ``accelerate config``. On
        GPUs; with ``device="cpu"`` a rehearsal.
    :param memory_check: predict the peak, and fit the rows of a pass, checkpointing and vLLM's share to the device.
    :param micro_batch_size: sequences in a forward pass, at most; the step stays the same. None: what fits.
    :param attention: ``auto``: FlashAttention where it is installed and the GPU has bf16, SDPA otherwise.
    :param liger: Liger's fused kernels (CUDA).
    :param optim: ``adamw_8bit`` keeps the optimiser's states in 8 bits (bitsandbytes).
    :param qlora: LoRA on weights of 4 bits (bitsandbytes).
    :param divergence_factor: the run stops where the loss of SFT, over 8 steps, is so many times its lowest.
    :param eval_on: benchmarks that the in-training evaluation evaluates at step 0, every `eval_every` steps and at the end, on
        `eval_questions` questions each.
    :param keep_best: keep the weights of the step that was best so far, by the in-training evaluation, in ``best/``.
    :param track: trl's `report_to`: ``tensorboard``, ``trackio``, ``wandb``.
    :param decontaminate_against: benchmarks that will be evaluated: none of their questions may be trained on. Empty: the ones of the
        domains that are trained on.
    :param drop_contaminated: leave out traces that ask them; RLVR takes the next examples instead.
    :param allow_contamination: train on them nevertheless; the manifest and every report say so.
    :param trl: further arguments of trl's config, taken as they are.
    """

    learning_rate: float = 1e-5
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    lora: bool | int = False
    precision: Precision = "auto"
    gradient_checkpointing: bool = False
    seed: int = 0
    save_every: int | None = None
    threads: int | None = None
    device: Device = "auto"
    nproc: int = 1
    accelerate: str | None = None
    memory_check: bool = True
    micro_batch_size: int | None = None
    attention: Attention = "auto"
    liger: bool = False
    optim: Optim = "adamw"
    qlora: bool = False
    divergence_factor: float = 3.0
    eval_on: tuple[str, ...] = ()
    eval_every: int = 10
    eval_questions: int = 50
    keep_best: bool = True
    track: tuple[str, ...] = ()
    decontaminate_against: tuple[str, ...] = ()
    drop_contaminated: bool = False
    allow_contamination: bool = False
    trl: Mapping[str, Any] = field(default_factory=dict)

    def _check(self) -> None:
        _either(self)
        positive(self, "learning_rate", "max_grad_norm", "save_every", "threads", "nproc", "micro_batch_size")
        positive(self, "divergence_factor", "eval_every", "eval_questions")
        if self.qlora and not self.lora:
            object.__setattr__(self, "lora", True)
        check_seed(self.seed)
        if not 0 <= self.warmup_steps <= LARGEST:
            raise KkwarmError(f"warmup_steps must be from 0 to {LARGEST}, not {shorten(self.warmup_steps)}")
        if self.weight_decay < 0:
            raise KkwarmError(f"weight_decay must not be negative, not {self.weight_decay}")
        if not 0 <= self.lora <= LARGEST:
            raise KkwarmError(f"lora must be a rank, true or false, not {shorten(self.lora)}")
        if self.threads is not None and self.threads > 1024:
            raise KkwarmError(f"threads must be at most 1024, not {self.threads}")

    @property
    def sequences(self) -> int:
        """Sequences in a step, of all processes."""
        raise NotImplementedError

    @property
    def lora_rank(self) -> int:
        """0 where every weight is trained."""
        return 32 if self.lora is True else int(self.lora)


@dataclass(frozen=True, slots=True)
class WarmupConfig(TrainConfig):
    """SFT on traces.

    :param batch_size: traces in an optimizer step.
    :param max_length: tokens of prompt and completion; longer traces are left out (a cut one teaches not to end).
        None: the model's own limit.
    :param packing: several traces in one row of `max_length` tokens, each attending to itself only.
    :param format: the prompt format; None: the one of each trace's domain.
    """

    epochs: float = 3.0
    batch_size: int = 8
    max_length: int | None = None
    packing: bool = False
    max_steps: int | None = None
    format: str | None = None

    def __post_init__(self) -> None:
        self._check()
        positive(self, "epochs", "batch_size", "max_length", "max_steps")
        affordable(self.sequences * (self.max_steps or 1), "traces")

    @property
    def sequences(self) -> int:
        """Traces in a step (rows of several traces, where they are packed)."""
        return self.batch_size


@dataclass(frozen=True, slots=True)
class RlvrConfig(TrainConfig):
    """GRPO on at most `examples` examples of a domain, with its verifier as the reward. Defaults: Dr. GRPO.

    :param steps: optimiser steps; None: as many as `epochs` over the examples take.
    :param prompts_per_step: prompts in a step, each with `generations` completions.
    :param max_tokens: None: as the domain's sampling says.
    :param epsilon: the clip range of the importance ratio.
    :param keep_rollouts: write every completion with its verdict to ``rollouts.jsonl``.
    """

    domain: str
    examples: int = 100
    learning_rate: float = field(default=1e-6, kw_only=True)
    schedule: Literal["constant", "linear", "cosine"] = field(default="constant", kw_only=True)
    steps: int | None = None
    epochs: float = 5.0
    prompts_per_step: int = 8
    generations: int = 8
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int | None = None
    beta: float = 0.0
    loss_type: str = "dr_grpo"
    scale_rewards: Literal["none", "group", "batch"] = "none"
    epsilon: float = 0.2
    vllm: Vllm = "none"
    format: str | None = None
    keep_rollouts: bool = False

    def __post_init__(self) -> None:
        self._check()
        positive(self, "examples", "steps", "epochs", "prompts_per_step", "max_tokens", "epsilon")
        positive(self, "generations")
        check_sampling(self.temperature, self.top_p)
        affordable(self.completions * (self.steps or 1), "completions")
        if self.beta < 0:
            raise KkwarmError(f"beta must not be negative, not {self.beta}", hint="it would reward leaving the model")
        if self.temperature == 0:
            raise KkwarmError(
                "rlvr cannot sample at temperature 0", hint="every completion of a group would be the same"
            )
        if self.generations < 2:
            raise KkwarmError("rlvr needs at least 2 generations", hint="the reward is compared within a group")

    @property
    def completions(self) -> int:
        """Completions in a step."""
        return self.prompts_per_step * self.generations

    @property
    def sequences(self) -> int:
        """As `completions`."""
        return self.completions


# arXiv 2505.13718 (the authors' code). 4 samples of each of 5,000 puzzles; SFT for 3-5 epochs, of which we take 3.
PAPER_DISTILL = {"n": 5000, "samples": 4, "temperature": 0.6, "top_p": 0.95, "verified_only": False}
PAPER_WARMUP = WarmupConfig(
    learning_rate=1e-6,
    betas=(0.9, 0.95),
    weight_decay=1e-4,
    batch_size=2,
    micro_batch_size=1,
    max_grad_norm=0.1,
    warmup_steps=25,
    schedule="constant",
    epochs=3.0,
    gradient_checkpointing=True,
)
# Batches of 4 completions, accumulated 5 times: 2 prompts of 10 completions in a step. `domain` is to be replaced.
PAPER_RLVR = RlvrConfig(
    domain="math",
    examples=100,
    learning_rate=1e-6,
    beta=0.0,
    prompts_per_step=2,
    generations=10,
    micro_batch_size=4,
    epochs=25.0,
    temperature=0.7,
    top_p=0.95,
    max_grad_norm=0.1,
    scale_rewards="none",
    loss_type="dr_grpo",
    gradient_checkpointing=True,
)

_INCIDENTAL = (
    "save_every",
    "threads",
    "device",
    "nproc",
    "accelerate",
    "memory_check",
    "micro_batch_size",
    "gradient_checkpointing",
    "divergence_factor",
    "eval_on",
    "eval_every",
    "eval_questions",
    "keep_best",
    "track",
    "keep_rollouts",
    "decontaminate_against",
    "drop_contaminated",
    "allow_contamination",
)  # they do not decide the result
C = TypeVar("C", DistillConfig, WarmupConfig, RlvrConfig)


def identity(config: DistillConfig | TrainConfig) -> dict[str, Any]:
    """The settings that decide the result, as JSON data."""
    told = {k: v for k, v in asdict(config).items() if k not in _INCIDENTAL}
    # Only there do the benchmarks decide what is trained on; elsewhere runs of before this setting stay the same runs.
    return told | ({"drop_contaminated": list(config.decontaminate_against)} if config.drop_contaminated else {})


def changed(config: C, settings: Mapping[str, Any]) -> C:
    """The configuration with these settings, None meaning unchanged.

    :raises KkwarmError: a setting does not exist or is out of range.
    """
    known = {f.name for f in fields(config)}
    for name in settings:
        if name not in known:
            raise unknown_name("setting", name, known)
    return replace(config, **{k: v for k, v in settings.items() if v is not None})
