"""Runs all measurements of one GPU within a time budget, the most important first.

    python benchmarks/gpu/all.py [--budget 720] [--packages benchmarks/gpu/packages] [-o benchmarks/results]

The machine needs torch, transformers and accelerate, and no network: `pack.py` collects the other packages in parts of
at most 60 MiB, and `--packages` installs them into WORK/site, outside the machine's own packages.

Each part is a process of its own and writes its JSON file as soon as it finishes; `gpu_all.json` lists the parts with
their state and time. The same command resumes with the parts that have no result yet: on a machine that allows ten
minutes at a time, run it twice with `--budget 560`. A part starts if its estimate fits into the remaining time,
and is stopped after three times its estimate, or when the budget is used up. Its output is in WORK/NAME.log.
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
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins"), str(HERE.parent / "speed")]
_paths = [ROOT, ROOT / "plugins"]
SUMMARY = "gpu_all.json"


@dataclass(frozen=True)
class Part:
    """One measurement. `seconds`: an estimate for an H200, including start-up."""

    name: str
    command: tuple[str, ...]
    seconds: int
    vllm: bool = False


def _part(script: str, shape: str, seconds: int, *more: str, name: str = "", vllm: bool = False) -> Part:
    return Part(name or f"{script}_{shape}", (str(HERE / f"{script}.py"), "--shape", shape, *more), seconds, vllm)


# A smaller bench than `bench.py` alone makes. Where vLLM is installed, its three starts take more than a minute each.
_BENCH = ("--questions", "128", "--max-tokens", "256", "--repeats", "1", "--peer-batch", "256")
_TIMEOUT_FACTOR = 3  # times its estimate, so that a part that hangs leaves time for the others
PARTS = (
    _part("grpo", "1.5B", 170, "--steps", "3", name="grpo_1.5B_none"),
    _part("sft", "1.5B", 150),
    _part("bench", "1.5B", 200, *_BENCH),
    _part("decode", "1.5B", 40),
    Part("memory", (str(HERE / "memory.py"),), 120),
    _part("grpo", "1.5B", 200, "--rollouts", "colocate", name="grpo_1.5B_colocate", vllm=True),
    _part("sft", "3B", 180),
    _part("sft", "0.5B", 90),
    _part("bench", "1.5B", 900, name="bench_1.5B_full"),
)


def run(parts: Sequence[Part], out: Path, budget: float, logs: Path, *more: str) -> list[dict[str, Any]]:
    """Runs the parts and returns a row for each.

    `state` is ``done``, ``before``, ``left out``, ``no vLLM``, ``failed`` or ``too long``; the last two have a `why`.
    """
    rows: list[dict[str, Any]] = []
    logs.mkdir(parents=True, exist_ok=True)
    _write_summary(out, rows, budget)  # its imports take seconds the first time
    deadline = time.monotonic() + budget
    for part in parts:
        started = time.monotonic()
        log = logs / f"{part.name}.log"
        state = _run_part(part, out / f"gpu_{part.name}.json", deadline - started, log, more)
        rows.append({"part": part.name, "state": state, "seconds": round(time.monotonic() - started, 1)})
        if state in ("failed", "too long"):
            rows[-1]["why"] = _last_line(log)
        print(f"{part.name}: {state}, {rows[-1]['seconds']} s {rows[-1].get('why', '')}", file=sys.stderr, flush=True)  # noqa: T201
        _write_summary(out, rows, budget)
    return rows


def _run_part(part: Part, file: Path, remaining: float, log: Path, more: Sequence[str]) -> str:
    if file.exists():
        return "before"
    if part.vllm and importlib.util.find_spec("vllm") is None:
        return "no vLLM"
    if part.seconds > remaining:
        return "left out"
    command = [sys.executable, *part.command, "-o", str(file), *more]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, env=_environment())
        try:
            return "failed" if process.wait(min(remaining, _TIMEOUT_FACTOR * max(part.seconds, 60))) else "done"
        except subprocess.TimeoutExpired:
            return "too long"
        finally:  # also ends the processes that it started
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment() -> dict[str, str]:
    """The environment of a part: kkwarm's source, and the packages that were installed for it, can be imported."""
    paths = [*(str(path) for path in _paths), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in paths if p), "HF_HUB_OFFLINE": "1"}


def install_packages(packages: Path, site: Path) -> None:
    """Installs the wheels of all parts into `site`, without a network.

    :raises SystemExit: there are no wheels, or they do not fit this Python.
    """
    wheels = sorted(packages.glob("**/*.whl"))
    if not wheels:
        raise SystemExit(f"{packages} holds no wheels: make them with benchmarks/gpu/pack.py")
    site = site.resolve()
    if not site.exists():
        command = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", f"{site}.part"]
        process = subprocess.run([sys.executable, *command, *map(str, wheels)], capture_output=True, text=True)
        if process.returncode:
            raise SystemExit(f"the wheels cannot be installed: {' '.join(process.stderr.split())[:500]}")
        Path(f"{site}.part").rename(site)
    sys.path[:0] = [str(site)]
    _paths.insert(0, site)


def missing_modules() -> list[str]:
    """Modules that the measurements import and this machine lacks."""
    needed = ("torch", "transformers", "accelerate", "trl", "datasets", "lm_eval", "pydantic", "pluggy", "rich_click")
    return [name for name in needed if importlib.util.find_spec(name) is None]


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _write_summary(out: Path, rows: Sequence[dict[str, Any]], budget: float) -> None:
    from paired import write_results

    write_results(out / SUMMARY, {"what": "benchmarks/gpu/all.py", "budget_s": budget, "parts": list(rows)})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=720, help="Time budget in seconds.  [default: 720]")
    parser.add_argument("--packages", type=Path, help="Folder of wheels that `pack.py` made, to be installed first.")
    parser.add_argument("--only", help="Comma-separated names of parts.  [default: all]")
    parser.add_argument("--list", action="store_true", help="List the parts with their estimates, and exit.")
    parser.add_argument("--tiny", action="store_true", help="Use a model of two layers, to check that everything runs.")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="Folder for models and runs.")
    parser.add_argument("-o", "--out", type=Path, default=HERE.parent / "results", help="Folder for results.")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else [part.name for part in PARTS]
    if unknown := set(names) - {part.name for part in PARTS}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; see --list")
    parts = [part for part in PARTS if part.name in names]
    if args.list:
        for part in parts:
            print(f"{part.name}  about {part.seconds} s")  # noqa: T201
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    if args.packages is not None:
        install_packages(args.packages, args.work / "site")
    if missing := missing_modules():
        parser.error(f"this machine lacks {', '.join(missing)}: see --packages")
    more = ["--work", str(args.work), *(["--tiny"] if args.tiny else [])]
    rows = run(parts, args.out, args.budget - (time.monotonic() - began), args.work, *more)
    if missing := [row["part"] for row in rows if row["state"] not in ("done", "before")]:
        print(f"no result yet: {', '.join(missing)}; run the same command again to resume", file=sys.stderr)  # noqa: T201
    return int(any(row["state"] in ("failed", "too long") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
