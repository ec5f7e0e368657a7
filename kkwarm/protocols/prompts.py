"""Prompts: renders examples by a protocol, for one checkpoint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from kkwarm.errors import KkwarmError, shorten
from kkwarm.protocols.readers import reads_tags
from kkwarm.protocols.reasoning import FAMILIES, ReasoningSplitter, detect_think_tags, parse_think_tags
from kkwarm.schema.by_benchmark import parse_values, value_for
from kkwarm.types import ChatPrompt, Example, Message, Protocol, Task

__all__ = ["PromptOptions", "PromptRenderer", "choose_examples", "make_renderer", "prompt_hash", "requested_protocol"]

_SPLITTER = "-[[]]-the-model-continues-here-[[]]-"  # cuts a rendered conversation behind the prefix
ChatOption = Literal["auto", "on", "off"]
ApiOption = Literal["auto", "chat", "completions"]


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What a user may change about a protocol's prompts.

    :param chat: use the chat template: ``auto`` follows the protocol, and uses text where there is no template.
    :param system: replaces the protocol's system prompt; empty: none.
    :param shots: number of solved examples; None: the protocol's.
    :param seed: of the choice of solved examples.
    :param template_args: further arguments of the chat template, such as ``enable_thinking``.
    :param think_tags: delimiters of the reasoning (see `parse_think_tags`); empty: by the tokenizer.
    """

    chat: ChatOption = "auto"
    system: str | None = None
    shots: int | None = None
    seed: int = 0
    template_args: Mapping[str, Any] = field(default_factory=dict)
    think_tags: str = ""


@dataclass(frozen=True, slots=True)
class PromptRenderer:
    """Renders prompts by a protocol.

    :param chat: whether the tokenizer's chat template is used.
    :param solved: returns the solved examples for a question.
    :param notes: what the user should know, such as that there is no chat template.
    :param template_args: further arguments of the chat template.
    :param merge_system: the chat template accepts no system prompt, so it begins the first user's turn.
    :param split_reasoning: separates the reasoning of a completion from its answer.
    :param remote: a server renders the chat template.
    """

    protocol: Protocol
    tokenizer: Any = None
    chat: bool = False
    system: str | Callable[[Example], str] = ""
    shots: int = 0
    solved: Callable[[Example], Sequence[Example]] = field(default=lambda example: ())
    gold: Callable[[Example], str] | None = None
    notes: tuple[str, ...] = ()
    template_args: Mapping[str, Any] = field(default_factory=dict)
    merge_system: bool = False
    split_reasoning: ReasoningSplitter = field(default_factory=ReasoningSplitter)
    remote: bool = False

    def __call__(self, example: Example) -> str:
        """The text that the model continues."""
        messages = self.messages(example)
        if not self.chat:
            text = self.protocol.text or _join
            return text(messages) + self.protocol.prefix
        if self.remote:  # for hashes, and to be looked at
            return (
                "\n\n".join(f"[{m.role}]\n{m.content}" for m in messages) + f"\n\n[assistant]\n{self.protocol.prefix}"
            )
        if self.protocol.prefix_as_turn:
            return self._continue_turn(messages)
        prompt = apply_chat_template(self.tokenizer, messages, **self.template_args)
        # Some templates begin the model's turn with the prefix themselves.
        return prompt if prompt.rstrip().endswith(self.protocol.prefix.rstrip()) else prompt + self.protocol.prefix

    def messages(self, example: Example) -> list[Message]:
        """The conversation up to the model's turn: system prompt, solved examples, question."""
        system = self.system(example) if callable(self.system) else self.system
        messages = [Message("system", system)] if system else []
        for solved in self.solved(example):
            messages += [Message("user", self._question(solved)), Message("assistant", self._solution(solved))]
        messages.append(Message("user", self._question(example)))
        return merge_system_prompt(messages) if self.merge_system else messages

    def chat_prompt(self, example: Example, force: str = "") -> ChatPrompt | None:
        """What a server that renders the chat template gets; None where prompts are text.

        :param force: a forced beginning of the completion.
        """
        if not (self.chat and self.remote):
            return None
        return ChatPrompt(tuple(self.messages(example)), self.protocol.prefix + force, self.template_args)

    def settings(self) -> dict[str, Any]:
        """What the prompts and their reading depend on beside the protocol, as a run records it: ``chat``, ``shots``,
        another ``system`` prompt, ``chat_template_args``, ``think_tags``, and ``api`` where a server renders them.
        """
        settings: dict[str, Any] = {}
        if self.chat:
            settings["chat"] = True
        if self.chat and self.remote:
            settings["api"] = "chat"
        if self.shots:
            settings["shots"] = self.shots
        if self.system != self.protocol.system:
            settings["system"] = self.system
        if self.chat and self.template_args:
            settings["chat_template_args"] = dict(self.template_args)
        if self.split_reasoning.active and (tags := self.split_reasoning.tags) is not None:
            settings["think_tags"] = f"{tags.open},{tags.close}"
        return settings

    def _continue_turn(self, messages: Sequence[Message]) -> str:
        """The conversation up to the prefix of an assistant message, as the template renders that message."""
        turn = Message("assistant", self.protocol.prefix + _SPLITTER)
        text = apply_chat_template(self.tokenizer, [*messages, turn], **self.template_args, add_generation_prompt=False)
        prompt, splitter, _ = text.partition(_SPLITTER)
        if not splitter:
            raise KkwarmError(
                f"protocol {self.protocol.name}: the chat template drops the beginning of the model's turn",
                hint="use --chat off",
            )
        return prompt

    def compose(self, prompt: str, reasoning: str | None, answer: str) -> str:
        """The completion that gives an answer after a reasoning, for training. Where the protocol has no tags of its
        own, the reasoning stands in the model's delimiters, as the model will write it.

        :param prompt: the prompt, which may open the reasoning.
        """
        tags = self.split_reasoning.tags
        if not self.split_reasoning.active or tags is None or not reasoning:
            return self.protocol.compose(reasoning, answer)
        opening = "" if tags.is_open(prompt) else f"{tags.open}\n"
        return f"{opening}{reasoning}\n{tags.before_close}{tags.close}\n\n{self.protocol.compose(None, answer)}"

    def lost_tags_warning(self) -> str:
        """A warning if the tokenizer loses tags of the protocol or delimiters of the reasoning; else empty."""
        from kkwarm.backends.text import lost_tags_warning, lost_text

        tags = self.split_reasoning.tags if self.split_reasoning.active else None
        if tags is not None and (lost := lost_text(self.tokenizer, f"{tags.open} {tags.close}")):
            return f"the tokenizer loses {shorten(lost)}, so reasoning cannot be recognized: see --think-tags"
        return lost_tags_warning(self.tokenizer, self.protocol)

    def _question(self, example: Example) -> str:
        return example.question if self.protocol.question is None else self.protocol.question(example)

    def _solution(self, example: Example) -> str:
        if self.protocol.solution is not None:
            return self.protocol.solution(example)
        answer = str(example.answer) if self.gold is None else self.gold(example)
        return self.protocol.prefix + self.protocol.compose(None, answer)


def _join(messages: Sequence[Message]) -> str:
    """The turns, separated by blank lines. After solved examples, a blank line begins the model's turn, too."""
    solved = any(m.role == "assistant" for m in messages)
    return "\n\n".join(m.content for m in messages) + "\n\n" * solved


def apply_chat_template(tokenizer: Any, messages: Sequence[Message], **arguments: Any) -> str:
    """The conversation by the tokenizer's chat template, up to the beginning of the model's turn."""
    turns = [{"role": m.role, "content": m.content} for m in messages]
    arguments = {"add_generation_prompt": True} | arguments
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **arguments))
    except Exception as err:  # jinja's errors, and whatever the template's own code raises
        name = getattr(tokenizer, "name_or_path", "") or "the checkpoint"
        cause = shorten(" ".join(str(err).split())) or type(err).__name__
        raise KkwarmError(f"{name}: its chat template fails: {cause}", hint="use --chat off") from None


def merge_system_prompt(messages: Sequence[Message]) -> list[Message]:
    """The messages with the system prompt at the beginning of the first user's turn."""
    if messages[0].role != "system":
        return list(messages)
    system, first, *rest = messages
    return [Message(first.role, f"{system.content}\n\n{first.content}"), *rest]


def _system_prompt_problem(tokenizer: Any, arguments: Mapping[str, Any]) -> str:
    """What a chat template does with a system prompt where it does not render it: ``rejects``, ``drops``; else empty.

    :raises KkwarmError: the template fails without a system prompt too.
    """
    conversation = [Message("system", "A system prompt."), Message("user", "A question.")]
    try:
        prompt = apply_chat_template(tokenizer, conversation, **arguments)
    except KkwarmError:
        apply_chat_template(tokenizer, merge_system_prompt(conversation), **arguments)
        return "rejects"
    return "" if conversation[0].content in prompt else "drops"


def _template_notes(tokenizer: Any, options: PromptOptions, protocol: Protocol, chat: bool) -> list[str]:
    """Notes about arguments of the chat template that change nothing."""
    names = list(options.template_args)
    if not names:
        return []
    if chat and tokenizer is None:  # the server's
        return []
    if not chat:
        return [f"protocol {protocol.name} prompts with text, so --chat-template-args has no effect"]
    template = str(getattr(tokenizer, "chat_template", ""))
    unknown = [name for name in names if not re.search(rf"\b{re.escape(name)}\b", template)]
    return [f"the chat template does not use {', '.join(unknown)}"] if unknown else []


def _check_endpoint(api: ApiOption | None, chat: ChatOption) -> None:
    """:raises KkwarmError: the endpoint cannot do what the option asks for."""
    if api == "completions" and chat == "on":
        raise KkwarmError("--api completions sends text, but --chat on needs the chat endpoint", hint="leave one out")
    if api == "chat" and chat == "off":
        raise KkwarmError("--api chat sends messages, but --chat off asks for text", hint="leave one out")


def _reasoning_splitter(protocol: Protocol, tokenizer: Any, options: PromptOptions) -> ReasoningSplitter:
    """How the reasoning of completions is separated from their answers."""
    has_own_tags = reads_tags(protocol)
    if has_own_tags:
        return ReasoningSplitter(None, tokenizer, has_own_tags)
    if options.think_tags:
        return ReasoningSplitter(parse_think_tags(options.think_tags), tokenizer, has_own_tags)
    if tokenizer is None:
        return ReasoningSplitter(None, None, has_own_tags, detect=FAMILIES)
    return ReasoningSplitter(detect_think_tags(tokenizer), tokenizer, has_own_tags)


def make_renderer(
    protocol: Protocol,
    tokenizer: Any = None,
    options: PromptOptions = PromptOptions(),
    task: Task | None = None,
    api: ApiOption | None = None,
) -> PromptRenderer:
    """The renderer of a benchmark's or task's prompts.

    :param tokenizer: the checkpoint's; None: prompts are text.
    :param api: the endpoint of the server that generates, which renders the chat template; None: there is no server.
    :param task: the task whose training examples, with their gold answers, may be the solved examples.
    :raises KkwarmError: there is no chat template and `options.chat` is ``on``, or there are not enough examples.
    """
    remote = api is not None and tokenizer is None
    if remote:
        _check_endpoint(api, options.chat)
    has_template = api != "completions" if remote else getattr(tokenizer, "chat_template", None) is not None
    if options.chat == "on" and not has_template:
        raise KkwarmError("this checkpoint has no chat template", hint="use --chat off, or another checkpoint")
    wanted = options.chat == "on" or (options.chat == "auto" and (protocol.chat or (remote and api == "chat")))
    chat = wanted and has_template
    notes = _template_notes(tokenizer, options, protocol, chat)
    if wanted and not has_template and tokenizer is not None:
        notes.append(f"protocol {protocol.name}: this checkpoint has no chat template, so prompts are plain text")
    if not chat and protocol.text_form is not None:
        protocol = replace(protocol.text_form, name=protocol.name)
    system = protocol.system if options.system is None else options.system
    problem = _system_prompt_problem(tokenizer, options.template_args) if chat and system and not remote else ""
    if problem:
        notes.append(f"the chat template {problem} a system prompt, so it is put before the question")
    shots = protocol.shots if options.shots is None else options.shots
    if shots and not chat and protocol.text is None and not protocol.stop:
        protocol = replace(protocol, stop=("\n\n",))  # a base model would go on with a question of its own
    return PromptRenderer(
        protocol,
        tokenizer,
        chat=chat,
        system=system,
        shots=shots,
        solved=_solved_examples(protocol, shots, options.seed, task),
        gold=task.gold if task is not None else None,
        notes=tuple(notes),
        template_args=options.template_args,
        merge_system=bool(problem),
        split_reasoning=_reasoning_splitter(protocol, tokenizer, options),
        remote=remote,
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
    return None if option is None else value_for(parse_values(option, "--protocol"), benchmark)
