"""Prints the README's comparison with other tools, made from the figures in `benchmarks/results/`.

    python benchmarks/comparison_table.py           # prints the table
    python benchmarks/comparison_table.py --write   # writes it into the README

A test checks that the README has the table that this script prints.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- comparison table: python benchmarks/comparison_table.py --write -->", "<!-- end -->"
PEERS = {  # the names in adversarial_probes.json -> the names in the table
    "evalplus": "evalplus",
    "math-verify, defaults": "math-verify",
    "MMLU-Pro's official scorer": "MMLU-Pro's official scorer",
    "lm-eval's mmlu_pro": "lm-eval's MMLU-Pro",
    "reasoning-gym's K&K scorer": "reasoning-gym's K&K",
    "the paper's K&K reward": "the paper's K&K reward",
}


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return document


def rows() -> Iterator[tuple[str, str, str, str, str]]:
    """(measurement, kkwarm's figure, the peer's figure, ratio, results file) of each row."""
    code = read("humaneval_plus_speed")
    memory = code["peak_memory_mb"]
    cold, evalplus = code["kkwarm_cold"]["median_wall_s"], min(r["wall_s"] for r in code["evalplus_cold"]["runs"])
    yield (
        "verify 164 HumanEval+ solutions, cold start",
        f"{cold:.1f} s, {memory['kkwarm_cold']:.0f} MB",
        f"evalplus (fastest run) {evalplus:.1f} s, {memory['evalplus_cold']:,.0f} MB",
        f"{evalplus / cold:.1f}x",
        "humaneval_plus_speed",
    )
    math = read("math_verdicts")
    yield (
        "MATH verdicts per second, warm",
        f"{math['kkwarm_warm']['verdicts_per_s']:,}",
        f"math-verify {math['math_verify']['verdicts_per_s']:,}",
        f"{math['times_faster_warm']:.1f}x",
        "math_verdicts",
    )
    model = read("mmlu_pro_patterns")["models"]["Meta-Llama-3_1-8B_5shots"]
    yield (
        f"extract answers from {model['outputs']:,} MMLU-Pro outputs",
        f"{model['kkwarm_cpu_s']['median']:.2f} CPU-s",
        f"official patterns {model['official_cpu_s']['median']:.0f} CPU-s",
        f"{model['times_faster']:,.0f}x",
        "mmlu_pro_patterns",
    )
    puzzles = next(r for r in read("kk_generation")["text"] if r["people"] == 3)
    yield (
        "K&K puzzles of 3 people with text, per CPU-second",
        f"{puzzles['kkwarm_per_cpu_s']['median']:,.0f}",
        f"reasoning-gym {puzzles['reasoning_gym_per_cpu_s']['median']:,.0f}",
        f"{puzzles['ratio_cpu']:.0f}x",
        "kk_generation",
    )
    bench = read("bench_lm_eval")
    seconds = bench["seconds"]
    yield (
        f"generate and verify {bench['questions']} questions x {bench['samples']} samples",
        f"{seconds['kkwarm']['median']:.1f} s",
        f"lm-eval `hf` {seconds[bench['fastest_peer']]['median']:.1f} s",
        f"{bench['times_faster']['median']:.1f}x",
        "bench_lm_eval",
    )
    real = read("smollm2_bench_speed")
    yield (
        "SmolLM2-135M, 4 samples, one thread, per 1,000 tokens",
        f"{real['values']['kkwarm']['median']:.0f} CPU-s",
        f"lm-eval `hf` {real['values']['lm_eval']['median']:.0f} CPU-s",
        f"{real['times_faster']['lm_eval']['median']:.1f}x",
        "smollm2_bench_speed",
    )
    step = read("grpo_trl")
    yield (
        "one GRPO step of the miniature",
        f"{step['seconds_per_step']['kkwarm']['median']:.2f} s",
        f"trl {step['seconds_per_step']['trl']['median']:.2f} s",
        f"{1 / step['time_against_trl']['median']:.1f}x",
        "grpo_trl",
    )
    real = read("smollm2_grpo_speed")
    yield (
        "one GRPO step of SmolLM2-135M, one thread",
        f"{real['values']['kkwarm']['median']:.0f} CPU-s, {real['peak_memory_mb']['kkwarm']:,} MB",
        f"trl {real['values']['trl']['median']:.0f} CPU-s, {real['peak_memory_mb']['trl']:,} MB",
        f"{real['times_faster']['trl']['median']:.1f}x",
        "smollm2_grpo_speed",
    )
    scorers = read("adversarial_probes")["scorers"]
    ours = [s for s in scorers if s["scorer"] == "kkwarm"]
    n_accepted, n_probes = (sum(s[key] for s in ours) for key in ("wrongly_accepted", "probes_to_reject"))
    peers = [
        f"{PEERS[s['scorer']]} {s['wrongly_accepted']}/{s['probes_to_reject']}" for s in scorers if s["scorer"] in PEERS
    ]
    yield (
        "adversarial probes (kkwarm's own list) wrongly accepted",
        f"{n_accepted}/{n_probes:,} ({len(ours)} domains)",
        ", ".join(peers),
        "",
        "adversarial_probes",
    )
    scorers = read("adversarial_search")["scorers"]
    ours = [s for s in scorers if s["scorer"] == "kkwarm"]
    n_accepted, n_cases = (sum(s[key] for s in ours) for key in ("wrongly_accepted", "cases_to_reject"))
    peers = [
        f"{PEERS[s['scorer']]} {s['wrongly_accepted']:,}/{s['cases_to_reject']:,}"
        for s in scorers
        if s["scorer"] in PEERS
    ]
    yield (
        "generated wrong answers (`kkwarm check --search`) wrongly accepted",
        f"{n_accepted}/{n_cases:,} ({len(ours)} domains)",
        ", ".join(peers),
        "",
        "adversarial_search",
    )


def table() -> str:
    lines = ["| | kkwarm | peer | | file |", "|---|---|---|---|---|"]
    for measurement, ours, peer, ratio, file in rows():
        lines.append(f"| {measurement} | {ours} | {peer} | {ratio} | [`{file}`](benchmarks/results/{file}.json) |")
    return "\n".join(lines)


def insert_table(text: str) -> str:
    """The README's text with the table between its two markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="Write the table into the README.")
    readme = ROOT / "README.md"
    if parser.parse_args().write:
        readme.write_text(insert_table(readme.read_text("utf-8")), "utf-8")
    else:
        print(table())  # noqa: T201


if __name__ == "__main__":
    main()
