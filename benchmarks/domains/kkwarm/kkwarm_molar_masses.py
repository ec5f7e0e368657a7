import re
from pathlib import Path

from kkwarm.data import holdout, read_jsonl
from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Example, Rewards, Status, Verdict, Verifier

DATA = Path(__file__).parents[1] / "data" / "molar_masses.jsonl"
QUESTION = "What is the molar mass of {name} ({formula}) in g/mol? Answer with a number."


def load():
    rows = [Example(row["formula"], QUESTION.format_map(row), row["mass"]) for row in read_jsonl(DATA)]
    return holdout(rows, train=12)


def check(example, response):
    found = re.fullmatch(r"([0-9]{1,5}(?:\.[0-9]{1,4})?)(?: g/mol)?", response.answer)
    if found is None:
        return Verdict(Status.UNPARSED, reason="not one number")
    error = abs(float(found[1]) / example.answer - 1)
    status = Status.CORRECT if error <= 0.005 else Status.WRONG
    return Verdict(status, found[1], f"{error:.1%} off", {"closeness": max(0.0, 1 - 4 * error)})


def gold(example):
    return str(example.answer)


@hookimpl
def kkwarm_domains():
    verifier = Verifier("molar_masses", check, tolerance=2.0)
    return [Domain("molar_masses", load, verifier, gold, rewards=Rewards(partial="closeness"))]
