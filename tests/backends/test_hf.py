"""The transformers backend: equal to `generate`, independent of the batch, and alive after running out of memory."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from kkwarm.backends.base import Request
from kkwarm.backends.hf import HFBackend
from kkwarm.backends.sampling import min_p_filter, row_key, sample_tokens, top_k_filter, top_p_filter, uniforms
from kkwarm.errors import KkwarmError
from kkwarm.testing.checkpoint import tiny_checkpoint
from kkwarm.types import Completion, Sampling

PROMPTS = ["a", "What is 2 + 2?", "the knight says that", "x" * 30, "yes", "no, never", "zebra zebra"]


@pytest.fixture(scope="module")
def backend(tiny: Path) -> HFBackend:
    return HFBackend.load(str(tiny), device="cpu")


def drawn(
    backend: HFBackend, sampling: Sampling, *, samples: int = 3, stop: tuple[str, ...] = (), prompts=PROMPTS
) -> dict:
    requests = [Request(p, p, tuple(range(samples)), stop) for p in prompts]
    return {(r.key, i): c for r, i, c in backend.generate(requests, sampling)}


def test_greedy_equals_generate(backend: HFBackend) -> None:
    ours = drawn(backend, Sampling(temperature=0, max_tokens=12), samples=1)
    for prompt in PROMPTS:
        ids = torch.tensor([backend.tokenizer(prompt)["input_ids"]])
        theirs = backend.model.generate(ids, do_sample=False, max_new_tokens=12)[0, ids.shape[1] :]
        assert ours[prompt, 0].token_ids == tuple(theirs.tolist())


@pytest.mark.parametrize("rows", [1, 2, 5, 8])
def test_samples_do_not_depend_on_the_batch(backend: HFBackend, rows: int) -> None:
    sampling = Sampling(temperature=1.0, top_p=0.9, max_tokens=20, seed=3)
    backend.batch_size = 64
    whole = drawn(backend, sampling)
    assert len(whole) == 3 * len(PROMPTS)
    backend.batch_size = rows
    assert drawn(backend, sampling) == whole
    assert len({c.text for c in whole.values()}) > len(whole) // 2


def test_resumed_equals_uninterrupted(backend: HFBackend) -> None:
    backend.batch_size = None
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=15)
    whole = drawn(backend, sampling)
    rest = [Request("yes", "yes", (2,)), Request("a", "a", (1, 2))]
    again = {(r.key, i): c for r, i, c in backend.generate(rest, sampling)}
    assert again == {k: whole[k] for k in [("yes", 2), ("a", 1), ("a", 2)]}
    assert drawn(backend, Sampling(1.0, 1.0, 15, seed=1)) != whole


def test_stop_is_kept_and_ends(backend: HFBackend) -> None:
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=40)
    free = drawn(backend, sampling)
    text = max((c.text for c in free.values()), key=len)
    stop = next(ch for ch in text if ch.isascii() and ch.isalnum())
    stopped = drawn(backend, sampling, stop=(stop,))
    for key, completion in free.items():
        at = completion.text.find(stop)
        want = completion.text if at < 0 else completion.text[: at + 1]
        assert stopped[key].text == want
        if at >= 0:
            assert stopped[key].finish_reason == "stop" and (stopped[key].n_tokens or 0) <= (completion.n_tokens or 0)


def test_length_and_context(tmp_path: Path) -> None:
    short = HFBackend.load(str(tiny_checkpoint(tmp_path / "short", context=16, pad_token=False)), device="cpu")
    got = drawn(
        short, Sampling(temperature=1.0, max_tokens=500), samples=1, prompts=["abcdefgh", "abcdefghijklmnopqrstuvwxyz"]
    )
    fits, too_long = got.values()
    by_key = {k[0]: c for k, c in got.items()}
    assert by_key["abcdefghijklmnopqrstuvwxyz"] == Completion("", 0, "length", ())
    assert (by_key["abcdefgh"].n_tokens or 0) <= 8
    assert {fits.finish_reason, too_long.finish_reason} <= {"length", "stop"}


def test_out_of_memory_halves_the_batch(backend: HFBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=10)
    backend.batch_size = None
    monkeypatch.setattr("gc.collect", lambda: 0)  # a third of a second each time, beside all other tests
    whole = drawn(backend, sampling)
    real = HFBackend._forward

    def small(self: HFBackend, ids: torch.Tensor, *rest: object) -> torch.Tensor:
        if len(ids) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return real(self, ids, *rest)

    monkeypatch.setattr(HFBackend, "_forward", small)
    assert drawn(backend, sampling) == whole
    assert backend._capacity <= 4

    def never(self: HFBackend, *rest: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(HFBackend, "_forward", never)
    with pytest.raises(KkwarmError, match="one row at a time"):
        drawn(backend, sampling)


def test_other_errors_are_raised(backend: HFBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: HFBackend, *rest: object) -> torch.Tensor:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(HFBackend, "_forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        drawn(backend, Sampling(max_tokens=3))


def test_sliding_window_model(tmp_path: Path) -> None:
    """A model whose cache is not plain takes the path without refilling."""
    from transformers import AutoConfig, AutoModelForCausalLM, MistralConfig

    folder = tiny_checkpoint(tmp_path / "window")
    base = AutoConfig.from_pretrained(folder)
    config = MistralConfig(**{**base.to_dict(), "sliding_window": 8, "model_type": "mistral", "architectures": None})
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    backend = HFBackend.load(str(folder), device="cpu", batch_size=4)
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=12)
    some = drawn(backend, sampling)
    assert not backend._network.full_cache
    backend.batch_size = 1
    assert drawn(backend, sampling) == some


def test_first_tokens_follow_the_model(backend: HFBackend) -> None:
    prompt, n = "the knight says", 4000
    backend.batch_size = None
    counts = Counter(
        c.token_ids[0] for c in drawn(backend, Sampling(1.0, 1.0, 1), samples=n, prompts=[prompt]).values()
    )
    with torch.inference_mode():
        logits = backend.model(torch.tensor([backend.tokenizer(prompt)["input_ids"]])).logits[0, -1]
    expected = torch.softmax(logits, -1).numpy() * n
    observed = np.array([counts[i] for i in range(len(expected))])
    big = expected >= 5
    chi2 = ((observed - expected)[big] ** 2 / expected[big]).sum()
    assert chi2 < big.sum() + 5 * np.sqrt(2 * big.sum())


@pytest.mark.parametrize("size", [6, 6000])
def test_top_p_keeps_the_smallest_set(size: int) -> None:
    rows = torch.softmax(torch.randn(7, size, generator=torch.Generator().manual_seed(0)) * 3, -1)
    for top_p in (0.1, 0.5, 0.95):
        kept = top_p_filter(rows, top_p)
        for row, left in zip(rows, kept, strict=True):
            mass = left.sum()
            least = left[left > 0].min()
            assert mass >= top_p - 1e-5 and mass - least < top_p + 1e-5
            assert torch.equal(left > 0, row >= least)


@pytest.mark.parametrize("top_k", [0, 1, 7, 400])
@pytest.mark.parametrize("top_p", [1.0, 0.6])
@pytest.mark.parametrize("min_p", [0.0, 0.1])
def test_filters_keep_the_same_tokens_as_transformers(top_k: int, top_p: float, min_p: float) -> None:
    from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(20, 300, generator=torch.Generator().manual_seed(1)) * 3
    expected = logits
    warpers = [TopKLogitsWarper(top_k)] if top_k else []
    for warper in [*warpers, TopPLogitsWarper(top_p), MinPLogitsWarper(min_p)]:
        expected = warper(torch.empty(20, 0), expected)
    kept = min_p_filter(top_p_filter(top_k_filter(torch.softmax(logits, -1), top_k), top_p), min_p)
    assert torch.equal(kept > 0, torch.isfinite(expected))


def test_greedy_with_a_repetition_penalty_equals_generate(backend: HFBackend) -> None:
    sampling = Sampling(0.0, 1.0, 24, repetition_penalty=1.7)
    ours = drawn(backend, sampling, samples=1)
    assert ours != drawn(backend, Sampling(0.0, 1.0, 24), samples=1)
    for prompt in PROMPTS:
        ids = torch.tensor([backend.tokenizer(prompt)["input_ids"]])
        theirs = backend.model.generate(ids, do_sample=False, repetition_penalty=1.7, max_new_tokens=24)
        assert ours[prompt, 0].token_ids == tuple(theirs[0, ids.shape[1] :].tolist())


def test_uniforms_are_uniform_and_counted() -> None:
    keys = np.array([row_key(0, f"k{i}", i % 4) for i in range(20000)], np.uint64)
    steps = np.arange(20000, dtype=np.int64) % 50
    u = uniforms(keys, steps)
    assert u.min() > 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.003
    assert np.array_equal(u[100:110], uniforms(keys[100:110], steps[100:110]))
    logits = torch.zeros(20000, 5)
    share = torch.bincount(sample_tokens(logits, u, Sampling(1.0, 1.0)), minlength=5) / 20000
    assert (share - 0.2).abs().max() < 0.02


@pytest.mark.gpu
def test_on_cuda(tiny: Path) -> None:
    backend = HFBackend.load(str(tiny), device="cuda", dtype=torch.float32)
    ours = drawn(backend, Sampling(temperature=0, max_tokens=8))
    cpu = drawn(HFBackend.load(str(tiny), device="cpu"), Sampling(temperature=0, max_tokens=8))
    assert ours == cpu
