"""Runs the candidate. Everything here shares its process with the candidate, which can change it."""

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
NAPS = 4  # all calls together may sleep this many times as long as one call
BETWEEN_S = 1.0  # CPU time to encode and send one result
MESSAGE_CHARS = 300
# The modules that candidates import most often. They are imported before the fork, so that children need not.
COMMON = (
    "bisect cmath collections copy dataclasses datetime decimal enum fractions functools hashlib heapq itertools json "
    "math numbers operator random re statistics string typing"
)


def preload() -> None:
    for name in COMMON.split():
        importlib.import_module(name)


class Candidate:
    """Runs one candidate on its inputs and sends the result of each call.

    A candidate that tampers with this object can change only the values that are sent. The trusted side compares them
    with expected outputs, which are never in this process.
    """

    def __init__(self, fd: int, over: ctypes.c_double, idle_s: float) -> None:
        self.fd, self.over, self.idle_s = fd, over, idle_s
        self.pending: list[bytes] = []
        self.size, self.flushed = 0, time.monotonic()
        self.limit = self.cpu0 = self.seen = self.idle = self.slept = self.ticked = self.used = 0.0
        self.call, self.alarmed, self.switches, self.running = 0, -1, 0, False

    def send(self, data: bytes) -> None:
        self.pending.append(data)
        self.size += len(data)
        if self.size >= FLUSH_BYTES or time.monotonic() - self.flushed > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        data = memoryview(b"".join(self.pending))
        self.pending.clear()
        self.size, self.flushed = 0, time.monotonic()
        before = voluntary_switches()
        while data:
            data = data[os.write(self.fd, data) :]
        self.switches += voluntary_switches() - before  # waiting for a slow reader is not sleep of the candidate

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = os.read(self.fd, min(1 << 20, size - len(data)))
            if not part:
                os._exit(0)
            data += part
        return bytes(data)

    def on_alarm(self, signum: int, frame: FrameType | None) -> None:
        """Ends a call that exceeded its CPU time, or that slept, which means it gave up its core voluntarily.

        A candidate that does not get a core on a loaded machine gives nothing up voluntarily, and a long gap between
        two alarms counts little. 20 ms of CPU time show that the candidate is awake. Sleep adds up over all calls.
        """
        if not self.running:
            return
        now, used, switches = time.monotonic(), time.process_time(), voluntary_switches()
        nap = min(now - self.ticked, 2 * TICK_S) if switches > self.switches else 0.0
        if used - self.used < AWAKE_S:
            self.slept += nap
        if self.call != self.alarmed:  # the first alarm in this call: earlier use is not its own
            self.alarmed, self.seen, self.idle = self.call, self.cpu0, 0.0
        elif used - self.seen > AWAKE_S:
            self.seen, self.idle = used, 0.0
        else:
            self.idle += nap
        self.switches = switches
        self.flush()
        if used - self.cpu0 >= self.limit or self.idle > self.idle_s or self.slept > NAPS * self.idle_s:
            self.pending.append(record(b"T", b"", used - self.cpu0))
            self.flush()
            os._exit(0)
        self.ticked, self.used = now, used
        if 0.0 < self.limit - (used - self.cpu0) < TICK_S:  # the last tick: exactly at the limit
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
        signal.setitimer(
            signal.ITIMER_REAL, TICK_S, TICK_S
        )  # one timer for all calls, since setting it costs as much as a call
        module = ModuleType("candidate")
        sys.modules["candidate"] = module
        self.start(job["load_s"])
        try:
            exec(compile(job["code"], "<candidate>", "exec", dont_inherit=True), module.__dict__)
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


def voluntary_switches() -> int:
    """How often this process has given up its core voluntarily."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def message(err: BaseException) -> bytes:
    try:
        text = f"{type(err).__name__}: {err}"
    except BaseException:
        text = type(err).__name__
    return text[:MESSAGE_CHARS].encode("utf-8", "replace")


EXACT = (type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)


def encode(result: Any, limit: int) -> tuple[bytes, bytes]:
    """``V``: built-in data; ``N``: data of a known library's type; ``O``: anything else, with the name of its type."""
    kind = b"V" if type(result) in EXACT else b"N"
    try:
        if "numpy" in sys.modules:  # its scalars have a buffer, which marshal would write as bytes
            raise ValueError
        data = marshal.dumps(result, 2)
    except ValueError:
        try:
            data = marshal.dumps(plain(result, 0), 2)
        except BaseException:
            return b"O", type(result).__name__[:MESSAGE_CHARS].encode("utf-8", "replace")
    except BaseException:
        return b"O", b"a value that is too large"
    return (kind, data) if len(data) <= limit else (b"O", b"a value that is too large")


def plain(value: Any, depth: int) -> Any:
    """Standard containers and numpy scalars as built-in data. Other types are refused: they may define equality."""
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
