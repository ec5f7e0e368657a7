"""HumanEval+ v0.1.10: its tasks, from the local folder or by evalplus's own loader."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import marshal
import sys
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kkwarm.data import holdout, local, read_jsonl
from kkwarm.errors import KkwarmError
from kkwarm.types import Example
from kkwarm.verify.sandbox import encode

__all__ = ["CodeTask", "examples", "tasks"]

_FILE = "humaneval_plus/HumanEvalPlus.jsonl.gz"
_COUNT, _TRAIN = 164, 50
_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol")


@dataclass(frozen=True, slots=True)
class CodeTask:
    """One task. Its inputs are kept compressed: as Python objects all of them would take hundreds of megabytes.

    The first `n_base` inputs are HumanEval's own, the others evalplus's.
    """

    id: str
    prompt: str
    entry: str
    solution: str  # the canonical one, whole
    atol: float
    n_base: int
    packed: bytes
    key: str  # hash of everything that decides the expected outputs

    def inputs(self) -> list[bytes]:
        """The argument lists, base before plus, each encoded."""
        listed: list[bytes] = marshal.loads(zlib.decompress(self.packed))  # packed by `_task` in this process
        return listed


def tasks() -> Mapping[str, CodeTask]:
    """All tasks by id, in the data set's order. Read once for each source.

    :raises KkwarmError: the data is missing or incomplete.
    """
    path = local(_FILE)
    return _read(None if path is None else str(path))


def examples() -> list[Example]:
    """All 164, 50 of them to train on; the answer is the canonical solution, whole."""
    listed = [
        Example(t.id, t.prompt, {"entry_point": t.entry, "solution": t.solution}, meta={"tests": t.n_base})
        for t in tasks().values()
    ]
    return holdout(listed, train=_TRAIN)


@functools.lru_cache(maxsize=2)
def _read(path: str | None) -> Mapping[str, CodeTask]:
    where = path or "evalplus's HumanEval+"
    found: dict[str, CodeTask] = {}
    for row in _downloaded() if path is None else read_jsonl(path):
        missing = [name for name in _FIELDS if name not in row]
        if missing:
            raise KkwarmError(f"{where}: a task lacks {', '.join(missing)}", hint="HumanEval+ v0.1.10 is needed")
        task = _task(row)
        found[task.id] = task
    if len(found) != _COUNT:
        raise KkwarmError(f"{where} has {len(found)} tasks, not {_COUNT}", hint="HumanEval+ v0.1.10 is needed")
    return found


def _task(row: Mapping[str, Any]) -> CodeTask:
    inputs = [encode(args) for args in [*row["base_input"], *row["plus_input"]]]
    return CodeTask(
        id=row["task_id"],
        prompt=row["prompt"],
        entry=row["entry_point"],
        solution=row["prompt"] + row["canonical_solution"],
        atol=float(row["atol"]),
        n_base=len(row["base_input"]),
        packed=zlib.compress(marshal.dumps(inputs, 2), 1),
        key=_key(row["entry_point"], row["prompt"] + row["canonical_solution"], inputs),
    )


def _key(entry: str, solution: str, inputs: list[bytes]) -> str:
    digest = hashlib.sha256()
    for part in (entry.encode(), solution.encode(), *inputs):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:32]


def _downloaded() -> Iterable[Mapping[str, Any]]:
    try:
        from evalplus.data import get_human_eval_plus

        with contextlib.redirect_stdout(sys.stderr):  # it reports its download there
            rows: Mapping[str, Mapping[str, Any]] = get_human_eval_plus()
    except Exception as err:  # wget, zlib and JSON errors of many types; all mean that the data is not to be had
        cause = " ".join(str(err).split())[:200]
        raise KkwarmError(
            f"HumanEval+ cannot be loaded: {type(err).__name__}: {cause}",
            hint="go online once so that evalplus caches it, or set KKWARM_DATA to a folder that has it",
        ) from None
    return rows.values()
