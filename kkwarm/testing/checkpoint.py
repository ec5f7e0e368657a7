"""Tiny random checkpoints for tests that need a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

EOS, PAD = "<|endoftext|>", "<|pad|>"


def tiny_checkpoint(
    path: Path | str,
    *,
    vocab: int | Sequence[str] = 320,
    texts: Iterable[str] = (),
    hidden: int = 32,
    layers: int = 2,
    seed: int = 0,
    context: int = 2048,
    pad_token: bool = True,
    chat_template: str | None = None,
    extra_tokens: Sequence[str] = (),
) -> Path:
    """Saves a randomly initialised Llama with a tokenizer; `AutoModelForCausalLM` loads it like any other checkpoint.

    :param vocab: size of a byte-level BPE vocabulary (at least 258) trained on `texts`, or the words of a word-level
        vocabulary.
    :param hidden: width, a multiple of 8; the MLP is twice as wide, with 4 heads.
    :param seed: equal seeds give equal weights.
    :param context: maximum length in tokens.
    :param pad_token: False creates a tokenizer without a pad token, as many published checkpoints have.
    :param extra_tokens: further special tokens, such as a chat template's.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = [EOS, *([PAD] if pad_token else []), *extra_tokens]
    inner = _byte_level(vocab, texts, special) if isinstance(vocab, int) else _word_level(vocab, special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=EOS, pad_token=PAD if pad_token else None, model_max_length=context
    )
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        initializer_range=0.3,  # the default gives such flat predictions that rounding decides the greedy token
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    folder = Path(path)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _byte_level(size: int, texts: Iterable[str], special: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(list(texts), trainer)
    return tokenizer


def _word_level(words: Sequence[str], special: list[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    unknown = "<unk>"
    listed = dict.fromkeys([*special, unknown, *words])
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(listed)}, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(special)
    return tokenizer
