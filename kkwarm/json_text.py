"""Parses JSON that people and other tools wrote. Every problem is one short line."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 64  # lists and objects inside one another; code that walks a document must not exceed Python's own limit


def parse_json(text: bytes | str) -> Any:
    """The value of a JSON text; bytes are UTF-8.

    :raises ValueError: it is no JSON, or nested more than `MAX_DEPTH` deep. The message says what is wrong and where.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text)
    except UnicodeDecodeError as err:
        raise ValueError(f"not UTF-8 ({err.reason})") from None
    except json.JSONDecodeError as err:
        where = f"line {err.lineno}, column {err.colno}" if err.lineno > 1 else f"column {err.colno}"
        raise ValueError(f"not JSON ({err.msg}, {where})") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:  # Python reads no integers of more than 4,300 digits
        raise ValueError("a number has too many digits") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value):
        raise ValueError("nested too deeply")
    return value


def _is_deep(value: Any) -> bool:
    layer = [value]
    for _ in range(MAX_DEPTH):
        inner = []
        for container in layer:
            parts = container.values() if type(container) is dict else container if type(container) is list else ()
            inner += [part for part in parts if type(part) is dict or type(part) is list]
        if not inner:
            return False
        layer = inner
    return True
