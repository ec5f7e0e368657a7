"""Domains written by following only the tutorial: its commands, as they stand there, on a tiny checkpoint."""

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
# Few steps and short answers, for a minute each. Everything else is as the tutorial has it.
SHORT = {
    "warmup": ["--max-steps", "2", "--batch-size", "2"],
    "rlvr": ["--steps", "1", "--prompts-per-step", "2", "--generations", "2", "--max-tokens", "8"],
    "bench": ["--max-tokens", "8", "--limit", "6", "--json"],
    "study": ["--json", "--jobs", "1", "--set=seeds=[0]"]
    + ["--set=stages.warm.max_steps=1", "--set=stages.rlvr.steps=1", "--set=stages.rlvr.prompts_per_step=2"]
    + ["--set=stages.rlvr.generations=2", "--set=stages.rlvr.max_tokens=8", "--set=evaluate.limit=6"]
    + ["--set=evaluate.max_tokens=8"],
    "report": ["--json"],
    "check": ["--json"],
    "try": ["--json"],
}
Outputs = dict[str, dict[str, object]]


def run_commands(title: str, folder: Path) -> Outputs:
    """The JSON output of each command of the block with that title, by the command's name."""
    model = tiny_checkpoint(folder / "model")
    for name in ("planets.csv", "planets.toml", "units.toml"):
        (folder / name).write_text(BLOCKS[name].replace("MODEL", str(model)))
    site = folder / "site"
    env = environment(folder)
    outputs: Outputs = {}
    for command in [line.removeprefix("$ ") for line in BLOCKS[title].splitlines()]:
        words = [str(model) if word == "MODEL" else word for word in shlex.split(command)]
        if words[0] == "pip":  # into a folder of its own, without the network
            assert words[:3] == ["pip", "install", "-e"]
            flags = ["-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
            words = [sys.executable, "-m", "pip", "install", *flags, f"./{words[3]}"]
        else:
            words = [sys.executable, "-m", *words, *SHORT.get(words[1], [])]
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
        # A random checkpoint earns no reward, and rlvr exits with 1 to say so.
        no_reward = words[3] == "rlvr" and "no " in done.stdout + done.stderr
        assert done.returncode == 0 or no_reward, f"{command}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
        if "--json" in words:
            outputs[words[3]] = json.loads(done.stdout)
        if command.startswith("kkwarm new"):
            write_package(folder / f"kkwarm-{words[4]}", words[4])
    return outputs


def write_package(folder: Path, name: str) -> None:
    (folder / f"kkwarm_{name}.py").write_text(BLOCKS[f"kkwarm_{name}.py"])
    for title, text in BLOCKS.items():
        if title.startswith(f"tests/test_{name}"):
            (folder / title).write_text(text)


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(folder / "site"), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": path, "KKWARM_HOME": str(folder / "runs")}


@pytest.mark.slow
def test_text_with_a_verifier_and_a_teacher(tmp_path: Path) -> None:
    outputs = run_commands("the whole way", tmp_path)
    assert set(outputs["bench"]["benchmarks"]) == {"units", "units:long"}  # type: ignore[call-overload]
    matrix: dict[str, dict[str, object]] = outputs["report"]["matrix"]  # type: ignore[assignment]
    assert set(matrix) == {"base", "warmed", "warmed + RLVR"}
    assert all(set(row) == {"units", "mini_math"} for row in matrix.values())
    tests = [sys.executable, "-m", "pytest", "-q", "kkwarm-units/tests"]
    env = environment(tmp_path)
    done = subprocess.run(tests, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "domain", "status", "reward"),
    [("planets", "planets.toml", "correct", 2.0), ("miles", "miles", "wrong", 1.9416)],
)
def test_the_other_domains(title: str, domain: str, status: str, reward: float, tmp_path: Path) -> None:
    outputs = run_commands(title, tmp_path)
    assert outputs["check"]["ok"] is True
    assert outputs["try"]["status"] == status
    assert outputs["try"]["reward"] == pytest.approx(reward, abs=1e-3)
    (row,) = outputs["report"]["matrix"].values() if title == "miles" else list(outputs["report"]["matrix"].values())[-1:]  # type: ignore[attr-defined]
    assert domain in row
