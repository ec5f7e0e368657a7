"""GGUF files as checkpoints: weights, end tokens, and one line for what cannot be read."""

import shutil
from pathlib import Path

import pytest
from gguf_files import CHATML, write_gguf

from kkwarm.backends.base import Request
from kkwarm.backends.checkpoint import display_name, fingerprint, load_model, load_tokenizer, read_config, resolve
from kkwarm.backends.gguf import end_of_turn
from kkwarm.backends.hf import HFBackend
from kkwarm.errors import KkwarmError
from kkwarm.testing.checkpoint import tiny_checkpoint
from kkwarm.types import Sampling

pytest.importorskip("gguf")
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|eot_id|>"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with ChatML's tokens and template."""
    folder = tmp_path_factory.mktemp("gguf") / "original"
    texts = ["the user said hello and the assistant said hello"] * 4  # some merges
    return tiny_checkpoint(folder, hidden=64, texts=texts, chat_template=CHATML, extra_tokens=SPECIAL)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_gguf_file_is_a_checkpoint(original: Path, tmp_path: Path, cache: Path) -> None:
    import torch

    file = write_gguf(original, tmp_path / "Tiny.F32.gguf")
    assert resolve(file) == resolve(tmp_path) == str(file) and display_name(file) == "Tiny.F32"
    tokenizer, first = load_tokenizer(file), load_tokenizer(original)
    text = "Grüße, <|im_start|>user 12 + 34\n  two"
    assert tokenizer(text)["input_ids"] == first(text)["input_ids"]
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        assert torch.equal(load_model(file)(ids).logits, load_model(original)(ids).logits)
    assert read_config(file).num_hidden_layers == 2
    before = fingerprint(file)
    (folder,) = (cache / "kkwarm" / "gguf").iterdir()  # it was converted once
    shutil.rmtree(cache)
    assert fingerprint(file) == before and not folder.exists()


def test_end_tokens_come_from_the_file_and_its_chat_template(original: Path, tmp_path: Path) -> None:
    file = write_gguf(original, tmp_path / "a.gguf")
    tokenizer, model = load_tokenizer(file), load_model(file)
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>" and tokenizer.bos_token == "<|im_start|>"
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id]
    # A base model's own end token, while the chat template ends turns with another one: both end a completion.
    other = write_gguf(original, tmp_path / "b.gguf", eos="<|endoftext|>")
    tokenizer, model = load_tokenizer(other), load_model(other)
    ends = {tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>")}
    assert tokenizer.eos_token == "<|im_end|>" and set(model.generation_config.eos_token_id) == ends
    bare = load_tokenizer(write_gguf(original, tmp_path / "c.gguf", eos="<|endoftext|>", chat_template=None))
    assert bare.eos_token == "<|endoftext|>" and end_of_turn(bare) is None


def test_quantized_weights_generate_train_and_are_saved(original: Path, tmp_path: Path) -> None:
    import torch

    file = write_gguf(original, tmp_path / "q.gguf", quantization="Q4_1")
    model = load_model(file)
    reference = load_model(original)
    quantized = dict(model.named_parameters())["model.layers.0.mlp.up_proj.weight"]
    exact = dict(reference.named_parameters())["model.layers.0.mlp.up_proj.weight"]
    error = (quantized - exact).abs().max()
    assert 0 < error < 0.1 and quantized.dtype == torch.float32
    model(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    assert quantized.grad is not None
    backend = HFBackend.load(str(file))
    (done,) = backend.generate([Request("a", "hello", (0,))], Sampling(0.0, 1.0, 5))
    assert done[2].n_tokens
    model.save_pretrained(tmp_path / "saved")  # an ordinary checkpoint, which needs no GGUF file
    assert "quantization_config" not in (tmp_path / "saved" / "config.json").read_text()


def test_gguf_files_that_cannot_be_read(original: Path, tmp_path: Path) -> None:
    unknown = write_gguf(original, tmp_path / "unknown.gguf", architecture="jais2")
    for load in (load_tokenizer, load_model, read_config):
        with pytest.raises(KkwarmError, match=r"cannot read GGUF files of the architecture 'jais2'") as caught:
            load(unknown)
        assert "\n" not in str(caught.value) and "transformers" in caught.value.hint
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(write_gguf(original, tmp_path / "whole.gguf").read_bytes()[:3000])
    with pytest.raises(KkwarmError, match=r"cut.gguf is damaged"):
        load_tokenizer(cut)
    page = tmp_path / "page.gguf"
    page.write_text("<!doctype html>")
    with pytest.raises(KkwarmError, match="no GGUF file"):
        load_model(page)
    with pytest.raises(KkwarmError, match=r"holds 4 GGUF files .*give the path of one"):
        resolve(tmp_path)
    part = tmp_path / "parts" / "big-00001-of-00002.gguf"
    part.parent.mkdir()
    part.write_bytes(cut.read_bytes())
    with pytest.raises(KkwarmError, match="one part of a split GGUF"):
        resolve(part.parent)


def test_gguf_without_its_package(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_gguf(original, tmp_path / "a.gguf")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(KkwarmError, match=r"needs the package gguf.*kkwarm\[gguf\]"):
        load_tokenizer(file)
