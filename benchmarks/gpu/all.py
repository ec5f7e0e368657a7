"""Every figure that one GPU can give, the most wanted first, within a budget of time.

    python benchmarks/gpu/all.py [--budget 1500] [-o benchmarks/results]

Each part is a process of its own and writes its JSON file as soon as it is done; `gpu_all.json` says what was done, how
long it took, and what failed or was left out. The same command again goes on with what is not there yet: a machine that
allows ten minutes at a time takes `--budget 560`, three times. A part is begun where its estimate fits what is left,
and ended after three times its estimate, or where the budget is. What it said is in WORK/NAME.log.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "speed"))
SUMMARY = "gpu_all.json"


@dataclass(frozen=True)
class Part:
    """One measurement. `seconds`: an estimate for an H200, start included."""

    name: str
    command: tuple[str, ...]
    seconds: int
    vllm: bool = False


def _part(script: str, shape: str, seconds: int, *more: str, name: str = "", vllm: bool = False) -> Part:
    named = name or f"{script}_{shape}"
    return Part(named, (str(HERE / f"{script}.py"), "--shape", shape, *more), seconds, vllm)


# A smaller bench than `bench.py` alone makes: vLLM starts three times, and each start takes more than a minute.
_BENCH = ("--questions", "128", "--max-tokens", "256", "--repeats", "1", "--peer-batch", "256")
_PATIENCE = 3  # times its estimate: a part that hangs must not take the others' time
PARTS = (
    _part("sft", "1.5B", 150),
    _part("bench", "1.5B", 400, *_BENCH),
    _part("grpo", "1.5B", 200, "--rollouts", "colocate", name="grpo_1.5B_colocate", vllm=True),
    _part("grpo", "1.5B", 240, "--steps", "5", name="grpo_1.5B_none"),
    _part("decode", "1.5B", 40),
    Part("memory", (str(HERE / "memory.py"),), 120),
    _part("sft", "3B", 180),
    _part("sft", "0.5B", 90),
    _part("bench", "1.5B", 900, name="bench_1.5B_whole"),
)


def run(parts: Sequence[Part], out: Path, budget: float, logs: Path, *more: str) -> list[dict[str, Any]]:
    """What became of each part: `state` is done, before, failed or too long (and `why`), left out or no vLLM."""
    until = time.monotonic() + budget
    rows: list[dict[str, Any]] = []
    logs.mkdir(parents=True, exist_ok=True)
    for part in parts:
        began = time.monotonic()
        log = logs / f"{part.name}.log"
        state = _one(part, out / f"gpu_{part.name}.json", until - began, log, more)
        rows.append({"part": part.name, "state": state, "seconds": round(time.monotonic() - began, 1)})
        if state in ("failed", "too long"):
            rows[-1]["why"] = _last_line(log)
        print(f"{part.name}: {state}, {rows[-1]['seconds']} s {rows[-1].get('why', '')}", file=sys.stderr, flush=True)  # noqa: T201
        _kept(out, rows, budget)
    return rows


def _one(part: Part, file: Path, left: float, log: Path, more: Sequence[str]) -> str:
    if file.exists():
        return "before"
    if part.vllm and importlib.util.find_spec("vllm") is None:
        return "no vLLM"
    if part.seconds > left:
        return "left out"
    command = [sys.executable, *part.command, "-o", str(file), *more]
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        try:
            return "failed" if process.wait(min(left, _PATIENCE * max(part.seconds, 60))) else "done"
        except subprocess.TimeoutExpired:
            return "too long"
        finally:  # its own processes too, whichever way it ended
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _kept(out: Path, rows: Sequence[dict[str, Any]], budget: float) -> None:
    from paired import keep

    keep(out / SUMMARY, {"what": "benchmarks/gpu/all.py", "budget_s": budget, "parts": list(rows)})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=1500, help="seconds  [default: 1500]")
    parser.add_argument("--only", help="names of parts, with commas between them")
    parser.add_argument("--list", action="store_true", help="name the parts, and run nothing")
    parser.add_argument("--tiny", action="store_true", help="models of two layers: does it run?")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="where models are made and runs are kept")
    parser.add_argument("-o", "--out", type=Path, default=HERE.parent / "results")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else [part.name for part in PARTS]
    if unknown := set(wanted) - {part.name for part in PARTS}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; see --list")
    parts = [part for part in PARTS if part.name in wanted]
    if args.list:
        for part in parts:
            print(f"{part.name}  about {part.seconds} s")  # noqa: T201
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    more = ["--work", str(args.work), *(["--tiny"] if args.tiny else [])]
    rows = run(parts, args.out, args.budget, args.work, *more)
    if lacking := [row["part"] for row in rows if row["state"] not in ("done", "before")]:
        print(f"not there yet: {', '.join(lacking)}; the same command goes on with them", file=sys.stderr)  # noqa: T201
    return int(any(row["state"] in ("failed", "too long") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
