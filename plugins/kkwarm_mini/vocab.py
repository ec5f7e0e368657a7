"""The miniature's words: every document is made of these, one token each."""

from __future__ import annotations

from typing import Any

from kkwarm_mini import arithmetic, kk, programs, quiz

__all__ = ["EOS", "PAD", "TAGS", "UNKNOWN", "VOCABULARY", "build_tokenizer"]

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_SIGNS = (".", ":", "?", "[", "]", "=", *arithmetic.OPS)
_GLUE = (
    *("puzzle", "says", "and", "or", "who", "assume", "ok", "clash", "wait", "true", "lie"),
    *("problem", "is", "run", "choose", "of", "recall"),
)
_NUMBERS = tuple(str(n) for n in range(max(arithmetic.CLOCK, programs.SIZE)))

VOCABULARY: tuple[str, ...] = (
    *(PAD, EOS, UNKNOWN, *TAGS, *_SIGNS, *_GLUE, *_NUMBERS),
    *(*kk.NAMES, *kk.KINDS, *arithmetic.THINGS),
    *(*programs.LINES, *programs.COMMANDS, *quiz.OPTIONS, *quiz.ANIMALS, *quiz.RELATIONS),
)


def build_tokenizer() -> Any:
    """A transformers tokenizer: one token for each word between spaces; the tags need no spaces around them."""
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
    # Not "special": decoding with skip_special_tokens must keep them, for the format reads them.
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return tokenizer
