"""Pretraining only: look entries up by their label and copy them. It teaches early what all shown work is made of."""

from __future__ import annotations

import random

from kkwarm_mini import arithmetic, kk, programs, quiz

__all__ = ["GLUE", "WORDS", "draw"]

GLUE = ("is", "says", "of", "")
WORDS = (
    *(*(str(n) for n in range(arithmetic.CLOCK)), *arithmetic.OPS, *arithmetic.THINGS, *kk.NAMES, *kk.KINDS),
    *(*programs.COMMANDS, *programs.LINES, *quiz.OPTIONS, *quiz.ANIMALS, *quiz.RELATIONS),
)


def draw(rng: random.Random) -> tuple[str, str]:
    """Three to six labelled entries, and the same entries in another order."""
    labels = rng.sample(WORDS, rng.randrange(3, 7))
    glue = rng.choice(GLUE)
    # Few different words: entries that look alike can only be told apart by their labels.
    words = rng.sample(WORDS, rng.randrange(4, 12)) + labels
    entries = []
    for label in labels:
        said = rng.choices(words, k=rng.randrange(1, 6))
        entries.append(" ".join(w for w in (label, glue, *said, ".") if w))
    return f"recall {' '.join(entries)} ?\n", " ".join(rng.sample(entries, len(entries)))
