"""Draws tokens whose randomness depends on (seed, request, sample, step) only, never on the batch.

One uniform number decides each token, by inverting the distribution in vocabulary order: in that order a rounding
difference between two batches moves the bounds by as much as it moves the probabilities, where an order by probability
would swap near-equal tokens and so move them far.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

__all__ = ["contiguous", "engine_seed", "nucleus", "pick", "row_key", "uniforms"]

_SMALL_VOCABULARY = 4096


def row_key(seed: int, key: str, sample: int) -> int:
    """64 bits that name one sample of one request."""
    digest = hashlib.sha256(f"{seed}\x1f{sample}\x1f{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "little")


def contiguous(samples: Sequence[int]) -> list[tuple[int, ...]]:
    """Sample indices in stretches without a gap: an engine that draws n at once numbers them from the first on."""
    found: list[tuple[int, ...]] = []
    for index in sorted(samples):
        if found and found[-1][-1] + 1 == index:
            found[-1] += (index,)
        else:
            found.append((index,))
    return found


def engine_seed(seed: int, key: str, first: int) -> int:
    """The seed of a call for the samples from index `first` on. vLLM gives its n samples this seed and the next ones,
    so that a sample has the same seed in whatever call it is drawn."""
    return row_key(seed, key, 0) % 2**30 + first


def uniforms(keys: NDArray[np.uint64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in (0, 1) for each (key, step): splitmix64, a counter-based generator (Steele et al. 2014)."""
    with np.errstate(over="ignore"):  # wrapping around is what the generator does
        z = keys + (steps.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    # 32 bits: fine enough for any vocabulary, and u times a sum can never round up to the sum.
    high: NDArray[np.uint64] = z >> np.uint64(32)
    return np.asarray((high.astype(np.float64) + 0.5) / 2.0**32)


def nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """`probabilities` [rows, vocabulary], zero outside the smallest set of tokens whose mass reaches `top_p`.

    Tokens as probable as the least probable one of the set stay in it.
    """
    import torch

    if top_p >= 1.0:
        return probabilities
    size = probabilities.shape[-1]
    count = size if size <= _SMALL_VOCABULARY else 512
    while True:  # a sort of 150,000 tokens for each row is dear, and the top few hundred nearly always reach top_p
        ranked = torch.topk(probabilities, count, dim=-1).values
        before = ranked.cumsum(-1) - ranked
        if count == size or bool((before[:, -1] >= top_p).all()):
            break
        count = min(size, count * 16)
    kept = (before < top_p).sum(-1, keepdim=True).clamp_(min=1)
    threshold = ranked.gather(-1, kept - 1)
    return probabilities.masked_fill(probabilities < threshold, 0.0)


def pick(logits: torch.Tensor, uniform: NDArray[np.float64], temperature: float, top_p: float) -> torch.Tensor:
    """A token for each row of `logits` [rows, vocabulary]; the most probable one at temperature 0."""
    import torch

    if temperature <= 0:
        return logits.argmax(-1)
    probabilities = nucleus(torch.softmax(logits.float() / temperature, -1), top_p)
    bounds = probabilities.cumsum(-1, dtype=torch.float64)
    drawn = torch.from_numpy(uniform).to(logits.device).unsqueeze(-1) * bounds[:, -1:]
    return torch.searchsorted(bounds, drawn, right=True).squeeze(-1).clamp_(max=logits.shape[-1] - 1)
