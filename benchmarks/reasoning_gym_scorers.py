"""The adversarial probes on every data set of reasoning-gym: whose scorer gives the full score to what is no answer?

    pip install 'kkwarm[bridges]'
    python benchmarks/reasoning_gym_scorers.py -o benchmarks/results/reasoning_gym_scorers.json

`fooled` are attacks that reasoning-gym's own scorer gives the full score for (the shortest of each is shown), and
`accepted` those that kkwarm's bridge judges correct. `evaluates` are calls by which a scorer runs text as Python, all
but number_sorting's the answer's: the bridge does not let it, so what it would have scored is not known. `partial` is
what the scorer pays for the right answer between other words: a reward made of the plain score pays it too. Without
`answers`: the data set names none.
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

# Generating their 300 items takes many minutes.
SLOW = ("futoshiki", "knight_swap", "puzzle24", "sokoban", "zebra_puzzles")
LARGE = ("one megabyte", "expensive answer")


def names(code: CodeType) -> Iterator[str]:
    """Global names and attributes that a function's code uses."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names(constant)


def probed(reg: Registry, source: str, examples: int, judge: Judge) -> dict[str, Any]:
    """What the attacks found on one data set."""
    from reasoning_gym.factory import DATASETS

    used = set(names(DATASETS[source][0].score_answer.__code__))
    row: dict[str, Any] = {"evaluates": sorted(used & {"eval", "exec", "parse_expr", "sympify"})}
    domain = reg.domain(f"reasoning_gym:{source}")
    row["answers"] = domain.gold is not None
    if domain.gold is None:
        return row
    benchmark, fmt = reg.benchmark(domain.name), reg.format(domain.format)
    verifier = reg.verifier(benchmark.verifier)
    chosen = sorted(benchmark.load(), key=content_hash)[:examples]
    golds = [domain.gold(e) for e in chosen]
    targets = [Target(e, g, [o for o in golds if o != g], fmt) for e, g in zip(chosen, golds, strict=True)]
    row["fooled"], row["accepted"] = {}, {}
    for attack in PROBES:
        texts = [(t, text) for t in targets for text in attack.completions(t) if attack.name not in LARGE]
        pairs = [
            (t.example, Completion(text, finish_reason="stop"))
            for t, text in texts
            if text.split() != t.compose(t.gold).split()
        ]
        for (_, completion), verdict in zip(pairs, judge.verify(verifier, fmt, pairs), strict=True):
            answer = (fmt.split(completion).answer or "")[:200]
            if verdict.metrics.get("score") == 1.0:
                row["fooled"].setdefault(attack.name, answer)
            if verdict.correct:
                row["accepted"].setdefault(attack.name, answer)
    padded = [(t.example, Completion(t.compose(f"It is {t.gold} or so."), finish_reason="stop")) for t in targets]
    row["partial"] = max(v.metrics.get("score", 0.0) for v in judge.verify(verifier, fmt, padded))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=3, help="that are attacked, of each data set")
    parser.add_argument("--only", nargs="*", help="data sets  [default: all but the slowest to generate]")
    args = parser.parse_args()
    from reasoning_gym.factory import DATASETS

    reg, began = registry(), time.perf_counter()
    rows: dict[str, Any] = {}
    if args.only and args.out.exists():  # the other rows stay as they are
        rows = json.loads(args.out.read_text("utf-8"))["rows"]
    with Judge(workers=1) as judge:
        for source in args.only or sorted(set(DATASETS) - set(SLOW)):
            try:
                rows[source] = probed(reg, source, args.examples, judge)
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
