"""Scores generated cases with kkwarm's verifiers and with the scorers of other tools.

    python -m pip install --target /tmp/rg reasoning-gym   # not a dependency of kkwarm
    KKWARM_DATA=... python benchmarks/adversarial_search.py --reasoning-gym /tmp/rg

The cases are those of `kkwarm check DOMAIN --search`. They were written by the authors of kkwarm, who corrected its
readers until the search found nothing more. The peers see them for the first time. Every scorer gets the same answers
in its own format: tags, a box, or "The answer is X". Scorers that need tags are not given free text.

Writes benchmarks/results/adversarial_search.json and the table in docs/pages/verdicts.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import peers
from adversarial_probes import PAGE, SCORERS, Scorer, scorer_table, write_page, write_results

from kkwarm.plugins import Registry, registry
from kkwarm.store import environment
from kkwarm.types import Case, Completion, Status, Target, Verdict
from kkwarm.verify import Judge
from kkwarm.verify.mutations import GENERATORS
from kkwarm.verify.probes import make_targets
from kkwarm.verify.search import make_cases, make_scorer

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- adversarial search: begin -->\n", "<!-- adversarial search: end -->\n"
DOMAINS = ("kk", "math", "mmlu_pro")
COMMAND = "benchmarks/adversarial_search.py --reasoning-gym DIR --cases {args.cases} --seed {args.seed}"
EXAMPLES = 12
MAX_SHOWN = 200  # characters of a completion in the results


@dataclass
class Result:
    """The verdicts of one scorer on all cases."""

    counts: Counter[str] = field(default_factory=Counter)
    by_kind: dict[str, Counter[str]] = field(default_factory=dict)
    shortest: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, case: Case, verdict: Verdict) -> None:
        """Counts a verdict. A scorer that died or hung gave none, which is not a wrong one."""
        kind = self.by_kind.setdefault(case.kind, Counter())
        self.counts[f"cases_to_{case.expect}"] += 1
        kind["cases"] += 1
        if verdict.status in (Status.ERROR, Status.TIMEOUT):
            self.counts["no_verdict"] += 1
        elif verdict.correct != (case.expect == "accept"):
            outcome = "wrongly_rejected" if case.expect == "accept" else "wrongly_accepted"
            self.counts[outcome] += 1
            kind["wrong"] += 1
            key, text = f"{case.kind}: {outcome.replace('_', ' ')}", case.completion[:MAX_SHOWN]
            self.shortest[key] = min(self.shortest.get(key, text), text, key=len)


def run(scorer: Scorer, reg: Registry, judge: Judge, args: argparse.Namespace) -> Result:
    """Scores the cases of the scorer's domain."""
    result = Result()
    began = time.perf_counter()
    targets = make_targets(reg, scorer.domain, EXAMPLES, scorer.protocol)
    if scorer.peer == "reasoning_gym_kk":
        targets = [replace(t, gold=peers.reasoning_gym_answer(t.example.answer)) for t in targets]
    for generator in (*GENERATORS, *reg.case_generators(scorer.domain)):
        made = [(t, c) for t, c, _ in make_cases(generator, targets, range(args.cases), args.seed)]
        pairs = [(t, c) for t, c in made if scorer.peer is None or not (c.free_text and scorer.reads_tags)]
        for (_, case), verdict in zip(pairs, _verify(scorer, reg, judge, pairs, args.reasoning_gym), strict=True):
            result.add(case, verdict)
    result.seconds = time.perf_counter() - began
    return result


def _verify(
    scorer: Scorer, reg: Registry, judge: Judge, pairs: list[tuple[Target, Case]], folder: str
) -> list[Verdict]:
    if scorer.peer is None:
        verifier = reg.verifier(reg.benchmark(scorer.domain).verifier)
        return list(make_scorer(verifier, judge)(pairs))
    texts = [(c.example or t.example, Completion(c.completion, finish_reason="stop")) for t, c in pairs]
    return peers.verify(scorer.peer, texts, folder=folder, limit_s=scorer.limit_s)


def row(scorer: Scorer, result: Result) -> dict[str, Any]:
    """The figures of one scorer, with the shortest case of each kind that it got wrong."""
    version = ""
    if scorer.distribution:
        version = next((d.version for d in metadata.distributions(name=scorer.distribution, path=sys.path)), "")
    keys = ("cases_to_reject", "wrongly_accepted", "cases_to_accept", "wrongly_rejected", "no_verdict")
    return {
        "scorer": scorer.name,
        "version": version,
        "note": scorer.note,
        "domain": scorer.domain,
        **{key: result.counts[key] for key in keys},
        "by_kind": {kind: dict(counts) for kind, counts in sorted(result.by_kind.items())},
        "shortest": dict(sorted(result.shortest.items())),
        "seconds": round(result.seconds, 1),
    }


def table(document: dict[str, Any]) -> str:
    """The results as Markdown, one line per scorer."""

    def accepted(row: dict[str, Any]) -> list[str]:
        return [text for kind, text in row["shortest"].items() if kind.endswith("accepted")]

    return scorer_table(document, "cases", DOMAINS, accepted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "benchmarks/results/adversarial_search.json")
    parser.add_argument("--cases", type=int, default=2_000, help="Number of cases per generator.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the cases.")
    parser.add_argument("--reasoning-gym", default="", help="Folder that reasoning-gym was installed into.")
    parser.add_argument("--only", help="Run only scorers whose name or domain contains this text; keep the other rows.")
    args = parser.parse_args()
    if args.reasoning_gym:
        sys.path.append(args.reasoning_gym)
    reg = registry()
    rows = []
    with Judge() as judge:
        for scorer in SCORERS:
            if scorer.domain in DOMAINS and (args.only or "") in f"{scorer.name} {scorer.domain}":
                rows.append(row(scorer, run(scorer, reg, judge, args)))
                summary = {k: v for k, v in rows[-1].items() if k not in ("by_kind", "shortest")}
                sys.stderr.write(json.dumps(summary) + "\n")
    document = {
        "what": "cases that kkwarm check generates, scored by kkwarm's verifiers and by other scorers in their formats",
        "cases_per_generator": args.cases,
        "seed": args.seed,
        "scorers": rows,
        "environment": environment() | {"command": COMMAND.format(args=args)},
    }
    write_page(PAGE, BEGIN, END, table(write_results(args, document)))


if __name__ == "__main__":
    main()
