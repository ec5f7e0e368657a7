"""Runs the contamination check on the split that the paper's code makes of MMLU-Pro history and physics.

    KKWARM_DATA=... python benchmarks/paper_contamination.py [-o benchmarks/results/paper_contamination.json]

The paper's repository samples 100 training questions by `numpy.random.default_rng(42).choice(n, 100, replace=False)`,
and the evaluation questions by `random.sample` from the same list, without removing the training questions.
Assumed, because nothing public fixes it: the list is MMLU-Pro's own order within the category; the evaluation sample
has 100 questions
(another size has the same share on average); its seed is each of 0 to 99. The expected share for any seed and size is
100/n. The contamination check gets the two lists of questions and nothing else. The same check also runs on kkwarm's
own split.
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
PAGE, BEGIN, END = (
    ROOT / "docs/pages/verdicts.md",
    "<!-- paper contamination: begin -->\n",
    "<!-- paper contamination: end -->\n",
)
CATEGORIES = ("history", "physics")
N_TRAIN, N_TEST, N_SEEDS = 100, 100, 100


def check_overlaps(train: Sequence[Example], test: Sequence[Example]) -> dict[str, int]:
    """Number of evaluation questions that the check finds among the training questions, by kind of match.

    The ids are made different, as those of two files would be, so that only the texts can match.
    """
    train_items = [Item("train", f"train/{e.id}", e.question) for e in train]
    test_items = [Item("test", e.id, e.question) for e in test]
    return dict(Counter(overlap.how for overlap in find_overlaps(train_items, test_items)))


def category(name: str, examples: Sequence[Example], seeds: int) -> dict[str, Any]:
    """Figures of the paper's split of one category over all seeds of the evaluation sample, and of kkwarm's split."""
    pool = [replace(e, split="test") for e in examples if e.meta["category"] == name]
    train_places = np.random.default_rng(42).choice(len(pool), N_TRAIN, replace=False).tolist()
    train = [pool[i] for i in train_places]
    shares, n_near, n_missed = [], [], 0
    for seed in range(seeds):
        places = random.Random(seed).sample(range(len(pool)), N_TEST)
        counts = check_overlaps(train, [pool[i] for i in places])
        shared = len({*places} & {*train_places})
        shares.append(counts.get("text", 0) / N_TEST)
        n_near.append(counts.get("near", 0))
        n_missed += max(0, shared - counts.get("text", 0))
    own_examples = [e for e in examples if e.meta["category"] == name]
    own_counts = check_overlaps(
        [e for e in own_examples if e.split == "train"], [e for e in own_examples if e.split == "test"]
    )
    return {
        "questions": len(pool),
        "data": fingerprint(pool),
        "trained": N_TRAIN,
        "evaluated": N_TEST,
        "expected_share": N_TRAIN / len(pool),
        "share_found": {"mean": statistics.fmean(shares), "min": min(shares), "max": max(shares)},
        "near_duplicates_more": {"mean": statistics.fmean(n_near), "min": min(n_near), "max": max(n_near)},
        "shared_but_not_found": n_missed,
        "kkwarm_split": {"trained": sum(e.split == "train" for e in own_examples), "found": own_counts},
    }


def table(document: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| MMLU-Pro | questions | training questions | evaluation questions trained on, mean (range) | expected "
        "| kkwarm's split |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, r in document["categories"].items():
        s = r["share_found"]
        share = f"{100 * s['mean']:.1f}% ({100 * s['min']:.0f} to {100 * s['max']:.0f}%)"
        n_own = sum(v for k, v in r["kkwarm_split"]["found"].items() if k != "near")
        lines.append(
            f"| {name} | {r['questions']:,} | {r['trained']} | {share} | {100 * r['expected_share']:.1f}% | {n_own} |"
        )
    return "\n".join(lines) + "\n"


def write_page(document: dict[str, Any]) -> None:
    """Writes the table between its markers in the documentation."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(document)}\n{END}{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "benchmarks/results/paper_contamination.json")
    parser.add_argument(
        "--seeds", type=int, default=N_SEEDS, help="Number of seeds of the evaluation sample (0 to N-1)."
    )
    args = parser.parse_args()
    examples = load()
    document = {
        "what": "share of the paper's MMLU-Pro evaluation questions that are among its training questions",
        "assumed": " ".join(__doc__.partition("Assumed,")[2].partition("The expected")[0].split()).lstrip(", "),
        "seeds": args.seeds,
        "categories": {name: category(name, examples, args.seeds) for name in CATEGORIES},
        "environment": environment() | {"command": f"python benchmarks/paper_contamination.py --seeds {args.seeds}"},
    }
    args.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    write_page(document)
    print(table(document))  # noqa: T201


if __name__ == "__main__":
    main()
