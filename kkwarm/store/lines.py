"""The lines of ``samples.jsonl``: ``{"crc": …, "sample": {…}}``, with the checksum of the sample's JSON text."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from kkwarm.errors import KkwarmError, shorten
from kkwarm.json_text import parse_json
from kkwarm.types import Completion, Sample, Status, Verdict

_LARGEST = 2**31 - 1
_STATUSES = {status.value: status for status in Status}
# The types of each field as JSON. A completion's text may be any value: scored files hold null and other types.
_Types = Mapping[str, tuple[type, ...]]
_SAMPLE: _Types = {
    "benchmark": (str,),
    "id": (str,),
    "index": (int,),
    "completion": (dict,),
    "verdict": (dict,),
    "prompt_hash": (str,),
    "meta": (dict,),
    "reward": (int, float, type(None)),
}
_COMPLETION: _Types = {
    "n_tokens": (int, type(None)),
    "reasoning": (str, type(None)),
    "reasoning_tokens": (int, type(None)),
    "finish_reason": (str,),
    "token_ids": (list, tuple, type(None)),
}
_VERDICT: _Types = {"status": (str,), "answer": (str, type(None)), "reason": (str,), "metrics": (dict,)}
_NAMES = {
    str: "text", int: "a whole number", dict: "an object", list: "a list", tuple: "a list", type(None): "null",
    float: "a number", bool: "true or false",
}  # fmt: skip


_FIELDS = {cls: {field.name for field in fields(cls)} for cls in (Sample, Completion, Verdict)}


def encode_sample(sample: Sample) -> bytes:
    """The line of a sample.

    :raises KkwarmError: a value, which a plugin gave, could not be read again.
    """
    values = asdict(sample)
    try:
        _check_sample(values)
        body = json.dumps(values, ensure_ascii=True, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as err:
        where = f"a sample of {shorten(sample.benchmark)} ({shorten(sample.id)})"
        raise KkwarmError(f"{where} cannot be stored: {err}", hint="its plugin gives a value of another type") from None
    return f'{{"crc":{zlib.crc32(body.encode())},"sample":{body}}}\n'.encode()


def decode_sample(raw: bytes) -> Sample:
    """The sample of a line.

    :raises ValueError: the line is damaged, its checksum does not match, or a value has another type.
    """
    line = parse_json(raw)
    if not isinstance(line, dict) or not isinstance(line.get("sample"), dict) or "crc" not in line:
        raise ValueError("it holds no sample with a checksum")
    body = line["sample"]
    text = json.dumps(body, ensure_ascii=True, separators=(",", ":"))
    if zlib.crc32(text.encode()) != line["crc"]:
        raise ValueError("its checksum does not match: the line was edited")
    _check_sample(body)
    completion, verdict = body.pop("completion"), body.pop("verdict")
    if completion["token_ids"] is not None:
        completion["token_ids"] = tuple(completion["token_ids"])
    return Sample(
        **body,
        completion=Completion(**completion),
        verdict=Verdict(**{**verdict, "status": _STATUSES[verdict["status"]]}),
    )


def _check_sample(body: Mapping[str, Any]) -> None:
    """:raises ValueError: a field is missing or unknown, or has a value of another type or range."""
    _check_fields(body, Sample, _SAMPLE, "")
    _check_fields(body["completion"], Completion, _COMPLETION, "completion.")
    _check_fields(body["verdict"], Verdict, _VERDICT, "verdict.")
    _check_values(body, body["completion"], body["verdict"])


def _check_fields(value: Mapping[str, Any], cls: type[Any], types: _Types, where: str) -> None:
    names = _FIELDS[cls]
    if names != value.keys():
        missing, unknown = sorted(names - value.keys()), sorted(map(repr, value.keys() - names))
        raise ValueError(f"{where}{missing[0]} is missing" if missing else f"{where}{unknown[0]} is unknown")
    for name, allowed in types.items():
        if not isinstance(value[name], allowed) or isinstance(value[name], bool):
            found = _NAMES.get(type(value[name]), type(value[name]).__name__)
            raise ValueError(f"{where}{name} is {found}, not {' or '.join(dict.fromkeys(_NAMES[t] for t in allowed))}")


def _check_values(body: Mapping[str, Any], completion: Mapping[str, Any], verdict: Mapping[str, Any]) -> None:
    if not 0 <= body["index"] <= _LARGEST:
        raise ValueError("index is out of range")
    if not abs(body["reward"] or 0) <= _LARGEST:  # NaN is in no range
        raise ValueError("reward is no finite number")
    for name in ("n_tokens", "reasoning_tokens"):
        if not 0 <= (completion[name] or 0) <= _LARGEST:
            raise ValueError(f"completion.{name} is out of range")
    if not set(map(type, completion["token_ids"] or ())) <= {int}:
        raise ValueError("completion.token_ids holds something else than whole numbers")
    if verdict["status"] not in _STATUSES:
        raise ValueError(f"verdict.status {verdict['status'][:40]!r} is none of {', '.join(_STATUSES)}")
    for name, score in verdict["metrics"].items():
        if not isinstance(score, int | float) or not -_LARGEST <= score <= _LARGEST:  # NaN is in no range
            raise ValueError(f"verdict.metrics.{name[:40]} is no finite number")
