"""Expected outputs and times of the canonical solutions, computed in a separate sandbox as far as they are needed.

For each input, a reference has the time and the encoded output, or the digest of a large output (all large ones take
240 MB). The digest is enough to compare bytes. If a result with other bytes may still be equal (an int for a float),
the output is computed again.

Three quarters of the canonical solutions' time go to inputs that no wrong candidate reaches. So a reference covers only
the first inputs, and `extend_references` computes more of them when needed. References are cached on disk.
"""

from __future__ import annotations

import hashlib
import logging
import marshal
import math
import os
import struct
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from kkwarm.errors import KkwarmError
from kkwarm.verify.sandbox import CallJob, End, Limits, Sandbox, encode, measure_slowness

from .tasks import CodeTask

__all__ = ["CompactValue", "Reference", "compact", "extend_references", "load_references", "longest_first"]

_FORMAT = 2
_LARGE_BYTES = 1024
_GIB = 1 << 30
_LIMITS = Limits(cpu_s=1800.0, idle_s=60.0, memory=4 * _GIB, output=4 * _GIB, result=_GIB)
_CALL_S = 120.0
_GROUP_SIZE = 8  # tasks per process: starting a process takes longer than most tasks
_log = logging.getLogger("kkwarm.humaneval_plus")
_loaded: dict[str, Reference] = {}


CompactValue = bytes | int  # an encoded value, or the digest of a large one


@dataclass(slots=True)
class Reference:
    """The canonical solution's outputs on the first `len(times)` inputs. Times are CPU seconds of a typical core."""

    task: CodeTask
    outputs: list[CompactValue] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.times)

    def output(self, index: int, sandbox: Sandbox) -> bytes:
        """The encoded expected output. A large one is computed again in `sandbox`."""
        known = self.outputs[index]
        return known if isinstance(known, bytes) else _compute_output(self.task, index, sandbox)


def compact(data: bytes) -> CompactValue:
    """`data`, or its digest if it is large. Two results are equal only for equal data."""
    if len(data) <= _LARGE_BYTES:
        return data
    return int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "little")


def load_references(tasks: Sequence[CodeTask], sandbox: Sandbox) -> dict[str, Reference]:
    """The reference of each task by task id, with at least its base outputs.

    :param sandbox: a sandbox for canonical solutions only, so that candidates never share a process with them.
    :raises KkwarmError: a canonical solution does not run here.
    """
    references = {}
    for task in tasks:
        key = _key(task)
        if key not in _loaded:
            _loaded[key] = _load(task, key) or Reference(task)
        references[task.id] = _loaded[key]
    extend_references({name: reference.task.n_base for name, reference in references.items()}, references, sandbox)
    return references


def longest_first(tasks: Iterable[CodeTask], seconds: Mapping[str, float] | None = None) -> list[CodeTask]:
    """The distinct tasks, the slowest first: by `seconds`, then by an estimate.

    evalplus has few inputs for slow functions, and otherwise large inputs take long. The estimate alternates between
    the two orders.
    """
    distinct = list({task.id: task for task in tasks}.values())
    rank = dict.fromkeys((task.id for task in distinct), len(distinct))
    for order in (lambda t: t.n_inputs, lambda t: -len(t.blob)):
        for i, task in enumerate(sorted(distinct, key=order)):
            rank[task.id] = min(rank[task.id], i)
    return sorted(distinct, key=lambda t: (-(seconds or {}).get(t.id, 0.0), rank[t.id]))


def extend_references(n_inputs: Mapping[str, int], references: Mapping[str, Reference], sandbox: Sandbox) -> None:
    """Extends each task's reference to at least the given number of inputs, and caches the new outputs."""
    tasks = longest_first([references[name].task for name, count in n_inputs.items() if len(references[name]) < count])
    incomplete = [references[task.id] for task in tasks]
    n_groups = math.ceil(len(incomplete) / _GROUP_SIZE)
    groups = [_Group([(r, n_inputs[r.task.id]) for r in incomplete[i::n_groups]]) for i in range(n_groups)]
    if groups:
        _log.info("computing expected outputs of %d tasks", len(incomplete))
    for group, outcome in zip(groups, sandbox.run_many([g.job() for g in groups]), strict=True):
        if outcome.end is not End.PASSED:
            raise KkwarmError(
                f"the canonical solution of {group.task_id_of(outcome.index)} does not run here: "
                f"{outcome.end} {outcome.detail}".strip(),
                hint="check the free memory, and the sandbox in `kkwarm doctor`",
            )
    for reference in incomplete:
        _store(_key(reference.task), reference)


_CODE = """
from types import ModuleType
functions = []
for source, name in {sources!r}:
    module = ModuleType("candidate")
    exec(compile(source, "<candidate>", "exec", dont_inherit=True), module.__dict__)
    functions.append(module.__dict__[name])
def call(which, *args):
    return functions[which](*args)
"""


class _Group:
    """Canonical solutions that run in one process. Results are compacted at once, so that memory use stays low."""

    def __init__(self, references: Sequence[tuple[Reference, int]]) -> None:
        self.slowness = measure_slowness()
        self.references = [reference for reference, _ in references]
        self.inputs: list[bytes] = []
        self.calls: list[tuple[int, int]] = []  # (index of the task, index of its input) of each call
        for task_index, (reference, count) in enumerate(references):
            for index, args in enumerate(reference.task.inputs()[len(reference) : count], len(reference)):
                self.inputs.append(_prepend_argument(task_index, args))
                self.calls.append((task_index, index))

    def job(self) -> CallJob:
        tasks = [reference.task for reference in self.references]
        code = _CODE.format(sources=[(t.full_code(t.solution), t.called) for t in tasks])
        return CallJob(code, "call", self.inputs, [_CALL_S] * len(self.inputs), self.on_result, _CALL_S, _LIMITS)

    def on_result(self, call: int, data: bytes, exact: bool, cpu_s: float) -> bool:
        task_index, index = self.calls[call]
        reference = self.references[task_index]
        if index == len(reference.times):  # a job restarted after its worker was lost sends some results twice
            reference.outputs.append(compact(data))
            reference.times.append(cpu_s / self.slowness)
        return True

    def task_id_of(self, call: int | None) -> str:
        if call is None or call >= len(self.calls):
            return ", ".join(reference.task.id for reference in self.references)
        return self.references[self.calls[call][0]].task.id


def _prepend_argument(task_index: int, args: bytes) -> bytes:
    """The encoded arguments with an additional first one."""
    (count,) = struct.unpack_from("<I", args, 1)
    return b"(" + struct.pack("<I", count + 1) + encode(task_index) + args[5:]


def _compute_output(task: CodeTask, index: int, sandbox: Sandbox) -> bytes:
    outputs: list[bytes] = []

    def on_result(call: int, data: bytes, exact: bool, cpu_s: float) -> bool:
        outputs.append(data)
        return True

    code, inputs = task.full_code(task.solution), [task.inputs()[index]]
    (outcome,) = sandbox.run_many([CallJob(code, task.called, inputs, [_CALL_S], on_result, _CALL_S, _LIMITS)])
    if outcome.end is not End.PASSED:
        raise KkwarmError(f"the canonical solution of {task.id} does not run here: {outcome.end} {outcome.detail}")
    return outputs[-1]


# -- on disk -----------------------------------------------------------------------------------------------------------


def _key(task: CodeTask) -> str:
    return f"{task.key}-{sys.version_info[0]}.{sys.version_info[1]}-{_FORMAT}"


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(base) if base else Path.home() / ".cache") / "kkwarm" / "humaneval_plus"


def _load(task: CodeTask, key: str) -> Reference | None:
    try:
        raw = (_folder() / f"{key}.bin").read_bytes()
    except OSError:
        return None
    if hashlib.sha256(raw[32:]).digest() != raw[:32]:
        _log.warning("cached expected outputs of %s are damaged; computing them again", task.id)
        return None
    outputs, times = marshal.loads(zlib.decompress(raw[32:]))
    return Reference(task, outputs, times)


def _store(key: str, reference: Reference) -> None:
    packed = zlib.compress(encode([reference.outputs, reference.times]), 1)
    path = _folder() / f"{key}.bin"
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(packed).digest() + packed)
        temporary.replace(path)
    except OSError as err:
        _warn_once(f"expected outputs cannot be cached in {path.parent}: {err.strerror}")


@cache
def _warn_once(message: str) -> None:
    _log.warning(message)
