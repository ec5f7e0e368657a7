"""The GPU measurements run with a tiny model on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def measure(script: str, work: Path, *more: str) -> dict[str, Any]:
    out = work / "result.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu" / script), "--tiny", "--work", str(work), "-o", str(out)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    process = subprocess.run([*command, *more], env=env, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    result: dict[str, Any] = json.loads(out.read_text())
    assert result["environment"]["versions"]["torch"]
    return result


@pytest.mark.slow
def test_sft(tmp_path: Path) -> None:
    result = measure("sft.py", tmp_path)
    assert result["tokens_per_s"]["median"] > 0 and result["tokens_per_s"]["runs"] == 2
    assert result["flops_per_token"] > 0 and (result["mfu"] is None or 0 < result["mfu"] < 1)


@pytest.mark.slow
def test_grpo(tmp_path: Path) -> None:
    result = measure("grpo.py", tmp_path)
    parts = result["seconds"]
    assert set(parts) == {"step", "rollout", "reward", "train"}
    assert all(0 < parts[name]["min"] < parts["step"]["max"] for name in ("rollout", "reward", "train"))


@pytest.mark.slow
def test_bench(tmp_path: Path) -> None:
    result = measure("bench.py", tmp_path)
    assert set(result["seconds"]) >= {"kkwarm:hf", "lm_eval:8"}
    assert result["times_faster_against_lm_eval"]["median"] > 0
