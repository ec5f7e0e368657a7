"""What comes out of the sandbox is read strictly: any bytes give a value of built-in types, or `DecodeError`."""

import contextlib
import marshal
import math
import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kkwarm.verify.sandbox import DecodeError, decode, encode

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(),
    st.complex_numbers(allow_nan=False), st.text(alphabet=st.characters(categories=["Cs"]), max_size=3),
)  # fmt: skip
KEYS = st.one_of(st.integers(), st.text(max_size=5), st.tuples(st.integers(), st.text(max_size=3)))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEYS, inner), st.sets(KEYS), st.frozensets(KEYS)
    ),
    max_leaves=8,
)
BUILT_IN = (type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_values_come_back_as_they_were(value: Any) -> None:
    assert decode(encode(value)) == value
    assert type(decode(encode(value))) is type(value)


@given(st.lists(st.one_of(st.integers(-(2**31), 2**31 - 1), st.floats(), st.booleans(), st.none()), max_size=50))
def test_flat_lists_take_the_fast_path_and_stay_the_same(values: list[Any]) -> None:
    assert list(map(repr, decode(encode(values)))) == list(map(repr, values))


@given(st.binary(max_size=200))
def test_any_bytes_give_plain_data_or_undecodable(data: bytes) -> None:
    try:
        value = decode(data)
    except DecodeError:
        return
    assert type(value) in BUILT_IN


@settings(max_examples=60, deadline=None)
@given(VALUES, st.data())
def test_damaged_bytes_never_give_anything_else(value: Any, data: st.DataObject) -> None:
    raw = bytearray(encode(value))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        assert type(decode(bytes(raw))) in BUILT_IN


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[\xff\xff\xff\xff",  # four thousand million parts, none there
        b"[\xff\xff\xff\x7f" + b"N" * 10,
        b"[\x02\x00\x00\x00N",  # one too few
        b"[\x01\x00\x00\x00NN",  # one too many
        b"u\xff\xff\xff\xffabc",
        b"l\xff\xff\xff\x7f",
        b"l\x01\x00\x00\x00\xff\xff",  # a digit of 16 bits
        b"{[\x00\x00\x00\x00N0",  # a list as key
        b"<\x01\x00\x00\x00[\x00\x00\x00\x00",
        b"(\x01\x00\x00\x00" * 5000 + b"N",  # nested too deeply
        b"[\x01\x00\x00\x00" * 101 + b"N",
        marshal.dumps(compile("1", "x", "eval"), 2),
        marshal.dumps(Ellipsis, 2),
        marshal.dumps([1, 2], 4),  # the format with references
        b"u\x01\x00\x00\x00\xff",
        struct.pack("<ci", b"i", 1) + b"x",
    ],
)
def test_hostile_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(raw)


def test_more_parts_than_allowed_are_refused() -> None:
    for value in ([0] * 100, [[0]] * 50, "abc" and {"a": [1] * 99}):
        with pytest.raises(DecodeError):
            decode(encode(value), max_nodes=50)
    assert decode(encode([0] * 50), max_nodes=50) == [0] * 50


@pytest.mark.parametrize("value", [0, 2**15 - 1, 2**15, -(2**31) - 1, 2**31, 10**3000, -(10**3000)])
def test_large_numbers(value: int) -> None:
    assert decode(encode(value)) == value


def test_not_a_number_and_negative_zero() -> None:
    assert math.isnan(decode(encode(math.nan)))
    assert math.copysign(1, decode(encode(-0.0))) == -1


@pytest.mark.parametrize("form", ["set", "frozenset", "dict"])
def test_numbers_that_share_a_hash_are_refused_in_time(form: str) -> None:
    prime = 2**61 - 1  # sys.hash_info.modulus
    count = 50_000
    numbers = [encode(i * prime) for i in range(1, count + 1)]
    if form == "dict":
        raw = b"{" + b"".join(n + b"N" for n in numbers) + b"0"
    else:
        raw = (b"<" if form == "set" else b">") + struct.pack("<I", count) + b"".join(numbers)
    began = time.process_time()
    with pytest.raises(DecodeError, match="share a hash"):
        decode(raw)
    assert time.process_time() - began < 10


def test_large_sets_and_dicts_are_none_of_these() -> None:
    for value in (set(range(100_000)), {(i, str(i)): i for i in range(30_000)}):
        assert decode(encode(value)) == value


def test_subclasses_are_not_encoded() -> None:
    class Anything(int):
        pass

    with pytest.raises(ValueError):
        encode(Anything(3))
