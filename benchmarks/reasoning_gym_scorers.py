"""`kkwarm check` of every data set of reasoning-gym: which scorers accept what is no answer, or run it as Python.

    pip install 'kkwarm[bridges]'
    python benchmarks/reasoning_gym_scorers.py -o benchmarks/results/reasoning_gym_scorers.json

Only the full score is correct. `eval` names the scorers that evaluate the answer as Python; kkwarm does not let them.
`broken_rules` and `wrongly_accepted` are what conformance and the red team found of the rest; `partial` is the highest
score that one of the red team's wrong answers earned: what a reward of the plain score would have paid for it.
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
from kkwarm.testing import check_domain
from kkwarm.types import Completion
from kkwarm.verify import Judge
from kkwarm.verify.audit import ATTACKS, Target, audit


# Generating their 300 items takes many minutes.
SLOW = ("knight_swap", "sokoban", "futoshiki", "puzzle24", "zebra_puzzles")


def names(code: CodeType) -> Iterator[str]:
    """Global names and attributes that a function's code uses."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names(constant)


def examined(reg: Registry, source: str, examples: int, court: Judge) -> dict[str, Any]:
    """The findings on one data set."""
    from reasoning_gym.factory import DATASETS

    name = f"reasoning_gym:{source}"
    used = set(names(DATASETS[source][0].score_answer.__code__))
    row: dict[str, Any] = {"eval": sorted(used & {"eval", "exec", "parse_expr", "sympify"})}
    domain = reg.domain(name)
    findings = check_domain(reg, name, court)
    row["broken_rules"] = {f.rule: f.problem for f in findings if not f.ok}
    if domain.gold is None:
        return row
    benchmark, fmt = reg.benchmark(name), reg.format(domain.format)
    chosen = sorted(benchmark.load(), key=content_hash)[:examples]
    golds = [domain.gold(e) for e in chosen]
    targets = [Target(e, gold, [g for g in golds if g != gold], fmt) for e, gold in zip(chosen, golds, strict=True)]
    attacks = [a for a in ATTACKS if a.name not in ("one megabyte", "bomb")]
    verifier = reg.verifier(benchmark.verifier)
    misses, _ = audit(verifier, fmt, targets, court, attacks)
    shortest: dict[str, str] = {}
    for miss in misses:
        shortest.setdefault(miss.attack, miss.completion[:300])
    row["wrongly_accepted"] = shortest
    padded = [(t.example, Completion(t.answered(f"It is {t.gold} or so."), finish_reason="stop")) for t in targets]
    verdicts = court.judge(verifier, fmt, padded)
    row["partial"] = max((v.metrics.get("score", 0.0) for v in verdicts if not v.correct), default=None)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=4, help="that the red team attacks, of each data set")
    parser.add_argument("--only", nargs="*", help="data sets; by default all. Rows of others stay as they are")
    args = parser.parse_args()
    from reasoning_gym.factory import DATASETS

    reg = registry()
    rows: dict[str, Any] = json.loads(args.out.read_text("utf-8"))["rows"] if args.out.exists() else {}
    began = time.perf_counter()
    with Judge(workers=1) as court:
        for source in args.only or sorted(set(DATASETS) - set(SLOW)):
            try:
                rows[source] = examined(reg, source, args.examples, court)
            except KkwarmError as err:
                rows[source] = {"refused": str(err)}
            sys.stderr.write(f"{source}: {json.dumps(rows[source])[:200]}\n")
    found = {
        "data_sets": len(rows),
        "not_tried": sorted(set(SLOW) - set(rows)),
        "scorers_that_evaluate_the_answer": sorted(s for s, r in rows.items() if r.get("eval")),
        "wrongly_accepting": sorted(s for s, r in rows.items() if r.get("wrongly_accepted")),
        "breaking_a_rule": sorted(s for s, r in rows.items() if r.get("broken_rules")),
        "refused": sorted(s for s, r in rows.items() if "refused" in r),
    }
    document = {
        "what": " ".join((__doc__ or "").split("\n\n")[-1].split()),
        **found,
        "rows": rows,
        "command": f"python benchmarks/reasoning_gym_scorers.py --examples {args.examples}",
        "seconds": round(time.perf_counter() - began),
        "environment": {key: value for key, value in environment().items() if key != "command"},
    }
    args.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
