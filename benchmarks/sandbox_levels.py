"""The adversarial probes and the sandbox's tests at each level of sandbox, with and without the filter of system calls.

    KKWARM_DATA=... python benchmarks/sandbox_levels.py   # as an ordinary user, from the root of the repository
    KKWARM_DATA=... sudo -E python benchmarks/sandbox_levels.py

The levels are made as machines have them: without bubblewrap (an empty PATH), without user namespaces (the kernel's own
limit, in a namespace of this script's), without a binding of libseccomp. Everything runs in processes of its own, whose
orphans come to this one: which are left afterwards is part of the figures. Rows of the other kind of user stay in the
file.
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
NO_FILTER = "import sys; sys.modules.update(seccomp=None, pyseccomp=None); "
KKWARM = "from kkwarm.cli import main; main()"
PYTEST = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
# In a user namespace of its own a user may forbid all further ones, as some clusters do for everybody.
FORBIDDEN = (
    *("unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c"),
    'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all "$@"',
    "sh",
)


class Machine:
    """One kind of machine: programs run as they would there."""

    def __init__(self, level: Level, seccomp: bool, empty: str) -> None:
        self.level, self.seccomp = level, seccomp
        self.prefix: Sequence[str] = FORBIDDEN if level is Level.PROCESS else ()
        self.env = dict(os.environ) | ({"PATH": empty} if level is Level.NAMESPACES else {})
        self.env.pop(ALLOW_UNSANDBOXED, None)

    def run(self, code: str, *args: str, allow: bool = False) -> subprocess.CompletedProcess[str]:
        """A program of this interpreter; `allow`: model-written code may run without namespaces."""
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
                _bury(process.pid)
            else:
                return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def in_force(self) -> Mapping[str, Any]:
        """Level and filter as the manifest of a run would have them."""
        shown = self.run("import json; from kkwarm.store import environment; print(json.dumps(environment()))")
        found: Mapping[str, Any] = json.loads(shown.stdout)["sandbox"]
        return found


def measured(machine: Machine, work: str) -> dict[str, Any]:
    """What `kkwarm check` and the tests say on that machine, and what they leave running."""
    allow = machine.level is Level.PROCESS
    row: dict[str, Any] = {"level": str(machine.level), "seccomp": machine.seccomp}
    if allow:
        refused = machine.run(KKWARM, "check", DOMAINS[0])
        row["refused_unless_allowed"] = refused.returncode == 2 and "is refused" in refused.stderr
    for domain in DOMAINS:
        began = time.perf_counter()
        shown = machine.run(KKWARM, "check", domain, "--json", allow=allow)
        found = json.loads(shown.stdout)
        row[f"check {domain}"] = {
            "exit_code": shown.returncode,
            "probes": sum(found["probes"].values()),
            "wrongly_accepted": len(found["wrongly_accepted"]),
            "wrongly_rejected": len(found["wrongly_rejected"]),
            "seconds": round(time.perf_counter() - began, 1),
        }
    for tests in TESTS:
        row[tests] = _tested(machine, tests, Path(work, "junit.xml"))
    time.sleep(1.0)
    row["left_running"] = [" ".join(_command(p))[:200] for p in _left()]
    return row


def _tested(machine: Machine, tests: str, report: Path) -> dict[str, Any]:
    done = machine.run(PYTEST, "-q", "-p", "no:cacheprovider", f"--junitxml={report}", tests)
    suite = next(iter(Xml.parse(report).getroot()))
    counts = {k: int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")}
    skipped = {e.get("message", "") for e in suite.iter("skipped")}
    return {"exit_code": done.returncode, **counts, "skipped_because": sorted(skipped)}


def _bury(own: int) -> None:
    """Ended orphans may not stay as zombies: what was run waits for them to be gone."""
    for child in psutil.Process().children():
        with suppress(psutil.Error, ChildProcessError):
            if child.pid != own and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)


def _left() -> list[psutil.Process]:
    """Processes that came from what was run, and still run."""
    return [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline() or [process.name()]
    return [str(process.pid)]


def _adopt_orphans() -> None:
    subreaper = 36  # PR_SET_CHILD_SUBREAPER, Linux prctl.h
    if ctypes.CDLL(None).prctl(subreaper, 1, 0, 0, 0):
        raise SystemExit("this kernel gives us no orphans")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "benchmarks/results/sandbox_levels.json")
    parser.add_argument("--only", help="only the level of this name")
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
                if args.only not in (None, level.value) or (machine.prefix and (user == "root" or not _unshare())):
                    continue
                at = machine.in_force()
                if (at["level"], at["seccomp"]) != (level.value, seccomp):
                    sys.stderr.write(f"not to be had as {user}: {level}, seccomp {seccomp} (but {at})\n")
                    continue
                rows.append({"user": user, **measured(machine, work)})
                sys.stderr.write(json.dumps(rows[-1]) + "\n")
    others = []
    if args.out.exists():
        anew = {(r["user"], r["level"], r["seccomp"]) for r in rows}
        kept = json.loads(args.out.read_text("utf-8"))["machines"]
        others = [r for r in kept if (r["user"], r["level"], r["seccomp"]) not in anew]
    document = {
        "what": "kkwarm check and the sandbox's tests at each level of sandbox, as an ordinary user and as root",
        "machines": sorted([*rows, *others], key=lambda r: r["user"]),
        "environment": environment() | {"command": "benchmarks/sandbox_levels.py"},
    }
    args.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _unshare() -> bool:
    return shutil.which("unshare") is not None and shutil.which("setpriv") is not None


if __name__ == "__main__":
    main()
