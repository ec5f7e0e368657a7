"""The miniature: four small synthetic domains and a base checkpoint that ships with the package."""

from __future__ import annotations

from pathlib import Path

from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Teacher
from kkwarm_mini.domains import DOMAINS, TEACHERS

__all__ = ["BASE", "kkwarm_domains", "kkwarm_teachers"]

BASE = Path(__file__).parent / "base"
"""The base checkpoint, a transformers folder."""


@hookimpl
def kkwarm_domains() -> list[Domain]:
    return list(DOMAINS)


@hookimpl
def kkwarm_teachers() -> list[Teacher]:
    return list(TEACHERS)
