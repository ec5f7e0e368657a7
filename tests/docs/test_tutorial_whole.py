"""Domains written by following only the tutorial: its commands, as they stand there, on a tiny checkpoint."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kkwarm.testing import tiny_checkpoint

ROOT = Path(__file__).parents[2]
DOMAINS = ROOT / "benchmarks" / "domains"
PAGE = (ROOT / "docs" / "pages" / "tutorial.md").read_text("utf-8")
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


def run_commands(commands: str, folder: Path) -> Outputs:
    """The JSON output of each command, by the command's name."""
    model = tiny_checkpoint(folder / "model")
    for name in ("planets.csv", "planets.toml", "units.toml"):
        (folder / name).write_text(BLOCKS[name].replace("MODEL", str(model)))
    site = folder / "site"
    env = environment(folder)
    outputs: Outputs = {}
    for command in [line.removeprefix("$ ") for line in commands.splitlines()]:
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
    written = DOMAINS / "kkwarm" / f"kkwarm_{name}.py"
    text = BLOCKS.get(f"kkwarm_{name}.py") or written.read_text("utf-8")
    (folder / f"kkwarm_{name}.py").write_text(text)
    for title, text in BLOCKS.items():
        if title.startswith(f"tests/test_{name}"):
            (folder / title).write_text(text)


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(folder / "site"), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": path, "KKWARM_HOME": str(folder / "runs")}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_text_with_a_verifier_and_a_teacher(tmp_path: Path) -> None:
    outputs = run_commands(BLOCKS["the whole way"], tmp_path)
    assert set(outputs["bench"]["benchmarks"]) == {"units", "units:long"}  # type: ignore[call-overload]
    matrix: dict[str, dict[str, object]] = outputs["report"]["matrix"]  # type: ignore[assignment]
    assert set(matrix) == {"base", "warmed", "warmed + RLVR"}
    assert all(set(row) == {"units", "mini_math"} for row in matrix.values())
    tests = [sys.executable, "-m", "pytest", "-q", "kkwarm-units/tests"]
    env = environment(tmp_path)
    done = subprocess.run(tests, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("title", "domain", "status", "reward"),
    [
        ("planets", "planets.toml", "correct", 2.0),
        ("filters", "filters", "correct", 1.0),
        ("miles", "miles", "wrong", 1.9416),
    ],
)
def test_the_other_domains(title: str, domain: str, status: str, reward: float, tmp_path: Path) -> None:
    assert_works(run_commands(BLOCKS[title], tmp_path), domain, status, reward)


def assert_works(outputs: Outputs, domain: str, status: str, reward: float) -> None:
    assert outputs["check"]["ok"] is True
    assert outputs["try"]["status"] == status
    assert outputs["try"]["reward"] == pytest.approx(reward, abs=1e-3)
    assert domain in outputs["bench"]["benchmarks"]  # type: ignore[operator]
    assert all(domain in row for row in outputs["report"]["matrix"].values())  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "id_", "answer", "status", "reward"),
    [
        ("choices.toml", "test/1", "C", "correct", 2.0),
        ("programs", "square", "n = int(input()); print(n * abs(n))", "wrong", -0.5 + 2.5 * 2 / 3),
        ("molar_masses", "H2O", "18.5 g/mol", "wrong", -0.5 + 2.5 * (1 - 4 * (18.5 / 18.015 - 1))),
    ],
)
def test_domains_that_follow_the_tutorial(
    name: str, id_: str, answer: str, status: str, reward: float, tmp_path: Path
) -> None:
    shutil.copytree(DOMAINS, tmp_path, dirs_exist_ok=True)
    table = name.endswith(".toml")
    domain = f"kkwarm/{name}" if table else name
    install = "" if table else f"kkwarm new {name}\npip install -e kkwarm-{name}\n"
    commands = f"""{install}kkwarm check {domain}
kkwarm try {domain} --id {id_} "so </think> <answer> {answer} </answer>"
kkwarm rlvr MODEL --domain {domain} --examples 5 -o trained
kkwarm bench trained --on {domain} -o figures
kkwarm report figures"""
    assert_works(run_commands(commands, tmp_path), domain, status, reward)
