"""Compares the time of ``kkwarm --help`` with that of lm-eval, trl and evalplus, from start to exit of the process.

    python benchmarks/speed/help.py [-o benchmarks/results/help_speed.json] [--repeats 5]

Each repeat runs the four commands in turn, each in a new interpreter of this environment. A first run that is not
counted compiles the byte code. The figures are wall and CPU seconds, and the peak memory of the process with its
children.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from kkwarm.store import environment

# As their console scripts do, so that all run in this interpreter.
COMMANDS = {
    "kkwarm": "from kkwarm.cli import main; main()",
    "lm-eval": "from lm_eval.__main__ import cli_evaluate; cli_evaluate()",
    "trl": "from trl.cli import main; main()",
    "evalplus": "from evalplus.evaluate import main; main()",
}


def measure(name: str, code: str, work: Path) -> dict[str, float]:
    """Seconds and peak memory of one call."""
    source = f"import sys; sys.argv = [{name!r}, '--help']; {code}"
    before, began = os.times(), time.perf_counter()
    with tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [sys.executable, "-c", source], cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err
        )
        peak = [0.0]
        sampler = threading.Thread(target=sample_memory, args=(process.pid, peak), daemon=True)
        sampler.start()
        out = process.communicate()[0]
        wall = time.perf_counter() - began
        err.seek(0)
        text = (out + err.read()).decode(errors="replace")
    after = os.times()
    if process.returncode not in (0, 2) or len(text) < 200:  # evalplus exits with 2
        raise SystemExit(f"{name} --help failed ({process.returncode}):\n{text[-1500:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3), "peak_mb": round(peak[0], 1)}


def sample_memory(pid: int, peak: list[float]) -> None:
    """Records the peak resident memory of the process and its children, sampled every 5 ms."""
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        while root.is_running():
            total = 0
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.Error):
                    total += process.memory_info().rss
            peak[0] = max(peak[0], total / 2**20)
            time.sleep(0.005)


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    figures: dict[str, Any] = {
        key: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for key in ("wall_s", "cpu_s")
        for values in [[r[key] for r in runs]]
    }
    return figures | {"peak_mb": max(r["peak_mb"] for r in runs), "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("benchmarks/results/help_speed.json"))
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    load_before = os.getloadavg()
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as work:
        for repeat in range(args.repeats + 1):
            for name, code in COMMANDS.items():
                figures = measure(name, code, Path(work))
                sys.stderr.write(f"{name} {figures}{'' if repeat else ' (not counted)'}\n")
                if repeat:
                    runs[name].append(figures)
    kkwarm_cpu = statistics.median(r["cpu_s"] for r in runs["kkwarm"])
    kkwarm_wall = statistics.median(r["wall_s"] for r in runs["kkwarm"])
    peers = [name for name in COMMANDS if name != "kkwarm"]
    result = {
        "what": "--help from start to exit: kkwarm, lm-eval, trl and evalplus",
        **{name: summary(listed) for name, listed in runs.items()},
        "times_faster": {
            name: {
                "wall": round(statistics.median(r["wall_s"] for r in runs[name]) / kkwarm_wall, 1),
                "cpu": round(statistics.median(r["cpu_s"] for r in runs[name]) / kkwarm_cpu, 1),
            }
            for name in peers
        },
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "environment": environment(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("times faster:", result["times_faster"])  # noqa: T201


if __name__ == "__main__":
    main()
