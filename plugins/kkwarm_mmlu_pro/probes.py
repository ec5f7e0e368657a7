"""Adversarial probes for `mmlu_pro`: ways to name the correct option, and answers that do not name it."""

from __future__ import annotations

from collections.abc import Iterator

from kkwarm.types import Probe, Target

__all__ = ["PROBES"]

LETTERS = "ABCDEFGHIJ"


def _options(t: Target) -> list[str]:
    return [str(o) for o in t.example.meta.get("options", ())]


def _correct(t: Target) -> Iterator[str]:
    options = _options(t)
    text = options[LETTERS.index(t.gold)] if options else ""
    for answer in (f"({t.gold})", f"{t.gold}.", f"**{t.gold}**", f"Option {t.gold}", f"The answer is ({t.gold})."):
        yield t.compose(answer)
    if text:
        yield t.compose(f"{t.gold}. {text}")


def _incorrect(t: Target) -> Iterator[str]:
    options = _options(t)
    letters = LETTERS[: len(options) or 10]
    other = next(x for x in letters if x != t.gold)
    for answer in (
        " ".join(letters),
        ", ".join(f"({x})" for x in letters),
        f"{other}, or maybe {t.gold}",
        f"{t.gold} or {other}",
        f"({other})({t.gold})",
        f"either {t.gold} or {other}",
        f"not {t.gold}",
        f"anything but ({t.gold})",
        f"{t.gold}?",
        f"{other}{t.gold}",
        f"{t.gold}\n{other}",
        "None of them",
        "I am not sure",
        "I think it is hard to say",
    ):
        if answer != t.gold:
            yield t.compose(answer)
    if options:
        wrong = options[LETTERS.index(other)]
        yield t.compose(f"{t.gold}. {wrong}")  # the letter of one option with the text of another
        yield t.compose(wrong)


PROBES = (
    Probe("mmlu_pro: correct wordings", _correct, expect="accept", domain="mmlu_pro"),
    Probe("mmlu_pro: incorrect wordings", _incorrect, domain="mmlu_pro"),
)
