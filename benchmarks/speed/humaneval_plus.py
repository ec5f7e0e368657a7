"""evalplus against kkwarm's `humaneval_plus` verifier on the same 164 real solutions, base and plus tests.

    KKWARM_DATA=... python benchmarks/speed/humaneval_plus.py [-o benchmarks/results/humaneval_plus_speed.json]
    KKWARM_DATA=... python benchmarks/speed/humaneval_plus.py --profile -o .../humaneval_plus_profile.json

Each measurement is a process of its own, started with the same number of workers, ours and the peer's in turn. Cold: no
cached expected outputs, interpreter start and imports included. Warm: expected outputs cached by an earlier run; ours
also is measured again in the same process, as training and evaluation use it. Wall-clock seconds; CPU seconds and peak
memory (proportional set size) are those of the whole tree of processes, sampled.

With --profile nothing is compared: CPU seconds (which a loaded machine hardly changes) by what they were spent on.
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
OURS = """
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


class Watched:
    """Runs a command and samples the memory of its whole tree of processes."""

    def __init__(self, command: list[str], env: dict[str, str], cwd: Path) -> None:
        began = time.perf_counter()
        before = os.times()
        self.peak_mb = 0.0
        with tempfile.TemporaryFile() as err:
            process = subprocess.Popen(command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=err)
            watcher = threading.Thread(target=self._watch, args=(process.pid,), daemon=True)
            watcher.start()
            self.out = process.communicate()[0].decode()
            self.wall_s = time.perf_counter() - began
            if process.returncode:
                err.seek(0)
                raise SystemExit(f"{command[:4]} failed:\n{err.read().decode()[-2000:]}")
        after = os.times()
        self.cpu_s = after.children_user + after.children_system - before.children_user - before.children_system

    def _watch(self, pid: int) -> None:
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


def run_ours(work: Path, cache: Path, outputs: Path, workers: int, rounds: int) -> tuple[Watched, list[list[float]]]:
    command = [sys.executable, "-c", OURS, str(outputs), str(workers), str(rounds)]
    watched = Watched(command, clean_env(cache), work)
    return watched, [json.loads(line) for line in watched.out.splitlines()]


def run_peer(work: Path, cache: Path, data: Path, samples: Path, workers: int) -> tuple[Watched, list[float]]:
    result = samples.with_name(samples.name.replace(".jsonl", "_eval_results.json"))
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "evalplus.evaluate", "--dataset", "humaneval", "--samples", str(samples)]
    env = clean_env(cache, HUMANEVAL_OVERRIDE_PATH=str(data))
    watched = Watched([*command, "--parallel", str(workers)], env, work)
    judged = [task[0] for task in json.loads(result.read_text())["eval"].values()]
    base = sum(t["base_status"] == "pass" for t in judged)
    plus = sum(t["base_status"] == t["plus_status"] == "pass" for t in judged)
    return watched, [base, plus]


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    seconds = [r["wall_s"] for r in runs]
    return {"median_wall_s": round(statistics.median(seconds), 2), "runs": runs}


def row(watched: Watched, base: float, plus: float, wall_s: float | None = None) -> dict[str, float]:
    wall = watched.wall_s if wall_s is None else wall_s
    figures = {"wall_s": wall, "cpu_s": watched.cpu_s, "peak_mb": watched.peak_mb, "base": base, "plus": plus}
    rounded = {k: round(v, 2) for k, v in figures.items()}
    sys.stderr.write(f"{rounded}\n")
    return rounded


def measure(work: Path, data: Path, outputs: Path, workers: int, repeats: int) -> dict[str, list[dict[str, float]]]:
    samples = work / "samples.jsonl"
    with gzip.open(outputs, "rt", encoding="utf-8") as lines:
        listed = [json.loads(line) for line in lines]
    rows = [{"task_id": r["task_id"], "solution": r["completion"]} for r in listed]
    samples.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    runs: dict[str, list[dict[str, float]]] = {
        name: [] for name in ("kkwarm_cold", "evalplus_cold", "kkwarm_cached", "kkwarm_warm", "evalplus_warm")
    }
    for i in range(repeats):
        ours_cache, peer_cache = work / f"ours{i}", work / f"peer{i}"
        watched, rounds = run_ours(work, ours_cache, outputs, workers, 1)
        runs["kkwarm_cold"].append(row(watched, *rounds[0][1:]))
        watched, scores = run_peer(work, peer_cache, data, samples, workers)
        runs["evalplus_cold"].append(row(watched, *scores))
        watched, rounds = run_ours(work, ours_cache, outputs, workers, 2)
        runs["kkwarm_cached"].append(row(watched, *rounds[0][1:], rounds[0][0]))
        runs["kkwarm_warm"].append(row(watched, *rounds[1][1:], rounds[1][0]))
        watched, scores = run_peer(work, peer_cache, data, samples, workers)
        runs["evalplus_warm"].append(row(watched, *scores))
    return runs


def profile(outputs: Path, cache: Path) -> dict[str, Any]:
    """CPU seconds of a cold and a warm round by what they went to. `own` is the trusted side."""
    os.environ["XDG_CACHE_HOME"] = str(cache)
    began = time.process_time()
    from kkwarm_humaneval_plus import DOMAIN

    from kkwarm.types import Response
    from kkwarm.verify.sandbox import CallJob, End, Outcome, Sandbox

    ran: list[tuple[CallJob, Outcome]] = []
    original = Sandbox.run_many

    def recorded(self: Sandbox, jobs: Any) -> list[Outcome]:
        ended = original(self, jobs)
        ran.extend(zip(jobs, ended, strict=True))
        return ended

    Sandbox.run_many = recorded  # type: ignore[method-assign]
    examples = {e.id: e for e in DOMAIN.load()}
    with gzip.open(outputs, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    pairs = [(examples[r["task_id"]], Response(r["completion"], "", r["completion"], False)) for r in rows]
    found: dict[str, Any] = {}
    for name in ("cold", "warm"):
        ran.clear()
        verdicts = DOMAIN.verifier.check_batch(pairs)  # type: ignore[union-attr, misc]
        candidates = [(j, o) for j, o in ran if j.entry != "call"]
        passed = sorted(((o.cpu_s, j.entry) for j, o in candidates if o.end is End.PASSED), reverse=True)
        parts = {
            "own, with imports" if name == "cold" else "own": time.process_time() - began,
            "canonical solutions": sum(o.cpu_s for j, o in ran if j.entry == "call"),
            "candidates that do not end": sum(o.cpu_s for _, o in candidates if o.end is End.TIMEOUT),
            "the five slowest that pass": sum(s for s, _ in passed[:5]),
            "all other candidates": sum(s for s, _ in passed[5:])
            + sum(o.cpu_s for _, o in candidates if o.end not in (End.PASSED, End.TIMEOUT)),
        }
        found[name] = {
            "cpu_s": {k: round(v, 2) for k, v in parts.items()},
            "total": round(sum(parts.values()), 2),
            "slowest_that_pass": {entry: round(s, 2) for s, entry in passed[:5]},
            "do_not_end": sorted(j.entry for j, o in candidates if o.end is End.TIMEOUT),
            "base": sum(v.metrics["base"] for v in verdicts),
            "plus": sum(v.metrics["plus"] for v in verdicts),
        }
        began = time.process_time()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("benchmarks/results/humaneval_plus_speed.json"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--profile", action="store_true", help="where our CPU time goes; no comparison")
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
    medians = {name: statistics.median(r["wall_s"] for r in listed) for name, listed in runs.items()}
    result = {
        "what": "164 real solutions (WizardCoder-15B), base and plus tests: evalplus 0.3.1 against kkwarm",
        "workers": args.workers,
        **{name: summary(listed) for name, listed in runs.items()},
        "times_faster": {
            "cold": round(medians["evalplus_cold"] / medians["kkwarm_cold"], 1),
            "expected_outputs_cached": round(medians["evalplus_warm"] / medians["kkwarm_cached"], 1),
            "warm": round(medians["evalplus_warm"] / medians["kkwarm_warm"], 1),
        },
        "peak_memory_mb": {name: max(r["peak_mb"] for r in listed) for name, listed in runs.items()},
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "environment": environment(),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("times faster:", result["times_faster"], "peak memory, MB:", result["peak_memory_mb"])  # noqa: T201


if __name__ == "__main__":
    main()
