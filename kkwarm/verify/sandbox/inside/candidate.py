"""Runs the candidate. Everything here shares its process with the candidate, which can change it.

So nothing here limits or measures the candidate: the trusted side does. Time limits hold for what happens between two
checkpoints, at which this process waits until it may go on (`kkwarm.verify.sandbox.timing`).
"""

from __future__ import annotations

import collections
import importlib
import os
import signal
import site
import sys
from collections.abc import Callable
from marshal import dumps, loads
from time import monotonic, process_time
from types import FrameType, ModuleType
from typing import Any, NoReturn

from .wire import CHECKPOINT, record

FLUSH_BYTES, TICK_S = 1 << 16, 0.04
CHECKPOINT_S, CHECKPOINT_WALL_S = 0.03, 0.1  # calls that together take less are measured together
MESSAGE_CHARS = 300
# The modules that candidates import most often. They are imported before the fork, so that children need not.
COMMON = (
    "bisect cmath collections copy dataclasses datetime decimal enum fractions functools hashlib heapq itertools json "
    "math numbers operator random re statistics string typing"
)


def preload() -> None:
    for name in COMMON.split():
        importlib.import_module(name)
    site.setquit()  # `exit` and `quit`, which an interpreter without installed packages lacks
    site.sethelper()


class Candidate:
    """Runs one candidate on its inputs and sends the result of each call.

    A candidate that tampers with this object can change only the values that are sent. The trusted side compares them
    with expected outputs, which are never in this process.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.pending: list[bytes] = []
        self.size, self.calling, self.flushing = 0, False, False
        self.continued = self.continued_cpu = 0.0  # when the last checkpoint was left

    def send(self, data: bytes) -> None:
        self.pending.append(data)
        self.size += len(data)
        if self.size >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        self.flushing = True  # an alarm in here would send the same results again
        data = memoryview(b"".join(self.pending))
        self.pending.clear()
        self.size = 0
        while data:
            data = data[os.write(self.fd, data) :]
        self.flushing = False

    def receive(self) -> bytes:
        """The next message of the trusted side. Ends this process where no more will come."""
        return self.read(int.from_bytes(self.read(4), "little"))

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = os.read(self.fd, min(1 << 20, size - len(data)))
            if not part:
                os._exit(0)
            data += part
        return bytes(data)

    def checkpoint(self) -> bytes:
        """Sends everything and waits until this process may go on. Returns the next inputs, if all others were used."""
        self.pending.append(CHECKPOINT)
        self.flush()
        data = self.receive()
        self.continued, self.continued_cpu = monotonic(), process_time()
        return data

    def stop(self, data: bytes) -> NoReturn:
        """Sends what ends the run, and waits for the end."""
        self.pending.append(data)
        self.flush()
        while True:
            self.receive()

    def on_alarm(self, signum: int, frame: FrameType | None) -> None:
        """Sends earlier results during a call that may never end."""
        if self.calling and self.pending and not self.flushing:
            self.flush()

    def run(self) -> None:
        job = loads(self.receive())  # written by the trusted side
        signal.signal(signal.SIGALRM, self.on_alarm)
        signal.siginterrupt(signal.SIGALRM, False)
        signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)
        module = ModuleType("candidate")
        sys.modules["candidate"] = module
        try:
            exec(compile(job["code"], "<candidate>", "exec", dont_inherit=True), module.__dict__)
            function = module.__dict__[job["entry"]]
        except BaseException as err:
            self.stop(record(b"L", message(err)))
        while True:
            self.call_all(function, loads(self.checkpoint()), job["max_result"])

    def call_all(self, function: Callable[..., Any], inputs: list[bytes], max_result: int) -> None:
        now = 0.0  # in CPU time, after a call
        for data in inputs:
            if now and self.is_due(now):
                self.checkpoint()
                now = 0.0
            args = loads(data)
            self.calling, before = True, process_time()
            try:
                result = function(*args)
            except BaseException as err:
                self.calling = False
                self.stop(record(b"X", message(err), process_time() - before))
            self.calling, now = False, process_time()
            kind, encoded = encode(result, max_result)
            self.send(record(kind, encoded, now - before))

    def is_due(self, cpu: float) -> bool:
        """Whether the calls since the last checkpoint have taken long."""
        return cpu - self.continued_cpu > CHECKPOINT_S or monotonic() - self.continued > CHECKPOINT_WALL_S


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
        data = dumps(result, 2)
    except ValueError:
        try:
            data = dumps(plain(result, 0), 2)
        except BaseException:
            return b"O", type(result).__name__[:MESSAGE_CHARS].encode("utf-8", "replace")
    except BaseException:
        return b"O", b"a value that is too large"
    return (kind, data) if len(data) <= limit else (b"O", b"a value that is too large")


def plain(value: Any, depth: int) -> Any:
    """Standard containers, numpy scalars, and instances of classes that inherit the equality of a built-in type (named
    tuples, enumerations of integers) as built-in data. Other types are refused: they may define equality.
    """
    kind = type(value)
    if depth > 50:
        raise ValueError
    if kind in EXACT[:7]:
        return value
    base = next((b for b in EXACT if issubclass(kind, b) and kind.__eq__ is b.__eq__), None)
    if base in (int, float, str):
        return base.__getnewargs__(value)[0]
    if base in (list, tuple, set, frozenset):
        return base(plain(v, depth + 1) for v in value)
    if base is dict or kind in (collections.Counter, collections.OrderedDict):
        return {plain(k, depth + 1): plain(v, depth + 1) for k, v in value.items()}
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic) and kind.__module__ == "numpy":
        return plain(value.item(), depth + 1)
    raise ValueError
