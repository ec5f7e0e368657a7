"""Prompts: renders examples by a protocol, for one checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Message, Protocol, Task

__all__ = ["PromptOptions", "PromptRenderer", "choose_examples", "make_renderer", "prompt_hash", "requested_protocol"]

_SPLITTER = "-[[]]-the-model-continues-here-[[]]-"  # cuts a rendered conversation behind the prefix
ChatOption = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What a user may change about a protocol's prompts.

    :param chat: use the chat template: ``auto`` follows the protocol, and uses text where there is no template.
    :param system: replaces the protocol's system prompt; empty: none.
    :param shots: number of solved examples; None: the protocol's.
    :param seed: of the choice of solved examples.
    """

    chat: ChatOption = "auto"
    system: str | None = None
    shots: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PromptRenderer:
    """Renders prompts by a protocol.

    :param chat: whether the tokenizer's chat template is used.
    :param solved: returns the solved examples for a question.
    :param note: what the user should know, such as that there is no chat template; else empty.
    """

    protocol: Protocol
    tokenizer: Any = None
    chat: bool = False
    system: str | Callable[[Example], str] = ""
    shots: int = 0
    solved: Callable[[Example], Sequence[Example]] = field(default=lambda example: ())
    gold: Callable[[Example], str] | None = None
    note: str = ""

    def __call__(self, example: Example) -> str:
        """The text that the model continues.

        :raises KkwarmError: the chat template fails.
        """
        messages = self.messages(example)
        if not self.chat:
            text = self.protocol.text or _join
            return text(messages) + self.protocol.prefix
        if self.protocol.prefix_as_turn:
            return self._continue_turn(messages)
        prompt = apply_chat_template(self.tokenizer, messages)
        # Some templates begin the model's turn with the prefix themselves.
        return prompt if prompt.rstrip().endswith(self.protocol.prefix.rstrip()) else prompt + self.protocol.prefix

    def messages(self, example: Example) -> list[Message]:
        """The conversation up to the model's turn: system prompt, solved examples, question."""
        system = self.system(example) if callable(self.system) else self.system
        messages = [Message("system", system)] if system else []
        for solved in self.solved(example):
            messages += [Message("user", self._question(solved)), Message("assistant", self._solution(solved))]
        return [*messages, Message("user", self._question(example))]

    def settings(self) -> dict[str, Any]:
        """What the prompts depend on beside the protocol, as a run records it: chat, shots, another system prompt."""
        settings: dict[str, Any] = {}
        if self.chat:
            settings["chat"] = True
        if self.shots:
            settings["shots"] = self.shots
        if self.system != self.protocol.system:
            settings["system"] = self.system
        return settings

    def _continue_turn(self, messages: Sequence[Message]) -> str:
        """The conversation up to the prefix of an assistant message, as the template renders that message."""
        turn = Message("assistant", self.protocol.prefix + _SPLITTER)
        text = apply_chat_template(self.tokenizer, [*messages, turn], add_generation_prompt=False)
        prompt, splitter, _ = text.partition(_SPLITTER)
        if not splitter:
            raise KkwarmError(
                f"protocol {self.protocol.name}: the chat template drops the beginning of the model's turn",
                hint="use --chat off",
            )
        return prompt

    def _question(self, example: Example) -> str:
        return example.question if self.protocol.question is None else self.protocol.question(example)

    def _solution(self, example: Example) -> str:
        if self.protocol.solution is not None:
            return self.protocol.solution(example)
        answer = str(example.answer) if self.gold is None else self.gold(example)
        return self.protocol.prefix + self.protocol.compose(None, answer)


def _join(messages: Sequence[Message]) -> str:
    return "\n\n".join(m.content for m in messages)


def apply_chat_template(tokenizer: Any, messages: Sequence[Message], **arguments: Any) -> str:
    """The conversation by the tokenizer's chat template, up to the beginning of the model's turn."""
    turns = [{"role": m.role, "content": m.content} for m in messages]
    arguments = {"add_generation_prompt": True} | arguments
    return str(tokenizer.apply_chat_template(turns, tokenize=False, **arguments))


def make_renderer(
    protocol: Protocol, tokenizer: Any = None, options: PromptOptions = PromptOptions(), task: Task | None = None
) -> PromptRenderer:
    """The renderer of a benchmark's or task's prompts.

    :param tokenizer: the checkpoint's; None: prompts are text.
    :param task: the task whose training examples, with their gold answers, may be the solved examples.
    :raises KkwarmError: there is no chat template and `options.chat` is ``on``, or there are not enough examples.
    """
    has_template = getattr(tokenizer, "chat_template", None) is not None
    if options.chat == "on" and not has_template:
        raise KkwarmError("this checkpoint has no chat template", hint="use --chat off, or another checkpoint")
    wanted = options.chat == "on" or (options.chat == "auto" and protocol.chat)
    note = ""
    if wanted and not has_template and tokenizer is not None:
        note = f"protocol {protocol.name}: this checkpoint has no chat template, so prompts are plain text"
    chat = wanted and has_template
    if not chat and protocol.text_form is not None:
        protocol = replace(protocol.text_form, name=protocol.name)
    shots = protocol.shots if options.shots is None else options.shots
    return PromptRenderer(
        protocol,
        tokenizer,
        chat=chat,
        system=protocol.system if options.system is None else options.system,
        shots=shots,
        solved=_solved_examples(protocol, shots, options.seed, task),
        gold=task.gold if task is not None else None,
        note=note,
    )


def _solved_examples(
    protocol: Protocol, shots: int, seed: int, task: Task | None
) -> Callable[[Example], Sequence[Example]]:
    """A function from a question to its `shots` solved examples: the protocol's own, or training examples."""
    fixed = protocol.shot_examples
    if not shots:
        return lambda example: ()
    if fixed is not None:

        def from_protocol(example: Example) -> Sequence[Example]:
            examples = fixed(example)
            if len(examples) < shots:
                raise KkwarmError(
                    f"protocol {protocol.name} has {len(examples)} solved examples, not {shots}",
                    hint=f"use --shots {len(examples)} or fewer",
                )
            return examples[:shots]

        return from_protocol
    if task is None:
        raise KkwarmError("there are no training examples for --shots", hint="use --shots 0")
    pool = choose_examples(task.load(), shots + 1, seed)
    if len(pool) < shots + 1:
        raise KkwarmError(
            f"{task.name} has {len(pool)} training examples, too few for --shots {shots}", hint="use fewer shots"
        )

    def from_training(example: Example) -> Sequence[Example]:
        return [e for e in pool if e.question != example.question][:shots]

    return from_training


def choose_examples(examples: Iterable[Example], n: int, seed: int) -> list[Example]:
    """The `n` examples (or all) whose hash of seed and content is lowest, so that their order does not matter."""
    from kkwarm.data.splits import content_hash

    return sorted(examples, key=lambda e: (hashlib.sha256(f"{seed}:{content_hash(e)}".encode()).digest(), e.id))[:n]


def prompt_hash(prompt: str) -> str:
    """A hash of a prompt (16 hex digits)."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def requested_protocol(option: str | None, benchmark: str) -> str | None:
    """The name that ``--protocol`` gives for a benchmark: ``NAME``, or ``BENCHMARK=NAME,...`` with names of several.

    :returns: None where it gives none.
    :raises KkwarmError: the option is empty or names something twice.
    """
    chosen = parse_protocols(option)
    bases = [benchmark[:at] for at, char in enumerate(benchmark) if char == ":"]
    for name in (benchmark, *reversed(bases), ""):
        if name in chosen:
            return chosen[name]
    return None


def parse_protocols(option: str | None) -> Mapping[str, str]:
    """Protocol names by benchmark; the key of a name for all benchmarks is empty.

    :raises KkwarmError: a part is empty, or two parts are for the same benchmark.
    """
    chosen: dict[str, str] = {}
    for part in (option or "").split(",") if option is not None else ():
        benchmark, equals, name = (text.strip() for text in part.rpartition("="))
        if not name or (equals and not benchmark):
            raise KkwarmError(f"--protocol {option}: a name is missing", hint="use NAME or BENCHMARK=NAME,...")
        if benchmark in chosen:
            what = f"protocols for {benchmark}" if benchmark else "protocols for all benchmarks"
            raise KkwarmError(f"--protocol {option} names two {what}", hint="use NAME or BENCHMARK=NAME,...")
        chosen[benchmark] = name
    return chosen
