"""The contamination check on the split that the paper's code makes of MMLU-Pro history and physics.

    KKWARM_DATA=... python benchmarks/paper_leak.py [-o benchmarks/results/paper_leak.json]

The paper's repository draws 100 questions to train on by `numpy.random.default_rng(42).choice(n, 100, replace=False)`,
and those to evaluate on by `random.sample`, from the same list, without taking the training questions out. Assumed,
because nothing public fixes it: the list is MMLU-Pro's own order within the category; the evaluation sample has 100
questions (another size has the same share on average); its seed is each of 0 to 99. The share expected of any seed and
size is 100/n. The gate is told nothing of this: it gets the two lists of questions. Beside it, the same gate on
kkwarm's own split.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from kkwarm_mmlu_pro.data import load

from kkwarm.data.contamination import Item, find_overlaps
from kkwarm.data.splits import fingerprint
from kkwarm.store import environment
from kkwarm.types import Example

ROOT = Path(__file__).resolve().parents[1]
PAGE, BEGIN, END = ROOT / "docs/pages/verdicts.md", "<!-- paper leak: begin -->\n", "<!-- paper leak: end -->\n"
CATEGORIES = ("history", "physics")
TRAIN, EVALUATED, SEEDS = 100, 100, 100


def check_overlaps(train: Sequence[Example], evaluated: Sequence[Example]) -> dict[str, int]:
    """How many of the evaluated questions the gate finds among the trained ones, by likeness.

    Ids are made unlike, as those of two files would be: the texts have to tell.
    """
    trained = [Item("train", f"train/{e.id}", e.question) for e in train]
    asked = [Item("test", e.id, e.question) for e in evaluated]
    return dict(Counter(overlap.how for overlap in find_overlaps(trained, asked)))


def category(name: str, examples: Sequence[Example], seeds: int) -> dict[str, Any]:
    """The paper's split of one category over all seeds of the evaluation sample, and kkwarm's own."""
    pool = [replace(e, split="test") for e in examples if e.meta["category"] == name]
    chosen = np.random.default_rng(42).choice(len(pool), TRAIN, replace=False).tolist()
    train = [pool[i] for i in chosen]
    shares, near, missed = [], [], 0
    for seed in range(seeds):
        places = random.Random(seed).sample(range(len(pool)), EVALUATED)
        found = check_overlaps(train, [pool[i] for i in places])
        shared = len({*places} & {*chosen})
        shares.append(found.get("text", 0) / EVALUATED)
        near.append(found.get("near", 0))
        missed += max(0, shared - found.get("text", 0))
    ours = [e for e in examples if e.meta["category"] == name]
    own = check_overlaps([e for e in ours if e.split == "train"], [e for e in ours if e.split == "test"])
    return {
        "questions": len(pool),
        "data": fingerprint(pool),
        "trained": TRAIN,
        "evaluated": EVALUATED,
        "expected_share": TRAIN / len(pool),
        "share_found": {"mean": statistics.fmean(shares), "min": min(shares), "max": max(shares)},
        "near_duplicates_more": {"mean": statistics.fmean(near), "min": min(near), "max": max(near)},
        "shared_but_not_found": missed,
        "kkwarm_split": {"trained": sum(e.split == "train" for e in ours), "found": own},
    }


def table(document: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| MMLU-Pro | questions | trained on | evaluated and trained on, mean (range) | expected | kkwarm's split |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, r in document["categories"].items():
        s = r["share_found"]
        found = f"{100 * s['mean']:.1f}% ({100 * s['min']:.0f} to {100 * s['max']:.0f}%)"
        own = sum(v for k, v in r["kkwarm_split"]["found"].items() if k != "near")
        lines.append(
            f"| {name} | {r['questions']:,} | {r['trained']} | {found} | {100 * r['expected_share']:.1f}% | {own} |"
        )
    return "\n".join(lines) + "\n"


def write_page(document: dict[str, Any]) -> None:
    """Puts the table between its marks in the documentation."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(document)}\n{END}{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "benchmarks/results/paper_leak.json")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of the evaluation sample: 0 to N-1")
    args = parser.parse_args()
    examples = load()
    document = {
        "what": "the share of the paper's MMLU-Pro evaluation questions that the contamination check finds trained on",
        "assumed": " ".join(__doc__.partition("Assumed,")[2].partition("The gate is")[0].split()).lstrip(", "),
        "seeds": args.seeds,
        "categories": {name: category(name, examples, args.seeds) for name in CATEGORIES},
        "environment": environment() | {"command": f"python benchmarks/paper_leak.py --seeds {args.seeds}"},
    }
    args.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    write_page(document)
    print(table(document))  # noqa: T201


if __name__ == "__main__":
    main()
