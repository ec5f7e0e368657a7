"""Runs the adversarial probes on every data set of reasoning-gym, to find scorers that accept wrong answers.

    pip install 'kkwarm[bridges]'
    python benchmarks/reasoning_gym_scorers.py -o benchmarks/results/reasoning_gym_scorers.json

`fooled` has the probes that get the full score from reasoning-gym's own scorer, each with its shortest answer.
`accepted` has those that kkwarm's bridge accepts. `evaluates` has calls by which a scorer runs text as Python (the
answer, except in number_sorting). The bridge prevents this, so the scorer's own score is not known there. `partial`
is the score for the gold answer between other words, which a reward made of the plain score would pay. `answers` is
false if the data set has no gold answers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

from kkwarm.data import content_hash
from kkwarm.errors import KkwarmError
from kkwarm.plugins import Registry, registry
from kkwarm.store import environment
from kkwarm.types import Completion, Target
from kkwarm.verify import Judge
from kkwarm.verify.probes import PROBES

# Generating 300 items of these data sets takes many minutes.
SLOW = ("futoshiki", "knight_swap", "puzzle24", "sokoban", "zebra_puzzles")
LARGE = ("one megabyte", "expensive answer")


def code_names(code: CodeType) -> Iterator[str]:
    """The global names and attributes in a function's code."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from code_names(constant)


def probe_data_set(reg: Registry, source: str, examples: int, judge: Judge) -> dict[str, Any]:
    """The results of the probes on one data set."""
    from reasoning_gym.factory import DATASETS

    called = set(code_names(DATASETS[source][0].score_answer.__code__))
    row: dict[str, Any] = {"evaluates": sorted(called & {"eval", "exec", "parse_expr", "sympify"})}
    domain = reg.domain(f"reasoning_gym:{source}")
    row["answers"] = domain.gold is not None
    if domain.gold is None:
        return row
    benchmark, protocol = reg.benchmark(domain.name), reg.protocol(domain)
    verifier = reg.verifier(benchmark.verifier)
    examples_used = sorted(benchmark.load(), key=content_hash)[:examples]
    golds = [domain.gold(e) for e in examples_used]
    targets = [Target(e, g, [o for o in golds if o != g], protocol) for e, g in zip(examples_used, golds, strict=True)]
    row["fooled"], row["accepted"] = {}, {}
    for probe in PROBES:
        texts = [(t, text) for t in targets for text in probe.completions(t) if probe.name not in LARGE]
        pairs = [
            (t.example, Completion(text, finish_reason="stop"))
            for t, text in texts
            if text.split() != t.compose(t.gold).split()
        ]
        for (_, completion), verdict in zip(pairs, judge.verify(verifier, protocol, pairs), strict=True):
            answer = (protocol.split(completion).answer or "")[:200]
            if verdict.metrics.get("score") == 1.0:
                row["fooled"].setdefault(probe.name, answer)
            if verdict.correct:
                row["accepted"].setdefault(probe.name, answer)
    padded = [(t.example, Completion(t.compose(f"It is {t.gold} or so."), finish_reason="stop")) for t in targets]
    row["partial"] = max(v.metrics.get("score", 0.0) for v in judge.verify(verifier, protocol, padded))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=3, help="Number of examples per data set.")
    parser.add_argument(
        "--only",
        nargs="*",
        help="Data sets to probe (default: all except those that are slow to generate). The rows of others are kept.",
    )
    args = parser.parse_args()
    from reasoning_gym.factory import DATASETS

    reg, began = registry(), time.perf_counter()
    rows: dict[str, Any] = {}
    if args.only and args.out.exists():
        rows = json.loads(args.out.read_text("utf-8"))["rows"]
    with Judge(workers=1) as judge:
        for source in args.only or sorted(set(DATASETS) - set(SLOW)):
            try:
                rows[source] = probe_data_set(reg, source, args.examples, judge)
            except KkwarmError as err:
                rows[source] = {"refused": str(err)}
            sys.stderr.write(f"{source}: {json.dumps(rows[source])[:200]}\n")
    document = {
        "what": " ".join((__doc__ or "").split("\n\n")[-1].split()),
        "data_sets": len(rows),
        "not_tried": sorted(set(DATASETS) - set(rows)),
        "run_again": args.only or [],
        "evaluating_the_answer": sorted(s for s, r in rows.items() if r.get("evaluates")),
        "fooled": sorted(s for s, r in rows.items() if r.get("fooled")),
        "accepted_by_the_bridge": sorted(s for s, r in rows.items() if r.get("accepted")),
        "paying_for_padding": sum(r.get("partial", 0) > 0 for r in rows.values()),
        "command": f"python benchmarks/reasoning_gym_scorers.py --examples {args.examples}",
        "seconds_of_this_call": round(time.perf_counter() - began),
        "environment": {key: value for key, value in environment().items() if key != "command"},
        "rows": dict(sorted(rows.items())),
    }
    args.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
