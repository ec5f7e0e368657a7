"""JSON that others wrote: one short line for each problem."""

import pytest

from kkwarm.json_text import MAX_DEPTH, parse_json


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON (Expecting value, column 1)"),
        (b'{"a":\n 1,}', "not JSON (Expecting property name enclosed in double quotes, line 2, column 4)"),
        (b"\xff", "not UTF-8 (invalid start byte)"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested too deeply"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "nested too deeply"),
        (b"9" * 5_000, "a number has too many digits"),
    ],
)
def test_problems(text: bytes, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_json(text)
    assert str(error.value) == message


def test_values() -> None:
    assert parse_json('{"a": [1, "{[{["]}') == {"a": [1, "{[{["]}
    assert parse_json(b'["' + b"[" * 1_000 + b'"]') == ["[" * 1_000]  # brackets in text are no nesting
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
