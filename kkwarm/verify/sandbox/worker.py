"""One worker: a supervisor process inside the sandbox, and its control socket."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from kkwarm.verify.sandbox.inside import wire
from kkwarm.verify.sandbox.inside.folders import remove
from kkwarm.verify.sandbox.model import Level, Limits
from kkwarm.verify.sandbox.syscalls import program

__all__ = ["Report", "Worker", "WorkerFailed"]

_INSIDE = Path(wire.__file__).resolve().parent
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from inside.supervisor import main; del sys.path[0]; main()"
_SITE = Path("/site")
_START_S = 60.0


class WorkerFailed(Exception):
    """The supervisor did not start, or has ended."""


@dataclass(frozen=True, slots=True)
class Report:
    """The supervisor's report on how a child ended: its wait status, times, peak memory, and how many processes it
    started."""

    status: int
    cpu_s: float
    wall_s: float
    peak_bytes: int
    processes: int
    time_up: bool


class Worker:
    """Starts the supervisor immediately; `wait_started` must return before the first `start`."""

    def __init__(self, level: Level, packages: Sequence[str]) -> None:
        self.level = level
        self.started = False
        self.control, inside = _socket_pair()
        self.folder: Path | None = None  # where candidates may write at level process
        if level is Level.PROCESS:
            self.folder = Path(tempfile.mkdtemp(prefix="kkwarm-code-")).resolve()
            self.folder.chmod(0o711)  # candidates may run as another user
        fd = inside.fileno()
        try:
            self.process = subprocess.Popen(
                _command(level, fd, packages, self.folder),
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={
                    "PYTHONHASHSEED": "0",  # a fixed order of sets, so that verdicts are reproducible
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "PYTHONUTF8": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                    "OMP_NUM_THREADS": "1",
                    "MALLOC_ARENA_MAX": "1",  # glibc reserves 64 MiB of address space for each further one
                    "HOME": "/tmp",
                },
                cwd="/",
                start_new_session=True,  # Ctrl-C reaches only the trusted side
            )
        except OSError:
            self._remove()
            raise
        finally:
            inside.close()
        self.control.settimeout(_START_S)

    def wait_started(self) -> None:
        """:raises WorkerFailed: it did not start; with the cause that the supervisor reported."""
        if self.started:
            return
        try:
            kind = self._receive()[:1]
        except (OSError, WorkerFailed):
            kind = b""
        if kind != b"S":
            self.process.kill()
            cause = self.process.communicate()[1].decode("utf-8", "replace").strip().splitlines()
            raise WorkerFailed(cause[-1] if cause else "the supervisor ended immediately")
        self.started = True
        self.control.settimeout(10.0)

    def start(self, job: socket.socket, limits: Limits, streams: Sequence[int] = ()) -> None:
        """Lets the supervisor fork a child that communicates through `job`.

        :param streams: descriptors of the child's stdin, stdout and stderr, where it is a program.
        """
        counts = (limits.memory, limits.threads, limits.processes, limits.file_size, limits.open_files)
        message = wire.RUN.pack(b"R", limits.cpu_s, limits.wall_s, *counts)
        try:
            socket.send_fds(self.control, [message], [job.fileno(), *streams])
        except OSError as err:
            raise WorkerFailed(str(err)) from None

    def cancel(self) -> None:
        """Ends the running child. Its report still arrives."""
        with contextlib.suppress(OSError):
            self.control.sendall(b"K".ljust(wire.RUN.size, b"\0"))

    def report(self) -> Report:
        """:raises WorkerFailed: the supervisor has ended."""
        _, status, cpu_s, wall_s, peak, processes, time_up = wire.REPORT.unpack(self._receive())
        return Report(status, cpu_s, wall_s, int(peak), processes, bool(time_up))

    def _receive(self) -> bytes:
        data = b""
        while len(data) < wire.REPORT.size:
            try:
                part = self.control.recv(wire.REPORT.size - len(data))
            except OSError as err:
                raise WorkerFailed(str(err)) from None
            if not part:
                raise WorkerFailed("the supervisor has ended")
            data += part
        return data

    def close(self, *, owner: bool = True) -> None:
        """Ends the supervisor and its children. A forked copy (`owner` False) only closes its descriptors."""
        self.control.close()
        if owner:
            try:
                self.process.wait(5.0)  # it ends its children and itself when the control socket closes
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self._remove()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def _remove(self) -> None:
        if self.folder is not None:
            remove(self.folder)


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """A pair whose second socket is not one of the standard streams, which may be closed in this process."""
    first, second = socket.socketpair()
    if second.fileno() > 2:
        return first, second
    with second:
        return first, socket.socket(fileno=fcntl.fcntl(second.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))


def _command(level: Level, fd: int, packages: Sequence[str], folder: Path | None) -> list[str]:
    package_trees = _package_trees(packages)
    trees = [*_runtime(), *((folder, _SITE / folder.name) for folder in package_trees)]
    hidden = _site_packages(trees)
    config = {
        "level": level.value,
        "read_only": [[str(source), str(target)] for source, target in trees],
        "hidden": [str(folder) for folder in hidden],
        "path": sorted({str(f.parent) for f in package_trees})
        if level is Level.PROCESS
        else [str(_SITE)] * bool(package_trees),
        "folder": None if folder is None else str(folder),
        "drop": _unprivileged_user() if level is Level.PROCESS else None,
        "filters": [
            base64.b64encode(program(notify_forks=notify, file_attributes=level is not Level.PROCESS)).decode()
            for notify in (True, False)
        ],
    }

    def command(python: str, home: Path) -> list[str]:
        return [python, "-s", "-S", "-P", "-B", "-c", _BOOT, str(home), str(fd), json.dumps(config)]

    if level is not Level.BUBBLEWRAP:
        return command(sys.executable, _INSIDE.parent)
    python = Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()
    inside = Path("/kkwarm") / _INSIDE.name
    binds = [a for s, t in [*trees, (python, python), (_INSIDE, inside)] for a in ("--ro-bind", str(s), str(t))]
    binds += [a for folder in hidden for a in ("--tmpfs", str(folder), "--remount-ro", str(folder))]
    return [
        *("bwrap", "--unshare-all", "--new-session", "--tmpfs", "/", *binds, "--proc", "/proc", "--dev", "/dev"),
        *("--dir", "/tmp", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"),
        *command(str(python), inside.parent),
    ]


def _stdlib() -> Path:
    return Path(os.__file__).parent


def _runtime() -> list[tuple[Path, Path]]:
    """(source, target) folders that Python needs to run: its standard library and the system's shared libraries."""
    candidates = [Path(p) for p in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/nix/store")]
    candidates += [_stdlib(), Path(sys.base_prefix, "lib"), Path(sys.base_exec_prefix, "lib")]
    trees: list[tuple[Path, Path]] = []
    for path in candidates:
        if path.is_dir() and not any(path.is_relative_to(target) for _, target in trees):
            # A top-level link (/lib -> usr/lib) is recreated inside; other links are resolved to their folder.
            trees.append((path if path.parent == Path("/") else path.resolve(), path))
    return trees


def _site_packages(trees: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Folders of installed packages inside these trees, by their paths in the sandbox. They are hidden, because plugins
    among them may hold gold answers.

    There are some where kkwarm is installed without a virtual environment (conda, a container).
    """
    folders = {
        target / folder.relative_to(source)
        for source, target in trees
        if not source.is_symlink()
        for pattern in ("*-packages", "python*/*-packages")
        for folder in source.glob(pattern)
        if folder.is_dir() and not folder.is_symlink()
    }
    return sorted(folders)


def _package_trees(packages: Sequence[str]) -> list[Path]:
    """Folders of the packages that candidates may import, and of the shared libraries next to them."""
    trees: list[Path] = []
    for name in packages:
        spec = find_spec(name)
        for folder in map(Path, (spec.submodule_search_locations or []) if spec is not None else []):
            trees += [p for p in (folder, folder.with_name(f"{name}.libs")) if p.is_dir()]
    return trees


def _unprivileged_user() -> int | None:
    """The user id that candidates run as if kkwarm runs as root: ``nobody``, if that user can read Python's files."""
    if os.geteuid() != 0:
        return None
    stdlib = _stdlib().resolve()
    readable = all(p.stat().st_mode & 0o005 == 0o005 for p in (stdlib, *stdlib.parents))
    return wire.NOBODY if readable else None
