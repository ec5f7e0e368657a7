"""Domains created on demand: ``reasoning_gym:NAME`` for a data set of reasoning-gym, ``PATH.toml`` for a table."""

from __future__ import annotations

from kkwarm.plugins import hookimpl
from kkwarm.types import Domain

__all__ = ["kkwarm_resolve_domain"]


@hookimpl
def kkwarm_resolve_domain(name: str, from_run: bool) -> Domain | None:
    """Creates the domain, or returns None if the name is of neither kind. A run cannot name a table: it is a file."""
    if name.startswith("reasoning_gym:"):
        from kkwarm_bridges import gym

        return gym.make_domain(name)
    if name.endswith(".toml") and not from_run:
        from kkwarm_bridges import table

        return table.make_domain(name)
    return None
