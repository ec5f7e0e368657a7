"""Runs `kkwarm bench` on five data sets of reasoning-gym and five tasks of lm-eval with one checkpoint.

    pip install 'kkwarm[bridges]'
    python benchmarks/bridges.py plugins/kkwarm_mini/base --limit 40 -o benchmarks/results/bridges.json

It shows that the bridges run, not what the checkpoint can do. The tasks are lm-eval's own definitions (multiple choice,
generation with filters, generation with aliases, loglikelihood of a last word). Only their data is replaced by small
local files with the same columns, so that nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kkwarm_mini.domains import generate_examples

from kkwarm.store import environment

GYM = ("spell_backward", "chain_sum", "leg_counting", "word_sorting", "knights_knaves")
LETTERS = "ABCD"


def load_sums() -> list[tuple[str, str]]:
    """Questions and answers of mini_math, whose words are in the vocabulary of the shipped base."""
    return [(e.question, str(e.answer)) for e in generate_examples("mini_math", "test", 120)]


def arc_easy() -> list[dict[str, Any]]:
    rows = []
    for i, (question, answer) in enumerate(load_sums()):
        texts = [str((int(answer) + k) % 12) for k in range(4)]
        texts = texts[i % 4 :] + texts[: i % 4]
        choices = {"text": texts, "label": list(LETTERS)}
        rows.append({"question": question, "choices": choices, "answerKey": LETTERS[texts.index(answer)]})
    return rows


def boolq() -> list[dict[str, Any]]:
    return [
        {"passage": question, "question": f"is it {int(answer) + i % 2}", "label": 1 - i % 2}
        for i, (question, answer) in enumerate(load_sums())
    ]


def gsm8k() -> list[dict[str, Any]]:
    return [{"question": question, "answer": f"so it is {answer} .\n#### {answer}"} for question, answer in load_sums()]


def triviaqa() -> list[dict[str, Any]]:
    return [{"question": question, "answer": {"aliases": [answer, f"{answer} ."]}} for question, answer in load_sums()]


def lambada_openai() -> list[dict[str, Any]]:
    return [{"text": f"{question} <answer> {answer}"} for question, answer in load_sums()]


# Task -> (its file among lm-eval's tasks, the function that makes its rows).
TASKS = {
    "arc_easy": ("arc/arc_easy.yaml", arc_easy),
    "boolq": ("super_glue/boolq/default.yaml", boolq),
    "gsm8k": ("gsm8k/gsm8k.yaml", gsm8k),
    "triviaqa": ("triviaqa/default.yaml", triviaqa),
    "lambada_openai": ("lambada/lambada_openai.yaml", lambada_openai),
}


def write_tasks(folder: Path) -> list[str]:
    """Writes a file per task, which includes lm-eval's definition and local data. Returns names for `kkwarm bench`."""
    spec = find_spec("lm_eval")
    assert spec is not None and spec.origin is not None
    task_folder = Path(spec.origin).parent / "tasks"
    names = []
    for task, (file, rows) in TASKS.items():
        data = folder / f"{task}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
        splits = ", ".join(f"{split}: {data}" for split in ("train", "validation", "test"))
        path = folder / f"{task}.yaml"
        path.write_text(
            f"include: {task_folder / file}\ntask: {task}\ndataset_path: json\ndataset_name: null\n"
            f"dataset_kwargs: {{data_files: {{{splits}}}}}\n",
            encoding="utf-8",
        )
        names.append(f"lm_eval:{path}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        names = [*(f"reasoning_gym:{name}" for name in GYM), *write_tasks(Path(folder))]
        settings = ["--limit", str(args.limit), "--max-tokens", str(args.max_tokens)]
        command = [sys.executable, "-m", "kkwarm", "bench", args.model, "--on", ",".join(names), *settings]
        began = time.perf_counter()
        process = subprocess.run([*command, "--json", "-o", f"{folder}/run"], stdout=subprocess.PIPE, text=True)
        if process.returncode != 0:
            sys.exit(process.returncode)
        figures = json.loads(process.stdout)["benchmarks"]
    by_task = {name.replace(f"{folder}/", "").removesuffix(".yaml"): f for name, f in figures.items()}
    document = {
        "what": " ".join((__doc__ or "").split("\n\n")[-1].split()),
        "command": f"python benchmarks/bridges.py {args.model} --limit {args.limit} --max-tokens {args.max_tokens}",
        "seconds": round(time.perf_counter() - began, 1),
        "environment": {key: value for key, value in environment().items() if key != "command"},
        "benchmarks": by_task,
    }
    args.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
