"""Expected outputs and times of the canonical solutions: computed in a sandbox of their own when needed, then cached.

For each input: the time, a digest of the encoded output, and the output itself where it is small. The large ones (all
together 240 MB) need only be told from wrong ones, for which the digest does; should a result of other bytes still be
equal to a large output (an int for a float), that output is computed again.
"""

from __future__ import annotations

import hashlib
import logging
import marshal
import os
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kkwarm.errors import KkwarmError
from kkwarm.verify.sandbox import CallJob, End, Limits, Sandbox, calibrate, encode

from .tasks import CodeTask

__all__ = ["Reference", "references"]

_FORMAT = 1
_KEPT_BYTES = 4096
_DIGEST = 16
_GIB = 1 << 30
_LIMITS = Limits(cpu_s=1800.0, idle_s=60.0, memory=4 * _GIB, output=4 * _GIB, result=_GIB)
_CALL_S = 120.0
_log = logging.getLogger("kkwarm.humaneval_plus")
_known: dict[str, Reference] = {}


@dataclass(frozen=True, slots=True)
class Reference:
    """What the canonical solution gives on each input. `slowness` is the machine's (`calibrate`) when it was timed."""

    task: CodeTask
    digests: bytes
    kept: list[bytes | None]
    times: list[float]
    slowness: float

    def same_bytes(self, index: int, data: bytes) -> bool:
        return digest(data) == self.digests[index * _DIGEST : (index + 1) * _DIGEST]

    def output(self, index: int) -> bytes:
        """The encoded expected output."""
        kept = self.kept[index]
        return kept if kept is not None else _compute(self.task, [self.task.inputs()[index]])[1][0]


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()


def references(wanted: Sequence[CodeTask]) -> dict[str, Reference]:
    """The reference of each task, by task id; those that are in no cache are computed at once, in parallel.

    :raises KkwarmError: a canonical solution does not run here.
    """
    keys = {task.id: f"{task.key}-{sys.version_info[0]}.{sys.version_info[1]}-{_FORMAT}" for task in wanted}
    by_id = {task.id: task for task in wanted}
    missing = []
    for name, key in keys.items():
        if key not in _known and (stored := _load(by_id[name], key)) is not None:
            _known[key] = stored
        if key not in _known:
            missing.append(by_id[name])
    if missing:
        slowness = calibrate()
        collectors = [_Collector(task) for task in missing]
        _log.info("computing the expected outputs of %d tasks (once)", len(missing))
        _run([c.job() for c in collectors], missing)
        for c in collectors:
            _known[keys[c.task.id]] = made = c.reference(slowness)
            _store(keys[c.task.id], made)
    return {name: _known[key] for name, key in keys.items()}


class _Collector:
    """Digests results as they come, so that the large ones are never all in memory."""

    def __init__(self, task: CodeTask) -> None:
        self.task, self.digests, self.kept, self.times = task, bytearray(), list[bytes | None](), list[float]()

    def job(self) -> CallJob:
        inputs = self.task.inputs()
        return CallJob(
            self.task.solution, self.task.entry, inputs, [_CALL_S] * len(inputs), self.take, _CALL_S, _LIMITS
        )

    def take(self, index: int, data: bytes, exact: bool, cpu_s: float) -> bool:
        self.digests += digest(data)
        self.kept.append(data if len(data) <= _KEPT_BYTES else None)
        self.times.append(cpu_s)
        return True

    def reference(self, slowness: float) -> Reference:
        return Reference(self.task, bytes(self.digests), self.kept, self.times, slowness)


def _compute(task: CodeTask, inputs: list[bytes]) -> tuple[list[float], list[bytes]]:
    times: list[float] = []
    outputs: list[bytes] = []

    def take(index: int, data: bytes, exact: bool, cpu_s: float) -> bool:
        times.append(cpu_s)
        outputs.append(data)
        return True

    _run([CallJob(task.solution, task.entry, inputs, [_CALL_S] * len(inputs), take, _CALL_S, _LIMITS)], [task])
    return times, outputs


def _run(jobs: list[CallJob], of: list[CodeTask]) -> None:
    # Its own workers, which end here: nothing of a canonical solution is ever in a process that candidates inherit.
    with Sandbox(trusted=True) as sandbox:
        for task, outcome in zip(of, sandbox.run_many(jobs), strict=True):
            if outcome.end is not End.PASSED:
                raise KkwarmError(
                    f"the canonical solution of {task.id} does not run here: {outcome.end} {outcome.detail}".strip(),
                    hint="the machine may be short of memory; `kkwarm doctor` shows the sandbox",
                )


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
    digests, kept, times, slowness = marshal.loads(zlib.decompress(raw[32:]))
    return Reference(task, digests, kept, times, slowness)


def _store(key: str, made: Reference) -> None:
    packed = zlib.compress(encode([made.digests, made.kept, made.times, made.slowness]), 1)
    path = _folder() / f"{key}.bin"
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(hashlib.sha256(packed).digest() + packed)
        part.replace(path)
    except OSError as err:
        _log.warning("expected outputs cannot be cached in %s: %s", path.parent, err)
