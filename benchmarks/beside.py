"""The table "Beside the peers" of the README, from the figures in `benchmarks/results/`.

    python benchmarks/beside.py           # prints it
    python benchmarks/beside.py --write   # puts it into the README

A test holds the README to what this prints.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- beside the peers: python benchmarks/beside.py --write -->", "<!-- end -->"
PEERS = {  # red_team.json's names, as the table has them
    "evalplus": "evalplus",
    "math-verify, defaults": "math-verify",
    "MMLU-Pro's official scorer": "MMLU-Pro's own",
    "lm-eval's mmlu_pro": "lm-eval's MMLU-Pro",
    "reasoning-gym's K&K scorer": "reasoning-gym's K&K",
    "the paper's K&K reward": "the paper's K&K reward",
}


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return found


def rows() -> Iterator[tuple[str, str, str, str, str]]:
    """What, kkwarm's figure, the peer's, the ratio, the file."""
    code = read("humaneval_plus_speed")
    memory = code["peak_memory_mb"]
    cold, theirs = code["kkwarm_cold"]["median_wall_s"], min(run["wall_s"] for run in code["evalplus_cold"]["runs"])
    yield (
        "164 HumanEval+ solutions judged, from cold",
        f"{cold:.1f} s, {memory['kkwarm_cold']:.0f} MB",
        f"evalplus at its fastest {theirs:.1f} s, {memory['evalplus_cold']:,.0f} MB",
        f"{theirs / cold:.1f}x",
        "humaneval_plus_speed",
    )
    math = read("math_verdicts")
    yield (
        "MATH verdicts a second, warm",
        f"{math['kkwarm_warm']['verdicts_per_s']:,}",
        f"math-verify {math['math_verify']['verdicts_per_s']:,}",
        f"{math['times_faster_warm']:.0f}x",
        "math_verdicts",
    )
    model = read("mmlu_pro_patterns")["models"]["Meta-Llama-3_1-8B_5shots"]
    yield (
        f"answers found in {model['outputs']:,} MMLU-Pro outputs",
        f"{model['kkwarm_cpu_s']['median']:.2f} CPU-s",
        f"official patterns {model['official_cpu_s']['median']:.0f} CPU-s",
        f"{model['times_faster']:,.0f}x",
        "mmlu_pro_patterns",
    )
    puzzles = next(r for r in read("kk_generation")["text"] if r["people"] == 3)
    yield (
        "K&K puzzles of 3 with text, a CPU-second",
        f"{puzzles['kkwarm_per_cpu_s']['median']:,.0f}",
        f"reasoning-gym {puzzles['reasoning_gym_per_cpu_s']['median']:,.0f}",
        f"{puzzles['ratio_cpu']:.0f}x",
        "kk_generation",
    )
    bench = read("bench_lm_eval")
    seconds = bench["seconds"]
    yield (
        f"{bench['questions']} questions x {bench['samples']} samples generated and judged",
        f"{seconds['kkwarm']['median']:.1f} s",
        f"lm-eval `hf` {seconds[bench['fastest_peer']]['median']:.1f} s",
        f"{bench['times_faster']['median']:.1f}x",
        "bench_lm_eval",
    )
    step = read("grpo_trl")
    yield (
        "one GRPO step",
        f"{step['seconds_per_step']['kkwarm']['median']:.2f} s",
        f"trl {step['seconds_per_step']['trl']['median']:.2f} s",
        f"{1 / step['time_against_trl']['median']:.1f}x",
        "grpo_trl",
    )
    scorers = read("red_team")["scorers"]
    ours = [s for s in scorers if s["scorer"] == "kkwarm"]
    fooled = [f"{PEERS[s['scorer']]} {s['wrongly_accepted']}/{s['attacks']}" for s in scorers if s["scorer"] in PEERS]
    yield (
        "attacks wrongly accepted",
        f"{sum(s['wrongly_accepted'] for s in ours)}/{sum(s['attacks'] for s in ours):,} ({len(ours)} domains)",
        ", ".join(fooled),
        "",
        "red_team",
    )


def table() -> str:
    lines = ["| | kkwarm | peer | | file |", "|---|---|---|---|---|"]
    for what, ours, theirs, ratio, file in rows():
        lines.append(f"| {what} | {ours} | {theirs} | {ratio} | [`{file}`](benchmarks/results/{file}.json) |")
    return "\n".join(lines)


def placed(text: str) -> str:
    """A README with the table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put it into the README")
    readme = ROOT / "README.md"
    if parser.parse_args().write:
        readme.write_text(placed(readme.read_text("utf-8")), "utf-8")
    else:
        print(table())  # noqa: T201


if __name__ == "__main__":
    main()
