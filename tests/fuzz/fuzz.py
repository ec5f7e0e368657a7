"""Runs the fuzzers for a given time and prints each different problem once, with the case that shows it.

``python tests/fuzz/fuzz.py --seconds 600 --seed 1 [--targets manifest,samples] [--case manifest:17]``
"""

# ruff: noqa: T201
import argparse
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

from fuzz_cases import TARGETS, Case, run_case
from fuzz_inputs import make_inputs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--case", help="TARGET:SEED of one case, whose output is printed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name, "inputs")
        make_inputs(inputs)
        if args.case:
            target, _, seed = args.case.partition(":")
            case = Case(target, int(seed))
            outcome = run_case(case, inputs)
            print(case.file, case.command, outcome.code, outcome.problem, outcome.out[-3000:], outcome.err, sep="\n")
            return 1 if outcome.problem else 0
        return _search(inputs, args)


def _search(inputs: Path, args: argparse.Namespace) -> int:
    targets, problems, codes = args.targets.split(","), Counter[str](), Counter[str]()
    start, seed = time.monotonic(), args.seed
    while time.monotonic() - start < args.seconds:
        for target in targets:
            case = Case(target, seed)
            began = time.monotonic()
            outcome = run_case(case, inputs)
            took = time.monotonic() - began
            codes[f"{target} {outcome.code}"] += 1
            problem = outcome.problem or (f"slow: {case.command[0]}" if took > 300 else "")
            if problem:
                key = re.sub(r"\d+|'[^']*'", "#", problem.partition("[")[2] or problem)[:160]
                problems[key] += 1
                if problems[key] == 1:
                    print(
                        f"{target}:{seed} {case.file} {' '.join(case.command)} ({took:.1f} s)\n  {problem}", flush=True
                    )
        seed += 1
    print(f"seeds {args.seed} to {seed - 1}: {sum(codes.values())} cases, {len(problems)} different problems")
    print(", ".join(f"{key}: {n}" for key, n in sorted(codes.items())))
    for key, count in problems.most_common():
        print(f"{count:6} {key}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
