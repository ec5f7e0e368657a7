"""Settings of distill, warmup, rlvr and bench.

Each setting is defined once: type, default, bounds, description, panel, and whether it decides the result. Options of
the command line, keys of recipes and the documentation are generated from these definitions.
"""

from __future__ import annotations

import json
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    ValidationError,
)
from pydantic import model_validator as validator
from pydantic.fields import FieldInfo

from kkwarm.errors import KkwarmError, shorten, unknown_name, warn
from kkwarm.files import expand_path
from kkwarm.protocols.prompts import PromptOptions
from kkwarm.protocols.reasoning import parse_think_tags
from kkwarm.schema.by_benchmark import check_benchmarks, check_protocols, parse_values, value_for
from kkwarm.schema.document import (
    ConfigError,
    Location,
    Problems,
    describe_types,
    describe_value,
    explain,
    key_path,
    validate,
)

S = TypeVar("S", bound="Settings")

LARGEST = 2**31 - 1  # libraries keep counts in C's int
MAX_SEQUENCES = 10**8  # of a whole run: their order is a list in memory

MODEL_AND_DATA = "Model and data"
OPTIMIZATION = "Optimization"
ROLLOUTS = "Rollouts"
SAMPLING = "Sampling"
EVALUATION = "In-training evaluation"
HARDWARE = "Hardware and memory"
CONTAMINATION = "Contamination"
STOPPING = "Early stopping"
TRACKING = "Tracking"
OUTPUT = "Output"
PANELS = (
    MODEL_AND_DATA,
    SAMPLING,
    OPTIMIZATION,
    ROLLOUTS,
    EVALUATION,
    STOPPING,
    HARDWARE,
    CONTAMINATION,
    TRACKING,
    OUTPUT,
)


def fraction_hint(name: str, value: float) -> str:
    """A hint where a number of percentage points looks like a fraction (above 0 and below 0.2); otherwise empty."""
    if not 0 < value < 0.2:
        return ""
    return f"{name} is in percentage points: {value:g} means {value:g} points; did you mean {100 * value:g}?"


def check_run_size(sequences: float, unit: str) -> None:
    """:raises KkwarmError: a run of so many sequences is a typing error: their order alone would fill the memory."""
    if sequences > MAX_SEQUENCES:
        raise KkwarmError(f"{shorten(sequences)} {unit} are too many", hint=f"at most {MAX_SEQUENCES:,} in a run")


# -- types -------------------------------------------------------------------------------------------------------------


def _temperature(value: float) -> float:
    if value and not 1e-3 <= value <= 100:  # logits are divided by it
        raise ValueError(f"must be 0, or from 0.001 to 100, not {value:g}")
    return value


def _not_boolean(value: Any) -> Any:
    return str(value) if isinstance(value, bool) else value


def _by_benchmark(value: Any) -> int | dict[str, int]:
    """A count for all benchmarks, or one for each: a mapping, or ``BENCHMARK=N,...`` as text."""
    counts = value
    if isinstance(value, str):
        try:
            counts = parse_values(value, "the setting")
        except KkwarmError as err:
            raise ValueError(str(err)) from None
        counts = {name: int(text) if text.isdecimal() else text for name, text in counts.items()}
        counts = counts[""] if list(counts) == [""] else counts
    for count in counts.values() if isinstance(counts, Mapping) else (counts,):
        if not isinstance(count, int) or isinstance(count, bool):
            raise ValueError(f"must be a whole number, or BENCHMARK=NUMBER,..., not {describe_value(count)}")
        if not 1 <= count <= LARGEST:
            raise ValueError(
                f"{shorten(count)} is too {'small; at least 1' if count < 1 else f'large; at most {LARGEST}'}"
            )
    return dict(counts) if isinstance(counts, Mapping) else counts


Number = Annotated[float, BeforeValidator(_not_boolean)]  # text such as 1e-6 is read: YAML 1.1 gives it as text
Positive = Annotated[Number, Field(gt=0, le=LARGEST)]
Count = Annotated[int, Strict(), Field(ge=1, le=LARGEST)]
Switch = Annotated[bool, Strict()]
Seed = Annotated[int, Strict(), Field(ge=0, le=2**32 - 1)]
Temperature = Annotated[Number, AfterValidator(_temperature)]
Probability = Annotated[Number, Field(gt=0, le=1)]
TopK = Annotated[int, Strict(), Field(ge=0, le=LARGEST)]
MinP = Annotated[Number, Field(ge=0, lt=1)]
Points = Annotated[Number, Field(ge=0, le=100)]
Names = tuple[str, ...]
ByBenchmark = Annotated[int | Mapping[str, int], PlainValidator(_by_benchmark)]
Schedule = Literal["constant", "linear", "cosine"]


def value_of(counts: int | Mapping[str, int] | None, benchmark: str) -> int | None:
    """The value of a benchmark, of a setting of the type `ByBenchmark`; None where there is none."""
    return value_for(counts, benchmark) if isinstance(counts, Mapping) else counts


def setting(
    default: Any,
    description: str,
    panel: str,
    *,
    unset: str = "",
    identity: bool = True,
    option: str = "",
    metavar: str = "",
    points: bool = False,
    off: str = "",
) -> Any:
    """A field of a settings model.

    :param default: ``...`` for a required setting.
    :param unset: what None means, for help and documentation.
    :param identity: whether the setting decides the result, so that a run resumes only with an equal value.
    :param option: name of the command-line option where it is not ``--name-like-this``.
    :param points: the value is in percentage points.
    :param off: what ``--no-NAME`` does, for a switch that is on by default.
    """
    extra = {"panel": panel, "unset": unset, "identity": identity, "option": option}
    extra |= {"metavar": metavar, "points": points, "off": off}
    return Field(default, description=description, json_schema_extra=extra)  # type: ignore[arg-type]


def describe_default(field: FieldInfo) -> str:
    """The default of a setting, for help and documentation; empty where there is nothing to say."""
    if field.is_required():
        return "required"
    value, unset = field.get_default(call_default_factory=True), str(extra_of(field)["unset"])
    if value in (None, (), {}):
        return f"default: {unset}" if unset else ""
    if isinstance(value, bool):
        return f"default: {'on' if value else 'off'}"
    values = value if isinstance(value, tuple) else (value,)
    shown = (f"{v:g}".replace("e-0", "e-") if isinstance(v, float) else str(v) for v in values)
    return f"default: {' '.join(shown)}"


def describe_values(field: FieldInfo) -> str:
    """The values that a setting takes, for documentation, such as "a whole number, at least 1"."""
    bounds = [*field.metadata]
    for inner in typing.get_args(field.annotation):  # an optional setting has its bounds inside
        bounds += getattr(inner, "__metadata__", ())
    bounds = [part for b in bounds for part in (b.metadata if isinstance(b, FieldInfo) else [b])]
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    limits = [
        f"{word} {value:g}"
        for bound in bounds
        for key, word in words.items()
        if (value := getattr(bound, key, None)) is not None and value < LARGEST
    ]
    kind = describe_types(field.annotation).replace("a finite number", "a number")
    return ", ".join([kind, *dict.fromkeys(limits)])


def extra_of(field: FieldInfo) -> dict[str, Any]:
    """What `setting` keeps with a field: panel, unset, identity, option, metavar, points, off."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


class Settings(BaseModel):
    """Base of all settings: immutable, without unknown keys, with plain error messages."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=False)

    def __init__(self, **values: Any) -> None:
        """:raises ConfigError: unknown, missing or bad values, all of them."""
        try:
            super().__init__(**values)
        except ValidationError as err:
            problems = explain(type(self), values, err)
            messages = [f"{key_path(place)}: {text}" if place else text for place, text in problems]
            raise ConfigError(type(self).__name__, messages) from None

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # validation of files does not call it

    def replace(self, **values: Any) -> Self:
        """A validated copy with these values."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | values)

    def dump(self) -> dict[str, Any]:
        """All settings as JSON data."""
        return self.model_dump(mode="json")


# -- distill -----------------------------------------------------------------------------------------------------------


class _Contamination(Settings):
    """Settings of the contamination check, which distill, warmup and rlvr share."""

    decontaminate_against: Names = setting(
        (),
        "Benchmarks that will be evaluated. The command stops where the training data contains one of their questions.",
        CONTAMINATION,
        unset="the benchmarks of the training data's own domains",
        identity=False,
        metavar="NAME,...",
    )
    drop_contaminated: Switch = setting(
        False,
        "Leave contaminated items out, and use further ones in their place where there are any, instead of stopping.",
        CONTAMINATION,
    )
    allow_contamination: Switch = setting(
        False,
        "Use contaminated items nevertheless. The manifest and every report mark the affected results.",
        CONTAMINATION,
        identity=False,
    )

    @validator(mode="after")
    def _check_contamination(self) -> Self:
        if self.drop_contaminated and self.allow_contamination:
            raise ValueError("drop_contaminated and allow_contamination exclude each other: give one of them")
        return self


def _teacher(name: str) -> str:
    if not name.strip():
        what = "a registered teacher of the domain, a checkpoint folder or hub id, or a server's model name"
        raise ValueError(f"is empty: give {what}")
    return name


def _read_text(value: Any) -> Any:
    """A text, or the content of the file that it names."""
    if not isinstance(value, str) or not value.strip() or len(value) > 1000 or "\n" in value:
        return value
    path = expand_path(value)
    try:
        if path.is_file():
            return path.read_text("utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as err:
        raise ValueError(f"{value} cannot be read: {err}") from None
    if path.suffix in (".txt", ".md") and not any(char.isspace() for char in value):
        raise ValueError(f"{value} does not exist: give a file, or the text itself")
    return value


_RENDERING = (
    "conversation",
    "messages",
    "tokenize",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template",
)


def _template_args(value: Mapping[str, Any]) -> Mapping[str, Any]:
    if taken := [name for name in value if name in _RENDERING]:
        raise ValueError(f"{', '.join(taken)} cannot be changed: the protocol decides what is rendered")
    return value


class _Prompting(Settings):
    """Settings of the prompts, which all four commands share."""

    protocol: str | None = setting(
        None,
        "Protocol: how questions are put to the model and answers are read. `official` is the benchmark's own; "
        "NAME=PROTOCOL,... is for single benchmarks.",
        MODEL_AND_DATA,
        unset="the benchmark's default",
        metavar="[NAME=]PROTOCOL,...",
    )
    chat: Literal["auto", "on", "off"] = setting(
        "auto", "When to use the checkpoint's chat template; auto is as the protocol says.", MODEL_AND_DATA
    )
    system: Annotated[str, BeforeValidator(_read_text)] | None = setting(
        None,
        "System prompt, which replaces the protocol's: a text, or a file that contains it.",
        MODEL_AND_DATA,
        unset="the protocol's",
        metavar="TEXT|FILE",
    )
    chat_template_args: Annotated[Mapping[str, Any], AfterValidator(_template_args)] = setting(
        {},
        "Argument of the chat template, such as enable_thinking=false. Can be given several times.",
        MODEL_AND_DATA,
        metavar="KEY=VALUE",
    )
    think_tags: str | None = setting(
        None,
        "Delimiters of the model's reasoning, such as '<think>,</think>', or none. Reasoning is stored separately and "
        "never read as the answer.",
        MODEL_AND_DATA,
        unset="by the chat template and the tokenizer",
        metavar="OPEN,CLOSE",
    )

    @validator(mode="after")
    def _check_protocol(self) -> Self:
        try:
            _ = self.protocols
            parse_think_tags(self.think_tags or "none")
        except KkwarmError as err:
            raise ValueError(str(err)) from None
        return self

    @property
    def protocols(self) -> Mapping[str, str]:
        """The protocols that are named, by benchmark; the key of one for all others is empty."""
        return {} if self.protocol is None else parse_values(self.protocol, "--protocol")

    def check_benchmarks(self, prompted: Iterable[str], evaluated: Iterable[str] = ()) -> None:
        """Checks that each value for a single benchmark is for one that is used.

        :param prompted: benchmarks and domains that a model is prompted with.
        :param evaluated: those of them that in-training evaluations ask.
        :raises KkwarmError: a value is for another benchmark.
        """
        names = {"limit": prompted, "max_tokens": prompted, "eval_max_tokens": evaluated}
        for setting_name, known in names.items():
            if isinstance(values := getattr(self, setting_name, None), Mapping):
                check_benchmarks(values, known, "--" + setting_name.replace("_", "-"))
        check_protocols(self.protocol, [*prompted, *evaluated])

    @property
    def prompt_options(self) -> PromptOptions:
        """What is changed about a protocol's prompts."""
        shots = getattr(self, "shots", None)
        seed = getattr(self, "seed", 0) if shots else 0
        return PromptOptions(self.chat, self.system, shots, seed, self.chat_template_args, self.think_tags or "")


def _api() -> Any:
    return setting(
        "auto",
        "Endpoint of an OpenAI-compatible server: chat sends messages, completions sends text, auto is chat where the "
        "protocol uses a chat template.",
        HARDWARE,
    )


Api = Literal["auto", "chat", "completions"]


def _shots() -> Any:
    return setting(
        None,
        "Number of solved examples before each question, from the protocol or from the training examples.",
        MODEL_AND_DATA,
        unset="the protocol's",
    )


def _track() -> Any:
    return setting(
        (),
        "Experiment tracker that gets the figures: tensorboard, trackio or wandb. Can be given several times.",
        TRACKING,
        unset="none",
        identity=False,
        metavar="NAME",
    )


def _trust_remote_code(whose: str, trusted: str) -> Any:
    description = f"Run the Python code that {whose} brings along. Use it only {trusted}."
    return setting(False, description, HARDWARE, identity=False)


Shots = Annotated[int, Strict(), Field(ge=0, le=1000)]
Threads = Annotated[int, Strict(), Field(ge=1, le=1024)]
_TEMPERATURE = "Sampling temperature; 0 is greedy decoding."
_TOP_P = "Probability mass kept in nucleus sampling."
_TOP_K = "Number of most probable tokens to sample from; 0: all."
_MIN_P = "Leave tokens out whose probability is below this share of the most probable token's; 0: none."
_REPETITION_PENALTY = "Penalty on tokens that the prompt or the completion already contains; 1: off."


class DistillConfig(_Contamination, _Prompting):
    """Settings of `distill`: warm-up traces of one domain."""

    domain: str = setting(
        ...,
        "Domain whose training questions the teacher answers; NAME:VALUE selects one value of its facet.",
        MODEL_AND_DATA,
    )
    teacher: Annotated[str, AfterValidator(_teacher)] = setting(
        ...,
        "Teacher that writes the traces: a registered teacher of the domain, a checkpoint folder or hub id, or the "
        "name of a served model.",
        MODEL_AND_DATA,
    )
    n: Count = setting(
        ..., "Number of traces (registered teacher) or of questions (model).", MODEL_AND_DATA, option="-n"
    )
    verified_only: Switch = setting(
        False, "Keep only traces whose answer the domain's verifier accepts.", MODEL_AND_DATA
    )
    shots: Shots | None = _shots()
    seed: Seed = setting(0, "Random seed for the choice of questions and for sampling.", MODEL_AND_DATA)
    samples: Count = setting(1, "Number of completions per question (models only).", SAMPLING)
    temperature: Temperature = setting(0.6, _TEMPERATURE, SAMPLING)
    top_p: Probability = setting(0.95, _TOP_P, SAMPLING)
    top_k: TopK = setting(0, _TOP_K, SAMPLING)
    min_p: MinP = setting(0.0, _MIN_P, SAMPLING)
    repetition_penalty: Positive = setting(1.0, _REPETITION_PENALTY, SAMPLING)
    max_tokens: Count | None = setting(None, "Maximum number of tokens per completion.", SAMPLING, unset="the domain's")
    api: Api = _api()
    trust_remote_code: Switch = _trust_remote_code("the teacher's checkpoint", "where you trust its author")

    @validator(mode="after")
    def _check(self) -> Self:
        check_size(self.n * self.samples, "completions")
        return self


def check_size(sequences: float, unit: str) -> None:
    """As `check_run_size`, for validators, which raise ValueError."""
    try:
        check_run_size(sequences, unit)
    except KkwarmError as err:
        raise ValueError(str(err)) from None


# -- training ----------------------------------------------------------------------------------------------------------


class TrainConfig(_Contamination, _Prompting):
    """Settings that warm-up and RLVR share."""

    learning_rate: Positive = setting(1e-5, "Peak learning rate.", OPTIMIZATION)
    schedule: Schedule = setting("cosine", "Learning rate schedule after the warm-up steps.", OPTIMIZATION)
    warmup_steps: Annotated[int, Strict(), Field(ge=0, le=LARGEST)] = setting(
        0, "Number of optimizer steps in which the learning rate rises linearly from 0.", OPTIMIZATION
    )
    betas: Annotated[tuple[Annotated[Number, Field(ge=0, lt=1)], Annotated[Number, Field(ge=0, lt=1)]], "betas"] = (
        setting(
            (0.9, 0.999), "AdamW's decay rates for the first and second moment.", OPTIMIZATION, metavar="BETA1 BETA2"
        )
    )
    weight_decay: Annotated[Number, Field(ge=0)] = setting(0.0, "AdamW's weight decay.", OPTIMIZATION)
    max_grad_norm: Positive = setting(1.0, "Gradient norm above which gradients are scaled down.", OPTIMIZATION)
    seed: Seed = setting(0, "Random seed for data order, example selection and sampling.", OPTIMIZATION)
    lora: Switch = setting(
        False, "Train a LoRA adapter instead of all weights; the checkpoint contains it merged.", OPTIMIZATION
    )
    lora_rank: Count = setting(32, "Rank of the LoRA adapter; giving it turns LoRA on.", OPTIMIZATION)
    qlora: Switch = setting(False, "Train LoRA on base weights quantized to 4 bits (needs bitsandbytes).", OPTIMIZATION)
    optim: Literal["adamw", "adamw_8bit"] = setting(
        "adamw", "Optimizer; adamw_8bit keeps its states in 8 bits (needs bitsandbytes).", OPTIMIZATION
    )
    trl: Mapping[str, Any] = setting(
        {}, "Further arguments of trl's trainer configuration, passed as they are.", OPTIMIZATION, metavar="KEY=VALUE"
    )
    eval_on: Names = setting(
        (),
        "Benchmarks to evaluate on during training: before the first step, every --eval-every steps, and at the end.",
        EVALUATION,
        unset="none",
        identity=False,
        metavar="NAME,...",
    )
    eval_every: Count = setting(10, "Number of steps between two evaluations.", EVALUATION, identity=False)
    eval_questions: Count = setting(
        50, "Number of questions of each benchmark in one evaluation.", EVALUATION, identity=False
    )
    eval_max_tokens: ByBenchmark | None = setting(
        None,
        "Maximum number of tokens per answer in an evaluation; NAME=N,... for single benchmarks.",
        EVALUATION,
        unset="the benchmark's",
        identity=False,
        metavar="[NAME=]N,...",
    )
    keep_best: Switch = setting(
        True,
        "Keep the weights of the step with the best evaluation, in best/.",
        EVALUATION,
        identity=False,
        off="Do not keep the weights of the step with the best evaluation.",
    )
    micro_batch_size: Count | None = setting(
        None,
        "Maximum number of sequences per forward pass. It changes memory and speed, not the optimizer step.",
        HARDWARE,
        unset="what fits in memory; on a CPU fewer, which is faster",
        identity=False,
    )
    gradient_checkpointing: Switch = setting(
        False,
        "Recompute activations in the backward pass: less memory, about a fifth slower.",
        HARDWARE,
        identity=False,
    )
    precision: Literal["auto", "bf16", "fp32"] = setting(
        "auto",
        "Precision of activations; weights stay in fp32. auto is bf16 on a GPU, and on a CPU with bf16 instructions.",
        HARDWARE,
    )
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "Device to train on; auto is CUDA where there is a GPU.", HARDWARE, identity=False
    )
    nproc: Count = setting(1, "Number of processes that share each step (data parallel).", HARDWARE, identity=False)
    accelerate: str | None = setting(
        None,
        "How processes share the weights: fsdp2, zero3, or a file written by `accelerate config`.",
        HARDWARE,
        unset="each holds all weights",
        identity=False,
        option="--accelerate-config",
        metavar="NAME|FILE",
    )
    attention: Literal["auto", "sdpa", "flash", "eager"] = setting(
        "auto",
        "Attention implementation; auto is FlashAttention where it is installed and the GPU has bf16, else SDPA.",
        HARDWARE,
    )
    liger: Switch = setting(False, "Use Liger's fused kernels (CUDA only).", HARDWARE)
    threads: Threads | None = setting(None, "Number of CPU threads.", HARDWARE, unset="torch's", identity=False)
    trust_remote_code: Switch = _trust_remote_code("the checkpoint", "for checkpoints whose author you trust")
    memory_check: Switch = setting(
        True,
        "Estimate peak memory before training; reduce the micro batch, turn on gradient checkpointing or lower vLLM's "
        "share to fit.",
        HARDWARE,
        identity=False,
        off="Skip the memory estimate and try anyway.",
    )
    save_every: Count | None = setting(
        None, "Number of steps between step checkpoints.", OUTPUT, unset="chosen by time", identity=False
    )
    track: Names = _track()

    @validator(mode="before")
    @classmethod
    def _turn_lora_on(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and (
            (data.get("qlora") is True and not data.get("lora")) or ("lora_rank" in data and "lora" not in data)
        ):
            return {**data, "lora": True}
        return data

    @property
    def sequences(self) -> int:
        """Sequences per optimizer step, over all processes."""
        raise NotImplementedError


class WarmupConfig(TrainConfig):
    """Settings of `warmup`: SFT on traces."""

    epochs: Positive = setting(3.0, "Number of passes over the traces.", MODEL_AND_DATA)
    max_steps: Count | None = setting(
        None, "Number of optimizer steps; replaces --epochs.", MODEL_AND_DATA, unset="by --epochs"
    )
    max_length: Annotated[int, Strict(), Field(ge=2, le=LARGEST)] | None = setting(
        None,
        "Maximum tokens of prompt and completion. Longer traces are left out, because a truncated trace teaches the "
        "model not to stop.",
        MODEL_AND_DATA,
        unset="the model's context",
    )
    packing: Switch = setting(
        False, "Pack several traces into one sequence; each attends only to itself.", MODEL_AND_DATA
    )
    batch_size: Count = setting(8, "Number of sequences per optimizer step.", OPTIMIZATION)
    divergence_factor: Positive = setting(
        3.0,
        "Stop where the mean loss of 8 steps is this many times its lowest value so far.",
        OPTIMIZATION,
        identity=False,
    )

    @validator(mode="after")
    def _check(self) -> Self:
        check_size(self.batch_size * (self.max_steps or 1), "traces")
        return self

    @property
    def sequences(self) -> int:
        """Traces per optimizer step (packed sequences, where traces are packed)."""
        return self.batch_size

    def steps_for(self, rows: int) -> int:
        """Number of optimizer steps on so many traces (or packed sequences)."""
        if self.max_steps is not None:
            return self.max_steps
        check_run_size(rows * self.epochs, "traces")
        return max(1, math.ceil(rows * self.epochs / self.batch_size))


class RlvrConfig(TrainConfig):
    """Settings of `rlvr`: GRPO on a domain, with its verifier as the reward. The defaults are Dr. GRPO's."""

    domain: str = setting(..., "Domain to train on; NAME:VALUE selects one value of its facet.", MODEL_AND_DATA)
    examples: Count = setting(100, "Number of training examples.", MODEL_AND_DATA)
    steps: Count | None = setting(
        None, "Number of optimizer steps; replaces --epochs.", MODEL_AND_DATA, unset="by --epochs"
    )
    epochs: Positive = setting(5.0, "Number of passes over the examples.", MODEL_AND_DATA)
    shots: Shots | None = _shots()
    learning_rate: Positive = setting(1e-6, "Peak learning rate.", OPTIMIZATION)
    schedule: Schedule = setting("constant", "Learning rate schedule after the warm-up steps.", OPTIMIZATION)
    beta: Annotated[Number, Field(ge=0)] = setting(
        0.0, "Weight of the KL penalty towards the initial model.", OPTIMIZATION
    )
    loss_type: str = setting("dr_grpo", "Loss; one of trl's GRPO losses.", OPTIMIZATION)
    scale_rewards: Literal["none", "group", "batch"] = setting(
        "none",
        "Divisor of the advantages: none, or the standard deviation of the rewards in the group or in the batch.",
        OPTIMIZATION,
    )
    epsilon: Positive = setting(0.2, "Clipping range of the importance ratio.", OPTIMIZATION)
    prompts_per_step: Count = setting(8, "Number of prompts per optimizer step.", ROLLOUTS)
    generations: Annotated[int, Strict(), Field(ge=2, le=LARGEST)] = setting(
        8, "Number of completions per prompt, whose rewards are compared with each other.", ROLLOUTS
    )
    temperature: Temperature = setting(1.0, "Sampling temperature.", ROLLOUTS)
    top_p: Probability = setting(
        1.0, "Probability mass kept in nucleus sampling; below 1 it biases the importance ratio.", ROLLOUTS
    )
    max_tokens: Count | None = setting(None, "Maximum number of tokens per completion.", ROLLOUTS, unset="the domain's")
    vllm: Literal["none", "colocate", "server"] = setting(
        "none", "Generate with vLLM: not at all, in the training process (colocate), or on a server.", ROLLOUTS
    )
    reward_weights: Mapping[str, Annotated[Number, Field(ge=0, le=LARGEST)]] = setting(
        {},
        "Weight of a part of the reward, for a domain whose reward function returns parts; other parts have weight 1. "
        "Can be given several times.",
        ROLLOUTS,
        option="--reward-weight",
        metavar="NAME=WEIGHT",
    )
    keep_rollouts: Switch = setting(
        False, "Write every completion with its verdict to rollouts.jsonl.", OUTPUT, identity=False
    )

    @validator(mode="after")
    def _check(self) -> Self:
        check_size(self.completions * (self.steps or 1), "completions")
        if self.temperature == 0:
            raise ValueError("temperature must be above 0: rlvr needs completions of a prompt that differ")
        return self

    @property
    def completions(self) -> int:
        """Completions per optimizer step."""
        return self.prompts_per_step * self.generations

    @property
    def sequences(self) -> int:
        """As `completions`."""
        return self.completions

    def steps_for(self, examples: int) -> int:
        """Number of optimizer steps on so many examples. What an epoch leaves over is not enough for a step."""
        if self.steps is not None:
            return self.steps
        check_run_size(examples * self.epochs, "prompts")
        return max(1, math.floor(examples * self.epochs / self.prompts_per_step))


# -- bench -------------------------------------------------------------------------------------------------------------


class BenchConfig(_Prompting):
    """Settings of `bench`. Where temperature, top_p, max_tokens or protocol is None, each benchmark uses its own."""

    samples: Count = setting(1, "Number of samples per question.", SAMPLING)
    limit: ByBenchmark | None = setting(
        None,
        "Maximum number of questions of each benchmark, always the same; NAME=N,... for single benchmarks.",
        SAMPLING,
        unset="all",
        metavar="[NAME=]N,...",
    )
    split: Literal["test", "all"] = setting(
        "test",
        "Questions to evaluate: all also takes the training split, so that HumanEval+ has its 164 questions and "
        "MMLU-Pro its 12,032, as in published results.",
        SAMPLING,
    )
    temperature: Temperature | None = setting(None, _TEMPERATURE, SAMPLING, unset="the benchmark's")
    top_p: Probability | None = setting(None, _TOP_P, SAMPLING, unset="the benchmark's")
    top_k: TopK | None = setting(None, _TOP_K, SAMPLING, unset="the benchmark's")
    min_p: MinP | None = setting(None, _MIN_P, SAMPLING, unset="the benchmark's")
    repetition_penalty: Positive | None = setting(None, _REPETITION_PENALTY, SAMPLING, unset="the benchmark's")
    max_tokens: ByBenchmark | None = setting(
        None,
        "Maximum number of tokens per sample; NAME=N,... for single benchmarks.",
        SAMPLING,
        unset="the benchmark's",
        metavar="[NAME=]N,...",
    )
    generation_config: Literal["auto", "paper", "none"] = setting(
        "auto",
        "Sampling settings that are not given: auto takes those of the protocol, else the checkpoint's own where its "
        "chat template is used, else the benchmark's; paper takes the paper's; none never takes the checkpoint's.",
        SAMPLING,
    )
    thinking_budget: Count | None = setting(
        None,
        "Close the reasoning after this many tokens, and ask for the answer (backend hf).",
        SAMPLING,
        unset="no limit",
    )
    seed: Seed = setting(0, "Random seed for sampling.", SAMPLING)
    shots: Shots | None = _shots()
    force: Switch = setting(
        False,
        "Start every completion with a text that makes the model reason step by step. Results are named NAME+forced.",
        SAMPLING,
        option="--force-reasoning",
    )
    track: Names = _track()
    backend: Literal["hf", "vllm", "openai"] = setting("hf", "Backend that generates completions.", HARDWARE)
    api: Api = _api()
    base_url: str | None = setting(
        None,
        "Address of an OpenAI-compatible server, such as http://HOST:PORT/v1 (backend openai).",
        HARDWARE,
        unset="none",
        identity=False,
        metavar="URL",
    )
    device: str | None = setting(
        None, "Device: cpu, cuda or cuda:N (backend hf).", HARDWARE, unset="CUDA where there is a GPU", identity=False
    )
    batch_size: Count | None = setting(
        None,
        "Number of sequences generated at a time (backend hf). Samples do not depend on it, up to rounding.",
        HARDWARE,
        unset="what fits in memory",
        identity=False,
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16", "4bit"] = setting(
        "auto",
        "Type of the weights (backends hf and vllm); auto is bfloat16 on a GPU and float32 on a CPU, 4bit quantizes "
        "them with bitsandbytes (backend hf).",
        HARDWARE,
    )
    threads: Threads | None = setting(
        None, "Number of CPU threads (backend hf).", HARDWARE, unset="torch's", identity=False
    )
    trust_remote_code: Switch = _trust_remote_code("the checkpoint", "for checkpoints whose author you trust")
    engine: Mapping[str, Any] = setting(
        {},
        "Further options of the backend, such as tensor_parallel_size, replicas, gpu_memory_utilization or "
        "concurrency.",
        HARDWARE,
        metavar="KEY=VALUE",
    )
    until: Annotated[Number, Field(gt=0, lt=100)] | None = setting(
        None,
        "Stop each benchmark once its accuracy is known within this half-width, in percentage points.",
        STOPPING,
        unset="never",
        points=True,
    )
    until_decided: str | None = setting(
        None,
        "Stop each benchmark once it is decided whether it is better than, worse than or equivalent to this run.",
        STOPPING,
        unset="never",
        metavar="RUN",
    )
    margin: Points = setting(
        5.0, "Equivalence margin in percentage points: smaller differences count as a tie.", STOPPING, points=True
    )

    @validator(mode="after")
    def _check(self) -> Self:
        if "dtype" in self.engine:
            raise ValueError("the dtype has an option of its own: give dtype, not engine's")
        if self.thinking_budget is not None and self.backend != "hf":
            raise ValueError(f"thinking_budget is for backend hf, not {self.backend}")
        if self.thinking_budget is not None and self.force:
            raise ValueError("thinking_budget and force exclude each other: give one of them")
        if self.api != "auto" and self.backend != "openai":
            raise ValueError("api is for backend openai: the others have no endpoints")
        if self.dtype != "auto" and self.backend == "openai":
            raise ValueError("dtype is for backends hf and vllm: a server has chosen its own")
        if self.dtype == "4bit" and self.backend != "hf":
            raise ValueError(f"dtype 4bit is for backend hf, not {self.backend}")
        if self.until is not None and self.until_decided is not None:
            raise ValueError("until and until_decided are two stopping rules: give one of them")
        return self


# -- the paper's settings ----------------------------------------------------------------------------------------------

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


_PRESETS: Mapping[str, Mapping[type[Settings], Mapping[str, Any]]] = {
    "paper": {
        DistillConfig: PAPER_DISTILL,
        WarmupConfig: PAPER_WARMUP.model_dump(exclude_unset=True),
        RlvrConfig: PAPER_RLVR.model_dump(exclude_unset=True, exclude={"domain"}),
    }
}


def configure(
    model: type[S],
    given: Mapping[str, Any],
    *,
    where: str,
    preset: str | None = None,
    name_of: Callable[[str], str] = str,
) -> S:
    """The settings that the user gave, over those of a preset.

    :param where: the command or function, for messages.
    :param preset: ``paper``, or None for the defaults.
    :param name_of: what messages call a setting, such as its option.
    :raises ConfigError: lists all bad values.
    :raises KkwarmError: the preset is unknown.
    """
    if preset is not None and preset not in _PRESETS:
        raise unknown_name("preset", preset, _PRESETS)
    for name, value in given.items():
        in_points = name in model.model_fields and extra_of(model.model_fields[name])["points"]
        if in_points and isinstance(value, int | float) and (hint := fraction_hint(name_of(name), value)):
            warn(hint)

    def label(location: Location) -> str:
        known = location and location[0] in model.model_fields
        return key_path((name_of(str(location[0])), *location[1:])) if known else key_path(location)

    problems = Problems(where, label=label)
    start = {} if preset is None else _PRESETS[preset].get(model, {})
    config = validate(model, {**start, **given}, problems)
    problems.raise_any()
    assert config is not None
    return config


# -- identity ----------------------------------------------------------------------------------------------------------

_MODELS: Mapping[str, type[Settings]] = {"distill": DistillConfig, "warmup": WarmupConfig, "rlvr": RlvrConfig}


def identity(config: Settings) -> dict[str, Any]:
    """The settings that decide the result, as JSON data, without those that have their default value.

    `decontaminate_against` counts only where contaminated items are dropped: elsewhere it decides nothing.
    """
    dump, fields = config.dump(), type(config).model_fields
    counts = {name for name, field in fields.items() if extra_of(field).get("identity", True)}
    if dump.get("drop_contaminated"):
        counts.add("decontaminate_against")
    defaults = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    return {name: dump[name] for name in sorted(counts) if getattr(config, name) != defaults[name]}


def changed_settings(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a manifest that are not the defaults of their kind of run; all where the kind has no model."""
    model = _MODELS.get(kind)
    fields = {} if model is None else model.model_fields
    defaults = {k: f.get_default(call_default_factory=True) for k, f in fields.items() if not f.is_required()}
    plain = json.loads(json.dumps(defaults, default=str))
    return {key: value for key, value in config.items() if key not in plain or plain[key] != value}


def stored_identity(kind: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """`identity` of the settings that a run's manifest keeps; all of them for kinds of runs that have no model here."""
    model = _MODELS.get(kind)
    if model is None:
        return config
    try:
        return identity(model.model_validate(config))
    except ValidationError:  # settings of another version
        return config
