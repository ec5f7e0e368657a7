"""The page on clusters is true: its scripts pass the signal on and requeue by the exit code."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "pages" / "cluster.md").read_text("utf-8")
SCRIPTS = dict(re.findall(r'```bash title="([\w.]+)"\n(.*?)```', PAGE, re.S))


def test_there_is_something_to_test() -> None:
    assert set(SCRIPTS) == {"kkwarm.sbatch", "study.sbatch"}


# What the script calls, as far as the script can see: kkwarm says when it has begun, and ends with 130 when told to.
FAKES = {
    "srun": 'exec "$@"',
    "scontrol": 'echo "$@" > "$LOG/requeued"',
    "ray": "sleep 0.1",
    "sleep": "exec /bin/sleep 0.1",
    "kkwarm": "trap 'exit 130' TERM; touch \"$LOG/begun\"; for i in $(seq 600); do /bin/sleep 0.1; done",
}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
@pytest.mark.parametrize("told", [True, False], ids=["SIGTERM", "fails"])
def test_a_script_hands_the_signal_on_and_requeues(name: str, told: bool, tmp_path: Path) -> None:
    for command, body in FAKES.items():
        body = body if told or command != "kkwarm" else 'touch "$LOG/begun"; exit 2'
        (tmp_path / command).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / command).chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(tmp_path), "SLURM_JOB_ID": "7"}
    job = subprocess.Popen(["bash", "-c", SCRIPTS[name]], env=env)
    until = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < until:
        time.sleep(0.02)
    if told:
        job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=60) == (130 if told else 2)
    requeued = tmp_path / "requeued"
    assert (requeued.read_text() if requeued.exists() else "") == ("requeue 7\n" if told else "")
