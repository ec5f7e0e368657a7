"""Scores real model outputs and compares the scores with the published ones.

    KKWARM_DATA=... python benchmarks/scores.py -o benchmarks/results/scores.json

It needs the data folder with `model_outputs/`. Each score comes from the command `kkwarm score`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kkwarm.data import read_jsonl
from kkwarm.store import environment

Rows = Iterator[dict[str, Any]]


def mmlu_pro(path: Path, *, reference: bool) -> Rows:
    for row in read_jsonl(path):
        extra = {"reference": row["answer"]} if reference else {}
        yield {"id": str(row["question_id"]), "completion": row["output"], **extra}


def humaneval_plus(path: Path) -> Rows:
    for row in read_jsonl(path):
        yield {"id": row["task_id"], "completion": row["completion"]}


def math(path: Path) -> Rows:
    for i, row in enumerate(read_jsonl(path)):
        yield {"id": f"{i}", "completion": row["responses"], "reference": row["gold"]}


def score(rows: Rows, benchmark: str) -> tuple[dict[str, Any], list[dict[str, Any]], float]:
    """The benchmark's figures, a verdict per completion, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        outputs, verdicts = Path(folder, "outputs.jsonl"), Path(folder, "verdicts.jsonl")
        outputs.write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = [sys.executable, "-m", "kkwarm", "score", str(outputs), "--benchmark", benchmark, "--json"]
        began = time.perf_counter()
        process = subprocess.run([*command, "--samples-out", str(verdicts)], check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        figures = json.loads(process.stdout)["benchmarks"][benchmark]
        return {k: v for k, v in figures.items() if k != "by"}, list(read_jsonl(verdicts)), round(seconds, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    data = Path(os.environ["KKWARM_DATA"]) / "model_outputs"
    scores_by_name: dict[str, Any] = {}
    for name in ("Qwen1.5-72B-Chat_5shots", "Meta-Llama-3_1-8B_5shots"):
        path = data / "mmlu_pro" / f"{name}.jsonl.gz"
        for reference in (True, False):
            figures, verdicts, seconds = score(mmlu_pro(path, reference=reference), "mmlu_pro")
            published = [row["published_pred"] for row in read_jsonl(path)]
            # Where nothing can be extracted, some published files have a random guess. kkwarm never guesses.
            pairs = [(v["answer"], p) for v, p in zip(verdicts, published, strict=True) if v["status"] != "unparsed"]
            key = f"mmlu_pro {name}, {'the key saved with it' if reference else 'todays key'}"
            scores_by_name[key] = {
                **figures,
                "picks_equal_to_published": sum(a == p for a, p in pairs),
                "read": len(pairs),
            }
            scores_by_name[key]["seconds"] = seconds
    figures, _, seconds = score(humaneval_plus(next((data / "humaneval_plus").glob("*.jsonl.gz"))), "humaneval_plus")
    scores_by_name["humaneval_plus WizardCoder-15B-V1.0"] = {**figures, "published": [0.598, 0.537], "seconds": seconds}
    path = next((data / "math").glob("*.jsonl.gz"))
    figures, verdicts, seconds = score(math(path), "math")
    scores = [bool(s) for row in read_jsonl(path) for s in row["published_score"]]
    equal = sum((v["status"] == "correct") == s for v, s in zip(verdicts, scores, strict=True))
    scores_by_name["math Qwen2.5-Math"] = {
        **figures,
        "equal_to_published": equal,
        "of": len(scores),
        "seconds": seconds,
    }
    document = {"command": "python benchmarks/scores.py", "environment": environment(), "scores": scores_by_name}
    args.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
