"""The sandbox's supervisor. It needs only the standard library and does not import kkwarm.

Processes: ``launcher -> supervisor -> one child per candidate``. The launcher creates namespaces and forks the
supervisor, which is process 1 of its process namespace. If it dies, the kernel ends its children. For each job the
supervisor receives limits and one end of a socket, and forks a child that is process 1 of another namespace. The child
sees no other process, and when it ends, everything that it left running ends too.

The supervisor never reads a job or a result. Both go through the job's own socket, between the child and the trusted
side. So its memory, which every child inherits, holds neither code of other candidates nor results. The trusted side
limits each call; the supervisor limits the whole run, counts processes, and ends them.
"""

from __future__ import annotations

import array
import base64
import contextlib
import gc
import json
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
from .folders import remove
from .kernel import call
from .program import run_program
from .wire import HELLO, REPORT, RUN, record

POLL_S = 0.2
CONTROL = 3  # the control socket's descriptor here, and the job's in a child
STREAMS = (0, 1, 2)  # stdin, stdout, stderr
DESCRIPTORS = 1024  # this process opens none above
OWN_TASKS = 2  # launcher and supervisor share the candidate's user namespace, hence its limit


class Supervisor:
    """Forks a child for each job, enforces limits and reports how children ended."""

    def __init__(self, control: socket.socket, own_pid_ns: int | None, config: dict[str, Any]) -> None:
        level = config["level"]
        self.control, self.own_pid_ns, self.drop_to = control, own_pid_ns, config["drop"]
        self.filters = [base64.b64decode(program) for program in config["filters"]]
        self.other_tasks = config["other_tasks"]
        self.namespaces, self.hide_proc = level != "process", level == "bubblewrap"
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
        self.control.sendall(REPORT.pack(b"S", 0, 0.0, 0.0, 0.0, 0, 0))
        while True:
            message, fds = receive(self.control)
            if message is None:
                self.leave()
            if message[:1] == b"R":
                if len(fds) not in (1, 1 + len(STREAMS)):
                    return
                self.run(fds, RUN.unpack(message))

    def run(self, fds: list[int], limits: tuple[Any, ...]) -> None:
        """:param fds: the job's socket and, of a program, its standard streams."""
        started = time.monotonic()
        if self.own_pid_ns is not None:
            call("unshare", kernel.NEWPID)
        self.create_child_folder()
        forks, inside = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            child(fds, inside, self, limits)
        for fd in fds:
            os.close(fd)
        inside.close()
        if self.own_pid_ns is not None:
            call("setns", self.own_pid_ns, kernel.NEWPID)
        watch = Watch(pid, forks, limits)
        while True:
            done, status, usage = os.wait4(pid, os.WNOHANG)
            if done:
                break
            ready = select.select([self.control, self.wake, *watch.sources()], [], [], POLL_S)[0]
            if self.wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wake, 4096)
            elif self.control in ready:
                message, _ = receive(self.control)
                os.kill(pid, signal.SIGKILL)
                if message is None:
                    self.sweep(pid)
                    self.leave()
            elif ready:
                watch.answer()
            if watch.time_up():
                os.kill(pid, signal.SIGKILL)
        self.sweep(pid)
        watch.close()
        cpu = usage.ru_utime + usage.ru_stime
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        report = REPORT.pack(b"E", status, cpu, time.monotonic() - started, peak, watch.processes, watch.killed)
        try:
            self.control.sendall(report)
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


class Watch:
    """Limits a whole run: its CPU and wall-clock time, and the number of processes that the child starts.

    CPU time counts, so that load on the machine does not matter. The wall-clock limit is the last resort.
    """

    def __init__(self, pid: int, forks: socket.socket, limits: tuple[Any, ...]) -> None:
        self.clock = (~pid << 3) | 2 if sys.platform == "linux" else None  # clock_getcpuclockid(3)
        self.cpu_s, self.wall_s, self.max_processes = limits[1], limits[2], limits[5]
        self.started, self.killed = time.monotonic(), False
        self.processes = 0
        self.forks: socket.socket | None = forks
        self.listener: int | None = None

    def time_up(self) -> bool:
        if self.killed:
            return False
        self.killed = time.monotonic() - self.started > self.wall_s
        if self.clock is not None:
            with contextlib.suppress(OSError):  # the child has just ended
                self.killed |= time.clock_gettime(self.clock) > self.cpu_s
        return self.killed

    def sources(self) -> list[Any]:
        """What becomes readable when the child sends its filter's listener, or asks to start a process."""
        return [source for source in (self.forks, self.listener) if source is not None]

    def answer(self) -> None:
        if self.forks is not None:
            with contextlib.suppress(OSError):
                self.listener = next(iter(socket.recv_fds(self.forks, 1, 1)[1]), None)
            self.forks.close()
            self.forks = None
        elif self.listener is not None:
            allow = self.processes < self.max_processes
            try:
                kernel.answer_call(self.listener, allow)
                self.processes += allow
            except EOFError:
                os.close(self.listener)
                self.listener = None
            except OSError:  # the caller has ended, or will call again after a signal
                pass

    def close(self) -> None:
        if self.forks is not None:
            self.forks.close()
        if self.listener is not None:
            os.close(self.listener)


def count_tasks() -> int:
    """The number of threads on this machine; 0 where it is not known."""
    try:
        with open("/proc/loadavg") as file:
            return int(file.read().split()[3].split("/")[1])
    except (OSError, ValueError, IndexError):
        return 0


def children() -> list[int]:
    with contextlib.suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as listed:
        return [int(pid) for pid in listed.read().split()]
    return []


def receive(control: socket.socket) -> tuple[bytes | None, list[int]]:
    """The next message and its file descriptors; (None, []) at the end of the stream."""
    data, fds = b"", list[int]()
    while len(data) < RUN.size:
        try:
            part, ancillary, _, _ = control.recvmsg(RUN.size - len(data), socket.CMSG_SPACE(4 * (1 + len(STREAMS))))
        except ConnectionError:  # the trusted side was killed before it read our last report
            return None, []
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds += array.array("i", payload[: len(payload) - len(payload) % 4])
        if not part:
            return None, []
        data += part
    return data, fds


def child(fds: list[int], forks: socket.socket, supervisor: Supervisor, limits: tuple[Any, ...]) -> NoReturn:
    fd = fds[0]
    try:
        restrict(fds, forks, supervisor, limits)
        fd = CONTROL
        os.write(fd, HELLO)
        candidate = Candidate(fd)
        if len(fds) > 1:
            run_program(candidate)
        candidate.run()
    except BaseException as err:
        with contextlib.suppress(BaseException):
            os.write(fd, record(b"F", f"{type(err).__name__}: {err}".encode()[:MESSAGE_CHARS]))
    os._exit(0)


def restrict(fds: list[int], forks: socket.socket, supervisor: Supervisor, limits: tuple[Any, ...]) -> None:
    """Sets limits and a private /tmp, and drops capabilities. Only the standard streams and the job's descriptor, as
    number 3, remain open.
    """
    job, *streams = fds
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    linux = sys.platform == "linux"
    if supervisor.namespaces:
        hide_files(limits[6], supervisor.hide_proc)
    elif supervisor.child_folder is not None:
        os.environ["HOME"] = os.environ["TMPDIR"] = str(supervisor.child_folder)
        os.chdir(supervisor.child_folder)
    null = os.open(os.devnull, os.O_RDWR)  # reopened, since flags and owner would be shared with the next child
    for source, target in zip(streams or [null] * len(STREAMS), STREAMS, strict=True):
        os.dup2(source, target)
    if linux:
        call("prctl", kernel.PR_SET_NO_NEW_PRIVS, kernel.number(1), 0, 0, 0)
    if supervisor.rules is not None:
        landlock.restrict(supervisor.rules)
    if supervisor.drop_to is not None:
        os.setgroups([])
        os.setgid(supervisor.drop_to)
        os.setuid(supervisor.drop_to)
    if linux:
        kernel.leave_session_keyring()
        call("capset", struct.pack("<Ii", 0x20080522, 0), bytes(24))
        call("prctl", kernel.PR_SET_PDEATHSIG, kernel.number(signal.SIGKILL), 0, 0, 0)
    set_limits(supervisor.other_tasks, limits)
    if any(supervisor.filters):
        filter_calls(supervisor.filters, forks)
    if job != CONTROL:
        os.dup2(job, CONTROL)
    os.closerange(CONTROL + 1, DESCRIPTORS)


def hide_files(tmp_bytes: int, hide_proc: bool) -> None:
    call("unshare", kernel.NEWNS | kernel.NEWIPC)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", "/tmp", "tmpfs", flags, f"size={tmp_bytes},nr_inodes=256,mode=777")
    kernel.mount("tmpfs", "/dev/shm", "tmpfs", flags, "size=64k,nr_inodes=64,mode=777")  # for semaphores
    if hide_proc:  # bubblewrap mounts one that shows the supervisor
        kernel.mount("tmpfs", "/proc", "tmpfs", flags, "size=4k,mode=555")
    os.chdir("/tmp")


def set_limits(other_tasks: int, limits: tuple[Any, ...]) -> None:
    """:param other_tasks: how many other threads and processes of the user the kernel counts."""
    _, cpu_s, _, memory, threads, processes, file_size, open_files = limits
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_CPU, max(1, int(cpu_s + 0.999)))
    lower(resource.RLIMIT_FSIZE, file_size)
    lower(resource.RLIMIT_NOFILE, open_files)
    if sys.platform == "linux":
        lower(resource.RLIMIT_NPROC, threads + processes + OWN_TASKS + other_tasks)
        lower(resource.RLIMIT_AS, memory)  # macOS does not enforce it
    else:
        lower(resource.RLIMIT_NPROC, processes)


def filter_calls(filters: list[bytes], forks: socket.socket) -> None:
    """Loads the filter that lets the supervisor count processes, or, where it cannot, the one that refuses them."""
    if kernel.notifies():
        try:
            listener = kernel.load_notifying_filter(filters[0])
        except OSError:  # in a container whose own filter notifies
            pass
        else:
            socket.send_fds(forks, [b"L"], [listener])
            return
    kernel.load_filter(filters[1])


def lower(what: int, limit: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(what, (value, value))


def launch(fd: int, config: dict[str, Any]) -> int:
    """Creates the namespaces and runs the supervisor.

    :param config: level, read_only ([source, target] pairs), hidden (folders in them), path (of packages), filters
        (compiled seccomp filters in base64, or empty: one notifies of new processes, the other refuses them); at level
        process also drop (a user id) and folder (to write in).
    """
    os.umask(0o022)  # another one could make the new root unreadable for the user that candidates run as
    if fd != CONTROL:
        os.dup2(fd, CONTROL, inheritable=False)
        os.close(fd)
    lower(resource.RLIMIT_NOFILE, DESCRIPTORS)
    apart = config["level"] != "process" and kernel.counts_tasks_by_namespace()
    config["other_tasks"] = 0 if apart else count_tasks()
    control = socket.socket(fileno=CONTROL)
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
            for device in Path("/dev").iterdir():  # bubblewrap's are the host's, and their times could be changed
                if device.is_char_device() and not device.is_symlink():
                    kernel.make_read_only(str(device), device=True)
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
            os.write(CONTROL, REPORT.pack(b"!", err.errno or 0, 0.0, 0.0, 0.0, 0, 0))
    os._exit(code)
