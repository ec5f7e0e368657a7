"""Scores real model outputs and compares the scores with the published ones.

    KKWARM_DATA=... python benchmarks/scores.py -o benchmarks/results/scores.json

It needs the data folder with `model_outputs/`. Each score comes from the command `kkwarm score`, by the benchmark's
official protocol, which reproduces published scores, and by `auto`, which reads strictly and is the default. MATH's own
solutions, written by people, show how many right answers strict reading loses: each gives the answer in its box.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kkwarm_math.answer_reader import last_boxed

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
        yield {"id": f"{i}", "completion": row["responses"], "reference": row["gold"], "question": row["problem"]}


def math_solutions(folder: Path) -> Rows:
    for path in sorted(folder.glob("*.jsonl.gz")):
        for i, row in enumerate(read_jsonl(path)):
            text, gold = row["solution"], row.get("answer") or last_boxed(row["solution"])
            yield {"id": f"{path.name}/{i}", "completion": text, "reference": gold, "question": row["problem"]}


def score(rows: Rows, benchmark: str, protocol: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The benchmark's figures, and a verdict per completion."""
    with tempfile.TemporaryDirectory() as folder:
        outputs, verdicts = Path(folder, "outputs.jsonl"), Path(folder, "verdicts.jsonl")
        outputs.write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = [sys.executable, "-m", "kkwarm", "score", str(outputs), "--benchmark", benchmark, "--json"]
        command += ["--protocol", protocol, "--samples-out", str(verdicts)]
        process = subprocess.run(command, check=True, capture_output=True, text=True)
        figures = json.loads(process.stdout)["benchmarks"][benchmark]
        return {k: v for k, v in figures.items() if k != "by"}, list(read_jsonl(verdicts))


def score_by(data: Path, protocol: str) -> dict[str, Any]:
    """The scores of all outputs, read by `protocol`."""
    scores: dict[str, Any] = {}
    for name in ("Qwen1.5-72B-Chat_5shots", "Meta-Llama-3_1-8B_5shots"):
        path = data / "mmlu_pro" / f"{name}.jsonl.gz"
        published = [row["published_pred"] for row in read_jsonl(path)]
        for reference in (True, False):
            figures, verdicts = score(mmlu_pro(path, reference=reference), "mmlu_pro", protocol)
            # Where nothing can be extracted, some published files have a random guess. kkwarm never guesses.
            pairs = [(v["answer"], p) for v, p in zip(verdicts, published, strict=True) if v["status"] != "unparsed"]
            key = f"mmlu_pro {name}, {'the key saved with it' if reference else 'todays key'}"
            equal = sum(a == p for a, p in pairs)
            scores[key] = {**figures, "picks_equal_to_published": equal, "read": len(pairs)}
    figures, _ = score(humaneval_plus(next((data / "humaneval_plus").glob("*.jsonl.gz"))), "humaneval_plus", protocol)
    scores["humaneval_plus WizardCoder-15B-V1.0"] = {**figures, "published": [0.598, 0.537]}
    path = next((data / "math").glob("*.jsonl.gz"))
    figures, verdicts = score(math(path), "math", protocol)
    published_scores = [bool(s) for row in read_jsonl(path) for s in row["published_score"]]
    same = sum((v["status"] == "correct") == s for v, s in zip(verdicts, published_scores, strict=True))
    scores["math Qwen2.5-Math"] = {**figures, "equal_to_published": same, "of": len(published_scores)}
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    data = Path(os.environ["KKWARM_DATA"])
    scores = {protocol: score_by(data / "model_outputs", protocol) for protocol in ("official", "auto")}
    scores["auto"]["math, its own solutions"], _ = score(math_solutions(data / "math"), "math", "auto")
    document = {"command": "python benchmarks/scores.py", "environment": environment(), "scores": scores}
    args.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
