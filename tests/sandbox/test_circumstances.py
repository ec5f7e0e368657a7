"""The sandbox in processes with an unusual umask, many open files, closed streams, or none left of something."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from kkwarm.verify.sandbox import Level, probe_levels

# Runs right and wrong code, twice each. Writes how it ended, and which descriptors the code saw, to the file in argv.
PROGRAM = """
import json, os, sys
def prepare():
    {prepare}
prepare()
from kkwarm.verify.sandbox import CallJob, Level, Sandbox, decode, encode
seen = []
def judge(index, data, exact, cpu_s):
    seen.append(decode(data))
    return seen[-1][0] == 2
code = '''
import os, tempfile
def f(x):
    with tempfile.TemporaryFile() as file: file.write(b"x")
    open_fds = []
    for fd in range(5000):
        try: os.fstat(fd)
        except OSError: continue
        open_fds.append(fd)
    return [x + 1, open_fds]
'''
wrong = "def f(x): return [x, []]"
with Sandbox(1, level=Level(sys.argv[2]), trusted=True) as sandbox:
    jobs = [CallJob(c, "f", [encode([1])], [2.0], judge) for c in (code, wrong, code, wrong)]
    ends = [outcome.end.value + " " + outcome.detail for outcome in sandbox.run_many(jobs)]
with open(sys.argv[1], "w") as out:
    json.dump([ends, [s[1] for s in seen if s[1]]], out)
"""
RESULT = [["passed ", "rejected ", "passed ", "rejected "], [[0, 1, 2, 3], [0, 1, 2, 3]]]
LEVELS = [pytest.param(level, id=level.value) for level in Level]
PREPARATIONS = {
    "nothing": "pass",
    "umask 077": "os.umask(0o077)",
    "umask 777": "os.umask(0o777)",
    "1,500 open files": "prepare.files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1500)]",
    "1,500 inheritable files": "[os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True) for _ in range(1500)]",
    "closed stdin": "os.close(0)",
    "closed streams": "os.closerange(0, 3)",
    "closed streams, many files": "[os.open(os.devnull, os.O_RDONLY) for _ in range(1500)]; os.closerange(0, 3)",
    "a soft limit that is reached": "import resource; hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1];"
    "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard)); [os.open(os.devnull, os.O_RDONLY) for _ in range(60)]",
    "ignored SIGCHLD": "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "blocked signals": "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    "another working folder, removed": "import tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)",
}


def run(level: Level, prepare: str, out: Path) -> subprocess.CompletedProcess[str]:
    if problem := probe_levels()[level]:
        pytest.skip(problem)
    source = PROGRAM.format(prepare=prepare)
    return subprocess.run(
        [sys.executable, "-c", source, str(out), level.value],
        capture_output=True,
        text=True,
        timeout=100,
        preexec_fn=_allow_many_files,
    )


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("preparation", PREPARATIONS, ids=str)
def test_verdicts_are_the_same(level: Level, preparation: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = run(level, PREPARATIONS[preparation], out)
    assert out.exists(), done
    import json

    assert json.loads(out.read_bytes()) == RESULT
