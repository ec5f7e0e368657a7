"""Liger's kernels on a CPU, by triton's interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_liger_gives_the_losses_of_torch(tmp_path: Path, base: Path, traces: Path) -> None:
    pytest.importorskip("liger_kernel", reason="liger-kernel is not installed")
    pytest.importorskip("triton", reason="triton is not installed")
    results = {}
    for variant in ("liger", "plain"):
        command = [sys.executable, str(Path(__file__).with_name("liger_on_cpu.py")), str(base), str(traces)]
        env = {**os.environ, "TRITON_INTERPRET": "1"}
        process = subprocess.run([*command, str(tmp_path / variant), variant], env=env, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr[-3000:]
        results[variant] = json.loads(process.stdout)
    assert {"liger_kernel.ops.rms_norm", "liger_kernel.ops.swiglu"} <= set(results["liger"]["kernels"])
    assert not results["plain"]["kernels"]
    for a, b in zip(results["liger"]["losses"], results["plain"]["losses"], strict=True):
        assert a == pytest.approx(b, rel=1e-3)
