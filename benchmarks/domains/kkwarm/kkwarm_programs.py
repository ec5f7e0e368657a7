from pathlib import Path

from kkwarm.data import holdout, read_jsonl
from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Example, Rewards
from kkwarm.verify import program_verifier

DATA = Path(__file__).parents[1] / "data" / "programs.jsonl"


def load():
    rows = [Example(row["id"], f"Write a Python program that {row['task']}.", row) for row in read_jsonl(DATA)]
    return holdout(rows, train=5)


def gold(example):
    return example.answer["program"]


@hookimpl
def kkwarm_domains():
    verifier = program_verifier("programs")
    return [Domain("programs", load, verifier, gold, rewards=Rewards(partial="tests_passed"))]
