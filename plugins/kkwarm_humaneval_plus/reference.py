"""Expected outputs and times of the canonical solutions: computed in a sandbox of their own, as far as they are needed.

For each input: the time, and the encoded output, or its digest where it is large. The large ones (all together 240 MB)
need only be told from wrong ones, for which the digest does; should a result of other bytes still be equal to a large
output (an int for a float), that output is computed again.

Three quarters of the canonical solutions' time go to inputs that no wrong candidate ever gets to. So a reference grows:
its first inputs are known, and `extend` computes more of them. What is known is cached on disk.
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

__all__ = ["Condensed", "Reference", "condensed", "extend", "longest_first", "references"]

_FORMAT = 2
_LARGE_BYTES = 1024
_GIB = 1 << 30
_LIMITS = Limits(cpu_s=1800.0, idle_s=60.0, memory=4 * _GIB, output=4 * _GIB, result=_GIB)
_CALL_S = 120.0
_GROUP_SIZE = 8  # tasks in one process: starting one takes longer than most of them do
_log = logging.getLogger("kkwarm.humaneval_plus")
_known: dict[str, Reference] = {}


Condensed = bytes | int  # an encoded value, or the digest of a large one


@dataclass(slots=True)
class Reference:
    """What the canonical solution gives on the first `len(times)` inputs. Times in CPU seconds of a typical core."""

    task: CodeTask
    outputs: list[Condensed] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.times)

    def output(self, index: int, sandbox: Sandbox) -> bytes:
        """The encoded expected output; a large one is computed again, in `sandbox`."""
        known = self.outputs[index]
        return known if isinstance(known, bytes) else _alone(self.task, index, sandbox)


def condensed(data: bytes) -> Condensed:
    """`data`, or its digest where it is large: equal for equal data only."""
    if len(data) <= _LARGE_BYTES:
        return data
    return int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "little")


def references(wanted: Sequence[CodeTask], sandbox: Sandbox) -> dict[str, Reference]:
    """The reference of each task, by task id, with at least its base outputs.

    :param sandbox: for canonical solutions only: nothing of them may be in a process that candidates come from.
    :raises KkwarmError: a canonical solution does not run here.
    """
    found = {}
    for task in wanted:
        key = _key(task)
        if key not in _known:
            _known[key] = _load(task, key) or Reference(task)
        found[task.id] = _known[key]
    extend({name: reference.task.n_base for name, reference in found.items()}, found, sandbox)
    return found


def longest_first(tasks: Iterable[CodeTask], seconds: Mapping[str, float] | None = None) -> list[CodeTask]:
    """Each task once; by `seconds`, then by what is to be seen before anything has run.

    evalplus made few inputs where a call is slow; elsewhere many bytes of them take long. So the two orders take turns.
    """
    distinct = list({task.id: task for task in tasks}.values())
    rank = dict.fromkeys((task.id for task in distinct), len(distinct))
    for order in (lambda t: t.n_inputs, lambda t: -len(t.blob)):
        for i, task in enumerate(sorted(distinct, key=order)):
            rank[task.id] = min(rank[task.id], i)
    return sorted(distinct, key=lambda t: (-(seconds or {}).get(t.id, 0.0), rank[t.id]))


def extend(wanted: Mapping[str, int], known: Mapping[str, Reference], sandbox: Sandbox) -> None:
    """Has each task's reference cover at least the wanted number of inputs, and keeps what is new.

    :raises KkwarmError: a canonical solution does not run here.
    """
    tasks = longest_first([known[name].task for name, count in wanted.items() if len(known[name]) < count])
    short = [known[task.id] for task in tasks]
    n_groups = math.ceil(len(short) / _GROUP_SIZE)
    groups = [_Group([(r, wanted[r.task.id]) for r in short[i::n_groups]]) for i in range(n_groups)]
    if groups:
        _log.info("computing expected outputs of %d tasks", len(short))
    for group, outcome in zip(groups, sandbox.run_many([g.job() for g in groups]), strict=True):
        if outcome.end is not End.PASSED:
            raise KkwarmError(
                f"the canonical solution of {group.blame(outcome.index)} does not run here: "
                f"{outcome.end} {outcome.detail}".strip(),
                hint="the machine may be short of memory; `kkwarm doctor` shows the sandbox",
            )
    for reference in short:
        _store(_key(reference.task), reference)


_CODE = """
from types import ModuleType
functions = []
for source, name in {sources!r}:
    module = ModuleType("candidate")
    exec(compile(source, "<candidate>", "exec"), module.__dict__)
    functions.append(module.__dict__[name])
def call(which, *args):
    return functions[which](*args)
"""


class _Group:
    """Canonical solutions that run in one process. Results are condensed as they come: never all are in memory."""

    def __init__(self, parts: Sequence[tuple[Reference, int]]) -> None:
        self.slowness = measure_slowness()
        self.parts = [reference for reference, _ in parts]
        self.inputs: list[bytes] = []
        self.owners: list[tuple[int, int]] = []  # (which part, the index of its input) of each call
        for which, (reference, count) in enumerate(parts):
            for index, args in enumerate(reference.task.inputs()[len(reference) : count], len(reference)):
                self.inputs.append(_prefixed(which, args))
                self.owners.append((which, index))

    def job(self) -> CallJob:
        tasks = [reference.task for reference in self.parts]
        code = _CODE.format(sources=[(t.runnable(t.solution), t.called) for t in tasks])
        return CallJob(code, "call", self.inputs, [_CALL_S] * len(self.inputs), self.take, _CALL_S, _LIMITS)

    def take(self, call: int, data: bytes, exact: bool, cpu_s: float) -> bool:
        which, index = self.owners[call]
        part = self.parts[which]
        if index == len(part.times):  # a job that is begun anew, its worker having been lost, gives some twice
            part.outputs.append(condensed(data))
            part.times.append(cpu_s / self.slowness)
        return True

    def blame(self, call: int | None) -> str:
        if call is None or call >= len(self.owners):
            return ", ".join(reference.task.id for reference in self.parts)
        return self.parts[self.owners[call][0]].task.id


def _prefixed(which: int, args: bytes) -> bytes:
    """The encoded arguments with a further one before them."""
    (count,) = struct.unpack_from("<I", args, 1)
    return b"(" + struct.pack("<I", count + 1) + encode(which) + args[5:]


def _alone(task: CodeTask, index: int, sandbox: Sandbox) -> bytes:
    outputs: list[bytes] = []

    def take(call: int, data: bytes, exact: bool, cpu_s: float) -> bool:
        outputs.append(data)
        return True

    code, inputs = task.runnable(task.solution), [task.inputs()[index]]
    (outcome,) = sandbox.run_many([CallJob(code, task.called, inputs, [_CALL_S], take, _CALL_S, _LIMITS)])
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


def _store(key: str, made: Reference) -> None:
    packed = zlib.compress(encode([made.outputs, made.times]), 1)
    path = _folder() / f"{key}.bin"
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(hashlib.sha256(packed).digest() + packed)
        part.replace(path)
    except OSError as err:
        _say_once(f"expected outputs cannot be cached in {path.parent}: {err.strerror}")


@cache
def _say_once(message: str) -> None:
    _log.warning(message)
