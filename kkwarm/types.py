"""The nouns of kkwarm. Every one is frozen and needs the standard library only.

Data flows one way::

    Example -> Format.render -> prompt -> backend -> Completion -> Format.split -> Response
            -> Verifier -> Verdict -> reward (training) or metric (evaluation) -> Sample in the store

A plugin author usually writes a `Domain`, which expands into a `Task`, a `Verifier` and a `Benchmark` of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable

__all__ = [
    "Benchmark",
    "Completion",
    "Domain",
    "Example",
    "Format",
    "Probe",
    "Response",
    "Rewards",
    "Sample",
    "Sampling",
    "Split",
    "Status",
    "Target",
    "Task",
    "Teacher",
    "Trace",
    "Verdict",
    "Verifier",
]

Split = Literal["train", "test"]
FinishReason = Literal["stop", "length", "unknown"]


class Status(StrEnum):
    """What a verdict says. Only `CORRECT` counts as right; the others are counted apart, never merged into wrong."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"  # the format is whole, but no answer of the expected kind is in it
    MALFORMED = "malformed"  # the format is broken
    TRUNCATED = "truncated"  # generation stopped at the token limit before an answer was given
    TIMEOUT = "timeout"  # the answer could not be judged (or the code did not end) in the time allowed
    ERROR = "error"  # the verifier itself failed; never the model's fault


@dataclass(frozen=True, slots=True)
class Example:
    """One question with its gold answer.

    `id` is the benchmark's own id and unique within the domain. `answer` is whatever the verifier needs; it must be
    JSON data. `meta` holds facets such as ``category`` or ``level``, also JSON data.
    """

    id: str
    question: str
    answer: Any
    split: Split = "test"
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote for one prompt: its text, how many tokens that took, and why it ended."""

    text: str
    n_tokens: int | None = None
    finish_reason: FinishReason = "unknown"
    token_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A completion split by its format. `answer` is None where none was given; `problem` says what is broken.

    `tagged` is True where the format's tags delimit the answer: a verifier may then demand that the answer is nothing
    but the answer. Otherwise the answer is somewhere in free text and has to be extracted.
    """

    text: str
    reasoning: str
    answer: str | None
    tagged: bool = True
    problem: str = ""
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's judgement. `answer` is what was read off, `reason` one sentence, `metrics` further scores."""

    status: Status
    answer: str | None = None
    reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def correct(self) -> bool:
        """Whether the status is `CORRECT`."""
        return self.status is Status.CORRECT


Check = Callable[[Example, Response], "Verdict | bool"]
Precheck = Callable[[Example, Response], "Verdict | None"]
CheckBatch = Callable[[Sequence[tuple[Example, Response]]], Sequence[Verdict]]


@dataclass(frozen=True, slots=True)
class Verifier:
    """Decides whether a response answers an example.

    `check` sees only responses whose format is whole and that have an answer: broken ones are judged by the format
    layer. It returns a `Verdict`, or True/False. It must be pure: same arguments, same verdict.

    `isolation="inline"` runs it in this process (it must then be fast and unable to hang: only Python code on the main
    thread can be ended after `timeout_s` seconds); ``"process"`` runs it in a worker that is killed then. `timeout_status` is the
    status that either gives: ``error``, as of any verifier that fails, or ``timeout`` where the answer decides how long
    the check takes (``9^{9^{9^9}}``), which then counts as wrong. `precheck`, where given, is asked first, in this
    process, and returns None where it cannot decide. `check_batch`, where given, replaces `check` for many
    pairs at once and answers for its own limits (the code verifier: it has a sandbox of its own). `tolerance` is how
    far a numeric answer may be from the gold answer and still be accepted; the adversarial probes respect it.
    """

    name: str
    check: Check
    isolation: Literal["inline", "process"] = "inline"
    timeout_s: float = 10.0
    timeout_status: Literal[Status.TIMEOUT, Status.ERROR] = Status.ERROR
    precheck: Precheck | None = None
    check_batch: CheckBatch | None = None
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Rewards:
    """The reward of each status, for RLVR. Defaults: the paper's table (arXiv 2505.13718, code).

    `truncated` is None where it should count as `malformed` (the paper's code cannot tell them apart).
    """

    correct: float = 2.0
    wrong: float = -0.5
    unparsed: float = -1.0
    malformed: float = -2.0
    truncated: float | None = None
    timeout: float | None = None  # None: as wrong
    error: float = 0.0

    def for_status(self, status: Status) -> float:
        """The reward of a verdict with that status."""
        if status is Status.TRUNCATED and self.truncated is None:
            return self.malformed
        if status is Status.TIMEOUT and self.timeout is None:
            return self.wrong
        return float(getattr(self, status.value))


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn. `temperature` 0 is greedy. Defaults: the paper's evaluation."""

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 4096
    seed: int = 0


@runtime_checkable
class Format(Protocol):
    """Renders a question as a prompt and splits a completion into reasoning and answer."""

    @property
    def name(self) -> str:
        """The name that domains and ``--format`` use."""
        ...

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a completion; they are kept in its text."""
        ...

    @property
    def chat(self) -> bool:
        """Whether `render` needs a tokenizer with a chat template."""
        ...

    @property
    def force(self) -> str:
        """Text that, appended to a prompt, makes the model reason step by step. It counts as part of the completion.

        Empty where the format has none; ``--force-reasoning`` then refuses it.
        """
        ...

    def render(self, question: str, tokenizer: Any = None) -> str:
        """The prompt, up to where the model goes on. A format that uses a chat template needs the tokenizer."""
        ...

    def compose(self, reasoning: str | None, answer: str) -> str:
        """The completion that gives `answer` after `reasoning`: `split` of it returns both. None: a direct answer."""
        ...

    def split(self, completion: Completion) -> Response:
        """The reasoning and the answer, or the problem: what is broken."""
        ...


Loader = Callable[[], Iterable[Example]]


@dataclass(frozen=True, slots=True)
class Task:
    """Something to train on. `load` returns the training examples, in a fixed order."""

    name: str
    load: Loader
    verifier: str
    format: str = "think-answer"
    rewards: Rewards = Rewards()
    gold: Callable[[Example], str] | None = None
    sampling: Sampling = Sampling()
    facet: str | None = None
    identity: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Something to evaluate on. `load` returns the evaluation examples; `load_all` every example that has an id.

    `saved_format` splits outputs saved by other tools (`kkwarm score`). `facet` is the key of `Example.meta` by which
    results are also broken down, and by which ``NAME:VALUE`` narrows the benchmark.
    """

    name: str
    load: Loader
    load_all: Loader
    verifier: str
    format: str = "think-answer"
    saved_format: str = "auto"
    sampling: Sampling = Sampling()
    facet: str | None = None
    description: str = ""
    identity: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Domain:
    """A task, a verifier and a benchmark that share their data: what most plugins register.

    `load` returns all examples, each with its `split`; examples of the training split whose content equals a test
    example's are dropped, so that the two cannot overlap. `verifier` is a `Verifier`, or just its `check`.
    `gold(example)` is the text of a right answer (the inside of the answer tags). `identity(question)` is a key that
    two questions share when they are one problem in other words (K&K puzzles up to renaming and reordering, say);
    splits and the contamination check go by it. Without one they go by the normalised text, the gate by near-duplicates too.
    """

    name: str
    load: Loader
    verifier: Verifier | Check
    gold: Callable[[Example], str] | None = None
    description: str = ""
    format: str = "think-answer"
    saved_format: str = "auto"
    rewards: Rewards = Rewards()
    sampling: Sampling = Sampling()
    facet: str | None = None
    identity: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """A worked example for warm-up. `reasoning` is None for a direct answer. `meta` says where it came from."""

    id: str
    domain: str
    question: str
    reasoning: str | None
    answer: str
    teacher: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Teacher:
    """A source of warm-up traces for one domain that needs no model.

    `traces(n, seed)` yields `n` of them, the same ones for the same arguments.
    """

    name: str
    domain: str
    traces: Callable[[int, int], Iterable[Trace]]
    description: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What an attack on a verifier is made from: an example, its gold answer, gold answers of others, the format.

    `tolerance`: how far a number may be off and still be right, where the verifier's check says so.
    """

    example: Example
    gold: str
    others: Sequence[str]
    format: Format
    tolerance: float = 0.0

    def compose(self, answer: str, reasoning: str = "some reasoning") -> str:
        """A whole completion with this answer."""
        return self.format.compose(reasoning, answer)


@dataclass(frozen=True, slots=True)
class Probe:
    """Completions for a target. `honest` ones must be judged correct, all others must not.

    `domain`: the only one it is meant for; empty: all. `tags`: it plays with <think> and <answer>, and means nothing
    to a scorer of free text.
    """

    name: str
    completions: Callable[[Target], Iterable[str]]
    expect: Literal["accept", "reject"] = "reject"
    domain: str = ""
    tags: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """A judged completion: one line of the store. `index` counts the samples of one example from 0."""

    benchmark: str
    id: str
    index: int
    completion: Completion
    verdict: Verdict
    prompt_hash: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
