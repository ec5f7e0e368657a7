"""The data types of kkwarm: frozen dataclasses and protocols that need the standard library only.

Data flows one way::

    Example -> Protocol (prompt) -> backend -> Completion -> Protocol (reader) -> Response
            -> Verifier -> Verdict -> reward (training) or metric (evaluation) -> Sample in the store

A plugin author usually writes a `Domain`, which expands into a `Task`, a `Verifier` and a `Benchmark` of the same name.
"""

from __future__ import annotations

import random
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from kkwarm.analysis.study_data import StudyData
    from kkwarm.schema.report import Claim

__all__ = [
    "Benchmark",
    "Case",
    "CaseGenerator",
    "ChatPrompt",
    "ClaimSet",
    "Completion",
    "Domain",
    "Example",
    "Message",
    "Mismatch",
    "Pin",
    "Probe",
    "Protocol",
    "Reader",
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
    """The outcome of a verdict. Only `CORRECT` counts as right; the others are counted separately."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"  # the format is intact, but it holds no answer of the expected kind
    MALFORMED = "malformed"  # the format is broken
    TRUNCATED = "truncated"  # generation stopped at the token limit before an answer was given
    TIMEOUT = "timeout"  # the answer could not be verified (or the code did not end) within the time limit
    ERROR = "error"  # the verifier itself failed; never the model's fault


@dataclass(frozen=True, slots=True)
class Example:
    """One question with its gold answer.

    :param id: the benchmark's own id, unique within the domain.
    :param answer: whatever the verifier needs, as JSON data.
    :param meta: facets such as ``category`` or ``level``, as JSON data.
    """

    id: str
    question: str
    answer: Any
    split: Split = "test"
    meta: Mapping[str, Any] = field(default_factory=dict)


REFERENCE_DIFFERS = "reference_differs"  # key of `Sample.meta`: the reference differs from the benchmark's own answer
SPLIT = "split"  # key of `Sample.meta`: "train" where the question belongs to the training split


@dataclass(frozen=True, slots=True)
class Completion:
    """The text that a model generated for one prompt, its length in tokens, and why generation ended.

    :param n_tokens: all tokens, those of the reasoning included.
    :param reasoning: the reasoning, where it was separated from `text` by the model's delimiters or by the server;
        empty where the model has delimiters and gave no reasoning. None: `text` is the whole completion.
    """

    text: str
    n_tokens: int | None = None
    finish_reason: FinishReason = "unknown"
    token_ids: tuple[int, ...] | None = None
    reasoning: str | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A completion that its protocol has split into reasoning and answer.

    :param answer: None where no answer was given.
    :param tagged: tags delimit the answer, so a verifier may require that they hold nothing else. False
        means that the answer is somewhere in free text and has to be extracted.
    :param problem: what is broken in the format; empty where nothing is.
    :param truncated: generation stopped at the token limit.
    """

    text: str
    reasoning: str
    answer: str | None
    tagged: bool = True
    problem: str = ""
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of verifying one response.

    :param answer: the answer as the verifier read it.
    :param reason: one sentence that explains the status.
    :param metrics: further scores of the completion.
    """

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
RewardFunction = Callable[..., "float | Mapping[str, float]"]


@dataclass(frozen=True, slots=True)
class Verifier:
    """Decides whether a response answers an example.

    :param check: returns a `Verdict`, or True/False. It must be pure: same arguments, same verdict. It receives only
        responses with an intact format and an answer; the format layer gives the verdict on all others.
    :param isolation: ``"inline"`` runs `check` in this process. It must then be fast and must not hang: only Python
        code on the main thread can be interrupted. ``"process"`` runs it in a worker process that can be killed.
    :param timeout_s: seconds after which a check is ended.
    :param timeout_status: the status of a check that was ended. ``error``: the verifier is at fault. ``timeout``: the
        answer decides how long the check takes (``9^{9^{9^9}}``), and counts as wrong.
    :param precheck: called first, in this process. It returns None where it cannot decide; `check` then does.
    :param check_batch: replaces `check` for many pairs at once, and enforces its own time limits.
    :param tolerance: how far a numeric answer may be from the gold answer and still be accepted. The adversarial
        probes take it into account.
    :param answers: ``"program"``: the answers are code. Text beside a right program need not make it wrong, so the
        adversarial probes and the search do not edit the gold answer. They try programs that cheat, and put the gold
        answer in other texts.
    """

    name: str
    check: Check
    isolation: Literal["inline", "process"] = "inline"
    timeout_s: float = 10.0
    timeout_status: Literal[Status.TIMEOUT, Status.ERROR] = Status.ERROR
    precheck: Precheck | None = None
    check_batch: CheckBatch | None = None
    tolerance: float = 0.0
    answers: Literal["text", "program"] = "text"


@dataclass(frozen=True, slots=True)
class Rewards:
    """The reward of each status in RLVR. The defaults are the table of the paper's code (arXiv 2505.13718).

    :param truncated: None rewards it as `malformed`, since the paper's code cannot tell the two apart.
    :param timeout: None rewards it as `wrong`.
    :param partial: the name of a metric of the verdicts, from 0 to 1, that gives partial credit: the reward of an
        answer that is wrong, or ran out of time, rises with it in proportion up to that of `correct`. Empty: none.
    """

    correct: float = 2.0
    wrong: float = -0.5
    unparsed: float = -1.0
    malformed: float = -2.0
    truncated: float | None = None
    timeout: float | None = None
    error: float = 0.0
    partial: str = ""

    def for_status(self, status: Status) -> float:
        """The reward of a verdict with that status, without partial credit."""
        if status is Status.TRUNCATED and self.truncated is None:
            return self.malformed
        if status is Status.TIMEOUT and self.timeout is None:
            return self.wrong
        return float(getattr(self, status.value))


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters; `temperature` 0 is greedy decoding. The defaults are those of the paper's evaluation.

    :param top_k: number of most probable tokens to choose from; 0: all.
    :param min_p: probability, relative to that of the most probable token, below which tokens are left out; 0: none.
    :param repetition_penalty: divides the positive logits of tokens that the prompt or the completion contains, and
        multiplies their negative ones (Keskar et al. 2019, arXiv 1909.05858); 1: off.
    """

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 4096
    seed: int = 0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A prompt for a server that renders the chat template itself.

    :param prefix: the beginning of the model's turn, which the model continues.
    :param template_args: further arguments of the chat template.
    """

    messages: tuple[Message, ...]
    prefix: str = ""
    template_args: Mapping[str, Any] = field(default_factory=dict)


@typing.runtime_checkable
class Reader(typing.Protocol):
    """Splits completions into reasoning and answer. `kkwarm.protocols` has the built-in readers.

    A reader that needs ``<think>`` tags in the text has the attribute ``reads_tags = True``. For all others the
    reasoning between a model's own delimiters is separated from the text before `split`.
    """

    def split(self, completion: Completion) -> Response:
        """Splits a completion into reasoning and answer, or describes what is broken as the problem."""
        ...

    def compose(self, reasoning: str | None, answer: str) -> str:
        """The completion that gives `answer` after `reasoning` (None: a direct answer). `split` reverses it."""
        ...


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a benchmark's questions are put to a model and how its answers are read.

    A prompt is a conversation: the system prompt, solved examples (shots), and the question. It is rendered by the
    checkpoint's chat template or, without one, by `text`; the beginning of the model's turn (`prefix`) follows it.

    :param name: what ``--protocol`` takes.
    :param reader: splits completions, and composes those of warm-up traces.
    :param benchmark: the only benchmark that it is for; empty: every benchmark.
    :param system: the system prompt, or a function from the example to it.
    :param question: the user's turn for an example; None: the example's question.
    :param text: renders the turns as text where no chat template is used, up to the model's turn. None: the turns,
        separated by blank lines; after solved examples, a blank line ends a completion if there is no `stop`.
    :param prefix: the beginning of the model's turn. The model continues it.
    :param prefix_as_turn: with a chat template, renders the prefix as the beginning of an assistant message, as
        evalplus does, and not after the template's generation prompt. The two differ for some templates.
    :param chat: uses the chat template of a checkpoint that has one.
    :param text_form: replaces this protocol where no chat template is used: other wording, prefix, stop strings.
    :param shots: number of solved examples before the question.
    :param shot_examples: ``shot_examples(example)`` returns the solved examples for a question, at least `shots` of
        them. None: training examples, chosen by a seed.
    :param solution: the model's turn for a solved example; None: the reader's completion with the gold answer.
    :param stop: strings that end a completion; they are kept in its text.
    :param sampling: replaces the benchmark's sampling settings.
    :param verifier: name of the verifier that replaces the benchmark's.
    :param force: text that ``--force-reasoning`` puts after a prompt to force step-by-step reasoning. It counts as part
        of the completion. Empty: there is none.
    :param official: ``--protocol official`` selects it for its benchmark.
    :param source: where the protocol is from: paper, repository, file or section.
    """

    name: str
    reader: Reader
    benchmark: str = ""
    system: str | Callable[[Example], str] = ""
    question: Callable[[Example], str] | None = None
    text: Callable[[Sequence[Message]], str] | None = None
    prefix: str = ""
    prefix_as_turn: bool = False
    chat: bool = False
    text_form: Protocol | None = None
    shots: int = 0
    shot_examples: Callable[[Example], Sequence[Example]] | None = None
    solution: Callable[[Example], str] | None = None
    stop: tuple[str, ...] = ()
    sampling: Sampling | None = None
    verifier: str = ""
    force: str = ""
    official: bool = False
    description: str = ""
    source: str = ""

    def split(self, completion: Completion) -> Response:
        """See `Reader.split`. Reasoning that was separated from the text is no part of the answer; without a text after
        it, there is none.
        """
        if not completion.reasoning:
            return self.reader.split(completion)
        if isinstance(completion.text, str) and not completion.text.strip():
            truncated = completion.finish_reason == "length"
            return Response("", completion.reasoning, None, False, "no answer after the reasoning", truncated)
        response = self.reader.split(completion)
        return response if response.reasoning else replace(response, reasoning=completion.reasoning)

    def compose(self, reasoning: str | None, answer: str) -> str:
        """See `Reader.compose`."""
        return self.reader.compose(reasoning, answer)


Loader = Callable[[], Iterable[Example]]


@dataclass(frozen=True, slots=True)
class Pin:
    """The published content of one split of a domain. Other content is refused, or marked in every figure.

    :param content: SHA-256 of the examples, which `kkwarm.data.examples_digest` computes. With a `repo`: as they are
        read from the folder `KKWARM_DATA`.
    :param hub_content: SHA-256 of the examples as they are read from `repo`. Empty: unknown, so that the revision alone
        pins the content.
    :param repo: the data set on the Hugging Face hub; empty: it is not from there.
    :param revision: the commit of `repo` that is read.
    :param task_id: the task's name in the hub's evaluation results of `repo`.
    :param source: where the content was published, if not in `repo`.
    :param measure: returns the hash that is compared with `content`. None: that of the examples.
    """

    content: str
    hub_content: str = ""
    repo: str = ""
    revision: str = ""
    task_id: str = "default"
    source: str = ""
    measure: Callable[[], str] | None = None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Two different hashes (SHA-256): of the pinned content, and of the content that was read."""

    pinned: str
    content: str


FindMismatch = Callable[[], "Mismatch | None"]


@dataclass(frozen=True, slots=True)
class Task:
    """A data set to train on with RLVR. `load` returns the training examples in a fixed order.

    :param reward: as in `Domain`.
    """

    name: str
    load: Loader
    verifier: str
    protocol: str = "paper"
    rewards: Rewards = Rewards()
    gold: Callable[[Example], str] | None = None
    sampling: Sampling = Sampling()
    facet: str | None = None
    identity: Callable[[str], str] | None = None
    reward: RewardFunction | None = None
    pin: Pin | None = None
    find_mismatch: FindMismatch | None = None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A data set to evaluate on.

    :param load: returns the evaluation examples.
    :param load_all: returns every example that has an id, including training examples.
    :param protocol: the default protocol.
    :param facet: the key of `Example.meta` by which results are broken down, and by which ``NAME:VALUE`` narrows the
        benchmark.
    :param facets: further keys by which results are broken down.
    :param pin: the published content.
    :param find_mismatch: returns two hashes where the data is not the pinned content; None where it is.
    """

    name: str
    load: Loader
    load_all: Loader
    verifier: str
    protocol: str = "paper"
    sampling: Sampling = Sampling()
    facet: str | None = None
    facets: Sequence[str] = ()
    description: str = ""
    identity: Callable[[str], str] | None = None
    pin: Pin | None = None
    find_mismatch: FindMismatch | None = None

    @property
    def all_facets(self) -> tuple[str, ...]:
        """The keys of `Example.meta` by which results are broken down."""
        return (*(() if self.facet is None else (self.facet,)), *self.facets)


@dataclass(frozen=True, slots=True)
class Domain:
    """A task, a verifier and a benchmark that share their data. Most plugins register only this.

    :param load: returns all examples, each with its `split`. Training examples that repeat a test example's content are
        dropped, so the splits cannot overlap.
    :param verifier: a `Verifier`, or only its `check` function.
    :param gold: the text of a correct answer, as it stands inside the answer tags.
    :param protocol: the default protocol.
    :param protocols: further protocols for this domain only.
    :param identity: a key that two questions share when they are the same problem in other words, such as K&K puzzles
        up to renaming and reordering. Splits and the contamination check use it. Without it both use the normalised
        text, and the contamination check also looks for near-duplicates.
    :param reward: ``reward(verdict, example)``, or ``reward(verdict, example, completion)``, replaces looking a verdict
        up in `rewards`. It returns the reward, or its parts by name, which are added up and logged separately. The
        table states the most that a status may earn, except that a wrong answer, or one that ran out of time, may earn
        anything below `rewards.correct`. It must be pure and fast.
    :param pins: the published content of each split. A split without a pin may have any content.
    :param waivers: adversarial probes that the domain need not pass, each with the reason: ``{"negated": "the answers
        are sentences, which may be negated"}``. Names are those that ``kkwarm check`` prints, which prints the waivers
        too. For the search, a name is a generator, or ``GENERATOR: KIND``.
    """

    name: str
    load: Loader
    verifier: Verifier | Check
    gold: Callable[[Example], str] | None = None
    description: str = ""
    protocol: str = "paper"
    protocols: Sequence[Protocol] = ()
    rewards: Rewards = Rewards()
    sampling: Sampling = Sampling()
    facet: str | None = None
    facets: Sequence[str] = ()
    identity: Callable[[str], str] | None = None
    reward: RewardFunction | None = None
    pins: Mapping[Split, Pin] = field(default_factory=dict)
    waivers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trace:
    """A solved example for warm-up. `reasoning` is None for a direct answer; `meta` describes its origin."""

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

    :param traces: ``traces(n, seed)`` yields `n` traces, and the same ones for the same arguments. For the domain
        ``NAME:VALUE`` it is called with a larger `n`, until it has yielded enough traces that have the value of the
        domain's facet in their `meta`.
    """

    name: str
    domain: str
    traces: Callable[[int, int], Iterable[Trace]]
    description: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What a probe builds its completions from.

    :param gold: the gold answer of the example.
    :param others: gold answers of other examples.
    :param tolerance: the verifier's `tolerance`.
    """

    example: Example
    gold: str
    others: Sequence[str]
    protocol: Protocol
    tolerance: float = 0.0

    def compose(self, answer: str, reasoning: str = "some reasoning") -> str:
        """A well-formed completion that gives this answer."""
        return self.protocol.compose(reasoning, answer)


@dataclass(frozen=True, slots=True)
class Probe:
    """Completions that test a verifier: it must accept, or must reject, every one of them.

    :param completions: returns the completions for one target.
    :param domain: the only domain that the probe is meant for; empty: every domain.
    :param uses_tags: the probe is about ``<think>`` and ``<answer>`` tags, and does not apply to scorers of free text.
    :param partial: the completions may hold a part of the right answer, so they may earn partial credit. Those of other
        probes may earn no more than the reward table states for their status.
    :param answers: the kind of answers that the probe is for, as in `Verifier`. Probes that edit the text of a gold
        answer are for ``"text"``, since a right program with other text beside it may still be right.
    """

    name: str
    completions: Callable[[Target], Iterable[str]]
    expect: Literal["accept", "reject"] = "reject"
    domain: str = ""
    uses_tags: bool = False
    partial: bool = False
    answers: Literal["any", "text", "program"] = "any"


@dataclass(frozen=True, slots=True)
class Case:
    """A completion that a `CaseGenerator` made, with the outcome that is right for it.

    :param kind: what was done, in a few words; results are counted by kind.
    :param example: the question, where the generator made one of its own; None: the target's.
    :param free_text: the verifier reads the completion as free text, without the tags of the domain's protocol.
    """

    completion: str
    expect: Literal["accept", "reject"]
    kind: str
    example: Example | None = None
    free_text: bool = False


@dataclass(frozen=True, slots=True)
class CaseGenerator:
    """Makes random cases for the adversarial search of ``kkwarm check``, each with its label.

    :param generate: ``generate(target, rng)`` returns a case, or None where it has none for this target. The label must
        not come from the verifier under test: it follows from how the case was made, or from an independent
        implementation. Every choice must be made with `rng`. The search shrinks a counterexample by calling `generate`
        again with smaller draws, so the first item of each choice should be the simplest.
    :param domain: the only domain that it is meant for; empty: every domain.
    :param peers: other verifiers, which can be run on the same cases for comparison.
    """

    name: str
    generate: Callable[[Target, random.Random], Case | None]
    domain: str = ""
    peers: tuple[Verifier, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """A verified completion: one line of the store. `index` counts the samples of one example from 0.

    :param reward: the reward in RLVR, where it depends on more than the status; else None.
    """

    benchmark: str
    id: str
    index: int
    completion: Completion
    verdict: Verdict
    prompt_hash: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    reward: float | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the verdict, and the reward as the metric ``reward`` where the sample has one."""
        return {**self.verdict.metrics, **({} if self.reward is None else {"reward": self.reward})}


@dataclass(frozen=True, slots=True)
class ClaimSet:
    """The claims of a paper, which `kkwarm report` evaluates on every study.

    `evaluate(study)` gets the study's data (`kkwarm.analysis.study_data.StudyData`) and returns its claims
    (`kkwarm.schema.report.Claim`), with p-values that are corrected over all of them; a claim without data has the
    verdict ``"no data"``. `kkwarm.analysis.papers.warm_up` is an example.
    """

    name: str
    evaluate: Callable[[StudyData], Sequence[Claim]]
    description: str = ""
