"""The same warm-up on one GPU, on N by data, and with weights in shards: losses side by side, and seconds a step.

    python benchmarks/gpu/processes.py MODEL --nproc 2 [--steps 20] [-o benchmarks/results/gpu_processes.json]

On a machine without a GPU it runs one process against N (gloo) only. Fails where a loss differs by more than 2%.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from kkwarm.store import environment


def run(out: Path, model: str, traces: Path, steps: int, *more: str) -> dict[str, Any]:
    common = [
        "--traces",
        str(traces),
        "--max-steps",
        str(steps),
        "--batch-size",
        "4",
        "--learning-rate",
        "1e-5",
        "-o",
        str(out),
    ]
    subprocess.run([sys.executable, "-m", "kkwarm", "warmup", model, *common, *more], check=True, stdout=sys.stderr)
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    seconds = sorted(row["seconds"] for row in rows)
    return {"losses": [row["loss"] for row in rows], "seconds_per_step": seconds[len(seconds) // 2]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--nproc", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    import torch

    layouts = {"one": [], "data": ["--nproc", str(asked.nproc)]}
    if torch.cuda.is_available():
        layouts |= {name: ["--nproc", str(asked.nproc), "--accelerate-config", name] for name in ("fsdp2", "zero3")}
    with tempfile.TemporaryDirectory() as folder:
        traces = Path(folder, "traces")
        distill = ["distill", "--domain", "kk", "--teacher", "symbolic", "-n", "64", "-o", str(traces)]
        subprocess.run([sys.executable, "-m", "kkwarm", *distill], check=True, stdout=sys.stderr)
        found = {
            name: run(Path(folder, name), asked.model, traces, asked.steps, *more) for name, more in layouts.items()
        }
    apart = {
        name: max(abs(a - b) / abs(b) for a, b in zip(row["losses"], found["one"]["losses"], strict=True))
        for name, row in found.items()
    }
    print(json.dumps({name: {"apart": apart[name], **row} for name, row in found.items()}, indent=1))  # noqa: T201
    if asked.out:
        document = {"environment": environment(), "model": asked.model, "nproc": asked.nproc, "apart": apart, **found}
        asked.out.write_text(json.dumps(document, indent=1) + "\n")
    return int(max(apart.values()) > 0.02)


if __name__ == "__main__":
    sys.exit(main())
