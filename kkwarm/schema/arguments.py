"""Types of the keyword arguments of `kkwarm.distill`, `warmup`, `rlvr` and `bench`, for type checkers.

Written by docs/arguments.py from the definitions in `kkwarm.schema.settings`. Do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict


class _PromptingArguments(TypedDict, total=False):
    """Settings of the prompts, which all four commands share."""

    protocol: str | None
    chat: Literal["auto", "on", "off"]
    system: str | None
    chat_template_args: Mapping[str, Any]
    think_tags: str | None


class _ContaminationArguments(TypedDict, total=False):
    """Settings of the contamination check, which distill, warmup and rlvr share."""

    decontaminate_against: Sequence[str]
    drop_contaminated: bool
    allow_contamination: bool


class TrainArguments(_ContaminationArguments, _PromptingArguments, total=False):
    """Settings that warm-up and RLVR share."""

    learning_rate: float
    schedule: Literal["constant", "linear", "cosine"]
    warmup_steps: int
    betas: tuple[float, float]
    weight_decay: float
    max_grad_norm: float
    seed: int
    lora: bool
    lora_rank: int
    qlora: bool
    optim: Literal["adamw", "adamw_8bit"]
    trl: Mapping[str, Any]
    eval_on: Sequence[str]
    eval_every: int
    eval_questions: int
    eval_max_tokens: int | Mapping[str, int] | None
    keep_best: bool
    micro_batch_size: int | None
    gradient_checkpointing: bool
    precision: Literal["auto", "bf16", "fp32"]
    device: Literal["auto", "cpu", "cuda"]
    nproc: int
    accelerate: str | None
    attention: Literal["auto", "sdpa", "flash", "eager"]
    liger: bool
    threads: int | None
    trust_remote_code: bool
    memory_check: bool
    save_every: int | None
    track: Sequence[str]


class DistillArguments(_ContaminationArguments, _PromptingArguments, total=False):
    """Settings of `distill`: warm-up traces of one domain."""

    domain: Required[str]
    teacher: Required[str]
    n: int
    verified_only: bool
    shots: int | None
    seed: int
    samples: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    max_tokens: int | None
    api: Literal["auto", "chat", "completions"]
    trust_remote_code: bool


class WarmupArguments(TrainArguments, total=False):
    """Settings of `warmup`: SFT on traces."""

    epochs: float
    max_steps: int | None
    max_length: int | None
    packing: bool
    batch_size: int
    divergence_factor: float


class RlvrArguments(TrainArguments, total=False):
    """Settings of `rlvr`: GRPO on a domain, with its verifier as the reward. The defaults are Dr. GRPO's."""

    domain: Required[str]
    examples: int
    steps: int | None
    epochs: float
    shots: int | None
    beta: float
    loss_type: str
    scale_rewards: Literal["none", "group", "batch"]
    epsilon: float
    prompts_per_step: int
    generations: int
    temperature: float
    top_p: float
    max_tokens: int | None
    vllm: Literal["none", "colocate", "server"]
    reward_weights: Mapping[str, float]
    keep_rollouts: bool


class BenchArguments(_PromptingArguments, total=False):
    """Settings of `bench`. Where temperature, top_p, max_tokens or protocol is None, each benchmark uses its own."""

    samples: int
    limit: int | Mapping[str, int] | None
    split: Literal["test", "all"]
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    max_tokens: int | Mapping[str, int] | None
    generation_config: Literal["auto", "paper", "none"]
    thinking_budget: int | None
    seed: int
    shots: int | None
    force: bool
    track: Sequence[str]
    backend: Literal["hf", "vllm", "openai"]
    api: Literal["auto", "chat", "completions"]
    base_url: str | None
    device: str | None
    batch_size: int | None
    dtype: Literal["auto", "float32", "bfloat16", "float16", "4bit"]
    threads: int | None
    trust_remote_code: bool
    engine: Mapping[str, Any]
    until: float | None
    until_decided: str | None
    margin: float
