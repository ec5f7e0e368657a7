"""Stand-in rows in the layout of `KKWARM_DATA`, for machines without the benchmarks and without a network.

Knights & Knaves puzzles are generated; the other rows are exercises in arithmetic. Accuracies on them are no results.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

NAMES = ("Ann", "Ben", "Carl", "Dora", "Emma", "Finn", "Gina")
HUMANEVAL_TASKS = 164  # the loader expects HumanEval+ to be complete


def write_stand_ins(folder: Path) -> Path:
    """Writes rows of all four benchmarks into `folder`."""
    numbers = random.Random(0)
    _write(folder / "math/math500.jsonl.gz", (_problem(numbers, f"test/{i}") for i in range(20)))
    _write(folder / "math/train_pool.jsonl.gz", (_problem(numbers, "") for _ in range(300)))
    _write(folder / "mmlu_pro/test.jsonl.gz", (_choice(numbers, i) for i in range(240)))
    _write(folder / "mmlu_pro/validation.jsonl.gz", (_choice(numbers, 1000 + i) for i in range(10)))
    _write(folder / "humaneval_plus/HumanEvalPlus.jsonl.gz", (_function(i) for i in range(HUMANEVAL_TASKS)))
    for people in range(3, 8):
        _write_puzzles(folder / f"kk/logic-rl/{people}ppl", people)
    return folder


def _write(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(file, "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def _problem(numbers: random.Random, name: str) -> dict[str, Any]:
    a, b, c = (numbers.randint(2, 99) for _ in range(3))
    return {
        "problem": f"What is ${a} + {b} \\cdot {c}$?",
        "solution": f"First ${b} \\cdot {c} = {b * c}$. The result is $\\boxed{{{a + b * c}}}$.",
        "answer": str(a + b * c),
        "subject": "Prealgebra",
        "type": "Prealgebra",
        "level": 1,
        "unique_id": name,
    }


def _choice(numbers: random.Random, number: int) -> dict[str, Any]:
    a, b = numbers.randint(2, 999), numbers.randint(2, 999)
    right = numbers.randrange(4)
    return {
        "question_id": number,
        "question": f"A body moves {a} metres and then {b} metres in the same direction. How far does it move?",
        "options": [f"{a + b + 10 * (i - right)} metres" for i in range(4)],
        "answer": "ABCD"[right],
        "answer_index": right,
        "category": ("physics", "history")[number % 2],
        "src": "stand-in",
        "cot_content": f"A: Let's think step by step. {a} + {b} = {a + b}. The answer is ({'ABCD'[right]}).",
    }


def _function(number: int) -> dict[str, Any]:
    return {
        "task_id": f"HumanEval/{number}",
        "prompt": f'def add_{number}(x: int) -> int:\n    """Return x plus {number}.\n    >>> add_{number}(1)\n'
        f'    {number + 1}\n    """\n',
        "entry_point": f"add_{number}",
        "canonical_solution": f"    return x + {number}\n",
        "contract": "",
        "base_input": [[0], [1]],
        "plus_input": [[-7], [10**6]],
        "atol": 0,
    }


def _write_puzzles(folder: Path, people: int) -> None:
    import pyarrow
    from kkwarm_kk.english import render
    from kkwarm_kk.puzzle import Difficulty, generate, solution
    from pyarrow import parquet

    folder.mkdir(parents=True, exist_ok=True)
    puzzles, words = generate(Difficulty(people=people), seed=people), random.Random(people)
    for split, count in (("test", 20), ("train", 60)):
        rows = []
        for _ in range(count):
            puzzle, names = next(puzzles), words.sample(NAMES, people)
            rows.append({"quiz": render(puzzle, names, words), "names": names, "solution": list(solution(puzzle))})
        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"{split}.parquet")
