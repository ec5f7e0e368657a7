"""Compares what a program printed with what is right, by the rules of programming contests.

The outputs are bytes, so NUL and invalid UTF-8 are ordinary differences. White space is ASCII white space. Each rule
takes time in proportion to the length of the outputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

__all__ = ["COMPARISONS", "Comparison", "exact_outputs_equal", "float_outputs_equal", "token_outputs_equal"]

Comparison = Literal["exact", "tokens", "floats"]
_INTEGER = re.compile(rb"([+-]?)([0-9]++)")
_NUMBER = re.compile(rb"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_NOT_FINITE = re.compile(rb"([+-]?)(nan|inf(?:inity)?)", re.IGNORECASE)


def exact_outputs_equal(output: bytes, expected: bytes, tolerance: float = 0.0) -> bool:
    """Whether the lines are equal, but for what cannot be seen: the kind of line ends, white space at the end of lines,
    and empty lines at the end.

    Codeforces' checker fcmp (MikeMirzayanov/testlib, checkers/fcmp.cpp) compares lines as they are. LiveCodeBench
    (lcb_runner/evaluation/testing_util.py) and APPS (hendrycks/apps, eval/testing_util.py) strip both ends of each
    line; here the beginning counts, so that drawings which differ are not equal.
    """
    return _lines(output) == _lines(expected)


def token_outputs_equal(output: bytes, expected: bytes, tolerance: float = 0.0) -> bool:
    """Whether the tokens between white space are equal, as in Codeforces' checker wcmp (testlib, checkers/wcmp.cpp).

    Case counts, as there; code_contests ignores it. ``1`` is not ``1.0``: that is for the comparison ``floats``.
    """
    return output.split() == expected.split()


def float_outputs_equal(output: bytes, expected: bytes, tolerance: float) -> bool:
    """Whether the tokens are equal, or numbers with an absolute or relative error of at most `tolerance`.

    The error is that of `doubleCompare` in testlib, by which its checkers rcmp4, rcmp6 and rcmp9 compare: NaN equals
    NaN, and infinity equals infinity of the same sign. Two integers must be equal, as code_contests intends
    (google-deepmind/code_contests, execution/tester_sandboxer.cc) and LiveCodeBench does by comparing decimals, so that
    50000000000000000 is not 50000000000000001. A number too large for a float equals only the same text.
    """
    tokens, wanted = output.split(), expected.split()
    return len(tokens) == len(wanted) and all(
        token == want or _numbers_equal(token, want, tolerance) for token, want in zip(tokens, wanted, strict=True)
    )


def _numbers_equal(token: bytes, want: bytes, tolerance: float) -> bool:
    integers = _INTEGER.fullmatch(token), _INTEGER.fullmatch(want)
    if integers[0] is not None and integers[1] is not None:
        return _signed_digits(integers[0]) == _signed_digits(integers[1])
    special = _NOT_FINITE.fullmatch(token), _NOT_FINITE.fullmatch(want)
    if special[0] is not None or special[1] is not None:
        return special[0] is not None and special[1] is not None and _special(special[0]) == _special(special[1])
    if not _NUMBER.fullmatch(token) or not _NUMBER.fullmatch(want):
        return False
    got, right = float(token), float(want)
    if abs(got) == float("inf") or abs(right) == float("inf"):
        return False
    return abs(got - right) <= tolerance * max(1.0, abs(right))


def _signed_digits(found: re.Match[bytes]) -> tuple[bool, bytes]:
    digits = found[2].lstrip(b"0")
    return found[1] == b"-" and bool(digits), digits


def _special(found: re.Match[bytes]) -> tuple[bool, bytes]:
    name = found[2].lower()[:3]
    return found[1] == b"-" and name == b"inf", name


def _lines(output: bytes) -> list[bytes]:
    return [line.rstrip() for line in output.rstrip().split(b"\n")]


COMPARISONS: dict[str, Callable[[bytes, bytes, float], bool]] = {
    "exact": exact_outputs_equal,
    "tokens": token_outputs_equal,
    "floats": float_outputs_equal,
}
