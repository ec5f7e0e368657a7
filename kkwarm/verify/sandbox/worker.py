"""One warm worker: a supervisor process inside the sandbox, and its control socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from kkwarm.verify.sandbox import supervisor
from kkwarm.verify.sandbox.model import Level, Limits

__all__ = ["Report", "Worker", "WorkerFailed"]

_SCRIPT = Path(supervisor.__file__).resolve()
_SITE = "/site"
_START_S = 60.0
_OWN_PROCESSES = 2  # launcher and supervisor share the candidate's user namespace, hence its process limit


class WorkerFailed(Exception):
    """The supervisor did not start, or is gone."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a child ended, by the supervisor: its wait status, times and peak memory."""

    status: int
    cpu_s: float
    wall_s: float
    peak_bytes: int
    time_up: bool


class Worker:
    """Starts the supervisor at once; `wait_started` must return before the first `start`."""

    def __init__(self, level: Level, packages: Sequence[str]) -> None:
        self.level = level
        self.started = False
        self.control, inside = socket.socketpair()
        fd = inside.fileno()
        try:
            self.process = subprocess.Popen(
                _command(level, fd, packages),
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={
                    "PYTHONHASHSEED": "0",  # one order of sets: the same code gives the same verdict
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "PYTHONUTF8": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                    "OMP_NUM_THREADS": "1",
                    "HOME": "/tmp",
                },
                cwd="/",
                start_new_session=True,  # Ctrl-C reaches the trusted side only
            )
        finally:
            inside.close()
        self.control.settimeout(_START_S)

    def wait_started(self) -> None:
        """:raises WorkerFailed: with the cause, as the supervisor told it."""
        if self.started:
            return
        try:
            kind = self._receive()[:1]
        except (OSError, WorkerFailed):
            kind = b""
        if kind != b"S":
            self.process.kill()
            cause = self.process.communicate()[1].decode("utf-8", "replace").strip().splitlines()
            raise WorkerFailed(cause[-1] if cause else "the supervisor ended at once")
        self.started = True
        self.control.settimeout(10.0)

    def start(self, job: socket.socket, limits: Limits) -> None:
        """Has the supervisor fork a child that talks through `job`."""
        processes = limits.processes + (0 if self.level is Level.PROCESS else _OWN_PROCESSES)
        message = supervisor.RUN.pack(
            b"R", limits.cpu_s, limits.wall_s, limits.idle_s, limits.memory, processes, limits.file_size, limits.open_files
        )
        try:
            socket.send_fds(self.control, [message], [job.fileno()])
        except OSError as err:
            raise WorkerFailed(str(err)) from None

    def cancel(self) -> None:
        """Ends the child that runs; its report still comes."""
        with contextlib.suppress(OSError):
            self.control.sendall(b"K".ljust(supervisor.RUN.size, b"\0"))

    def report(self) -> Report:
        """:raises WorkerFailed: the supervisor is gone."""
        _, status, cpu_s, wall_s, peak, time_up = supervisor.REPORT.unpack(self._receive())
        return Report(status, cpu_s, wall_s, int(peak), bool(time_up))

    def _receive(self) -> bytes:
        data = b""
        while len(data) < supervisor.REPORT.size:
            try:
                part = self.control.recv(supervisor.REPORT.size - len(data))
            except OSError as err:
                raise WorkerFailed(str(err)) from None
            if not part:
                raise WorkerFailed("the supervisor is gone")
            data += part
        return data

    def close(self, *, owner: bool = True) -> None:
        """Ends the supervisor and all below it. After a fork, the copy (`owner` False) only closes its descriptors."""
        self.control.close()
        if owner:
            try:
                self.process.wait(5.0)  # it ends when the control socket closes, having swept its children
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()


def _command(level: Level, fd: int, packages: Sequence[str]) -> list[str]:
    trees = _runtime()
    found = _package_trees(packages)
    config = {
        "level": level.value,
        "read_only": [*trees, *([source, f"{_SITE}/{Path(source).name}"] for source in found)],
        "path": sorted({str(Path(s).parent) for s in found}) if level is Level.PROCESS else [_SITE] * bool(found),
        "drop": _drop_to() if level is Level.PROCESS else None,
    }
    script = str(_SCRIPT) if level is not Level.BUBBLEWRAP else "/supervisor.py"
    python = sys.executable if level is not Level.BUBBLEWRAP else _base_python()
    command = [python, "-s", "-S", "-P", "-B", script, str(fd), json.dumps(config)]
    if level is not Level.BUBBLEWRAP:
        return command
    binds = [a for source, target in config["read_only"] for a in ("--ro-bind", source, target)]
    prefix = Path(_base_python())
    binds += ["--ro-bind", str(prefix), str(prefix), "--ro-bind", str(_SCRIPT), "/supervisor.py"]
    return [
        *("bwrap", "--unshare-all", "--new-session", "--tmpfs", "/", *binds),
        *("--proc", "/proc", "--dev", "/dev", "--dir", "/tmp", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/", *command),
    ]


def _base_python() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def _runtime() -> list[tuple[str, str]]:
    """(source, target) of what Python needs to run: its standard library and the system's shared libraries."""
    wanted = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/nix/store"]
    stdlib = os.path.dirname(os.__file__)
    wanted += [stdlib, os.path.join(sys.base_prefix, "lib"), os.path.join(sys.base_exec_prefix, "lib")]
    trees: list[tuple[str, str]] = []
    for path in wanted:
        covered = any(path == target or path.startswith(target + "/") for _, target in trees)
        if os.path.isdir(path) and not covered:
            trees.append((path if os.path.dirname(path) == "/" else os.path.realpath(path), path))
    return trees


def _package_trees(packages: Sequence[str]) -> list[str]:
    """Folders of installed packages that candidates may import, and of the shared libraries beside them."""
    trees: list[str] = []
    for name in packages:
        spec = find_spec(name)
        for folder in (spec.submodule_search_locations or []) if spec is not None else []:
            trees += [p for p in (folder, f"{folder}.libs") if os.path.isdir(p)]
    return trees


def _drop_to() -> int | None:
    """As root without namespaces, candidates run as ``nobody``, where that user can read Python's files."""
    if os.geteuid() != 0:
        return None
    stdlib = Path(os.path.realpath(os.path.dirname(os.__file__)))
    readable = all(p.stat().st_mode & 0o005 == 0o005 for p in (stdlib, *stdlib.parents))
    return supervisor.NOBODY if readable else None
