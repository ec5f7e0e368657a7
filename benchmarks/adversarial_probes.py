"""Runs the adversarial probes on kkwarm's verifiers and on the scorers of other tools.

    python -m pip install --target /tmp/rg reasoning-gym   # not a dependency of kkwarm
    KKWARM_DATA=... python benchmarks/adversarial_probes.py --reasoning-gym /tmp/rg

Writes benchmarks/results/adversarial_probes.json and the table in docs/pages/verdicts.md. Every scorer gets the
completions in its own format: tags, a box, or "The answer is X". Probes of tags are skipped for scorers that read free
text, and hedges in words for scorers that read code. A peer that crashes or hangs on a completion returns no verdict;
such completions are counted separately.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import peers
from kkwarm_math.probes import LISTED, case_targets

from kkwarm.plugins import Registry, registry
from kkwarm.store import environment
from kkwarm.types import Completion, Example, Probe, Status, Target, Verdict
from kkwarm.verify import Judge
from kkwarm.verify.probes import ACCEPT_PROBES, PROBES, ProbeFailure, make_targets, probe_scorer

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/pages/verdicts.md"
BEGIN, END = "<!-- adversarial probes: begin -->\n", "<!-- adversarial probes: end -->\n"
DOMAINS = ("kk", "math", "humaneval_plus", "mmlu_pro", "mini_kk", "mini_math", "mini_code", "mini_mcq")
COMMAND = (
    "benchmarks/adversarial_probes.py --reasoning-gym DIR --examples {args.examples} "
    "--code-examples {args.code_examples}"
)
MAX_SHOWN = 200  # characters of a completion in the results


@dataclass(frozen=True)
class Scorer:
    """A scorer under test. `peer` is None for kkwarm's own verifier.

    `protocol` is how the scorer expects answers (None: the domain's). `skipped` names probes that do not apply.
    """

    name: str
    domain: str
    peer: str | None = None
    protocol: Any = None
    distribution: str = ""
    note: str = ""
    limit_s: float = 15.0
    skipped: tuple[str, ...] = ()

    @property
    def reads_tags(self) -> bool:
        return not isinstance(self.protocol, peers.AnswerTemplate)


HEDGES = ("negated", "every answer at once")  # code between words is still that code
CODE = peers.AnswerTemplate("code", "{answer}")
BOXED = peers.AnswerTemplate("boxed", "{reasoning}\n\n\\boxed{{answer}}")
LETTER = peers.AnswerTemplate("letter", "{reasoning}\n\nThe answer is {answer}.")
SCORERS = (
    *(Scorer("kkwarm", domain) for domain in DOMAINS),
    Scorer("evalplus", "humaneval_plus", "evalplus", CODE, "evalplus", limit_s=180.0, skipped=HEDGES),
    Scorer("math-verify, defaults", "math", "math_verify", BOXED, "math-verify"),
    Scorer(
        "MMLU-Pro's official scorer",
        "mmlu_pro",
        "mmlu_pro_official",
        LETTER,
        note="its patterns; its random guess is seeded",
    ),
    Scorer("lm-eval's mmlu_pro", "mmlu_pro", "lm_eval_mmlu_pro", LETTER, "lm_eval"),
    Scorer("reasoning-gym's K&K scorer", "kk", "reasoning_gym_kk", None, "reasoning-gym"),
    Scorer("the paper's K&K reward", "kk", "paper_kk", None, note="reimplemented from its description"),
)


@dataclass
class Result:
    """The outcome of all probes on one scorer."""

    n_completions: dict[str, int] = field(default_factory=dict)
    failures: list[ProbeFailure] = field(default_factory=list)
    no_verdict: Counter[str] = field(default_factory=Counter)
    accept_probes: set[str] = field(default_factory=set)
    seconds: float = 0.0


def run_probes(scorer: Scorer, reg: Registry, judge: Judge, examples: int, folder: str) -> Result:
    """Runs all probes of the scorer's domain."""
    result = Result()
    began = time.perf_counter()

    def verify(pairs: Sequence[tuple[Example, Completion]]) -> Sequence[Verdict]:
        if scorer.peer is None:
            benchmark = reg.benchmark(scorer.domain)
            protocol = reg.protocol(reg.domain(scorer.domain))
            return judge.verify(reg.verifier(benchmark.verifier), protocol, pairs)
        verdicts = peers.verify(scorer.peer, pairs, folder=folder, limit_s=scorer.limit_s)
        result.no_verdict.update(v.reason for v in verdicts if v.status in (Status.ERROR, Status.TIMEOUT))
        return verdicts

    targets = make_targets(reg, scorer.domain, examples, scorer.protocol)
    if scorer.peer == "reasoning_gym_kk":
        targets = [replace(t, gold=peers.reasoning_gym_answer(t.example.answer)) for t in targets]
    groups: list[tuple[Sequence[Target], Sequence[Probe]]] = [
        (targets, [*PROBES, *ACCEPT_PROBES, *reg.probes(scorer.domain)])
    ]
    if scorer.domain == "math":
        groups.append((case_targets(targets[0]), LISTED))
    for group_targets, probes in groups:
        applicable = [p for p in probes if (scorer.reads_tags or not p.uses_tags) and p.name not in scorer.skipped]
        failures, n_completions = probe_scorer(verify, group_targets, applicable)
        result.failures += failures
        result.n_completions |= n_completions
        result.accept_probes |= {p.name for p in applicable if p.expect == "accept"}
    result.seconds = time.perf_counter() - began
    return result


def row(scorer: Scorer, result: Result) -> dict[str, Any]:
    """The figures of one scorer, with the shortest example of each probe that it failed."""
    version = ""
    if scorer.distribution:
        version = next((d.version for d in metadata.distributions(name=scorer.distribution, path=sys.path)), "")
    # A completion without a verdict is not a wrong verdict.
    rejected = [f for f in result.failures if f.expect == "accept" and not f.verdict.startswith(("error", "timeout"))]
    accepted = [f for f in result.failures if f.expect == "reject"]
    counts = result.n_completions.items()
    return {
        "scorer": scorer.name,
        "version": version,
        "note": scorer.note,
        "domain": scorer.domain,
        "probes_to_reject": sum(n for name, n in counts if name not in result.accept_probes),
        "wrongly_accepted": len(accepted),
        "probes_to_accept": sum(n for name, n in counts if name in result.accept_probes),
        "wrongly_rejected": len(rejected),
        "no_verdict": sum(result.no_verdict.values()),
        "no_verdict_because": dict(result.no_verdict),
        "by_probe": {
            name: {"completions": n, "wrong": sum(f.probe == name for f in (*accepted, *rejected))}
            for name, n in counts
        },
        "shortest": [*_shortest(accepted, "wrongly accepted"), *_shortest(rejected, "wrongly rejected")],
        "seconds": round(result.seconds, 1),
    }


def _shortest(failures: Sequence[ProbeFailure], outcome: str) -> list[dict[str, str]]:
    """The shortest completion of each probe."""
    by_probe: dict[str, ProbeFailure] = {}
    for failure in sorted(failures, key=lambda f: len(f.completion)):
        by_probe.setdefault(failure.probe, failure)
    rows = []
    for probe, failure in by_probe.items():
        text = failure.completion
        text = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text):,})"
        rows.append({"probe": probe, "outcome": outcome, "example": failure.example, "completion": text})
    return rows


# -- the table --------------------------------------------------------------------------------------------------------


def table(document: dict[str, Any]) -> str:
    """The results as Markdown, one line per scorer."""

    def accepted(row: dict[str, Any]) -> list[str]:
        return [e["completion"] for e in row["shortest"] if e["outcome"] == "wrongly accepted"]

    return scorer_table(document, "probes", DOMAINS, accepted)


def scorer_table(
    document: dict[str, Any], what: str, domains: Sequence[str], accepted: Callable[[dict[str, Any]], list[str]]
) -> str:
    """The results as Markdown, one line per scorer.

    :param what: what the scorers were given, as in the keys ``WHAT_to_reject`` and ``WHAT_to_accept``.
    :param accepted: returns the completions that a scorer wrongly accepted.
    """
    lines = [
        f"| domain | scorer | {what} to reject | wrongly accepted | {what} to accept | wrongly rejected | no verdict "
        "| shortest wrongly accepted |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    keys = (f"{what}_to_reject", "wrongly_accepted", f"{what}_to_accept", "wrongly_rejected", "no_verdict")
    for r in sorted(document["scorers"], key=lambda r: (domains.index(r["domain"]), r["scorer"] != "kkwarm")):
        name = f"**{r['scorer']}**" if r["scorer"] == "kkwarm" else f"{r['scorer']} {r['version']}".strip()
        name += f" ({r['note']})" if r["note"] else ""
        texts = sorted(filter(None, map(_cell, accepted(r))), key=len)
        shortest = f"`{texts[0]}`" if texts else ""
        lines.append(f"| {r['domain']} | {name} | " + " | ".join(f"{r[k]:,}" for k in keys) + f" | {shortest} |")
    return "\n".join(lines) + "\n"


def _cell(text: str, limit: int = 70) -> str:
    """A completion on one line, without the tags around the answer."""
    flat = " ".join(text.split()).replace("|", "/").replace("`", "'")
    flat = re.sub(r"^(some reasoning )?(</think> <answer> )?|( </answer>)$", "", flat)
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def write_results(args: argparse.Namespace, document: dict[str, Any]) -> dict[str, Any]:
    """Writes the results; with ``--only`` the new rows replace stored ones. Returns what was written."""
    if args.only:
        rows = document["scorers"]
        document = json.loads(args.out.read_text("utf-8"))
        new_rows = {(r["scorer"], r["domain"]): r for r in rows}
        document["scorers"] = [new_rows.get((r["scorer"], r["domain"]), r) for r in document["scorers"]]
    args.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return document


def write_page(page: Path, begin: str, end: str, text: str) -> None:
    """Writes a table between its markers in a page of the documentation."""
    before, _, rest = page.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "benchmarks/results/adversarial_probes.json")
    parser.add_argument("--examples", type=int, default=12, help="Number of examples per domain.")
    parser.add_argument(
        "--code-examples", type=int, default=4, help="Number of examples for code, where evalplus takes seconds each."
    )
    parser.add_argument("--reasoning-gym", default="", help="Folder that reasoning-gym was installed into.")
    parser.add_argument(
        "--only", help="Run only scorers whose name or domain contains this text; keep the rows of the others."
    )
    args = parser.parse_args()
    if args.reasoning_gym:
        sys.path.append(args.reasoning_gym)
    reg = registry()
    rows = []
    with Judge() as judge:
        for scorer in SCORERS:
            if args.only and args.only not in f"{scorer.name} {scorer.domain}":
                continue
            examples = args.code_examples if scorer.domain == "humaneval_plus" else args.examples
            rows.append(row(scorer, run_probes(scorer, reg, judge, examples, args.reasoning_gym)))
            summary = {k: v for k, v in rows[-1].items() if k not in ("by_probe", "shortest")}
            sys.stderr.write(json.dumps(summary) + "\n")
    document = {
        "what": "the same adversarial probes on kkwarm's verifiers and on other scorers, each in its own format",
        "examples": {"code": args.code_examples, "other": args.examples},
        "scorers": rows,
        "environment": environment() | {"command": COMMAND.format(args=args)},
    }
    write_page(PAGE, BEGIN, END, table(write_results(args, document)))


if __name__ == "__main__":
    main()
