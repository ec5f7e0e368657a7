"""Runs a program as ``python main.py`` would. Everything here shares its process with the program, which can change it.

Nothing here limits the program or decides anything. The trusted side reads what it writes from its standard streams.
"""

from __future__ import annotations

import atexit
import builtins
import gc
import os
import sys
import threading
from marshal import loads
from types import ModuleType
from typing import NoReturn

from .candidate import Candidate

__all__ = ["run_program"]

FILE = "main.py"
FLUSH_FAILED = 120  # Python's exit code where the standard streams cannot be flushed


def run_program(channel: Candidate) -> NoReturn:
    """Receives the program, closes the channel, and runs it with this process's standard streams."""
    code = loads(channel.receive())["code"]  # written by the trusted side
    os.close(channel.fd)
    open_streams()
    sys.argv = [FILE]
    module = ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __file__=FILE)
    sys.modules["__main__"] = module
    status = run_code(code, module)
    os._exit(end(module, status) & 0xFF)


def open_streams() -> None:
    """New text streams, since those of the supervisor were opened on other files."""
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors="surrogateescape")  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", errors="surrogateescape")  # type: ignore[misc]  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", 1, encoding="utf-8", errors="backslashreplace")  # type: ignore[misc]  # noqa: SIM115


def run_code(code: str, module: ModuleType) -> int:
    """The exit code of the program."""
    try:
        exec(compile(code, FILE, "exec", dont_inherit=True), module.__dict__)
    except BaseException as err:
        return report(err)
    return 0


def report(err: BaseException) -> int:
    """Prints what ended the program, unless it exited, and returns its exit code."""
    if isinstance(err, SystemExit):
        if err.code is None or isinstance(err.code, int):
            return err.code or 0
        print(err.code, file=sys.stderr)  # noqa: T201
        return 1
    own = err.__traceback__.tb_next if err.__traceback__ is not None else None  # without the frame of `run_code`
    sys.excepthook(type(err), err.with_traceback(own), own)
    return 1


def end(module: ModuleType, status: int) -> int:
    """Does what Python does at the end: waits for threads, calls exit functions, drops objects, flushes streams."""
    for step in (threading._shutdown, atexit._run_exitfuncs, module.__dict__.clear, gc.collect):  # type: ignore[attr-defined]
        try:
            step()
        except BaseException as err:
            report(err)
    for stream in {sys.stdout, sys.__stdout__, sys.stderr}:
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except BaseException:
            status = status or FLUSH_FAILED
    return status
