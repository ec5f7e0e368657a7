"""Samples tokens; their randomness depends on (seed, request, sample, step) only, not on the batch.

One uniform number selects each token, by inverting the cumulative distribution in vocabulary order. In this order, a
rounding difference between two batches shifts the bounds only as much as the probabilities; in an order by probability
it would swap nearly equal tokens and shift their bounds a lot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kkwarm.types import Sampling

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_SMALL_VOCABULARY = 4096


def row_key(seed: int, key: str, sample: int) -> int:
    """A 64-bit key that identifies one sample of one request."""
    digest = hashlib.sha256(f"{seed}\x1f{sample}\x1f{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "little")


def contiguous_runs(samples: Sequence[int]) -> list[tuple[int, ...]]:
    """Sample indices as runs without gaps: an engine numbers the samples of one call consecutively."""
    runs: list[tuple[int, ...]] = []
    for index in sorted(samples):
        if runs and runs[-1][-1] + 1 == index:
            runs[-1] += (index,)
        else:
            runs.append((index,))
    return runs


def engine_seed(seed: int, key: str, first: int) -> int:
    """The seed of a call for the samples from index `first` on. vLLM seeds n samples with this seed and the following
    ones, so a sample has the same seed in every call.
    """
    return row_key(seed, key, 0) % 2**30 + first


def uniforms(keys: NDArray[np.uint64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in (0, 1) for each (key, step), by splitmix64, a counter-based generator (Steele et al. 2014)."""
    with np.errstate(over="ignore"):  # the generator wraps around
        z = keys + (steps.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    # 32 bits are fine enough for any vocabulary, and u times a sum can never round up to the sum.
    high: NDArray[np.uint64] = z >> np.uint64(32)
    return np.asarray((high.astype(np.float64) + 0.5) / 2.0**32)


def top_p_filter(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """`probabilities` [rows, vocabulary], set to zero outside the smallest set of tokens whose mass reaches `top_p`.

    Tokens as probable as the least probable one of the set are kept.
    """
    import torch

    if top_p >= 1.0:
        return probabilities
    size = probabilities.shape[-1]
    count = size if size <= _SMALL_VOCABULARY else 512
    while True:  # sorting 150,000 tokens for each row is slow, and the top few hundred nearly always reach top_p
        ranked = torch.topk(probabilities, count, dim=-1).values
        before = ranked.cumsum(-1) - ranked
        if count == size or bool((before[:, -1] >= top_p).all()):
            break
        count = min(size, count * 16)
    size_of_set = (before < top_p).sum(-1, keepdim=True).clamp_(min=1)
    threshold = ranked.gather(-1, size_of_set - 1)
    return probabilities.masked_fill(probabilities < threshold, 0.0)


def top_k_filter(probabilities: torch.Tensor, top_k: int) -> torch.Tensor:
    """`probabilities` [rows, vocabulary] of the `top_k` most probable tokens, which sum to 1; 0 keeps all.

    Tokens as probable as the least probable one of them are kept.
    """
    import torch

    if not 0 < top_k < probabilities.shape[-1]:
        return probabilities
    threshold = torch.topk(probabilities, top_k, dim=-1).values[:, -1:]
    kept = probabilities.masked_fill(probabilities < threshold, 0.0)
    return kept / kept.sum(-1, keepdim=True)


def min_p_filter(probabilities: torch.Tensor, min_p: float) -> torch.Tensor:
    """`probabilities` [rows, vocabulary], set to zero below `min_p` times the largest of the row (arXiv 2407.01082)."""
    if min_p <= 0:
        return probabilities
    return probabilities.masked_fill(probabilities < min_p * probabilities.amax(-1, keepdim=True), 0.0)


def penalize_repetition(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """`logits` [rows, vocabulary] with the repetition penalty on the tokens that `seen` [rows, vocabulary] marks."""
    import torch

    penalized = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, penalized, logits)


def sample_tokens(logits: torch.Tensor, uniform: NDArray[np.float64], sampling: Sampling) -> torch.Tensor:
    """A token for each row of `logits` [rows, vocabulary]; at temperature 0 the most probable one.

    top_k, top_p and min_p apply in this order, as in transformers.
    """
    import torch

    if sampling.temperature <= 0:
        return logits.argmax(-1)
    probabilities = top_k_filter(torch.softmax(logits.float() / sampling.temperature, -1), sampling.top_k)
    probabilities = min_p_filter(top_p_filter(probabilities, sampling.top_p), sampling.min_p)
    bounds = probabilities.cumsum(-1, dtype=torch.float64)
    targets = torch.from_numpy(uniform).to(logits.device).unsqueeze(-1) * bounds[:, -1:]
    return torch.searchsorted(bounds, targets, right=True).squeeze(-1).clamp_(max=logits.shape[-1] - 1)
