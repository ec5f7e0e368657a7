"""The transformers backend on what users bring: other architectures, odd tokenizers; against plain `generate`."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kkwarm.backends.base import Request
from kkwarm.backends.hf import HFBackend
from kkwarm.errors import KkwarmError
from kkwarm.testing.checkpoint import tiny_checkpoint
from kkwarm.types import Completion, Sampling

PROMPTS = ("a", "the knight says that the knave is", "x" * 21)
WIDTH: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 320}
HEADS = {**WIDTH, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 64}
WINDOW = {**HEADS, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {**HEADS, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
KINDS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 320},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 320},  # positions by the mask alone
    "qwen3": HEADS,
    "phi3": {**HEADS, "sliding_window": 8},
    "gemma3_text": {**WINDOW, "query_pre_attn_scalar": 8},
    "mixtral": {**HEADS, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {**EXPERTS, "num_experts": 4},
    "mamba": {**WIDTH, "state_size": 8},  # a recurrent state under a name of its own
    "mamba2": {**WIDTH, "state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8},
    "lfm2": {**HEADS, "layer_types": ["conv", "full_attention"]},
    "nemotron_h": {  # recurrent state beside keys and values
        **HEADS,
        "layers_block_type": ["mamba", "attention"],
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "n_groups": 1,
        "ssm_state_size": 8,
    },
}


def checkpoint(folder: Path, kind: str, **settings: Any) -> Path:
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    tiny_checkpoint(folder)
    config = CONFIG_MAPPING[kind](**{"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1, **settings})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():  # peaked predictions: see `tiny_checkpoint`
        for weight in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
            weight.normal_(0, 0.3)
    model.save_pretrained(folder)
    return folder


def greedy(backend: HFBackend, *prompts: str, tokens: int = 12) -> dict[str, Completion]:
    asked = [Request(p, p, (0,)) for p in prompts]
    return {r.key: c for r, _, c in backend.generate(asked, Sampling(0.0, 1.0, tokens))}


QUICK = ("gpt2", "qwen3", "gemma3_text", "mamba")
ALL_KINDS = [pytest.param(k, marks=() if k in QUICK else pytest.mark.slow) for k in KINDS]


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_greedy_equals_generate(kind: str, tmp_path: Path) -> None:
    """In a padded batch, token for token; and what a batch draws does not depend on its size."""
    backend = HFBackend.load(str(checkpoint(tmp_path / kind, kind, **KINDS[kind])), device="cpu")
    ours = greedy(backend, *PROMPTS)
    for prompt in PROMPTS:
        ids = torch.tensor([backend.tokenizer(prompt)["input_ids"]])
        asked = {"attention_mask": torch.ones_like(ids), "do_sample": False, "max_new_tokens": 12, "pad_token_id": 1}
        theirs = backend.model.generate(ids, **asked)[0, ids.shape[1] :]
        assert ours[prompt].token_ids == tuple(theirs.tolist()), prompt
    requests = [Request(p, p, (0, 1)) for p in PROMPTS]

    def drawn(rows: int) -> dict[tuple[str, int], object]:
        backend.batch_size = rows
        return {(r.key, i): c.token_ids for r, i, c in backend.generate(requests, Sampling(1.0, 0.95, 8))}

    assert drawn(1) == drawn(4)
    texts = [(backend.tokenizer(p)["input_ids"], list(c.token_ids or ())) for p, c in ours.items()]
    backend.batch_size = None
    together = backend.logprobs(texts)
    backend.batch_size = 1
    for row, alone in zip(together, backend.logprobs(texts), strict=True):
        assert row == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        (
            "openai-gpt",
            {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 320},
            "OpenAIGPTLMHeadModel has its own kind of cache",
        ),
        ("minimax", {**HEADS, "num_local_experts": 2, "block_size": 8}, "MiniMaxForCausalLM has its own kind of cache"),
    ],
)
def test_a_model_with_its_own_cache_is_refused_in_one_line(
    kind: str, settings: dict[str, Any], says: str, tmp_path: Path
) -> None:
    backend = HFBackend.load(str(checkpoint(tmp_path / kind, kind, **settings)), device="cpu")
    with pytest.raises(KkwarmError, match=rf"{says}.*--backend vllm") as told:
        greedy(backend, "a")
    assert "\n" not in str(told.value)


def test_a_failing_model_is_an_error_in_one_line(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = HFBackend.load(str(tiny), device="cpu")

    def fails(*_: object, position_ids: object = None, past_key_values: object = None, **__: object) -> None:
        raise IndexError("index -1 is out of bounds\nfor dimension 1")

    monkeypatch.setattr(backend.model, "forward", fails)
    with pytest.raises(KkwarmError, match=r"cannot be run: IndexError: index -1 is out of bounds for dimension 1 \("):
        greedy(backend, "a")


def test_a_tokenizer_of_another_checkpoint_is_an_error(tmp_path: Path) -> None:
    """More tokens than the model embeds: torch's own error names no cause, and on a GPU it ends the process."""
    folder = checkpoint(tmp_path / "small", "qwen3", **{**HEADS, "vocab_size": 30})
    with pytest.raises(KkwarmError, match=r"yes: token \d+ is beyond the model's 30 .*belong"):
        greedy(HFBackend.load(str(folder), device="cpu"), "yes")


def test_a_pad_token_without_embedding_is_replaced(tmp_path: Path) -> None:
    """A pad token added to the tokenizer alone, as in many fine-tuned checkpoints."""
    folder = tiny_checkpoint(tmp_path / "bare", pad_token=False)
    plain = greedy(HFBackend.load(str(folder), device="cpu"), *PROMPTS)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    backend = HFBackend.load(str(folder), device="cpu")
    assert backend.tokenizer.pad_token_id == backend.model.get_input_embeddings().weight.shape[0]
    assert greedy(backend, *PROMPTS) == plain


@pytest.mark.parametrize(
    ("template", "before"), [("<|endoftext|> $A <|pad|>", [0]), ("$A <|endoftext|>", []), ("$A", [])]
)
def test_a_prompt_is_not_ended_by_its_tokenizer(template: str, before: list[int], tiny: Path, tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    from kkwarm.backends.text import token_ids

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    bare = tokenizer("knight knave", add_special_tokens=False)["input_ids"]
    ends = [("<|endoftext|>", 0), ("<|pad|>", 1)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=ends)
    assert token_ids(tokenizer, ["knight knave"]) == [before + bare]


def test_stop_strings_in_byte_tokens_and_sparse_vocabularies() -> None:
    """SentencePiece writes a byte as <0x3E>; ids need not be without gaps."""
    import numpy as np

    from kkwarm.backends.text import StopTables

    class Sparse:
        def get_vocab(self) -> dict[str, int]:
            return {"a": 0, "<0x3E>": 1, "end>": 7}

    tables = StopTables(Sparse(), [("</answer>",)], 9)
    assert np.flatnonzero(tables._tables[0]).tolist() == [1, 7]
