"""The sandbox's supervisor. It needs only the standard library and does not import kkwarm.

Processes: ``launcher -> supervisor -> one child per candidate``. The launcher creates namespaces and forks the
supervisor, which is process 1 of its process namespace. If it dies, the kernel ends its children. For each job the
supervisor receives limits and one end of a socket, and forks a child that is process 1 of another namespace. The child
sees no other process, and when it ends, everything that it left running ends too.

The supervisor never reads a job or a result. Both go through the job's own socket, between the child and the trusted
side. So its memory, which every child inherits, holds neither code of other candidates nor results.
"""

from __future__ import annotations

import array
import base64
import contextlib
import ctypes
import gc
import json
import math
import mmap
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from . import kernel, landlock
from .candidate import MESSAGE_CHARS, Candidate, preload
from .kernel import call
from .wire import REPORT, RUN, record

POLL_S, BUSY_S = 0.2, 0.001
ASLEEP_S = 20.0  # a child that ignores its alarm counts as asleep after this time without CPU use


class Supervisor:
    """Forks a child for each job, enforces limits and reports how children ended."""

    def __init__(self, control: socket.socket, own_pid_ns: int | None, config: dict[str, Any]) -> None:
        level = config["level"]
        self.control, self.own_pid_ns, self.drop_to = control, own_pid_ns, config["drop"]
        self.filter = base64.b64decode(config["filter"])
        self.namespaces, self.hide_proc = level != "process", level == "bubblewrap"
        self.over = ctypes.c_double()
        self.folder = None if config["folder"] is None else Path(config["folder"])
        self.child_folder: Path | None = None  # the current child's folder inside `folder`
        self.rules: int | None = None
        if self.folder is not None:
            trees = [source for source, _ in config["read_only"]]
            self.rules = landlock.ruleset(trees, config["hidden"], config["path"], config["folder"])
        self.wake, write_end = os.pipe()
        os.set_blocking(write_end, False)
        os.set_blocking(self.wake, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Runs jobs until the trusted side closes the control socket."""
        self.control.sendall(REPORT.pack(b"S", 0, 0.0, 0.0, 0.0, 0))
        while True:
            message, fds = receive(self.control)
            if message is None:
                self.leave()
            if message[:1] == b"R":
                if len(fds) != 1:
                    return
                self.run(fds[0], RUN.unpack(message))

    def run(self, job: int, limits: tuple[Any, ...]) -> None:
        started = time.monotonic()
        # Shared with the child: the CPU time at which its current call must end. A C double is written atomically. Each
        # child gets a new page, so that it cannot read what an earlier one wrote.
        self.over = ctypes.c_double.from_buffer(mmap.mmap(-1, mmap.PAGESIZE))
        self.over.value = math.inf
        if self.own_pid_ns is not None:
            call("unshare", kernel.NEWPID)
        self.create_child_folder()
        pid = os.fork()
        if pid == 0:
            child(job, self, limits)
        os.close(job)
        if self.own_pid_ns is not None:
            call("setns", self.own_pid_ns, kernel.NEWPID)
        watch = Watch(pid, self.over, limits)
        while True:
            done, status, usage = os.wait4(pid, os.WNOHANG)
            if done:
                break
            ready = select.select([self.control.fileno(), self.wake], [], [], POLL_S)[0]
            if self.wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wake, 4096)
            elif self.control.fileno() in ready:
                message, _ = receive(self.control)
                os.kill(pid, signal.SIGKILL)
                if message is None:
                    self.sweep(pid)
                    self.leave()
            elif watch.time_up():
                os.kill(pid, signal.SIGKILL)
        self.sweep(pid)
        cpu = usage.ru_utime + usage.ru_stime
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        try:
            self.control.sendall(REPORT.pack(b"E", status, cpu, time.monotonic() - started, peak, watch.killed))
        except OSError:
            self.leave()

    def sweep(self, pid: int) -> None:
        """Ends processes that the child left running. With a process namespace the kernel has done so already."""
        if self.own_pid_ns is not None:
            return
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
        while True:  # this process is the subreaper of orphans
            for orphan in children():
                with contextlib.suppress(OSError):
                    os.kill(orphan, signal.SIGKILL)
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.001)
            except ChildProcessError:
                return

    def create_child_folder(self) -> None:
        """Without a private file system, each child gets a new folder, and the previous one is removed."""
        if self.folder is None:
            return
        import tempfile

        self.folder.chmod(0o711)
        if self.child_folder is not None:
            remove(self.child_folder)
        self.child_folder = Path(
            tempfile.mkdtemp(dir=self.folder)
        )  # with `dir` it does not set `tempfile.tempdir` for the child
        if self.drop_to is not None:
            os.chown(self.child_folder, self.drop_to, self.drop_to)

    def leave(self) -> NoReturn:
        """Cleans up and exits when the trusted side has gone, perhaps killed."""
        if self.folder is not None:
            remove(self.folder)
        os._exit(0)


def remove(folder: Path) -> None:
    """Removes a folder that a candidate may have made unreadable or replaced by a link."""
    import shutil

    with contextlib.suppress(OSError):
        if folder.is_symlink():
            folder.unlink()
            return
        folder.chmod(0o700)
        for place, names, _ in os.walk(folder):
            for name in names:
                if not Path(place, name).is_symlink():
                    Path(place, name).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


class Watch:
    """Checks a child's time limits from outside, which also works where it hangs in C code or ignores its alarm.

    CPU time counts, so that load on the machine does not matter. The wall-clock limit is the last resort.
    """

    def __init__(self, pid: int, over: ctypes.c_double, limits: tuple[Any, ...]) -> None:
        self.clock = (~pid << 3) | 2 if sys.platform == "linux" else None  # clock_getcpuclockid(3)
        self.over, self.cpu_s, self.wall_s, self.idle_s = over, limits[1], limits[2], limits[3]
        self.started = self.active = time.monotonic()
        self.seen, self.was_late, self.killed = 0.0, False, False

    def time_up(self) -> bool:
        if self.killed:
            return False
        now = time.monotonic()
        self.killed = now - self.started > self.wall_s
        if self.clock is not None:
            try:
                used = time.clock_gettime(self.clock)
            except OSError:
                return False  # the child has just ended
            if used - self.seen > BUSY_S:
                self.seen, self.active = used, now
            late = used > self.over.value + POLL_S
            self.killed |= used > self.cpu_s or (late and self.was_late) or now - self.active > ASLEEP_S + self.idle_s
            self.was_late = late  # once may be the moment between two calls
        return self.killed


def children() -> list[int]:
    with contextlib.suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as listed:
        return [int(pid) for pid in listed.read().split()]
    return []


def receive(control: socket.socket) -> tuple[bytes | None, list[int]]:
    """The next message and its file descriptors; (None, []) at the end of the stream."""
    data, fds = b"", list[int]()
    while len(data) < RUN.size:
        try:
            part, ancillary, _, _ = control.recvmsg(RUN.size - len(data), socket.CMSG_SPACE(4))
        except ConnectionError:  # the trusted side was killed before it read our last report
            return None, []
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds += array.array("i", payload[: len(payload) - len(payload) % 4])
        if not part:
            return None, []
        data += part
    return data, fds


def child(job: int, supervisor: Supervisor, limits: tuple[Any, ...]) -> NoReturn:
    try:
        restrict(job, supervisor, limits)
        Candidate(3, supervisor.over, limits[3]).run()
    except BaseException as err:
        with contextlib.suppress(BaseException):
            os.write(3, record(b"F", f"{type(err).__name__}: {err}".encode()[:MESSAGE_CHARS]))
    os._exit(0)


def restrict(job: int, supervisor: Supervisor, limits: tuple[Any, ...]) -> None:
    """Sets limits and a private /tmp, and drops capabilities. Only the job's descriptor remains open, as number 3."""
    _, cpu_s, _, _, memory, processes, file_size, open_files = limits
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    linux = sys.platform == "linux"
    if supervisor.namespaces:
        call("unshare", kernel.NEWNS | kernel.NEWIPC)
        flags = kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount("tmpfs", "/tmp", "tmpfs", flags, f"size={file_size},nr_inodes=256,mode=777")
        if supervisor.hide_proc:  # bubblewrap mounts one that shows the supervisor
            kernel.mount("tmpfs", "/proc", "tmpfs", flags, "size=4k,mode=555")
        os.chdir("/tmp")
    elif supervisor.child_folder is not None:
        os.environ["HOME"] = os.environ["TMPDIR"] = str(supervisor.child_folder)
        os.chdir(supervisor.child_folder)
    null = os.open(os.devnull, os.O_RDWR)  # reopened, since flags and owner would be shared with the next child
    for target in (0, 1, 2):
        os.dup2(null, target)
    if linux:
        call("prctl", kernel.PR_SET_NO_NEW_PRIVS, kernel.number(1), 0, 0, 0)
    if supervisor.rules is not None:
        landlock.restrict(supervisor.rules)
    if job != 3:
        os.dup2(job, 3)
    os.closerange(4, 1024)
    if supervisor.drop_to is not None:
        os.setgroups([])
        os.setgid(supervisor.drop_to)
        os.setuid(supervisor.drop_to)
    if linux:
        kernel.leave_session_keyring()
        call("capset", struct.pack("<Ii", 0x20080522, 0), bytes(24))
        call("prctl", kernel.PR_SET_PDEATHSIG, kernel.number(signal.SIGKILL), 0, 0, 0)
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_CPU, max(1, int(cpu_s + 0.999)))
    lower(resource.RLIMIT_FSIZE, file_size)
    lower(resource.RLIMIT_NOFILE, open_files)
    lower(resource.RLIMIT_NPROC, processes)
    if linux:  # macOS does not enforce it
        lower(resource.RLIMIT_AS, memory)
    if supervisor.filter:
        kernel.load_filter(supervisor.filter)


def lower(what: int, limit: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(what, (value, value))


def launch(fd: int, config: dict[str, Any]) -> int:
    """Creates the namespaces and runs the supervisor.

    :param config: level, read_only ([source, target] pairs), hidden (folders in them), path (of packages), filter (a
        compiled seccomp filter in base64, or empty); at level process also drop (a user id) and folder (to write in).
    """
    control = socket.socket(fileno=fd)
    level = config["level"]
    own_pid_ns: int | None = None
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # if memory runs out, the kernel ends candidates first
    if level == "process":
        if sys.platform == "linux":
            call("prctl", kernel.PR_SET_CHILD_SUBREAPER, kernel.number(1), 0, 0, 0)
    else:
        if level == "bubblewrap":
            proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            kernel.enter_user_namespace(proc, kernel.NEWPID | kernel.NEWNS | kernel.NEWIPC)
        else:
            proc = kernel.confine([(s, t) for s, t in config["read_only"]], config["hidden"])
        pid = os.fork()
        if pid:
            control.close()
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF
        call("prctl", kernel.PR_SET_PDEATHSIG, kernel.number(signal.SIGKILL), 0, 0, 0)
        own_pid_ns = os.open("self/ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        os.close(proc)
    if sys.platform == "linux":  # permanent, so children need not repeat it
        for capability in range(41):
            kernel.call_quietly("prctl", kernel.PR_CAPBSET_DROP, kernel.number(capability), 0, 0, 0)
    preload()
    sys.path += config["path"]
    gc.collect()
    gc.freeze()
    Supervisor(control, own_pid_ns, config).serve()
    return 0


def main() -> NoReturn:
    """Arguments: the folder of this package, the control socket's descriptor, the configuration as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fd = int(sys.argv[2])
    code = 1
    try:
        code = launch(fd, json.loads(sys.argv[3]))
    except OSError as err:
        os.write(
            2, f"{err.strerror or err}\n".encode()
        )  # before the report, because the trusted side kills this process when it reads that
        with contextlib.suppress(OSError):
            os.write(fd, REPORT.pack(b"!", err.errno or 0, 0.0, 0.0, 0.0, 0))
    os._exit(code)
