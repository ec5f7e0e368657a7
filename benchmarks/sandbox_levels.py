"""Runs the adversarial probes and the sandbox's tests at each sandbox level, with and without the system call filter.

    KKWARM_DATA=... python benchmarks/sandbox_levels.py   # as an ordinary user, from the root of the repository
    KKWARM_DATA=... sudo -E python benchmarks/sandbox_levels.py

The script simulates machines with lower levels: without bubblewrap (an empty PATH), without user namespaces (the
kernel's limit, in a namespace of this script), and without a filter of system calls. Everything runs in child
processes, whose orphans are adopted by this process, so that it can report processes that are still running
afterwards. Rows of the other kind of user stay in the file.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as Xml
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from kkwarm.store import environment
from kkwarm.verify.sandbox import ALLOW_UNSANDBOXED, Level

ROOT = Path(__file__).resolve().parents[1]
DOMAINS = ("humaneval_plus", "mini_code")
TESTS = ("tests/sandbox", "tests/humaneval_plus")
NO_FILTER = (
    "from kkwarm.verify import sandbox; "
    "sandbox.seccomp_unavailable = sandbox.syscalls.unavailable = lambda: 'simulated'; "
)
KKWARM = "from kkwarm.cli import main; main()"
PYTEST = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
# In its own user namespace, a user may disable further namespaces, as some clusters do for all users.
FORBIDDEN = (
    *("unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c"),
    'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all "$@"',
    "sh",
)


class Machine:
    """A simulated kind of machine."""

    def __init__(self, level: Level, seccomp: bool, empty: str) -> None:
        self.level, self.seccomp = level, seccomp
        self.prefix: Sequence[str] = FORBIDDEN if level is Level.PROCESS else ()
        self.env = dict(os.environ) | ({"PATH": empty} if level is Level.NAMESPACES else {})
        self.env.pop(ALLOW_UNSANDBOXED, None)

    def run(self, code: str, *args: str, allow: bool = False) -> subprocess.CompletedProcess[str]:
        """Runs a program in this interpreter. `allow`: model-written code may run without namespaces."""
        source = ("" if self.seccomp else NO_FILTER) + code
        process = subprocess.Popen(
            [*self.prefix, sys.executable, "-c", source, *args],
            env=self.env | ({ALLOW_UNSANDBOXED: "1"} if allow else {}),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while True:
            try:
                out, err = process.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                _reap_zombies(process.pid)
            else:
                return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def sandbox(self) -> Mapping[str, Any]:
        """The level and the filter, as a run's manifest would record them."""
        process = self.run("import json; from kkwarm.store import environment; print(json.dumps(environment()))")
        sandbox: Mapping[str, Any] = json.loads(process.stdout)["sandbox"]
        return sandbox


def measure(machine: Machine, work: str) -> dict[str, Any]:
    """Runs `kkwarm check` and the tests on this machine. Also reports processes that are still running afterwards."""
    allow = machine.level is Level.PROCESS
    row: dict[str, Any] = {"level": str(machine.level), "seccomp": machine.seccomp}
    if allow:
        refusal = machine.run(KKWARM, "check", DOMAINS[0])
        row["refused_unless_allowed"] = refusal.returncode == 2 and "is refused" in refusal.stderr
    for domain in DOMAINS:
        began = time.perf_counter()
        process = machine.run(KKWARM, "check", domain, "--json", allow=allow)
        result = json.loads(process.stdout)
        row[f"check {domain}"] = {
            "exit_code": process.returncode,
            "probes": sum(result["probes"].values()),
            "wrongly_accepted": len(result["wrongly_accepted"]),
            "wrongly_rejected": len(result["wrongly_rejected"]),
            "seconds": round(time.perf_counter() - began, 1),
        }
    for tests in TESTS:
        row[tests] = _run_tests(machine, tests, Path(work, "junit.xml"))
    time.sleep(1.0)
    row["left_running"] = [" ".join(_command(p))[:200] for p in _running_descendants()]
    return row


def _run_tests(machine: Machine, tests: str, report: Path) -> dict[str, Any]:
    process = machine.run(PYTEST, "-q", "-p", "no:cacheprovider", f"--junitxml={report}", tests)
    suite = next(iter(Xml.parse(report).getroot()))
    counts = {k: int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")}
    skipped = {e.get("message", "") for e in suite.iter("skipped")}
    return {"exit_code": process.returncode, **counts, "skipped_because": sorted(skipped)}


def _reap_zombies(own: int) -> None:
    """Reaps zombies among the adopted orphans, because the program waits until they are gone."""
    for child in psutil.Process().children():
        with suppress(psutil.Error, ChildProcessError):
            if child.pid != own and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)


def _running_descendants() -> list[psutil.Process]:
    """Descendant processes that are still running."""
    return [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline() or [process.name()]
    return [str(process.pid)]


def _adopt_orphans() -> None:
    subreaper = 36  # PR_SET_CHILD_SUBREAPER, Linux prctl.h
    if ctypes.CDLL(None).prctl(subreaper, 1, 0, 0, 0):
        raise SystemExit("this kernel does not support PR_SET_CHILD_SUBREAPER")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "benchmarks/results/sandbox_levels.json")
    parser.add_argument("--only", help="Run only the level of this name.")
    args = parser.parse_args()
    _adopt_orphans()
    user = "root" if os.geteuid() == 0 else "ordinary"
    rows = []
    with tempfile.TemporaryDirectory() as work:
        empty = Path(work, "empty")
        empty.mkdir()
        for level in Level:
            for seccomp in (True, False):
                machine = Machine(level, seccomp, str(empty))
                if args.only not in (None, level.value) or (machine.prefix and (user == "root" or not _has_unshare())):
                    continue
                actual = machine.sandbox()
                if (actual["level"], actual["seccomp"]) != (level.value, seccomp):
                    sys.stderr.write(f"not available as {user}: {level}, seccomp {seccomp} (got {actual})\n")
                    continue
                rows.append({"user": user, **measure(machine, work)})
                sys.stderr.write(json.dumps(rows[-1]) + "\n")
    others = []
    if args.out.exists():
        new = {(r["user"], r["level"], r["seccomp"]) for r in rows}
        stored = json.loads(args.out.read_text("utf-8"))["machines"]
        others = [r for r in stored if (r["user"], r["level"], r["seccomp"]) not in new]
    document = {
        "what": "kkwarm check and the sandbox's tests at each sandbox level, as an ordinary user and as root",
        "machines": sorted([*rows, *others], key=lambda r: r["user"]),
        "environment": environment() | {"command": "benchmarks/sandbox_levels.py"},
    }
    args.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _has_unshare() -> bool:
    return shutil.which("unshare") is not None and shutil.which("setpriv") is not None


if __name__ == "__main__":
    main()
