"""A domain that somebody else packaged: mixing colours. It gets everything that a built-in domain gets."""

import click

from kkwarm.data import holdout
from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Example, Response, Teacher, Trace

MIXES = {
    ("red", "yellow"): "orange",
    ("blue", "yellow"): "green",
    ("blue", "red"): "purple",
    ("black", "white"): "grey",
}
TINTS = ("matt", "glossy", "pale", "deep", "cold", "warm", "thin", "thick", "old", "new")


def load() -> list[Example]:
    rows = [
        Example(f"{tint}/{a}+{b}", f"What does {tint} {a} mixed with {b} give?", mixed, meta={"tint": tint})
        for (a, b), mixed in MIXES.items()
        for tint in TINTS
    ]
    return holdout(rows, train=20)


def check(example: Example, response: Response) -> bool:
    return (response.answer or "").strip().casefold() == example.answer


def gold(example: Example) -> str:
    return str(example.answer)


def traces(n: int, seed: int) -> list[Trace]:
    chosen = [e for e in load() if e.split == "train"][:n]
    return [
        Trace(e.id, "colours", e.question, f"The {e.meta['tint']} does not matter.", gold(e), "painter") for e in chosen
    ]


@hookimpl
def kkwarm_domains() -> list[Domain]:
    return [Domain("colours", load, check, gold, "Mixing two colours.", facet="tint")]


@hookimpl
def kkwarm_teachers() -> list[Teacher]:
    return [Teacher("painter", "colours", traces)]


@hookimpl
def kkwarm_commands(cli: click.Group) -> None:
    @cli.command("palette")
    def palette() -> None:
        """Print the colours."""
        click.echo(" ".join(sorted(set(MIXES.values()))))
