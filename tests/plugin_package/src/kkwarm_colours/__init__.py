"""A domain that somebody else packaged: mixing colours. It gets everything that a built-in domain gets."""

import click

from kkwarm.data import holdout
from kkwarm.plugins import hookimpl
from kkwarm.types import Completion, Domain, Example, Probe, Protocol, Response, Target, Teacher, Trace

MIXES = {
    ("red", "yellow"): "orange",
    ("blue", "yellow"): "green",
    ("blue", "red"): "purple",
    ("black", "white"): "grey",
}
TINTS = ("matt", "glossy", "pale", "deep", "cold", "warm", "thin", "thick", "old", "new")


print("a chatty plugin")  # noqa: T201 - no JSON document may suffer from it


def load() -> list[Example]:
    print("mixing")  # noqa: T201
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
def kkwarm_resolve_domain(name: str) -> Domain | None:
    tint = name.removeprefix("tint:")
    if tint == name or tint not in TINTS:
        return None
    return Domain(name, lambda: [e for e in load() if e.meta["tint"] == tint], check, gold, protocol="swatch")


class Arrow:
    """The answer behind an arrow."""

    def compose(self, reasoning: str | None, answer: str) -> str:
        return f"{reasoning or ''} -> {answer}"

    def split(self, completion: Completion) -> Response:
        reasoning, arrow, answer = completion.text.rpartition("->")
        problem = "" if arrow else "no arrow"
        return Response(completion.text, reasoning.strip(), answer.strip() if arrow else None, problem=problem)


@hookimpl
def kkwarm_protocols() -> list[Protocol]:
    return [Protocol("swatch", Arrow(), text=lambda messages: f"{messages[-1].content} ->")]


@hookimpl
def kkwarm_probes() -> list[Probe]:
    def loud(target: Target) -> list[str]:
        return [target.compose(target.gold.upper())]

    def dull(target: Target) -> list[str]:
        return [target.compose(f"nearly {target.gold}")]

    return [Probe("colours: loud", loud, expect="accept", domain="colours"), Probe("colours: nearly", dull)]


@hookimpl
def kkwarm_teachers() -> list[Teacher]:
    return [Teacher("painter", "colours", traces)]


@hookimpl
def kkwarm_commands(cli: click.Group) -> None:
    @cli.command("palette")
    def palette() -> None:
        """Print the colours."""
        click.echo(" ".join(sorted(set(MIXES.values()))))
