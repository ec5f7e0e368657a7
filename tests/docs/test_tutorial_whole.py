"""The tutorial, word for word: each section's files and commands, in order, in an empty folder.

A random checkpoint takes the place of the miniature. Three further domains were written by following only the tutorial.
"""

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
SECTIONS = re.split(r"^## ", PAGE, flags=re.M)[1:]
MODEL = "kkwarm_mini:BASE"
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
Outputs = dict[str, list[dict[str, object]]]


def run_section(section: str, folder: Path) -> Outputs:
    """Writes the files and runs the commands of Markdown text, in order. The JSON outputs by the command's name."""
    model = str(tiny_checkpoint(folder / "model"))
    outputs: Outputs = {}
    for title, body in re.findall(r'^```\w+(?: title="([^"]+)")?\n(.*?)^```', section, re.M | re.S):
        if title:
            (folder / title).write_text(body.replace(MODEL, model))
        for command in re.findall(r"^\$ (.*)", re.sub(r"\\\n\s*", "", body), re.M):
            run(command.replace(MODEL, model), folder, outputs)
    return outputs


def run(command: str, folder: Path, outputs: Outputs) -> None:
    words = shlex.split(command)
    name = words[1]
    if words[0] == "pip":  # into a folder of its own, without the network
        assert words[:3] == ["pip", "install", "-e"]
        flags = ["-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder / "site")]
        words = [sys.executable, "-m", "pip", "install", *flags, f"./{words[3]}"]
    elif words[0] == "python":
        words[0] = sys.executable
    else:
        words = [sys.executable, "-m", *words, *SHORT.get(name, [])]
    # Packages are imported from where they are edited; only their entry points come from the installed copy.
    edited = [str(path) for path in folder.glob("kkwarm-*")]
    path = os.pathsep.join([*edited, str(folder / "site"), *filter(None, sys.path)])
    env = {**os.environ, "PYTHONPATH": path, "KKWARM_HOME": str(folder / "runs")}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    # A random checkpoint earns no reward, and rlvr exits with 1 to say so.
    no_reward = name == "rlvr" and "no " in done.stdout + done.stderr
    assert done.returncode == 0 or no_reward, f"{command}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
    if "--json" in words:
        outputs.setdefault(name, []).append(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("number", "domain", "status", "reward"),
    [
        (1, "planets.toml", "correct", 2.0),
        (2, "units", "correct", 2.0),
        (3, "filters", "correct", 1.0),
        (4, "miles", "wrong", 1.9416),
    ],
)
def test_a_section_of_the_tutorial(number: int, domain: str, status: str, reward: float, tmp_path: Path) -> None:
    (section,) = (text for text in SECTIONS if text.startswith(f"{number}. "))
    outputs = run_section(section, tmp_path)
    assert_works(outputs, domain, status, reward)
    if domain == "units":
        assert set(outputs["bench"][-1]["benchmarks"]) == {"units", "units:long"}  # type: ignore[call-overload]
        matrix: dict[str, dict[str, object]] = outputs["report"][0]["matrix"]  # type: ignore[assignment]
        assert set(matrix) == {"base", "warmed", "warmed + RLVR"}
        assert all(set(row) == {"units", "mini_math"} for row in matrix.values())


def assert_works(outputs: Outputs, domain: str, status: str, reward: float) -> None:
    assert all(output["ok"] is True for output in outputs["check"])
    assert outputs["try"][0]["status"] == status
    assert outputs["try"][0]["reward"] == pytest.approx(reward, abs=1e-3)
    assert domain in outputs["bench"][0]["benchmarks"]  # type: ignore[operator]
    assert all(domain in row for row in outputs["report"][0]["matrix"].values())  # type: ignore[attr-defined]


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
    outputs: Outputs = {}
    model = str(tiny_checkpoint(tmp_path / "model"))
    if not table:
        run(f"kkwarm new {name}", tmp_path, outputs)
        shutil.copy(DOMAINS / "kkwarm" / f"kkwarm_{name}.py", tmp_path / f"kkwarm-{name}")
        run(f"pip install -e kkwarm-{name}", tmp_path, outputs)
    run(f"kkwarm check {domain}", tmp_path, outputs)
    run(f'kkwarm try {domain} --id {id_} "so </think> <answer> {answer} </answer>"', tmp_path, outputs)
    run(f"kkwarm rlvr {model} --domain {domain} --examples 5 -o trained", tmp_path, outputs)
    run(f"kkwarm bench trained --on {domain} -o figures", tmp_path, outputs)
    run("kkwarm report figures", tmp_path, outputs)
    assert_works(outputs, domain, status, reward)
