"""The same attacks on kkwarm's verifiers and on the scorers that others use.

    python -m pip install --target /tmp/rg reasoning-gym   # not a dependency of kkwarm
    KKWARM_DATA=... python benchmarks/red_team.py --reasoning-gym /tmp/rg

Writes benchmarks/results/red_team.json and the table in docs/pages/verdicts.md. Every scorer gets the completions in
its own format: tags, a box, or "The answer is X". Attacks on tags are left out where a scorer reads free text, hedges
in words where it reads code. A peer that dies or freezes on a completion has given no verdict; this is counted apart.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import peers
from kkwarm_math.probes import LISTED, case_targets

from kkwarm.plugins import Registry, registry
from kkwarm.store import environment
from kkwarm.types import Completion, Example, Format, Probe, Status, Target, Verdict
from kkwarm.verify import Judge
from kkwarm.verify.probes import ACCEPT_PROBES, PROBES, ProbeFailure, make_targets, probe_scorer

ROOT = Path(__file__).resolve().parents[1]
PAGE, BEGIN, END = ROOT / "docs/pages/verdicts.md", "<!-- red team: begin -->\n", "<!-- red team: end -->\n"
DOMAINS = ("kk", "math", "humaneval_plus", "mmlu_pro", "mini_kk", "mini_math", "mini_code", "mini_mcq")
COMMAND = "benchmarks/red_team.py --reasoning-gym DIR --examples {args.examples} --code-examples {args.code_examples}"
SHOWN = 200  # characters of an example


@dataclass(frozen=True)
class Contender:
    """A scorer: `peer` is None for kkwarm's own; `format` is how it wants answers written (None: the domain's)."""

    name: str
    domain: str
    peer: str | None = None
    format: Format | None = None
    distribution: str = ""
    note: str = ""
    limit_s: float = 15.0
    spared: tuple[str, ...] = ()  # attacks that mean nothing to it

    @property
    def reads_tags(self) -> bool:
        return not isinstance(self.format, peers.Written)


HEDGES = ("negated", "every answer at once")  # code between words is that code
CODE = peers.Written("code", "{answer}")
BOXED = peers.Written("boxed", "{reasoning}\n\n\\boxed{{answer}}")
LETTER = peers.Written("letter", "{reasoning}\n\nThe answer is {answer}.")
CONTENDERS = (
    *(Contender("kkwarm", domain) for domain in DOMAINS),
    Contender("evalplus", "humaneval_plus", "evalplus", CODE, "evalplus", limit_s=180.0, spared=HEDGES),
    Contender("math-verify, defaults", "math", "math_verify", BOXED, "math-verify"),
    Contender(
        "MMLU-Pro's official scorer", "mmlu_pro", "mmlu_pro_official", LETTER, note="its patterns, its guess seeded"
    ),
    Contender("lm-eval's mmlu_pro", "mmlu_pro", "lm_eval_mmlu_pro", LETTER, "lm_eval"),
    Contender("reasoning-gym's K&K scorer", "kk", "reasoning_gym_kk", None, "reasoning-gym"),
    Contender("the paper's K&K reward", "kk", "paper_kk", None, note="written anew from its description"),
)


@dataclass
class Outcome:
    """What became of one contender's completions."""

    tried: dict[str, int] = field(default_factory=dict)
    misses: list[ProbeFailure] = field(default_factory=list)
    broke: Counter[str] = field(default_factory=Counter)
    honest: set[str] = field(default_factory=set)
    seconds: float = 0.0


def attack(contender: Contender, reg: Registry, judge: Judge, examples: int, folder: str) -> Outcome:
    """All attacks of the domain on one contender."""
    outcome = Outcome()
    began = time.perf_counter()

    def scorer(pairs: Sequence[tuple[Example, Completion]]) -> Sequence[Verdict]:
        if contender.peer is None:
            benchmark = reg.benchmark(contender.domain)
            fmt = reg.format(reg.domain(contender.domain).format)
            return judge.verify(reg.verifier(benchmark.verifier), fmt, pairs)
        verdicts = peers.scored(contender.peer, pairs, folder=folder, limit_s=contender.limit_s)
        outcome.broke.update(v.reason for v in verdicts if v.status in (Status.ERROR, Status.TIMEOUT))
        return verdicts

    targets = make_targets(reg, contender.domain, examples, contender.format)
    if contender.peer == "reasoning_gym_kk":
        targets = [replace(t, gold=peers.own_words(t.example.answer)) for t in targets]
    attacks: list[Probe] = [*PROBES, *ACCEPT_PROBES, *reg.probes(contender.domain)]
    listed: list[tuple[Sequence[Target], Sequence[Probe]]] = [(targets, attacks)]
    if contender.domain == "math":
        listed.append((case_targets(targets[0]), LISTED))
    for those, them in listed:
        them = [a for a in them if (contender.reads_tags or not a.uses_tags) and a.name not in contender.spared]
        misses, tried = probe_scorer(scorer, those, them)
        outcome.misses += misses
        outcome.tried |= tried
        outcome.honest |= {a.name for a in them if a.expect == "accept"}
    outcome.seconds = time.perf_counter() - began
    return outcome


def row(contender: Contender, outcome: Outcome) -> dict[str, Any]:
    """The figures of one contender, with the shortest example of each attack that fooled it."""
    version = ""
    if contender.distribution:
        version = next((d.version for d in metadata.distributions(name=contender.distribution, path=sys.path)), "")
    broke = dict(outcome.broke)
    # A completion without a verdict is no wrong verdict.
    rejected = [m for m in outcome.misses if m.expect == "accept" and not m.verdict.startswith(("error", "timeout"))]
    accepted = [m for m in outcome.misses if m.expect == "reject"]
    return {
        "scorer": contender.name,
        "version": version,
        "note": contender.note,
        "domain": contender.domain,
        "attacks": sum(n for name, n in outcome.tried.items() if name not in outcome.honest),
        "wrongly_accepted": len(accepted),
        "honest": sum(n for name, n in outcome.tried.items() if name in outcome.honest),
        "wrongly_rejected": len(rejected),
        "no_verdict": sum(broke.values()),
        "no_verdict_because": broke,
        "by_attack": {
            name: {"completions": n, "wrong": sum(m.probe == name for m in (*accepted, *rejected))}
            for name, n in outcome.tried.items()
        },
        "shortest": [*_shortest(accepted, "wrongly accepted"), *_shortest(rejected, "wrongly rejected")],
        "seconds": round(outcome.seconds, 1),
    }  # fmt: skip


def _shortest(misses: Sequence[ProbeFailure], what: str) -> list[dict[str, str]]:
    """The shortest completion of each attack."""
    found: dict[str, ProbeFailure] = {}
    for miss in sorted(misses, key=lambda m: len(m.completion)):
        found.setdefault(miss.probe, miss)
    rows = []
    for attack_name, miss in found.items():
        text = miss.completion
        text = text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,})"
        rows.append({"attack": attack_name, "what": what, "example": miss.example, "completion": text})
    return rows


# -- the table --------------------------------------------------------------------------------------------------------


def table(document: dict[str, Any]) -> str:
    """The results as Markdown: one line for each scorer."""
    lines = [
        "| domain | scorer | attacks | wrongly accepted | honest | wrongly rejected | no verdict | accepts, say |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    order = {d: i for i, d in enumerate(DOMAINS)}
    for r in sorted(document["scorers"], key=lambda r: (order[r["domain"]], r["scorer"] != "kkwarm")):
        fooled = [e for e in r["shortest"] if e["what"] == "wrongly accepted"]
        name = f"**{r['scorer']}**" if r["scorer"] == "kkwarm" else f"{r['scorer']} {r['version']}".strip()
        name += f" ({r['note']})" if r["note"] else ""
        texts = sorted(filter(None, (_cell(e["completion"]) for e in fooled)), key=len)
        shown = f"`{texts[0]}`" if texts else ""
        counts = [r[k] for k in ("attacks", "wrongly_accepted", "honest", "wrongly_rejected", "no_verdict")]
        lines.append(f"| {r['domain']} | {name} | " + " | ".join(f"{c:,}" for c in counts) + f" | {shown} |")
    return "\n".join(lines) + "\n"


def _cell(text: str, limit: int = 70) -> str:
    """A completion on one line, without what all of them begin and end with."""
    flat = " ".join(text.split()).replace("|", "/").replace("`", "'")
    flat = re.sub(r"^(some reasoning )?(</think> <answer> )?|( </answer>)$", "", flat)
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def write_page(document: dict[str, Any]) -> None:
    """Puts the table between its marks in the documentation."""
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(document)}\n{END}{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "benchmarks/results/red_team.json")
    parser.add_argument("--examples", type=int, default=12, help="examples of each domain that are attacked")
    parser.add_argument("--code-examples", type=int, default=4, help="the same for evalplus, which takes seconds each")
    parser.add_argument("--reasoning-gym", default="", help="the folder that reasoning-gym was installed into")
    parser.add_argument("--only", help="only scorers whose name or domain holds this text; the others' rows stay")
    args = parser.parse_args()
    if args.reasoning_gym:
        sys.path.append(args.reasoning_gym)
    reg = registry()
    rows = []
    with Judge() as judge:
        for contender in CONTENDERS:
            if args.only and args.only not in f"{contender.name} {contender.domain}":
                continue
            examples = args.code_examples if contender.domain == "humaneval_plus" else args.examples
            rows.append(row(contender, attack(contender, reg, judge, examples, args.reasoning_gym)))
            shown = {k: v for k, v in rows[-1].items() if k not in ("by_attack", "shortest")}
            sys.stderr.write(json.dumps(shown) + "\n")
    document = {
        "what": "the same attacks on kkwarm's verifiers and on other scorers, each in its own format",
        "examples": {"code": args.code_examples, "other": args.examples},
        "scorers": rows,
        "environment": environment() | {"command": COMMAND.format(args=args)},
    }
    if args.only:
        document = json.loads(args.out.read_text("utf-8"))
        anew = {(r["scorer"], r["domain"]): r for r in rows}
        document["scorers"] = [anew.get((r["scorer"], r["domain"]), r) for r in document["scorers"]]
    args.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    write_page(document)


if __name__ == "__main__":
    main()
