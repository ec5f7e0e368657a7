"""Runs the candidate. Everything here shares its process with it, and can be changed by it."""

from __future__ import annotations

import collections
import ctypes
import importlib
import marshal
import os
import resource
import signal
import sys
import time
from types import FrameType, ModuleType
from typing import Any

from .wire import record

FLUSH_BYTES, FLUSH_S = 1 << 16, 0.1
TICK_S, AWAKE_S = 0.1, 0.02
NAPS = 4  # all calls together may sleep this many times as long as one
BETWEEN_S = 1.0  # CPU time to encode and send one result
MESSAGE_CHARS = 300
# Candidates import these most often; a forked child then has them for nothing.
COMMON = (
    "bisect cmath collections copy dataclasses datetime decimal enum fractions functools hashlib heapq itertools json "
    "math numbers operator random re statistics string typing"
)


def preload() -> None:
    for name in COMMON.split():
        importlib.import_module(name)


class Candidate:
    """Runs one candidate on its inputs and sends what each call gave. Whatever the candidate does to this object can
    only change *values*; the trusted side compares them with expected outputs that were never here."""

    def __init__(self, fd: int, over: ctypes.c_double, idle_s: float) -> None:
        self.fd, self.over, self.idle_s = fd, over, idle_s
        self.pending: list[bytes] = []
        self.size, self.flushed = 0, time.monotonic()
        self.limit = self.cpu0 = self.seen = self.idle = self.slept = self.ticked = self.used = 0.0
        self.call, self.alarmed, self.given_up, self.running = 0, -1, 0, False

    def send(self, data: bytes) -> None:
        self.pending.append(data)
        self.size += len(data)
        if self.size >= FLUSH_BYTES or time.monotonic() - self.flushed > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        data = memoryview(b"".join(self.pending))
        self.pending.clear()
        self.size, self.flushed = 0, time.monotonic()
        before = given_up()
        while data:
            data = data[os.write(self.fd, data) :]
        self.given_up += given_up() - before  # the reader was slow: not the candidate's sleep

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = os.read(self.fd, min(1 << 20, size - len(data)))
            if not part:
                os._exit(0)
            data += part
        return bytes(data)

    def on_alarm(self, signum: int, frame: FrameType | None) -> None:
        """Ends a call that used its CPU time, or slept: gave up its core of its own accord and did nothing else.

        Who is merely kept from a core by a loaded machine gives nothing up, and a long gap between two alarms counts
        little; 20 ms of CPU time, however slowly they come, are proof of being awake. Naps between them add up over
        all calls.
        """
        if not self.running:
            return
        now, used, switches = time.monotonic(), time.process_time(), given_up()
        nap = min(now - self.ticked, 2 * TICK_S) if switches > self.given_up else 0.0
        if used - self.used < AWAKE_S:
            self.slept += nap
        if self.call != self.alarmed:  # the first alarm in this call: what was before is not its own
            self.alarmed, self.seen, self.idle = self.call, self.cpu0, 0.0
        elif used - self.seen > AWAKE_S:
            self.seen, self.idle = used, 0.0
        else:
            self.idle += nap
        self.given_up = switches
        self.flush()
        if used - self.cpu0 >= self.limit or self.idle > self.idle_s or self.slept > NAPS * self.idle_s:
            self.pending.append(record(b"T", b"", used - self.cpu0))
            self.flush()
            os._exit(0)
        self.ticked, self.used = now, used
        if 0.0 < self.limit - (used - self.cpu0) < TICK_S:  # the last tick: no later than it must be
            signal.setitimer(signal.ITIMER_REAL, max(0.001, self.limit - (used - self.cpu0)), TICK_S)

    def start(self, limit: float) -> None:
        self.call += 1
        self.limit, self.running = limit, True
        self.cpu0 = time.process_time()
        self.over.value = self.cpu0 + limit

    def stop(self) -> float:
        self.running = False
        used = time.process_time()
        self.over.value = used + BETWEEN_S
        return used - self.cpu0

    def run(self) -> None:
        job = marshal.loads(self.read(int.from_bytes(self.read(4), "little")))  # written by the trusted side
        signal.signal(signal.SIGALRM, self.on_alarm)
        signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)  # setting it for each call would cost as much as the call
        module = ModuleType("candidate")
        sys.modules["candidate"] = module
        self.start(job["load_s"])
        try:
            exec(compile(job["code"], "<candidate>", "exec"), module.__dict__)
            function = module.__dict__[job["entry"]]
        except BaseException as err:
            self.stop()
            self.send(record(b"L", message(err)))
        else:
            self.stop()
            for i, (data, limit) in enumerate(zip(job["inputs"], job["limits"], strict=True)):
                if i in job["milestones"]:
                    self.flush()
                args = marshal.loads(data)
                self.start(limit)
                try:
                    result = function(*args)
                except BaseException as err:
                    self.send(record(b"X", message(err), self.stop()))
                    continue
                used = self.stop()
                kind, encoded = encode(result, job["max_result"])
                self.send(record(kind, encoded, used))
        self.pending.append(record(b"D"))
        self.flush()


def given_up() -> int:
    """How often this process has left its core of its own accord."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def message(err: BaseException) -> bytes:
    try:
        text = f"{type(err).__name__}: {err}"
    except BaseException:
        text = type(err).__name__
    return text[:MESSAGE_CHARS].encode("utf-8", "replace")


EXACT = (type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)


def encode(result: Any, limit: int) -> tuple[bytes, bytes]:
    """``V``: built-in data; ``N``: data whose outermost type is a known library's; ``O``: anything else (its type)."""
    kind = b"V" if type(result) in EXACT else b"N"
    try:
        if "numpy" in sys.modules:  # its scalars offer a buffer, which marshal would write as bytes
            raise ValueError
        data = marshal.dumps(result, 2)
    except ValueError:
        try:
            data = marshal.dumps(plain(result, 0), 2)
        except BaseException:
            return b"O", type(result).__name__[:MESSAGE_CHARS].encode("utf-8", "replace")
    except BaseException:
        return b"O", b"a value too large to be sent"
    return (kind, data) if len(data) <= limit else (b"O", b"a value too large to be sent")


def plain(value: Any, depth: int) -> Any:
    """Standard containers and numpy scalars as built-in data; other types are refused: they might define equality."""
    kind = type(value)
    if depth > 50:
        raise ValueError
    if kind in EXACT[:7]:
        return value
    if kind in (list, tuple, set, frozenset):
        return kind(plain(v, depth + 1) for v in value)
    if kind in (dict, collections.Counter, collections.defaultdict, collections.OrderedDict):
        return {plain(k, depth + 1): plain(v, depth + 1) for k, v in value.items()}
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic) and kind.__module__ == "numpy":
        return plain(value.item(), depth + 1)
    raise ValueError
