"""Trains in a process of its own, which a test kills. Arguments: kind, model, traces, out."""

import sys
from pathlib import Path

import toy_task as toy

from kkwarm.train import RlvrConfig, WarmupConfig, rlvr, warmup

WARMUP = WarmupConfig(learning_rate=1e-2, epochs=5, batch_size=8, save_every=4, threads=1)
EVALUATED = WARMUP.replace(eval_on=("toy", "easy"), eval_every=1, eval_questions=12)
RLVR = RlvrConfig(
    domain="easy",
    examples=20,
    learning_rate=5e-3,
    steps=10,
    prompts_per_step=4,
    generations=4,
    save_every=3,
    threads=1,
    keep_rollouts=True,
)


def train(kind: str, model: Path, traces: Path, out: Path) -> Path:
    if kind in ("warmup", "evaluated"):
        return warmup(model, traces, out, WARMUP if kind == "warmup" else EVALUATED, progress=False).path
    return rlvr(model, RLVR, out, progress=False).path


if __name__ == "__main__":
    toy.install()
    train(sys.argv[1], *map(Path, sys.argv[2:5]))
