"""A model whose every answer is written beforehand: benchmarks and plugins are tried without a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kkwarm.types import Completion, Sampling

__all__ = ["ScriptedModel"]

Reply = Callable[[str, int], "str | Completion"]


class _Template:
    """As much of a tokenizer as a format needs that renders by a chat template."""

    chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **_: Any) -> str:
        return "".join(f"{m['role']}: {m['content']}\n" for m in messages) + "assistant: "


@dataclass(slots=True)
class ScriptedModel:
    """A backend that answers by ``reply(prompt, sample index)``, with a text or a whole `Completion`.

    It goes wherever a backend goes: ``kkwarm.evaluation.bench("scripted", ["units"], backend=ScriptedModel(reply))``.
    A text counts as ended by itself; its tokens are its words. `asked` keeps every prompt, in order.
    """

    reply: Reply
    name: str = "scripted"
    checkpoint: str = "scripted"
    fingerprint: str = "scripted"
    tokenizer: Any = field(default_factory=_Template)
    asked: list[str] = field(default_factory=list)

    @classmethod
    def from_replies(cls, replies: Sequence[str] | Mapping[str, str], default: str = "") -> ScriptedModel:
        """Answers by a list (one after the other, over again) or by a mapping from a part of the prompt."""
        if isinstance(replies, Mapping):
            return cls(lambda prompt, _: next((text for part, text in replies.items() if part in prompt), default))
        made = cls(lambda *_: default)
        made.reply = lambda *_: replies[(len(made.asked) - 1) % len(replies)]
        return made

    def generate(self, requests: Sequence[Any], sampling: Sampling) -> Iterator[tuple[Any, int, Completion]]:
        """Yields (request, sample index, completion), in the order of the requests."""
        for request in requests:
            for index in request.samples:
                self.asked.append(request.prompt)
                found = self.reply(request.prompt, index)
                if isinstance(found, str):
                    found = Completion(found, len(found.split()), "stop")
                yield request, index, found

    def close(self) -> None:
        """Nothing is held."""
