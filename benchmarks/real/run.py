"""The whole way with a real language model: benchmarks SmolLM2-135M-Instruct, trains it briefly, and prints a report.

    python benchmarks/real/run.py [-o FOLDER] [--model CHECKPOINT] [--minutes 5] [--limit 2]

1. The base answers a few questions of K&K, MATH, HumanEval+ and MMLU-Pro, by the paper's and by the official protocols.
   A report shows both, and its page (`protocols.html`) the prompts.
2. It is warmed up on symbolic traces of K&K puzzles with 3 people for about --minutes, by the speed that was measured
   on this machine.
3. RLVR takes two steps on such puzzles.
4. The warmed checkpoint and the one after RLVR answer the same questions by the paper's protocol; the report compares.

The data are those of `KKWARM_DATA`, else of `../shared/data`, else of the hub; without all of them, stand-in rows are
used (`stand_ins.py`), and the last line says so. Repeat the command to resume. A few questions show that everything
works; they say nothing about the model.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from smollm2 import DEFAULT, make_checkpoint
from stand_ins import write_stand_ins

BENCHMARKS = "kk,math,humaneval_plus,mmlu_pro"
ROOT = Path(__file__).resolve().parents[2]
TRACE = 640  # tokens; longer traces are left out


def find_data(out: Path) -> str:
    """Sets `KKWARM_DATA` where a folder is needed; returns where the data comes from."""
    if named := os.environ.get("KKWARM_DATA"):
        return named
    shared = ROOT.parent / "shared" / "data"
    if shared.is_dir():
        os.environ["KKWARM_DATA"] = str(shared)
        return str(shared)
    from kkwarm.backends.hub import hub_resolves

    if hub_resolves() and not os.environ.get("HF_HUB_OFFLINE"):
        return "the hub"
    folder = out / "stand_ins"
    if not (folder / "kk/logic-rl/7ppl/train.parquet").is_file():
        write_stand_ins(folder)
    os.environ["KKWARM_DATA"] = str(folder)
    os.environ["KKWARM_UNPINNED"] = "1"  # every figure is marked
    return "stand-in rows: the accuracies are no results"


def official_protocols() -> str:
    """The official protocol of each benchmark; MMLU-Pro's needs the validation rows, which not every folder has."""
    folder = os.environ.get("KKWARM_DATA")
    shots = folder is None or Path(folder, "mmlu_pro", "validation.jsonl.gz").is_file()
    return f"kk=logic-rl,math=boxed,humaneval_plus=evalplus,mmlu_pro={'5-shot' if shots else 'zero-shot'}"


def kkwarm(*arguments: object, accepted: Sequence[int] = (0,)) -> None:
    """Runs a command of kkwarm, and shows it."""
    command = [str(a) for a in arguments]
    print(f"\n$ kkwarm {' '.join(command)}", flush=True)  # noqa: T201
    began = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "kkwarm", *command]).returncode
    print(f"({time.monotonic() - began:.0f} s)", flush=True)  # noqa: T201
    if code not in accepted:
        raise SystemExit(f"kkwarm {command[0]} failed with exit code {code}")


def warmup_steps(model: Path, minutes: float) -> int:
    """Optimizer steps of 8 traces that take about `minutes`, by the measured speed of training."""
    from kkwarm.backends.sizes import read_size
    from kkwarm.cost import known_rates, this_machine
    from kkwarm.throughput import measure

    measure(str(model), generate=False, train=True)
    return max(1, int(60 * minutes * known_rates(read_size(str(model)), this_machine()).train / (8 * TRACE)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/real"))
    parser.add_argument("--model", type=Path, help="a checkpoint folder; by default it is created")
    parser.add_argument("--minutes", type=float, default=5.0, help="of the warm-up")
    parser.add_argument("--limit", type=int, default=2, help="questions per benchmark")
    parser.add_argument("--max-tokens", type=int, default=128)
    args = parser.parse_args()
    out = args.out
    out.mkdir(parents=True, exist_ok=True)
    data = find_data(out)
    model = args.model or make_checkpoint(DEFAULT)
    questions = ("--on", BENCHMARKS, "--limit", args.limit, "--max-tokens", args.max_tokens)
    kkwarm("bench", model, *questions, "-o", out / "base", "--label", "condition=base")
    official = ("--protocol", official_protocols(), "--label", "condition=base, official")
    kkwarm("bench", model, *questions, *official, "-o", out / "base-official")
    kkwarm("report", out / "base", out / "base-official")
    kkwarm("report", out / "base", out / "base-official", "--html", out / "protocols.html")
    kkwarm("distill", "--domain", "kk:3", "--teacher", "symbolic", "-n", 240, "-o", out / "traces")
    warm = out / "warmed"
    steps = ("--max-steps", steps_of(warm) or warmup_steps(model, args.minutes), "--max-length", TRACE)
    kkwarm("warmup", model, "--traces", out / "traces", *steps, "--learning-rate", "1e-5", "-o", warm)
    rollouts = ("--steps", 2, "--prompts-per-step", 2, "--generations", 4, "--max-tokens", 2 * args.max_tokens)
    # Exit code 1: the rewards did not differ, which two steps of a small model cannot rule out.
    kkwarm("rlvr", warm, "--domain", "kk:3", "--examples", 8, *rollouts, "-o", out / "rlvr", accepted=(0, 1))
    for name in ("warmed", "rlvr"):
        kkwarm("bench", out / name, *questions, "-o", out / f"bench-{name}", "--label", f"condition={name}")
    kkwarm("report", out / "base", out / "bench-warmed", out / "bench-rlvr")
    print(f"data: {data}")  # noqa: T201


def steps_of(run: Path) -> int | None:
    """The steps that an earlier start of the warm-up chose, so that it resumes."""
    import json

    try:
        return int(json.loads((run / "manifest.json").read_text("utf-8"))["config"]["max_steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    main()
