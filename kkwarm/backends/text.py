"""Between text and tokens: prompts to ids, tokens that end a completion, strings that stop it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kkwarm.errors import KkwarmError, shorten
from kkwarm.types import FinishReason

__all__ = [
    "StopTables",
    "check_token_ids",
    "cut_at_stop",
    "decode",
    "encode",
    "end_tokens",
    "finish_reason",
    "token_ids",
    "unknown_token_warning",
]


def token_ids(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Ids of each prompt, with the tokenizer's own first token unless the prompt (from a chat template) has it.

    What the tokenizer puts behind a text (some put an end there) is left out: a prompt goes on.
    """
    first = tokenizer.bos_token
    plain = [p for p in prompts if not (first and p.startswith(first))]
    whole = [p for p in prompts if first and p.startswith(first)]
    known: dict[str, list[int]] = {}
    for texts, special in ((plain, True), (whole, False)):
        distinct = list(dict.fromkeys(texts))
        if distinct:
            rows = encode(tokenizer, distinct, special=special)
            behind = _behind(tokenizer) if special else 0
            known.update(zip(distinct, (row[: len(row) - behind] for row in rows), strict=True))
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [known[p] or [start if start is not None else 0] for p in prompts]


def encode(tokenizer: Any, texts: Sequence[str], *, special: bool) -> list[list[int]]:
    """Ids of texts as they are.

    :raises KkwarmError: the tokenizer has no token for some of it.
    """
    try:
        rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=special)["input_ids"]
    except Exception as err:  # the tokenizers library raises bare exceptions
        said = " ".join(str(err).split())[:200]
        where = getattr(tokenizer, "name_or_path", "") or "the checkpoint"
        raise KkwarmError(f"{where}: its tokenizer fails: {said}", hint="does it belong to this checkpoint?") from err
    return rows


def unknown_token_warning(tokenizer: Any, texts: Sequence[str], of: str) -> str:
    """What to tell where the tokenizer knows some of the texts only as its unknown token; empty where it reads all.

    The model gets other questions then, though nothing fails. Byte-level vocabularies, which read everything, have no
    such token, or take the one that ends a text for it. Of many texts, some 200 are looked at.

    :param of: what the texts are, in the plural.
    """
    special = {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id}
    inner = getattr(tokenizer, "backend_tokenizer", None)
    token = getattr(tokenizer, "unk_token", None) or getattr(getattr(inner, "model", None), "unk_token", None)
    mark = None if token is None else tokenizer.convert_tokens_to_ids(token)
    if mark is None or mark in special or not texts:
        return ""
    looked = list(texts)[:: max(1, len(texts) // 200)]
    rows = encode(tokenizer, looked, special=False)
    holding = [(text, ids) for text, ids in zip(looked, rows, strict=True) if mark in ids]
    if not holding:
        return ""
    text, ids = holding[0]
    shown = ""
    if getattr(tokenizer, "is_fast", False):
        begin, end = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"][
            ids.index(mark)
        ]
        shown = f", {shorten(text[begin:end])} for one"
    return (
        f"the tokenizer has no token for some text of {len(holding)} of {len(looked)} {of}{shown}: the model reads "
        f"{token} there. Does it belong to this checkpoint?"
    )


def check_token_ids(where: str, ids: Sequence[int], vocabulary: int) -> None:
    """:raises KkwarmError: a token of the text is beyond the model's embedding: on CUDA that would kill the process."""
    if max(ids) >= vocabulary:
        raise KkwarmError(
            f"{where}: token {max(ids)} is beyond the model's {vocabulary}",
            hint="does the tokenizer belong to this checkpoint?",
        )


def _behind(tokenizer: Any) -> int:
    """How many tokens the tokenizer puts behind a text."""
    bare, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    before = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), 0)
    return max(0, len(whole) - before - len(bare))


def end_tokens(tokenizer: Any, model: Any, vocabulary: int) -> NDArray[np.bool_]:
    """For each token, whether it ends a completion: the tokenizer's eos and those of the generation settings."""
    ends: set[int] = set()
    for found in (tokenizer.eos_token_id, getattr(model.generation_config, "eos_token_id", None)):
        if found is not None:
            ends.update(found if isinstance(found, list | tuple) else [found])
    table = np.zeros(vocabulary, bool)
    table[[i for i in ends if 0 <= i < vocabulary]] = True
    return table


class StopTables:
    """Which tokens can complete a stop string, so that only then the text has to be looked at."""

    def __init__(self, tokenizer: Any, stops: Collection[tuple[str, ...]], vocabulary: int) -> None:
        self._places = {stop: at for at, stop in enumerate(sorted(stops))}
        self._tables = np.zeros((len(self._places), vocabulary), bool)
        pieces = tokenizer.get_vocab() if any(stops) else {}
        for stop, at in self._places.items():
            for text in stop:
                last = text[-1:]
                if last.isascii() and last.isprintable() and not last.isspace():
                    byte = f"<0x{ord(last):02X}>"  # SentencePiece's way to write what it has no piece for
                    self._tables[at, [i for piece, i in pieces.items() if last in piece or piece == byte]] = True
                else:  # vocabularies write these in their own ways
                    self._tables[at] = True

    def place(self, stop: tuple[str, ...]) -> int:
        return self._places[stop]

    def hit(self, places: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each row, whether its new token may complete one of its stop strings."""
        found: NDArray[np.bool_] = self._tables[places, tokens]
        return found


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of a completion's tokens, by themselves: an engine that decodes them after the prompt's may put a space
    in front."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def finish_reason(told: object) -> FinishReason:
    """An engine's reason as one of ours."""
    return "stop" if told == "stop" else "length" if told == "length" else "unknown"


def cut_at_stop(text: str, stops: Sequence[str]) -> str | None:
    """`text` up to the end of the stop string that ends first, or None where there is none."""
    ends = [at + len(stop) for stop in stops if stop and (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else None
