"""Conversions between text and tokens, end tokens, and stop strings."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, MutableMapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from kkwarm.errors import KkwarmError, shorten
from kkwarm.types import FinishReason, Protocol

__all__ = [
    "StopTables",
    "check_token_ids",
    "cut_at_stop",
    "decode",
    "encode",
    "end_tokens",
    "has_special_tags",
    "lost_tags_warning",
    "lost_text",
    "parse_finish_reason",
    "raw_text_warning",
    "token_ids",
    "unknown_token_warning",
]

_SPECIAL: MutableMapping[Any, tuple[frozenset[int], frozenset[int]]] = WeakKeyDictionary()  # by tokenizer


def token_ids(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Ids of each prompt, with the tokenizer's first token unless the prompt (from a chat template) begins with it.

    Tokens that the tokenizer appends to a text, such as an end token, are removed, because a prompt is continued.
    """
    first = tokenizer.bos_token
    with_first = [p for p in prompts if first and p.lstrip().startswith(first)]  # templates begin with white space
    without_first = [p for p in prompts if not (first and p.lstrip().startswith(first))]
    ids: dict[str, list[int]] = {}
    for texts, special in ((without_first, True), (with_first, False)):
        distinct = list(dict.fromkeys(texts))
        if distinct:
            rows = encode(tokenizer, distinct, special=special)
            appended = _count_appended(tokenizer) if special else 0
            ids.update(zip(distinct, (row[: len(row) - appended] for row in rows), strict=True))
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [ids[p] or [start if start is not None else 0] for p in prompts]


def encode(tokenizer: Any, texts: Sequence[str], *, special: bool) -> list[list[int]]:
    """Ids of texts, with the tokenizer's special tokens if `special`."""
    try:
        rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=special)["input_ids"]
    except Exception as err:  # the tokenizers library raises bare exceptions
        message = " ".join(str(err).split())[:200]
        name = getattr(tokenizer, "name_or_path", "") or "the checkpoint"
        raise KkwarmError(f"{name}: its tokenizer fails: {message}", hint="does it belong to this checkpoint?") from err
    return rows


def unknown_token_warning(tokenizer: Any, texts: Sequence[str], kind: str) -> str:
    """A warning if the tokenizer reads part of the texts as its unknown token; else an empty string.

    Such a model gets other questions, although nothing fails. Byte-level vocabularies read everything: they have no
    unknown token, or use the end token for it. About 200 of the texts are checked.

    :param kind: what the texts are, in the plural.
    """
    special = {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id}
    inner = getattr(tokenizer, "backend_tokenizer", None)
    token = getattr(tokenizer, "unk_token", None) or getattr(getattr(inner, "model", None), "unk_token", None)
    to_id = tokenizer.convert_tokens_to_ids if inner is None else inner.token_to_id
    unknown_id = None if token is None else to_id(token)
    if unknown_id is None or unknown_id in special or not texts:
        return ""
    checked = list(texts)[:: max(1, len(texts) // 200)]
    rows = encode(tokenizer, checked, special=False)
    affected = [(text, ids) for text, ids in zip(checked, rows, strict=True) if unknown_id in ids]
    if not affected:
        return ""
    text, ids = affected[0]
    example = ""
    if getattr(tokenizer, "is_fast", False):
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        begin, end = offsets[ids.index(unknown_id)]
        example = f", such as {shorten(text[begin:end])}"
    return (
        f"the tokenizer has no token for some text of {len(affected)} of {len(checked)} {kind}{example}: the model "
        f"reads {token} there. Does it belong to this checkpoint?"
    )


def raw_text_warning(tokenizer: Any, raw: Sequence[str]) -> str:
    """A warning if a tokenizer has a chat template and the protocols `raw` prompt it with raw text; else empty."""
    if not raw or getattr(tokenizer, "chat_template", None) is None:
        return ""
    return (
        f"the checkpoint has a chat template, but {', '.join(raw)} prompts it with raw text; "
        "--chat on uses the template"
    )


def check_token_ids(name: str, ids: Sequence[int], embedded: int) -> None:
    """Checks that every token of the text `name` has an embedding: on CUDA, one without would kill the process."""
    if max(ids) >= embedded:
        raise KkwarmError(
            f"{name}: token {max(ids)} is beyond the model's {embedded}",
            hint="does the tokenizer belong to this checkpoint?",
        )


def _count_appended(tokenizer: Any) -> int:
    """The number of tokens that the tokenizer appends to a text."""
    bare, full = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    before = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
    return max(0, len(full) - before - len(bare))


def end_tokens(tokenizer: Any, model: Any, vocabulary: int) -> NDArray[np.bool_]:
    """For each token, whether it ends a completion: the tokenizer's eos and those of the generation settings."""
    ids: set[int] = set()
    for value in (tokenizer.eos_token_id, getattr(model.generation_config, "eos_token_id", None)):
        if value is not None:
            ids.update(value if isinstance(value, list | tuple) else [value])
    table = np.zeros(vocabulary, bool)
    table[[i for i in ids if 0 <= i < vocabulary]] = True
    return table


class StopTables:
    """The tokens that can complete a stop string; only after them the text has to be checked."""

    def __init__(self, tokenizer: Any, stops: Collection[tuple[str, ...]], vocabulary: int) -> None:
        self._numbers = {stop: i for i, stop in enumerate(sorted(stops))}
        self._tables = np.zeros((len(self._numbers), vocabulary), bool)
        pieces = tokenizer.get_vocab() if any(stops) else {}
        for stop, number in self._numbers.items():
            for text in stop:
                last = text[-1:]
                if last.isascii() and last.isprintable() and not last.isspace():
                    byte = f"<0x{ord(last):02X}>"  # how SentencePiece writes a byte for which it has no piece
                    self._tables[number, [i for piece, i in pieces.items() if last in piece or piece == byte]] = True
                else:  # vocabularies write these characters in their own ways
                    self._tables[number] = True

    def number(self, stop: tuple[str, ...]) -> int:
        """The number of these stop strings, for `may_complete`."""
        return self._numbers[stop]

    def may_complete(self, numbers: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each row, whether its new token may complete one of its stop strings."""
        result: NDArray[np.bool_] = self._tables[numbers, tokens]
        return result


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of a completion's tokens alone. An engine that decodes them after the prompt may prepend a space.

    Of the special tokens, only the structural ones (beginning, end, padding, unknown) are removed. Others can be part
    of the answer's form: some tokenizers have ``<think>`` or ``</answer>`` as a special token.
    """
    structural, others = _special_tokens(tokenizer)
    rows = list(ids)
    skip = others.isdisjoint(rows)
    if not skip:
        rows = [i for i in rows if i not in structural]
    return str(tokenizer.decode(rows, skip_special_tokens=skip, clean_up_tokenization_spaces=False))


def has_special_tags(tokenizer: Any) -> bool:
    """Whether the tokenizer has special tokens that `decode` keeps: an engine must not remove them either."""
    return bool(_special_tokens(tokenizer)[1])


def lost_text(tokenizer: Any, text: str) -> str:
    """The first word of the text that the tokenizer does not preserve; empty where it preserves all of it."""
    (ids,) = encode(tokenizer, [text], special=False)
    decoded = decode(tokenizer, ids)
    if "".join(text.split()) == "".join(decoded.split()):
        return ""
    return next((part for part in text.split() if part not in decoded), text)


def lost_tags_warning(tokenizer: Any, protocol: Protocol) -> str:
    """A warning if the tokenizer loses what encloses a protocol's answers, such as a tag; else an empty string.

    No completion of such a model is well-formed. White space does not count.
    """
    try:
        text = protocol.compose("", "")
    except Exception:  # a plugin's reader may need an answer
        return ""
    lost = lost_text(tokenizer, text)
    if not lost:
        return ""
    return (
        f"the tokenizer loses {shorten(lost)} of protocol {protocol.name}, so no answer can be well-formed. Does it "
        "belong to this checkpoint? Otherwise use another --protocol"
    )


def _special_tokens(tokenizer: Any) -> tuple[frozenset[int], frozenset[int]]:
    """Ids of the structural special tokens, and of all other special tokens."""
    try:
        return _SPECIAL[tokenizer]
    except (KeyError, TypeError):  # a tokenizer that cannot be a key is asked every time
        pass
    names = ("bos", "eos", "pad", "unk", "sep", "cls", "mask")
    structural: set[int] = {i for name in names if (i := getattr(tokenizer, f"{name}_token_id", None)) is not None}
    added = getattr(tokenizer, "added_tokens_decoder", {})
    special: set[int] = {i for i, token in added.items() if token.special}
    special.update(getattr(tokenizer, "all_special_ids", ()))
    found = frozenset(structural), frozenset(special - structural)
    with contextlib.suppress(TypeError):
        _SPECIAL[tokenizer] = found
    return found


def parse_finish_reason(reason: object) -> FinishReason:
    """An engine's finish reason as one of ours."""
    return "stop" if reason == "stop" else "length" if reason == "length" else "unknown"


def cut_at_stop(text: str, stops: Sequence[str]) -> str | None:
    """`text` up to the end of the stop string that ends first; None if there is none."""
    ends = [start + len(stop) for stop in stops if stop and (start := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else None
