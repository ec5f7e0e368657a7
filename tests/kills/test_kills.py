"""Kill -9, full disks, read-only folders, two processes on one run: in short (`make test-kills`: at length)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="prctl, /proc and tmpfs of Linux")]


def script(name: str, tmp_path: Path, *args: str) -> dict[str, Any]:
    """Runs a script of this folder to its end; returns what it found of each command."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "TMPDIR": str(tmp_path)}
    command = [sys.executable, str(HERE / name), "--out", str(tmp_path / "out.json"), *args]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    commands: dict[str, Any] = json.loads((tmp_path / "out.json").read_text())["commands"]
    return commands


def test_killed_at_random_moments_they_end_as_if_nothing_was(tmp_path: Path) -> None:
    found = script("kill.py", tmp_path, "--kills", "2")
    assert set(found) == {"distill", "warmup", "rlvr", "bench", "study"}
    for name, campaign in found.items():
        assert (campaign["kills"], campaign["equal"], campaign["orphans"]) == (2, True, 0), name
        assert campaign["ended"] >= 1


def test_hindered_they_say_so_in_one_line_and_lose_nothing(tmp_path: Path) -> None:
    ours = subprocess.run(["unshare", "-Urm", "true"], capture_output=True, text=True)
    if ours.returncode:
        pytest.skip(f"no user namespace to mount a small disk in: {ours.stderr.strip()}")
    found = script("hinder.py", tmp_path, "--sizes", "2")
    for name, outcome in found.items():
        assert outcome["problems"] == [], name
        assert 2 in {disk["ended_with"] for disk in outcome["full_disks"]}, f"{name}: no disk was too small"
