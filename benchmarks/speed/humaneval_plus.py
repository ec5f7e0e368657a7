"""Compares kkwarm's `humaneval_plus` verifier with evalplus on the same 164 real solutions, base and plus tests.

    KKWARM_DATA=... python benchmarks/speed/humaneval_plus.py [-o benchmarks/results/humaneval_plus_speed.json]
    KKWARM_DATA=... python benchmarks/speed/humaneval_plus.py --profile -o .../humaneval_plus_profile.json

Each measurement is its own process with the same number of workers; kkwarm and evalplus alternate. A cold run has no
cached expected outputs, and includes interpreter start and imports. A warm run uses outputs cached by an earlier run;
kkwarm is also measured a second time in the same process, as training and evaluation use it. The figures are wall-clock
seconds, and CPU seconds and peak memory (proportional set size) of the whole process tree, sampled.

--profile compares nothing. It reports CPU seconds, which hardly depend on the machine's load, by purpose.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from kkwarm.data import local_file
from kkwarm.store import environment

OUTPUTS = "model_outputs/humaneval_plus/wizardcoder-15b-v1.0_greedy.jsonl.gz"
DATA = "humaneval_plus/HumanEvalPlus.jsonl.gz"
KKWARM_CODE = """
import gzip, json, sys, time
began = time.perf_counter()
from kkwarm_humaneval_plus import DOMAIN
from kkwarm.types import Response
from kkwarm.verify.sandbox import shared_sandbox
shared_sandbox().size = int(sys.argv[2])
examples = {e.id: e for e in DOMAIN.load()}
rows = [json.loads(line) for line in gzip.open(sys.argv[1], "rt")]
pairs = [(examples[r["task_id"]], Response(r["completion"], "", r["completion"], False)) for r in rows]
for _ in range(int(sys.argv[3])):
    verdicts = DOMAIN.verifier.check_batch(pairs)
    base, plus = (sum(v.metrics[k] for v in verdicts) for k in ("base", "plus"))
    print(json.dumps([time.perf_counter() - began, base, plus]), flush=True)
    began = time.perf_counter()
"""


class MeasuredRun:
    """Runs a command and samples the memory of its whole process tree."""

    def __init__(self, command: list[str], env: dict[str, str], cwd: Path) -> None:
        began = time.perf_counter()
        before = os.times()
        self.peak_mb = 0.0
        with tempfile.TemporaryFile() as err:
            process = subprocess.Popen(command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=err)
            sampler = threading.Thread(target=self._sample_memory, args=(process.pid,), daemon=True)
            sampler.start()
            self.out = process.communicate()[0].decode()
            self.wall_s = time.perf_counter() - began
            if process.returncode:
                err.seek(0)
                raise SystemExit(f"{command[:4]} failed:\n{err.read().decode()[-2000:]}")
        after = os.times()
        self.cpu_s = after.children_user + after.children_system - before.children_user - before.children_system

    def _sample_memory(self, pid: int) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            while root.is_running():
                total = 0
                for process in [root, *root.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        total += process.memory_full_info().pss
                self.peak_mb = max(self.peak_mb, total / 2**20)
                time.sleep(0.1)


def clean_env(cache: Path, **more: str) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "HUMANEVAL_"))}
    return {**env, "XDG_CACHE_HOME": str(cache), **more}


def run_kkwarm(
    work: Path, cache: Path, outputs: Path, workers: int, rounds: int
) -> tuple[MeasuredRun, list[list[float]]]:
    command = [sys.executable, "-c", KKWARM_CODE, str(outputs), str(workers), str(rounds)]
    run = MeasuredRun(command, clean_env(cache), work)
    return run, [json.loads(line) for line in run.out.splitlines()]


def run_evalplus(work: Path, cache: Path, data: Path, samples: Path, workers: int) -> tuple[MeasuredRun, list[float]]:
    result = samples.with_name(samples.name.replace(".jsonl", "_eval_results.json"))
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "evalplus.evaluate", "--dataset", "humaneval", "--samples", str(samples)]
    env = clean_env(cache, HUMANEVAL_OVERRIDE_PATH=str(data))
    run = MeasuredRun([*command, "--parallel", str(workers)], env, work)
    results = [task[0] for task in json.loads(result.read_text())["eval"].values()]
    base = sum(t["base_status"] == "pass" for t in results)
    plus = sum(t["base_status"] == t["plus_status"] == "pass" for t in results)
    return run, [base, plus]


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    seconds = [r["wall_s"] for r in runs]
    return {"median_wall_s": round(statistics.median(seconds), 2), "runs": runs}


def row(run: MeasuredRun, base: float, plus: float, wall_s: float | None = None) -> dict[str, float]:
    wall = run.wall_s if wall_s is None else wall_s
    figures = {"wall_s": wall, "cpu_s": run.cpu_s, "peak_mb": run.peak_mb, "base": base, "plus": plus}
    rounded = {k: round(v, 2) for k, v in figures.items()}
    sys.stderr.write(f"{rounded}\n")
    return rounded


def measure(work: Path, data: Path, outputs: Path, workers: int, repeats: int) -> dict[str, list[dict[str, float]]]:
    samples = work / "samples.jsonl"
    with gzip.open(outputs, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [{"task_id": r["task_id"], "solution": r["completion"]} for r in rows]
    samples.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    runs: dict[str, list[dict[str, float]]] = {
        name: [] for name in ("kkwarm_cold", "evalplus_cold", "kkwarm_cached", "kkwarm_warm", "evalplus_warm")
    }
    for i in range(repeats):
        kkwarm_cache, evalplus_cache = work / f"ours{i}", work / f"peer{i}"
        run, rounds = run_kkwarm(work, kkwarm_cache, outputs, workers, 1)
        runs["kkwarm_cold"].append(row(run, *rounds[0][1:]))
        run, scores = run_evalplus(work, evalplus_cache, data, samples, workers)
        runs["evalplus_cold"].append(row(run, *scores))
        run, rounds = run_kkwarm(work, kkwarm_cache, outputs, workers, 2)
        runs["kkwarm_cached"].append(row(run, *rounds[0][1:], rounds[0][0]))
        runs["kkwarm_warm"].append(row(run, *rounds[1][1:], rounds[1][0]))
        run, scores = run_evalplus(work, evalplus_cache, data, samples, workers)
        runs["evalplus_warm"].append(row(run, *scores))
    return runs


def profile(outputs: Path, cache: Path) -> dict[str, Any]:
    """CPU seconds of a cold and a warm round by purpose. `own` is kkwarm's own process."""
    os.environ["XDG_CACHE_HOME"] = str(cache)
    began = time.process_time()
    from kkwarm_humaneval_plus import DOMAIN

    from kkwarm.types import Response
    from kkwarm.verify.sandbox import CallJob, End, Outcome, Sandbox

    jobs_run: list[tuple[CallJob, Outcome]] = []
    original = Sandbox.run_many

    def record(self: Sandbox, jobs: Any) -> list[Outcome]:
        outcomes = original(self, jobs)
        jobs_run.extend(zip(jobs, outcomes, strict=True))
        return outcomes

    Sandbox.run_many = record  # type: ignore[method-assign]
    examples = {e.id: e for e in DOMAIN.load()}
    with gzip.open(outputs, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    pairs = [(examples[r["task_id"]], Response(r["completion"], "", r["completion"], False)) for r in rows]
    profiles: dict[str, Any] = {}
    for name in ("cold", "warm"):
        jobs_run.clear()
        verdicts = DOMAIN.verifier.check_batch(pairs)  # type: ignore[union-attr, misc]
        candidates = [(j, o) for j, o in jobs_run if j.entry != "call"]
        passed = sorted(((o.cpu_s, j.entry) for j, o in candidates if o.end is End.PASSED), reverse=True)
        parts = {
            "own, with imports" if name == "cold" else "own": time.process_time() - began,
            "canonical solutions": sum(o.cpu_s for j, o in jobs_run if j.entry == "call"),
            "candidates that do not end": sum(o.cpu_s for _, o in candidates if o.end is End.TIMEOUT),
            "the five slowest that pass": sum(s for s, _ in passed[:5]),
            "all other candidates": sum(s for s, _ in passed[5:])
            + sum(o.cpu_s for _, o in candidates if o.end not in (End.PASSED, End.TIMEOUT)),
        }
        profiles[name] = {
            "cpu_s": {k: round(v, 2) for k, v in parts.items()},
            "total": round(sum(parts.values()), 2),
            "slowest_that_pass": {entry: round(s, 2) for s, entry in passed[:5]},
            "do_not_end": sorted(j.entry for j, o in candidates if o.end is End.TIMEOUT),
            "base": sum(v.metrics["base"] for v in verdicts),
            "plus": sum(v.metrics["plus"] for v in verdicts),
        }
        began = time.process_time()
    return profiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("benchmarks/results/humaneval_plus_speed.json"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--profile", action="store_true", help="Report kkwarm's CPU time by purpose, without a comparison."
    )
    args = parser.parse_args()
    data, outputs = local_file(DATA), local_file(OUTPUTS)
    if data is None or outputs is None:
        raise SystemExit(f"set KKWARM_DATA to a folder with {DATA} and {OUTPUTS}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.profile:
        with tempfile.TemporaryDirectory() as folder:
            result = {**profile(outputs, Path(folder)), "load_average": os.getloadavg(), "environment": environment()}
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        return
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        runs = measure(Path(folder), data.resolve(), outputs.resolve(), args.workers, args.repeats)
    medians = {name: statistics.median(r["wall_s"] for r in rows) for name, rows in runs.items()}
    result = {
        "what": "164 real solutions (WizardCoder-15B), base and plus tests: evalplus 0.3.1 and kkwarm",
        "workers": args.workers,
        **{name: summary(rows) for name, rows in runs.items()},
        "times_faster": {
            "cold": round(medians["evalplus_cold"] / medians["kkwarm_cold"], 1),
            "expected_outputs_cached": round(medians["evalplus_warm"] / medians["kkwarm_cached"], 1),
            "warm": round(medians["evalplus_warm"] / medians["kkwarm_warm"], 1),
        },
        "peak_memory_mb": {name: max(r["peak_mb"] for r in rows) for name, rows in runs.items()},
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "environment": environment(),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("times faster:", result["times_faster"], "peak memory, MB:", result["peak_memory_mb"])  # noqa: T201


if __name__ == "__main__":
    main()
