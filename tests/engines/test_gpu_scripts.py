"""The GPU measurements run, in the small, on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def measured(script: str, work: Path, *more: str) -> dict[str, Any]:
    out = work / "result.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu" / script), "--tiny", "--work", str(work), "-o", str(out)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *more], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(out.read_text())
    assert found["environment"]["versions"]["torch"]
    return found


@pytest.mark.slow
def test_sft(tmp_path: Path) -> None:
    found = measured("sft.py", tmp_path)
    assert found["tokens_per_s"]["median"] > 0 and found["tokens_per_s"]["runs"] == 2
    assert found["flops_per_token"] > 0 and (found["mfu"] is None or 0 < found["mfu"] < 1)


@pytest.mark.slow
def test_grpo(tmp_path: Path) -> None:
    found = measured("grpo.py", tmp_path)
    parts = found["seconds"]
    assert set(parts) == {"step", "rollout", "reward", "train"}
    assert all(0 < parts[name]["min"] < parts["step"]["max"] for name in ("rollout", "reward", "train"))


@pytest.mark.slow
def test_bench(tmp_path: Path) -> None:
    found = measured("bench.py", tmp_path)
    assert set(found["seconds"]) >= {"kkwarm:hf", "lm_eval:8"}
    assert found["times_faster_against_lm_eval"]["median"] > 0
