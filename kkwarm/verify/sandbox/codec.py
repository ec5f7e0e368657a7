"""Decodes results from the sandbox: a small subset of the marshal format (version 2), read by a strict decoder.

The candidate's process writes them with `marshal.dumps`, which is fast and accepts exact built-in types only.
`marshal.loads` is not safe for hostile input, so it is used only for flat lists of numbers, after a check of the bytes.
"""

from __future__ import annotations

import marshal
import re
import struct
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

__all__ = ["DecodeError", "decode", "encode", "short_repr"]

_MAX_DEPTH = 100
_MAX_DIGITS = 1 << 18
# Numbers that share a hash make a set quadratic: 16 MB of them would take an hour. A million ordinary items take 0.2 s.
_MAX_HASHING_S, _HASH_BATCH = 1.0, 256
_SCALARS = re.compile(rb"(?:[NTF]|i.{4}|g.{8})*+", re.DOTALL)
_INT, _COUNT, _DOUBLE, _COMPLEX = struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<d"), struct.Struct("<dd")


class DecodeError(ValueError):
    """The bytes are not plain data, or too much of it."""


def encode(value: Any) -> bytes:
    """Encodes built-in data as bytes.

    :raises ValueError: `value` contains another type than None, bool, int, float, complex, str, bytes, list, tuple,
        dict, set or frozenset.
    """
    return marshal.dumps(value, 2)


def decode(data: bytes, max_nodes: int = 1_000_000) -> Any:
    """Decodes `data`.

    :raises DecodeError: it is not valid, has more than `max_nodes` parts, is nested deeper than 100 levels, or has sets
        or dicts built to take long.
    """
    if data[:1] in (b"[", b"(") and len(data) >= 5:
        (count,) = _COUNT.unpack_from(data, 1)
        if count <= len(data) - 5 and _SCALARS.fullmatch(data, 5):
            flat = marshal.loads(data) if count <= max_nodes and _tokens(data) == count else None
            if flat is None:
                raise DecodeError("a list is too long, or its length is wrong")
            return flat
    reader = _Reader(data, max_nodes)
    try:
        value = reader.value(0)
    except (struct.error, IndexError, UnicodeDecodeError, TypeError) as err:
        raise DecodeError(str(err)) from None
    if reader.at != len(data):
        raise DecodeError("trailing data")
    return value


def _tokens(data: bytes) -> int:
    at = count = 0
    size, widths = len(data), {ord("N"): 1, ord("T"): 1, ord("F"): 1, ord("i"): 5, ord("g"): 9}
    at = 5
    while at < size:
        at += widths[data[at]]
        count += 1
    return count


class _Reader:
    def __init__(self, data: bytes, max_nodes: int) -> None:
        self.data, self.at, self.left = data, 0, max_nodes
        self.hashing_s = 0.0

    def take(self, size: int) -> bytes:
        part = self.data[self.at : self.at + size]
        if len(part) != size:
            raise DecodeError("truncated")
        self.at += size
        return part

    def count(self) -> int:
        (count,) = _COUNT.unpack(self.take(4))
        if count > min(self.left, len(self.data) - self.at):
            raise DecodeError("too many parts")
        return int(count)

    def value(self, depth: int) -> Any:
        self.left -= 1
        if self.left < 0 or depth > _MAX_DEPTH:
            raise DecodeError("too many parts")
        tag = self.take(1)
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag == b"i":
            return _INT.unpack(self.take(4))[0]
        if tag == b"g":
            return _DOUBLE.unpack(self.take(8))[0]
        if tag == b"y":
            return complex(*_COMPLEX.unpack(self.take(16)))
        if tag == b"u":
            return self.take(_COUNT.unpack(self.take(4))[0]).decode("utf-8", "surrogatepass")
        if tag == b"s":
            return self.take(_COUNT.unpack(self.take(4))[0])
        if tag == b"l":
            return self.long()
        if tag in _SEQUENCES:
            return _SEQUENCES[tag](self.value(depth + 1) for _ in range(self.count()))
        if tag == b"<":
            return self.hashed(set(), (self.value(depth + 1) for _ in range(self.count())))
        if tag == b">":
            return frozenset(self.hashed(set(), (self.value(depth + 1) for _ in range(self.count()))))
        if tag == b"{":
            return self.hashed({}, self.pairs(depth))
        raise DecodeError(f"tag {tag!r}")

    def long(self) -> int:
        """15-bit digits, least significant first; a negative count for a negative number."""
        (signed,) = _INT.unpack(self.take(4))
        if abs(signed) > _MAX_DIGITS:
            raise DecodeError("number too large")
        digits = struct.unpack(f"<{abs(signed)}H", self.take(2 * abs(signed)))
        if any(d >> 15 for d in digits):
            raise DecodeError("digit out of range")
        size = int("".join(f"{d:015b}" for d in reversed(digits)) or "0", 2)
        return -size if signed < 0 else size

    def pairs(self, depth: int) -> Iterator[tuple[Any, Any]]:
        while self.data[self.at : self.at + 1] != b"0":
            yield self.value(depth + 1), self.value(depth + 1)
        self.at += 1

    def hashed(self, into: Any, parts: Iterable[Any]) -> Any:
        """Adds the parts to a set or dict within a time limit, and returns it."""
        parts = iter(parts)
        while batch := list(islice(parts, _HASH_BATCH)):
            started = time.thread_time()
            into.update(batch)
            self.hashing_s += time.thread_time() - started
            if self.hashing_s > _MAX_HASHING_S:
                raise DecodeError("many parts share a hash")
        return into


_CONSTANTS: dict[bytes, Any] = {b"N": None, b"T": True, b"F": False}
_SEQUENCES: dict[bytes, Any] = {b"[": list, b"(": tuple}


def short_repr(value: object, limit: int = 60) -> str:
    """The `repr` of a value in at most `limit` characters, for messages."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # integers with thousands of digits
        return f"a large {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 1] + "…"
