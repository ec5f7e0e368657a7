# ruff: noqa: E501  (a program a line reads better than a page of them)
"""Hand-made rows of MBPP+'s layout."""

import gzip
import json
from pathlib import Path
from typing import Any


def row(number: int, entry: str, solution: str, base: list[Any], plus: list[Any], atol: float = 0) -> dict[str, Any]:
    """A row as evalplus writes it: JSON, so without tuples, sets and complex numbers."""
    return {
        "task_id": f"Mbpp/{number}",
        "prompt": f'"""\nWrite a function {entry}.\nassert {entry}(...) == ...\n"""\n',
        "entry_point": entry,
        "canonical_solution": "\n" + solution.replace("): return ", "):\n    return ") + "\n",
        "base_input": base,
        "plus_input": plus,
        "atol": atol,
        "contract": "",
        "assertion": "",
    }


ROWS = [
    row(2, "similar_elements", "def similar_elements(a, b): return tuple(set(a) & set(b))", [[[3, 4, 5, 6], [5, 7, 4, 10]]], [[[], []], [[1, 2], [2, 1]]]),
    row(3, "is_not_prime", "def is_not_prime(n): return n < 2 or any(n % d == 0 for d in range(2, int(n ** .5) + 1))", [[2], [10]], [[1], [9973]]),
    row(115, "empty_dit", "def empty_dit(xs): return all(type(x) in (set, dict) and not x for x in xs)", [[[[], [], []]]], [[[[1, 2], []]]]),
    row(124, "angle_complex", "import cmath\ndef angle_complex(a, b): return cmath.phase(complex(a) + b)", [[0, "1j"], [2, "1j"]], [[-1, "0j"]]),
    row(164, "are_equivalent", "def s(n): return sum(d for d in range(1, n) if n % d == 0)\ndef are_equivalent(a, b): return s(a) == s(b)", [[36, 57], [2, 4]], [[23, 47], [6, 25], [14, 15]]),
    row(295, "sum_div", "def sum_div(n): return sum([1] + [d for d in range(2, n) if n % d == 0])", [[8], [12]], [[1], [7]]),
    row(558, "digit_distance_nums", "def digit_distance_nums(a, b): return sum(int(c) for c in str(abs(a - b)))", [[1, 2], [23, 56]], [[1, 1000], [19, 21]]),
    row(581, "surface_Area", "def surface_Area(b, h): return 2 * b * h + b ** 2", [[3, 4], [4, 5]], [[1, 2]]),
    row(737, "check_str", "import re\ndef check_str(s): return re.search(r'^[aeiouAEIOU]', s)", [["annie"], ["dawood"]], [["Else"], [""]]),
    row(791, "remove_nested", "def remove_nested(t): return tuple(x for x in t if not isinstance(x, tuple))", [[[1, 5, [4, 6], 10]]], [[[[1], [[2]]]]]),
]  # fmt: skip


def write(root: Path, rows: list[dict[str, Any]]) -> None:
    (root / "mbpp_plus").mkdir()
    with gzip.open(root / "mbpp_plus" / "MbppPlus.jsonl.gz", "wt") as out:
        out.writelines(json.dumps(r) + "\n" for r in rows)
