"""Removes secrets from what is stored and printed: keys and passwords in URLs, in options, and in messages of servers.

A run is shared, so its manifest must not hold the key that its command line held.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["REDACTED", "redact", "redact_command", "redact_data", "remember_secret"]

REDACTED = "***"
_MIN_LENGTH = 6  # shorter secrets, such as the "none" of servers without a key, would be found in ordinary words
_SECRETS: set[str] = set()
# Names whose values are secret. `max_tokens`, `token_ids` and the like are not.
_NAME = (
    r"(?:[\w.]+[-_])?(?:api[-_]?keys?|access[-_]?keys?|private[-_]?keys?|secrets?|secret[-_]?keys?|tokens?(?<!_tokens)"
    r"|passw(?:or)?d|passphrase|credentials?|authorization|signature|cookie|bearer)"
)
_SECRET_NAME = re.compile(rf"{_NAME}|apikey|sig|pwd|auth", re.IGNORECASE)
_NOT_SECRET = re.compile(
    r"(?:eos|bos|pad|unk|sep|cls|mask|stop|special|end|first|last|max|min|num|n)[-_]tokens?|tokens", re.I
)
_QUERY_NAME = rf"(?:{_NAME}|apikey|key|sig|pwd|pass|auth|code|x-amz-\w+)"
_PATTERNS = (
    (re.compile(r"(?<=://)[^\s/?#@'\"<>]*(?=@)"), REDACTED),  # user:password@ of a URL
    (re.compile(rf"([?&;]{_QUERY_NAME}=)[^\s&;#'\"<>]*[^\s&;#'\"<>:.,)]", re.IGNORECASE), rf"\1{REDACTED}"),
    (re.compile(r"\b(bearer|basic)(\s+)[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1\2{REDACTED}"),
    (
        re.compile(r"\b(?:sk|pk|rk)-[\w-]{16,}|\bhf_\w{16,}|\bgh[pousr]_\w{20,}|\bAKIA\w{12,}|\bxox\w-[\w-]{10,}"),
        REDACTED,
    ),
)
# NAME=VALUE, "NAME": "VALUE" and HEADER: VALUE; not NAME: VALUE, which is how messages name a setting.
_ASSIGNED = re.compile(
    rf"(?<![\w.?&;-])(({_NAME}|apikey|pwd)=[\"']?|[\"']({_NAME}|apikey|pwd)[\"']\s*:\s*[\"']"
    r"|(authorization|x-api-key|cookie):\s*)([^\s\"',;&}]+)",
    re.IGNORECASE,
)


def remember_secret(value: str | None) -> None:
    """Makes `redact` remove this value wherever it occurs; for keys that come from the environment or an option."""
    if value and len(value) >= _MIN_LENGTH:
        _SECRETS.add(value)


def redact(text: str) -> str:
    """`text` with ``***`` in place of known secrets, credentials in URLs, and values that look like keys."""
    for secret in _SECRETS:
        text = text.replace(secret, REDACTED)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return _ASSIGNED.sub(_redact_assigned, text)


def _redact_assigned(match: re.Match[str]) -> str:
    name = match[2] or match[3] or match[4]
    return f"{match[1]}{REDACTED}" if _is_secret_name(name) or match[4] else match[0]


def redact_command(arguments: Sequence[str]) -> list[str]:
    """A command line without secrets, also where an option and its value are two arguments (``--api-key KEY``)."""
    results: list[str] = []
    secret_next = False
    for argument in arguments:
        results.append(REDACTED if secret_next and not argument.startswith("--") else redact(argument))
        name = argument.removeprefix("--")
        secret_next = argument.startswith("--") and "=" not in name and _is_secret_name(name)
    return results


def redact_data(value: Any) -> Any:
    """JSON data without secrets: text under a secret name becomes ``***``, and all other text is redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {
            key: REDACTED if isinstance(inner, str) and inner and _is_secret_name(str(key)) else redact_data(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_data(inner) for inner in value]
    return value


def _is_secret_name(name: str) -> bool:
    return _SECRET_NAME.fullmatch(name) is not None and _NOT_SECRET.fullmatch(name) is None
