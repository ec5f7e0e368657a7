"""Adversarial probes for `kk`: correct wordings of an assignment, and wrong, hedged or negated ones."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kkwarm.types import Probe, Target
from kkwarm_kk.english import join_words


def _pairs(t: Target) -> list[tuple[str, str]]:
    return list(t.example.answer.items())


def _correct(t: Target) -> Iterator[str]:
    pairs = _pairs(t)
    knights, knaves = ([n for n, r in pairs if r == role] for role in ("knight", "knave"))
    for text in (
        t.gold + ".",
        "! ".join(f"{n} is a {r}" for n, r in pairs) + "!",
        t.gold.replace("\n", " "),
        t.gold.upper(),
        "\n".join(f"{n} is a {r}" for n, r in pairs),
        "\n".join(f"- **{n}**: {r.capitalize()}" for n, r in pairs),
        "\n".join(f"{i}. {n} is a **{r}**." for i, (n, r) in enumerate(pairs, 1)),
        join_words([f"{n} is a {r}" for n, r in pairs]) + ".",
        "So the final answer is: " + ", ".join(f"{n} ({r})" for n, r in pairs),
        f"Knights: {', '.join(knights) or 'none'}\nKnaves: {', '.join(knaves) or 'none'}",
        json.dumps(t.example.answer),
        "\n".join(["| Name | Role |", "|---|---|", *(f"| {n} | {r.capitalize()} |" for n, r in pairs)]),
        "\n".join(f"{n}'s role: {r}" for n, r in pairs),
        " ".join(
            f"{join_words(group)} {'is a' if len(group) == 1 else 'are'} {role}{'s' * (len(group) > 1)}."
            for group, role in ((knights, "knight"), (knaves, "knave"))
            if group
        ),
    ):
        yield t.compose(text)


def _incorrect(t: Target) -> Iterator[str]:
    pairs = _pairs(t)
    other = {"knight": "knave", "knave": "knight"}
    first, first_role = pairs[0]
    for text in (
        "\n".join(f"({i}) {n} is not a {other[r]}" for i, (n, r) in enumerate(pairs, 1)),
        "\n".join(f"({i}) {n} is not a {r}" for i, (n, r) in enumerate(pairs, 1)),
        "\n".join(f"({i}) {n} is a {other[r]} or a {r}" for i, (n, r) in enumerate(pairs, 1)),
        "\n".join(f"({i}) {n} is a {r} or a {other[r]}" for i, (n, r) in enumerate(pairs, 1)),
        "\n".join(f"({i}) {n} is a knave or a knight" for i, (n, r) in enumerate(pairs, 1)),
        "\n".join(f"({i}) {n} is a {other[r]}" for i, (n, r) in enumerate(pairs, 1)) + "\n" + t.gold,
        f"{t.gold}\n({len(pairs) + 1}) {first} is a {other[first_role]}",
        f"{t.gold}\n({len(pairs) + 1}) Nemo is a knight",
        "\n".join(t.gold.split("\n")[1:]),
        "\n".join(t.gold.split("\n")[:-1]),
        f"It is false that:\n{t.gold}",
        "\n".join(f"!{n} is a {r}" for n, r in pairs),
        f"! ({t.gold})",
        f"![{t.gold}]",
        f"{t.gold}\n{first_role.capitalize()}s: none",
        json.dumps({n: [r, other[r]] for n, r in pairs}),
        "\n".join(f"{n}'s claim: {r}" for n, r in pairs),
        f"{t.gold}\nNone of this is true.",
        f"{t.gold}?",
        f"If {first} is a {first_role} then: {t.gold}",
        f"Knights: {', '.join(n for n, _ in pairs)}\nKnaves: {', '.join(n for n, _ in pairs)}",
        "\n".join(f"({i}) {n} is a {r}/{other[r]}" for i, (n, r) in enumerate(pairs, 1)),
        "\n".join(f"({i}) {n} is a \N{KELVIN SIGN}{r[1:]}" for i, (n, r) in enumerate(pairs, 1)),
        "\n".join(r for _, r in pairs),
        ", ".join(n for n, _ in pairs),
    ):
        yield t.compose(text)


PROBES = (
    Probe("kk: correct wordings", _correct, expect="accept", domain="kk"),
    Probe("kk: incorrect wordings", _incorrect, domain="kk"),
)
