"""A seccomp filter for candidates: an allow-list of system calls, an additional layer at every level.

Only what Python's computing needs is allowed: files, memory, threads, waiting, clocks. So a candidate cannot open
sockets, run programs, trace, mount, create namespaces, keys or files in memory, change priorities, or use future system
calls. The filter is compiled here to the kernel's BPF, and each candidate's process loads it before it runs the
candidate.
"""

from __future__ import annotations

import platform
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["program", "unavailable"]

# Linux asm/unistd_64.h and asm-generic/unistd.h: the numbers on x86_64 and, after the second colon, on aarch64.
_ALLOWED = """
    read:0:63 write:1:64 open:2 openat:257:56 close:3:57 close_range:436:436 lseek:8:62 pread64:17:67 pwrite64:18:68
    readv:19:65 writev:20:66 preadv:295:69 pwritev:296:70 preadv2:327:286 pwritev2:328:287 stat:4 fstat:5:80 lstat:6
    newfstatat:262:79 statx:332:291 access:21 faccessat:269:48 faccessat2:439:439 getdents:78 getdents64:217:61
    getcwd:79:17 chdir:80:49 fchdir:81:50 rename:82 renameat:264:38 renameat2:316:276 mkdir:83 mkdirat:258:34 rmdir:84
    creat:85 link:86 linkat:265:37 unlink:87 unlinkat:263:35 symlink:88 symlinkat:266:36 readlink:89 readlinkat:267:78
    umask:95:166 truncate:76:45 ftruncate:77:46 fallocate:285:47
    fadvise64:221:223 fsync:74:82 fdatasync:75:83 flock:73:32 dup:32:23 dup2:33 dup3:292:24 pipe:22 pipe2:293:59
    sendfile:40:71 copy_file_range:326:285 statfs:137:43 fstatfs:138:44 getxattr:191:8 lgetxattr:192:9 fgetxattr:193:10
    listxattr:194:11 llistxattr:195:12 flistxattr:196:13

    poll:7 ppoll:271:73 select:23 pselect6:270:72 epoll_create:213 epoll_create1:291:20 epoll_ctl:233:21 epoll_wait:232
    epoll_pwait:281:22 epoll_pwait2:441:441 eventfd:284 eventfd2:290:19 sendto:44:206 recvfrom:45:207 sendmsg:46:211
    recvmsg:47:212 shutdown:48:210 getsockname:51:204 getpeername:52:205 setsockopt:54:208 getsockopt:55:209

    mmap:9:222 mprotect:10:226 munmap:11:215 brk:12:214 mremap:25:216 msync:26:227 madvise:28:233 mincore:27:232

    futex:202:98 futex_waitv:449:449 sched_yield:24:124 sched_getaffinity:204:123 getcpu:309:168 set_robust_list:273:99
    set_tid_address:218:96 rseq:334:293 membarrier:324:283 rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139
    rt_sigpending:127:136 rt_sigtimedwait:128:137 rt_sigsuspend:130:133 sigaltstack:131:132 pause:34 kill:62:129
    tkill:200:130 tgkill:234:131 restart_syscall:219:128

    getpid:39:172 getppid:110:173 gettid:186:178 getuid:102:174 geteuid:107:175 getgid:104:176 getegid:108:177
    getresuid:118:148 getresgid:120:150 getgroups:115:158 getpgid:121:155 getpgrp:111 getsid:124:156 setsid:112:157
    setpgid:109:154 wait4:61:260 waitid:247:95 exit:60:93 exit_group:231:94 getrlimit:97:163 setrlimit:160:164
    getrusage:98:165 getpriority:140:141 capget:125:90 uname:63:160 sysinfo:99:179 times:100:153

    time:201 gettimeofday:96:169 clock_gettime:228:113 clock_getres:229:114 clock_nanosleep:230:115 nanosleep:35:101
    getitimer:36:102 setitimer:38:103 alarm:37 getrandom:318:278
"""
# Modes and times of files. Landlock does not limit them, so they are allowed only where the file system is private.
_FILE_ATTRIBUTES = "chmod:90 fchmod:91:52 fchmodat:268:53 utime:132 utimes:235 futimesat:261 utimensat:280:88"
# Allowed for some arguments.
_CONDITIONAL = "clone:56:220 fork:57 vfork:58 fcntl:72:25 ioctl:16:29 prctl:157:167 prlimit64:302:261 socketpair:53:199"
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # Linux audit.h
# Callers try another call where one of these is unknown, so the refusal is ENOSYS, and not EPERM.
_FIRST_WITH_FALLBACK = 424

# Linux seccomp.h, bpf_common.h, sched.h, prctl.h, asm-generic/fcntl.h, ioctls.h
_ALLOW, _ERRNO, _NOTIFY, _KILL = 0x7FFF0000, 0x00050000, 0x7FC00000, 0x80000000
_EPERM, _ENOTTY, _ENOSYS = _ERRNO | 1, _ERRNO | 25, _ERRNO | 38
_LOAD, _JUMP, _EQUAL, _GREATER, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06
_CLONE_THREAD, _CLONE_REFUSED = 0x00010000, 0x7E028000  # any namespace, CLONE_PARENT
_NAME_OPTIONS = (15, 16)  # PR_SET_NAME, PR_GET_NAME
_FILE_COMMANDS = (*range(12), 15, 16, 36, 37, 38, 1030, 1031, 1032)  # all but leases, notices, seals and hints
_TERMINAL_REQUESTS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # get settings, size; bytes to read; flags

Instructions = list[tuple[int, int, int, int]]  # code, jumps if true and false, operand


def unavailable() -> str:
    """Why the filter is not available; empty where it is."""
    if sys.platform != "linux":
        return "only on Linux"
    if not Path("/proc/sys/kernel/seccomp/actions_avail").exists():
        return "the kernel has no seccomp filters"
    if platform.machine() not in _ARCHITECTURES:
        return f"not written for {platform.machine()}"
    return ""


def program(*, notify_forks: bool, file_attributes: bool) -> bytes:
    """The compiled filter; empty where it is not available.

    :param notify_forks: let a supervisor decide about each new process (seccomp's user notification); else refuse them.
    :param file_attributes: allow to set the modes and times of files.
    """
    if unavailable():
        return b""
    machine = platform.machine()
    special = _numbers(_CONDITIONAL, machine)
    fork = _NOTIFY if notify_forks else _EPERM
    code: Instructions = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),  # a call of another architecture (32 bits), whose numbers differ
        (_LOAD, 0, 0, 0),
    ]
    for name, number in special.items():
        rule = _rule(name, fork)
        code += [(_EQUAL, 0, len(rule), number), *rule]
    allowed = sorted({*_numbers(_ALLOWED, machine).values(), *(_file_attributes(machine) if file_attributes else ())})
    old = _tree(_ranges(n for n in allowed if n < _FIRST_WITH_FALLBACK), _EPERM)
    new = _tree(_ranges(n for n in allowed if n >= _FIRST_WITH_FALLBACK), _ENOSYS)
    code += [(_AT_LEAST, 0, 1, _FIRST_WITH_FALLBACK), (_JUMP, 0, 0, len(old)), *old, *new]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def _numbers(table: str, machine: str) -> dict[str, int]:
    column = 1 if machine == "x86_64" else 2
    entries = [entry.split(":") for entry in table.split()]
    return {entry[0]: int(entry[column]) for entry in entries if len(entry) > column}


def _file_attributes(machine: str) -> Iterable[int]:
    return _numbers(_FILE_ATTRIBUTES, machine).values()


def _rule(name: str, fork: int) -> Instructions:
    """Instructions that decide about one system call by its arguments. They always return."""
    if name in ("fork", "vfork"):
        return [(_RETURN, 0, 0, fork)]
    if name == "clone":
        return [
            _argument(0),
            (_ANY_BIT, 0, 1, _CLONE_REFUSED),
            (_RETURN, 0, 0, _EPERM),
            (_ANY_BIT, 0, 1, _CLONE_THREAD),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, fork),
        ]
    if name == "socketpair":  # AF_UNIX; SOCK_STREAM, since others can send to any address
        return [
            _argument(0),
            (_EQUAL, 1, 0, 1),
            (_RETURN, 0, 0, _EPERM),
            _argument(1),
            (_AND, 0, 0, 15),
            *_one_of((1,)),
        ]
    if name == "prlimit64":  # of this process
        return [_argument(0), *_one_of((0,))]
    if name == "prctl":
        return [_argument(0), *_one_of(_NAME_OPTIONS)]
    if name == "fcntl":
        return [_argument(1), *_one_of(_FILE_COMMANDS)]
    assert name == "ioctl"
    return [_argument(1), *_one_of(_TERMINAL_REQUESTS, _ENOTTY)]


def _argument(index: int) -> tuple[int, int, int, int]:
    """Loads the lower half of an argument; the upper half is not used by the calls in question."""
    return _LOAD, 0, 0, 16 + 8 * index


def _one_of(values: Sequence[int], otherwise: int = _EPERM) -> Instructions:
    tests = [(_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [*tests, (_RETURN, 0, 0, otherwise), (_RETURN, 0, 0, _ALLOW)]


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Sorted numbers as inclusive ranges."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def _tree(ranges: Sequence[tuple[int, int]], refusal: int) -> Instructions:
    """A binary search: allows the numbers in the ranges, and refuses others."""
    if len(ranges) == 1:
        ((first, last),) = ranges
        return [(_AT_LEAST, 0, 2, first), (_GREATER, 1, 0, last), (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, refusal)]
    middle = len(ranges) // 2
    lower, upper = _tree(ranges[:middle], refusal), _tree(ranges[middle:], refusal)
    return [(_AT_LEAST, 0, 1, ranges[middle][0]), (_JUMP, 0, 0, len(lower)), *lower, *upper]
