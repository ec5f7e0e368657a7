"""Settings with one value for all benchmarks, or one for each: ``VALUE`` or ``BENCHMARK=VALUE,...``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from kkwarm.errors import KkwarmError, unknown_name

__all__ = ["check_benchmarks", "check_protocols", "parse_values", "value_for"]

T = TypeVar("T")


def parse_values(text: str, setting: str) -> dict[str, str]:
    """Values by benchmark; the key of a value for all other benchmarks is empty.

    :param setting: what has these values, for messages.
    :raises KkwarmError: a part is empty, or two parts are for the same benchmark.
    """
    values: dict[str, str] = {}
    for part in text.split(","):
        benchmark, equals, value = (piece.strip() for piece in part.rpartition("="))
        if not value or (equals and not benchmark):
            raise KkwarmError(f"{setting} {text}: a value is missing", hint="use VALUE or BENCHMARK=VALUE,...")
        if benchmark in values:
            which = f"for {benchmark}" if benchmark else "for all benchmarks"
            raise KkwarmError(f"{setting} {text} has two values {which}", hint="use VALUE or BENCHMARK=VALUE,...")
        values[benchmark] = value
    return values


def value_for(values: Mapping[str, T], benchmark: str) -> T | None:
    """The value of a benchmark, else of the domain that it is a part of (``kk`` for ``kk:3``), else that of all."""
    return next((values[name] for name in (*_names(benchmark), "") if name in values), None)


def check_benchmarks(values: Mapping[str, object], benchmarks: Iterable[str], setting: str) -> None:
    """:raises KkwarmError: a value is for a benchmark that is not evaluated."""
    known = {name for benchmark in benchmarks for name in _names(benchmark)}
    for name in values:
        if name and name not in known:
            raise unknown_name(f"benchmark in {setting}", name, known)


def check_protocols(option: str | None, benchmarks: Iterable[str]) -> None:
    """:raises KkwarmError: ``--protocol`` names a protocol for a benchmark that is not used."""
    if option is not None:
        check_benchmarks(parse_values(option, "--protocol"), benchmarks, "--protocol")


def _names(benchmark: str) -> list[str]:
    return [benchmark, *reversed([benchmark[:at] for at, char in enumerate(benchmark) if char == ":"])]
