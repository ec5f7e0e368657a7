"""A plugin written by following only the tutorial: its commands, as they stand there, on a tiny checkpoint."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kkwarm.testing import tiny_checkpoint

PAGE = (Path(__file__).parents[2] / "docs" / "pages" / "tutorial.md").read_text("utf-8")
BLOCKS = dict(re.findall(r'```\w+ title="([^"]+)"\n(.*?)```', PAGE, re.S))  # the last one of a title
COMMANDS = [line.removeprefix("$ ") for line in BLOCKS["the whole way"].splitlines()]
# What makes a minute of it: few steps, short answers. Everything else is as the tutorial has it.
SHORT = {
    "warmup": ["--max-steps", "2", "--batch-size", "2"],
    "rlvr": ["--steps", "1", "--prompts-per-step", "2", "--generations", "2", "--max-tokens", "8"],
    "bench": ["--max-tokens", "8", "--limit", "6", "--json"],
    "study": ["--json", "--jobs", "1", "--set=seeds=[0]"]
    + ["--set=stages.warm.max_steps=1", "--set=stages.rlvr.steps=1", "--set=stages.rlvr.prompts_per_step=2"]
    + ["--set=stages.rlvr.generations=2", "--set=stages.rlvr.max_tokens=8", "--set=evaluate.limit=6"]
    + ["--set=evaluate.max_tokens=8"],
    "report": ["--json"],
}


@pytest.mark.slow
def test_the_whole_way(tmp_path: Path) -> None:
    model = tiny_checkpoint(tmp_path / "model")
    (tmp_path / "units.toml").write_text(BLOCKS["units.toml"].replace("MODEL", str(model)))
    site = tmp_path / "site"
    path = os.pathsep.join([str(site), *filter(None, sys.path)])
    env = {**os.environ, "PYTHONPATH": path, "KKWARM_HOME": str(tmp_path / "runs")}
    said = {}
    for command in COMMANDS:
        words = [str(model) if word == "MODEL" else word for word in shlex.split(command)]
        if words[0] == "pip":  # into a folder of its own, without the network
            assert words[:3] == ["pip", "install", "-e"]
            flags = ["-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
            words = [sys.executable, "-m", "pip", "install", *flags, f"./{words[3]}"]
        else:
            words = [sys.executable, "-m", *words, *SHORT.get(words[1], [])]
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
        # A random checkpoint earns no reward, and rlvr exits with 1 to say so.
        assert done.returncode == 0 or (words[3] == "rlvr" and "no " in done.stdout + done.stderr), done.stderr[-3000:]
        said[words[3]] = done.stdout
        if command.startswith("kkwarm new"):
            (tmp_path / "kkwarm-units" / "kkwarm_units.py").write_text(BLOCKS["kkwarm_units.py"])
            for name in ("tests/test_units.py", "tests/test_units_bench.py"):
                (tmp_path / "kkwarm-units" / name).write_text(BLOCKS[name])
    assert set(json.loads(said["bench"])["benchmarks"]) == {"units", "units:long"}
    matrix = json.loads(said["report"])["matrix"]
    assert set(matrix) == {"base", "warmed", "warmed + RLVR"}
    assert all(set(row) == {"units", "mini_math"} for row in matrix.values())
    tests = [sys.executable, "-m", "pytest", "-q", "kkwarm-units/tests"]
    done = subprocess.run(tests, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
