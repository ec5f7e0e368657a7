"""The sandbox in processes with an unusual umask, many open files, closed streams, or none left of something."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from kkwarm.verify.sandbox import probe_levels

# Runs right and wrong code at each level. Writes how it ended and which descriptors the code saw to the file in argv.
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
results = {{}}
for level in sys.argv[2:]:
    seen.clear()
    with Sandbox(1, level=Level(level), trusted=True) as sandbox:
        jobs = [CallJob(c, "f", [encode([1])], [2.0], judge) for c in (code, wrong, code, wrong)]
        ends = [outcome.end.value + " " + outcome.detail for outcome in sandbox.run_many(jobs)]
    results[level] = [ends, [s[1] for s in seen if s[1]]]
with open(sys.argv[1], "w") as out:
    json.dump(results, out)
"""
RESULT = [["passed ", "rejected ", "passed ", "rejected "], [[0, 1, 2, 3], [0, 1, 2, 3]]]
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


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


@pytest.mark.parametrize("preparation", PREPARATIONS, ids=str)
def test_verdicts_are_the_same(preparation: str, tmp_path: Path) -> None:
    levels = [level.value for level, problem in probe_levels().items() if not problem]
    out = tmp_path / "out.json"
    source = PROGRAM.format(prepare=PREPARATIONS[preparation])
    command = [sys.executable, "-c", source, str(out), *levels]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, preexec_fn=_allow_many_files)
    assert out.exists(), done
    assert json.loads(out.read_bytes()) == dict.fromkeys(levels, RESULT)


SHORTAGE = """
import os, resource
from kkwarm.errors import KkwarmError
from kkwarm.verify.sandbox import Sandbox, strongest_level
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
files = []
try:
    while True: files.append(os.dup(0))
except OSError: pass
for attempt in range(2):
    try: strongest_level()
    except KkwarmError as err: print(err.message, "|", err.hint)
for file in files: os.close(file)
print(strongest_level())
"""


def test_a_shortage_is_named_and_not_remembered() -> None:
    done = subprocess.run([sys.executable, "-c", SHORTAGE], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    *messages, level = done.stdout.splitlines()
    assert len(messages) == 2 and all("too many open files" in m and "ulimit -n" in m for m in messages), done
    assert "unsandboxed" not in done.stdout.lower()
    assert level == next(level.value for level, problem in probe_levels().items() if not problem)
