"""The attention of decode steps against transformers' own, on a CPU."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from kkwarm.backends import Request, decode, open_backend
from kkwarm.backends.hf import HFBackend
from kkwarm.errors import KkwarmError
from kkwarm.types import Sampling


class Module:
    """What attention reads of its layer."""

    is_causal = True

    def __init__(self, groups: int) -> None:
        self.num_key_value_groups = groups


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 4),
    kept=st.integers(1, 3),
    groups=st.integers(1, 4),
    new=st.sampled_from([1, 1, 3]),
    columns=st.integers(3, 40),
    size=st.sampled_from([8, 8, 5]),
    mask=st.sampled_from(["none", "bool", "float"]),
    seed=st.integers(0, 2**31),
)
def test_equals_sdpa(
    rows: int, kept: int, groups: int, new: int, columns: int, size: int, mask: str, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    query = torch.randn(rows, kept * groups, new, 8, generator=random)
    spare = torch.randn(2, rows, kept, columns + 5, 8, generator=random)
    key, value = spare[:, :, :, :columns]  # a view, as the cache gives it
    value = value[..., :size]
    start = torch.randint(0, columns - new + 1, (rows, 1, 1, 1), generator=random)
    place = torch.arange(columns)[None, None, None, :]
    seen = (place >= start) & (place <= torch.arange(columns - new, columns)[None, None, :, None])
    given_mask = {"none": None, "bool": seen, "float": torch.where(seen, 0.0, -torch.inf)}[mask]
    with torch.no_grad():
        ours, _ = decode.attend(Module(groups), query, key, value, given_mask, scaling=0.3)
        theirs, _ = sdpa_attention_forward(Module(groups), query, key, value, given_mask, scaling=0.3)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def _drawn(model: Path, temperature: float) -> dict[tuple[str, int], str]:
    backend = HFBackend.load(str(model), device="cpu", batch_size=3)
    prompts = ["A says B is a knave.", "A", "knight and knave, and more words than the others have"]
    requests = [Request(f"r{i}", p, (0, 1)) for i, p in enumerate(prompts)]
    found = backend.generate(requests, Sampling(temperature, 1.0, 12, seed=3))
    return {(r.key, i): c.text for r, i, c in found}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_samples_are_the_same(tiny: Path, monkeypatch: pytest.MonkeyPatch, temperature: float) -> None:
    before = _drawn(tiny, temperature)
    calls = []
    attend = decode.attend

    def counted(module: object, query: torch.Tensor, *args: object, **more: object) -> object:
        calls.append(query.shape[2])
        return attend(module, query, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(decode, "supports_decode_attention", lambda model: True)
    decode.AttentionInterface.register(decode.NAME, counted)
    try:
        assert _drawn(tiny, temperature) == before
    finally:
        decode.AttentionInterface.register(decode.NAME, attend)
    assert calls.count(1) > len(calls) / 2


def test_the_models_own_attention_is_restored(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    own = model.config._attn_implementation
    assert model.config.num_key_value_heads == model.config.num_attention_heads
    with decode.use_decode_attention(model):
        assert model.config._attn_implementation == own  # on a CPU it is used only where heads share keys and values
    model.config.num_key_value_heads = 1
    with decode.use_decode_attention(model):
        assert model.config._attn_implementation == decode.NAME
    monkeypatch.setattr(decode, "supports_decode_attention", lambda model: True)
    with pytest.raises(RuntimeError, match="stop"), decode.use_decode_attention(model):
        assert model.config._attn_implementation == decode.NAME
        raise RuntimeError("stop")
    assert model.config._attn_implementation == own


def test_training_uses_sdpa() -> None:
    query, key = torch.randn(1, 2, 1, 8, requires_grad=True), torch.randn(1, 1, 5, 8)
    ours, _ = decode.attend(Module(2), query, key, key, None, scaling=1.0)
    theirs, _ = sdpa_attention_forward(Module(2), query, key, key, None, scaling=1.0)
    assert torch.equal(ours, theirs)
    assert ours.requires_grad


def test_an_unknown_attention_is_an_error(tiny: Path) -> None:
    with pytest.raises(KkwarmError, match=r"unknown attention 'egar'.*eager"):
        open_backend("hf", str(tiny), device="cpu", attention="egar")
    assert open_backend("hf", str(tiny), device="cpu", attention="eager").name == "hf"
