"""MBPP+ v0.2.0: 378 tasks in evalplus's format, with the inputs' types restored, and its special comparison rules."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from kkwarm.data import read_jsonl
from kkwarm.errors import KkwarmError

from .tasks import CodeTask, Row, Suite, download_rows, make_task, parse_tasks

__all__ = ["MBPP", "ORACLES"]

COUNT = 378
# Functions whose results are not compared by equality (evalplus/eval/_special_oracle.py).
ORACLES = {
    "are_equivalent": "divisor_sums",
    "sum_div": "proper_divisors",
    "surface_Area": "surface_area",
    "digit_distance_nums": "digit_distance",
    **dict.fromkeys(
        (
            "similar_elements",
            "find_char_long",
            "common_in_nested_lists",
            "extract_singly",
            "larg_nnum",
            "intersection_array",
            "find_dissimilar",
            "Diff",
        ),
        "set",
    ),
}
# For these functions only the presence of a result counts, because MBPP's own solutions return match objects.
_PRESENCE_ONLY = ("check_str", "text_match_three", "text_starta_endb")
_WRAPPER_NAME = "_whether_there_is_a_result"
_WRAPPER = """
def {called}(*args):
    result = {entry}(*args)
    return result if type(result) is bool else result is not None
"""


@functools.lru_cache(maxsize=2)
def _mbpp(path: str | None) -> Mapping[str, CodeTask]:
    if path is None:
        return parse_tasks(download_rows(_download, "MBPP+"), "evalplus's MBPP+", "MBPP+ v0.2.0", COUNT, _task)
    return parse_tasks(read_jsonl(path), path, "MBPP+ v0.2.0", COUNT, lambda row: _task(_restore_types(row, path)))


def _task(row: Row) -> CodeTask:
    entry = row["entry_point"]
    if entry in _PRESENCE_ONLY:
        return make_task(row, wrapper=_WRAPPER.format(called=_WRAPPER_NAME, entry=entry), called=_WRAPPER_NAME)
    return make_task(row, oracle=ORACLES.get(entry, ""))


def _restore_types(row: Row, path: str) -> Row:
    """The row with the tuples, sets and complex numbers that JSON cannot represent."""
    from evalplus.data.mbpp import mbpp_deserialize_inputs

    try:
        inputs = {name: mbpp_deserialize_inputs(row["task_id"], row[name]) for name in ("base_input", "plus_input")}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as err:
        cause = f"{type(err).__name__}: {err}"
        raise KkwarmError(
            f"{path}: the inputs of {row.get('task_id', 'a task')} cannot be read ({cause})",
            hint="MBPP+ v0.2.0 is needed",
        ) from None
    return {**row, **inputs}


def _download() -> Mapping[str, Row]:
    from evalplus.data import get_mbpp_plus

    rows: Mapping[str, Row] = get_mbpp_plus()
    return rows


def _path() -> str:
    from evalplus.data.mbpp import _ready_mbpp_plus_path

    path: str = _ready_mbpp_plus_path()
    return path


MBPP = Suite(
    "MBPP+",
    "mbpp_plus/MbppPlus.jsonl.gz",
    "Mbpp/2 to Mbpp/809",
    100,
    _mbpp,
    sha256="b54e762755248ca411b523c917fa9f93c07b5ff2966bf60b3917b853926a3dad",
    release="evalplus/mbppplus_release v0.2.0, MbppPlus.jsonl.gz",
    download=_path,
)
