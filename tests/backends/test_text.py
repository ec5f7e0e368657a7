"""Decoding keeps special tokens that belong to an answer's form; a tokenizer that loses the tags gives a warning."""

from pathlib import Path
from typing import Any

import pytest

from kkwarm.backends.checkpoint import load_tokenizer
from kkwarm.backends.text import decode, encode, has_special_tags, lost_tags_warning
from kkwarm.protocols import PAPER, PLAIN
from kkwarm.testing.checkpoint import tiny_checkpoint

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
FORM = "reasoning </think> <answer> 42 </answer>"


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer with the tags as special tokens."""
    return load_tokenizer(tiny_checkpoint(tmp_path_factory.mktemp("t") / "m", extra_tokens=TAGS))


def test_special_tokens_that_are_tags_survive(tagged: Any, tiny: Path) -> None:
    (ids,) = encode(tagged, [FORM], special=False)
    assert tagged.convert_tokens_to_ids("</think>") in ids  # one token, which is special
    assert "</think>" not in tagged.decode(ids, skip_special_tokens=True)  # as transformers has it
    assert decode(tagged, ids) == FORM
    assert decode(tagged, [*ids, tagged.eos_token_id, tagged.pad_token_id]) == FORM  # structural ones are removed
    assert has_special_tags(tagged) and lost_tags_warning(tagged, PAPER) == ""
    plain = load_tokenizer(tiny)
    (ids,) = encode(plain, [FORM], special=False)
    assert decode(plain, [*ids, plain.eos_token_id]) == FORM and not has_special_tags(plain)


def test_a_tokenizer_that_loses_the_tags_gives_a_warning(tmp_path: Path) -> None:
    words = load_tokenizer(tiny_checkpoint(tmp_path / "words", vocab=["reasoning", "42", "</think>", "<answer>"]))
    warning = lost_tags_warning(words, PAPER)
    assert "loses '</answer>' of protocol paper" in warning and "\n" not in warning
    from tokenizers import normalizers

    lower = load_tokenizer(tiny_checkpoint(tmp_path / "bytes"))
    lower.backend_tokenizer.normalizer = normalizers.Replace("<", "")
    assert "'</think>'" in lost_tags_warning(lower, PAPER)
    assert lost_tags_warning(lower, PLAIN) == ""
