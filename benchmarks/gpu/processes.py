"""The same warm-up on one GPU, data-parallel on N, and with sharded weights: losses and seconds per step.

    python benchmarks/gpu/processes.py MODEL --nproc 2 [--steps 20] [-o benchmarks/results/gpu_processes.json]

Without a GPU it compares one process with N (gloo) only. It fails if a loss differs by more than 2%.
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


def run_warmup(out: Path, model: str, traces: Path, steps: int, *more: str) -> dict[str, Any]:
    options = ["--traces", str(traces), "--max-steps", str(steps), "-o", str(out), *more]
    options += ["--batch-size", "4", "--learning-rate", "1e-5"]
    subprocess.run([sys.executable, "-m", "kkwarm", "warmup", model, *options], check=True, stdout=sys.stderr)
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    seconds = sorted(row["seconds"] for row in rows)
    return {"losses": [row["loss"] for row in rows], "seconds_per_step": seconds[len(seconds) // 2]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--nproc", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    import torch

    layouts = {"single": [], "data": ["--nproc", str(args.nproc)]}
    if torch.cuda.is_available():
        layouts |= {name: ["--nproc", str(args.nproc), "--accelerate-config", name] for name in ("fsdp2", "zero3")}
    with tempfile.TemporaryDirectory() as folder:
        traces = Path(folder, "traces")
        distill = ["distill", "--domain", "kk", "--teacher", "symbolic", "-n", "64", "-o", str(traces)]
        subprocess.run([sys.executable, "-m", "kkwarm", *distill], check=True, stdout=sys.stderr)
        results = {
            name: run_warmup(Path(folder, name), args.model, traces, args.steps, *more)
            for name, more in layouts.items()
        }
    differences = {
        name: max(abs(a - b) / abs(b) for a, b in zip(row["losses"], results["single"]["losses"], strict=True))
        for name, row in results.items()
    }
    print(json.dumps({name: {"difference": differences[name], **row} for name, row in results.items()}, indent=1))  # noqa: T201
    if args.out:
        document = {
            "environment": environment(),
            "model": args.model,
            "nproc": args.nproc,
            "differences": differences,
            **results,
        }
        args.out.write_text(json.dumps(document, indent=1) + "\n")
    return int(max(differences.values()) > 0.02)


if __name__ == "__main__":
    sys.exit(main())
