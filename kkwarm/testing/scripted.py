"""A model with predefined replies, for trying benchmarks and plugins without a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kkwarm.types import Completion, Sampling

Reply = Callable[[str, int], "str | Completion"]


class _ChatTokenizer:
    """The part of a tokenizer that a chat template needs."""

    chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **_: Any) -> str:
        return "".join(f"{m['role']}: {m['content']}\n" for m in messages) + "assistant: "


@dataclass(slots=True)
class ScriptedModel:
    """A backend that answers with ``reply(prompt, sample index)``, which returns a text or a `Completion`.

    It can replace any backend: ``kkwarm.evaluation.bench("scripted", ["units"], backend=ScriptedModel(reply))``.
    For a text, the finish reason is ``stop`` and every word counts as a token. `prompts` lists all prompts in order.
    """

    reply: Reply
    name: str = "scripted"
    checkpoint: str = "scripted"
    fingerprint: str = "scripted"
    tokenizer: Any = field(default_factory=_ChatTokenizer)
    prompts: list[str] = field(default_factory=list)

    @classmethod
    def from_replies(cls, replies: Sequence[str] | Mapping[str, str], default: str = "") -> ScriptedModel:
        """A model that cycles through a list of replies, or that looks for a key of a mapping in the prompt.

        :param default: the reply where no key occurs in the prompt.
        """
        if isinstance(replies, Mapping):
            return cls(lambda prompt, _: next((text for part, text in replies.items() if part in prompt), default))
        model = cls(lambda *_: default)
        model.reply = lambda *_: replies[(len(model.prompts) - 1) % len(replies)]
        return model

    def generate(self, requests: Sequence[Any], sampling: Sampling) -> Iterator[tuple[Any, int, Completion]]:
        """Yields (request, sample index, completion) in the order of the requests."""
        for request in requests:
            for index in request.samples:
                self.prompts.append(request.prompt)
                reply = self.reply(request.prompt, index)
                if isinstance(reply, str):
                    reply = Completion(reply, len(reply.split()), "stop")
                yield request, index, reply

    def close(self) -> None:
        """Does nothing, as there are no resources to release."""
