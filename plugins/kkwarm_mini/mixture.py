"""What the base is pretrained on: questions of the four domains, answered directly or after shown work.

Worked documents teach every skill; direct ones teach to blurt the answer out. Which of the two comes first after a
question is learnt from the weight that the loss gives to the first word: `SHOWN` is the share of shown work there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from kkwarm_mini import arithmetic, kk, programs, quiz, recall
from kkwarm_mini.format import MINI
from kkwarm_mini.items import Draw, Item, stream

__all__ = ["DRAWS", "MIXTURE", "RECALL", "SHOWN", "Document", "Share", "documents"]

DRAWS: dict[str, Draw] = {
    "mini_kk": kk.draw,
    "mini_math": arithmetic.draw,
    "mini_code": programs.draw,
    "mini_mcq": quiz.draw,
}
SHOWN = 0.08


@dataclass(frozen=True, slots=True)
class Share:
    """Relative numbers of documents of one domain. Few direct ones cap what the base can answer directly."""

    worked: float
    direct: float

    def first_word_weight(self, worked: bool) -> float:
        """The loss weight that makes the first word of a response shown work in a share `SHOWN` of all cases."""
        if not worked:
            return 1.0
        return SHOWN / (1 - SHOWN) * self.direct / self.worked


MIXTURE: dict[str, Share] = {
    "mini_kk": Share(worked=5, direct=2),
    "mini_math": Share(worked=6, direct=3),
    "mini_code": Share(worked=5, direct=3),
    "mini_mcq": Share(worked=6, direct=3),
}
RECALL = 4.0
"""The share, on the same scale, of documents that are none of the domains' (see `recall`)."""


@dataclass(frozen=True, slots=True)
class Document:
    """A question and a completion; `first_word_weight` is the loss weight of the completion's first token."""

    domain: str
    prompt: str
    completion: str
    first_word_weight: float


def documents(seed: str) -> Iterator[Document]:
    """Pretraining documents without end, always the same for one `seed`, none with test, train or valid content."""
    rng = random.Random(f"documents {seed}")
    streams: dict[str, Iterator[Item]] = {
        name: stream(draw, "pretrain", f"{name} {seed}") for name, draw in DRAWS.items()
    }
    kinds = [(name, worked) for name in MIXTURE for worked in (True, False)]
    shares = [MIXTURE[name].worked if worked else MIXTURE[name].direct for name, worked in kinds]
    while True:
        for name, worked in rng.choices([*kinds, ("", False)], [*shares, RECALL], k=1000):
            if not name:
                yield Document("recall", *recall.draw(rng), first_word_weight=0.0)
                continue
            item = next(streams[name])
            yield Document(
                domain=name,
                prompt=MINI.render(item.question),
                completion=MINI.compose(item.steps if worked else None, item.answer),
                first_word_weight=MIXTURE[name].first_word_weight(worked),
            )
