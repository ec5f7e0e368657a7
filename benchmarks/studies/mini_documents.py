"""Vocabulary, tokenizer and pretraining documents of the miniature's base checkpoint.

The documents are questions of the four domains, answered either directly or after reasoning steps. Documents with
reasoning teach every skill; direct ones teach the habit of answering at once. The loss weight of a response's first
token sets how often the base starts to reason: `REASONING_RATE`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kkwarm_mini.generators import (
    ANIMALS,
    CLOCK,
    COMMANDS,
    GENERATORS,
    LINES,
    LIST_MODULUS,
    OPERATORS,
    OPTIONS,
    RELATIONS,
    THINGS,
)
from kkwarm_mini.items import Item, generate_items
from kkwarm_mini.kk import KINDS, NAMES
from kkwarm_mini.protocol import MINI, make_prompt

# -- vocabulary: every document is made of these words, one token each -------------------------------------------------

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_SIGNS = (".", ":", "?", "[", "]", "=", *OPERATORS)
_FUNCTION_WORDS = (
    *("puzzle", "says", "and", "or", "who", "assume", "ok", "clash", "wait", "true", "lie"),
    *("problem", "is", "run", "choose", "of", "recall"),
)
_NUMBERS = tuple(str(n) for n in range(max(CLOCK, LIST_MODULUS)))

VOCABULARY: tuple[str, ...] = (
    *(PAD, EOS, UNKNOWN, *TAGS, *_SIGNS, *_FUNCTION_WORDS, *_NUMBERS),
    *(*NAMES, *KINDS, *THINGS),
    *(*LINES, *COMMANDS, *OPTIONS, *ANIMALS, *RELATIONS),
)


def build_tokenizer() -> Any:
    """A transformers tokenizer with one token for each word between spaces. Tags need no spaces around them."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token=UNKNOWN))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=512,
    )
    # Not "special": decoding with skip_special_tokens must keep the tags, because the format reads them.
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return tokenizer


# -- documents ---------------------------------------------------------------------------------------------------------

REASONING_RATE = 0.08


@dataclass(frozen=True, slots=True)
class MixtureWeight:
    """Relative numbers of documents of one domain. Few direct ones limit what the base can answer directly."""

    reasoned: float
    direct: float

    def first_word_weight(self, reasoned: bool) -> float:
        """The loss weight under which a share of `REASONING_RATE` of the responses starts with reasoning."""
        if not reasoned:
            return 1.0
        return REASONING_RATE / (1 - REASONING_RATE) * self.direct / self.reasoned


MIXTURE: dict[str, MixtureWeight] = {
    "mini_kk": MixtureWeight(reasoned=5, direct=2),
    "mini_math": MixtureWeight(reasoned=6, direct=3),
    "mini_code": MixtureWeight(reasoned=5, direct=3),
    "mini_mcq": MixtureWeight(reasoned=6, direct=3),
}
RECALL_WEIGHT = 4.0
"""The weight of recall documents (see `_generate_recall`), on the same scale."""


@dataclass(frozen=True, slots=True)
class Document:
    """A question and a completion. `first_word_weight` is the loss weight of the completion's first token."""

    domain: str
    prompt: str
    completion: str
    first_word_weight: float


def generate_documents(seed: str) -> Iterator[Document]:
    """An endless stream of pretraining documents, without content of the buckets test, train and valid.

    The same seed always gives the same documents.
    """
    rng = random.Random(f"documents {seed}")
    streams: dict[str, Iterator[Item]] = {
        name: generate_items(generate, "pretrain", f"{name} {seed}") for name, generate in GENERATORS.items()
    }
    kinds = [(name, reasoned) for name in MIXTURE for reasoned in (True, False)]
    weights = [MIXTURE[name].reasoned if reasoned else MIXTURE[name].direct for name, reasoned in kinds]
    while True:
        for name, reasoned in rng.choices([*kinds, ("", False)], [*weights, RECALL_WEIGHT], k=1000):
            if not name:
                yield Document("recall", *_generate_recall(rng), first_word_weight=0.0)
                continue
            item = next(streams[name])
            yield Document(
                domain=name,
                prompt=make_prompt(item.question),
                completion=MINI.compose(item.steps if reasoned else None, item.answer),
                first_word_weight=MIXTURE[name].first_word_weight(reasoned),
            )


_RECALL_VERBS = ("is", "says", "of", "")
_RECALL_WORDS = (
    *(*(str(n) for n in range(CLOCK)), *OPERATORS, *THINGS, *NAMES, *KINDS),
    *(*COMMANDS, *LINES, *OPTIONS, *ANIMALS, *RELATIONS),
)


def _generate_recall(rng: random.Random) -> tuple[str, str]:
    """Three to six labelled entries, and the same entries in another order.

    Looking entries up by label and copying them is the basic skill behind all reasoning steps of the miniature.
    """
    labels = rng.sample(_RECALL_WORDS, rng.randrange(3, 7))
    verb = rng.choice(_RECALL_VERBS)
    # Few different words, so that similar entries can only be told apart by their labels.
    words = rng.sample(_RECALL_WORDS, rng.randrange(4, 12)) + labels
    entries = []
    for label in labels:
        content = rng.choices(words, k=rng.randrange(1, 6))
        entries.append(" ".join(w for w in (label, verb, *content, ".") if w))
    return f"recall {' '.join(entries)} ?\n", " ".join(rng.sample(entries, len(entries)))
