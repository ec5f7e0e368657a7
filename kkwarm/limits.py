"""Limits of numbers that commands and recipes share. Standard library only."""

from __future__ import annotations

from kkwarm.errors import KkwarmError, shorten

__all__ = ["LARGEST", "SEQUENCES", "affordable", "check_sampling", "check_seed", "positive"]

LARGEST = 2**31 - 1  # libraries keep counts in C's int
SEQUENCES = 10**8  # of a whole run: their order is a list in memory


def positive(config: object, *names: str) -> None:
    """:raises KkwarmError: a field of these, unless it is None, is not above 0 and at most `LARGEST`."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise KkwarmError(f"{name} must be positive, not {value}")
        if value is not None and value > LARGEST:
            raise KkwarmError(f"{name} must be at most {LARGEST}, not {shorten(value)}")


def affordable(sequences: float, of: str) -> None:
    """:raises KkwarmError: a run of so many sequences is a typing error: their order alone would fill the memory."""
    if sequences > SEQUENCES:
        raise KkwarmError(f"{shorten(sequences)} {of} are too many", hint=f"at most {SEQUENCES:,} in a run")


def check_sampling(temperature: float | None, top_p: float | None) -> None:
    """:raises KkwarmError: no model can be sampled so. Logits are divided by the temperature: it must not vanish."""
    if temperature is not None and temperature < 0:
        raise KkwarmError(f"temperature must not be negative, not {temperature}")
    if temperature and not 1e-3 <= temperature <= 100:
        raise KkwarmError(f"temperature must be 0, or from 0.001 to 100, not {temperature}")
    if top_p is not None and not 0 < top_p <= 1:
        raise KkwarmError(f"top_p must be in (0, 1], not {top_p}")


def check_seed(seed: int) -> None:
    """:raises KkwarmError: the seed is beyond numpy's limits."""
    if not 0 <= seed < 2**32:
        raise KkwarmError(f"seed must be from 0 to {2**32 - 1}, not {shorten(seed)}")
