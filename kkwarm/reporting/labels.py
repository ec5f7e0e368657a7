"""Labels and one-line texts that several views of a report share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kkwarm.progress import duration
from kkwarm.schema.report import (
    Accuracy,
    Cell,
    Change,
    Claim,
    ExamplesSaved,
    Metric,
    MetricChange,
    Report,
    SampleEfficiency,
)
from kkwarm.study.progress import workers

MARK = {"gain": "▲", "loss": "▼", "tie": "=", "underpowered": "?"}
CONTAMINATED = "†"  # at every figure that includes questions that were trained on
SCORING = "‡"  # at every figure that was not scored by the benchmark's own verifier against its own answers
STYLE = {"gain": "green", "loss": "red", "tie": "", "underpowered": "yellow", "no data": "yellow"}
HOLDS = {True: ("holds", "green"), False: ("FAILS", "red"), None: ("undecided", "yellow")}
NOTHING_LEARNED = "nothing learned"  # the kind of an alarm
STATUS_ORDER = ("correct", "wrong", "unparsed", "malformed", "truncated", "timeout", "error")
LEGEND = "percent ± 95% interval, or [from, to]; change in points: ▲ gain, ▼ loss, = tie, ? underpowered"


def points(value: float) -> str:
    """A fraction in percent with one decimal. Every view uses it, so that all agree to the last digit."""
    return f"{round(100 * value, 9):.1f}"  # without the noise of summing in another order


def with_interval(value: float, ci: Sequence[float] | None) -> str:
    """``54.0 ±2.9``: a fraction in percent, with the distance to the farther end of its 95% interval. Near 0% and 100%
    the other end is nearer: 0 of 20 is ``0.0 ±16.1``, since the interval is 0 to 16.1.
    """
    return points(value) + (f" ±{points(max(value - ci[0], ci[1] - value))}" if ci else "")


def percent(cell: Accuracy) -> str:
    """`with_interval` of an accuracy, marked where it is contaminated or scored in another way."""
    mark = ""
    if isinstance(cell, Cell):
        mark = (CONTAMINATED if cell.contaminated else "") + (SCORING if cell.scoring else "")
    return with_interval(cell.accuracy, cell.ci) + mark


def cost_text(tokens: int | None, seconds: float | None, gpu_hours: float | None) -> str:
    """Tokens, time and GPU-hours, as far as they are known."""
    parts = [] if not tokens else [f"{tokens:,} tokens"]
    parts += [] if not seconds else [duration(seconds)]
    parts += [] if not gpu_hours else [f"{gpu_hours:.3g} GPU-hours"]
    return ", ".join(parts)


def number_range(counts: Sequence[int]) -> str:
    """``200``, or ``6-200`` where sorted counts differ."""
    return f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,}-{counts[-1]:,}"


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Names to display. A table's name is its path: its file is shown, unless another table has a file of that name."""
    unique = list(dict.fromkeys(names))
    files = Counter(Path(name).name for name in unique)
    return {
        name: Path(name).name if name.endswith(".toml") and files[Path(name).name] == 1 else name for name in unique
    }


def with_short_names(report: Report) -> Report:
    """The report as views show it: with `short_names` of its domains, in sentences too."""
    short = {name: shown for name, shown in short_names(report.domains).items() if name != shown}
    if not short:
        return report
    pattern = re.compile("|".join(sorted(map(re.escape, short), key=len, reverse=True)))

    def renamed(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda found: short[found[0]], value)
        if isinstance(value, Mapping):
            return {renamed(key): renamed(item) for key, item in value.items()}
        return [renamed(item) for item in value] if isinstance(value, list | tuple) else value

    kept = ("provenance", "runs")
    data = renamed(report.model_dump(exclude={*kept}))
    return Report.model_validate(data | {key: getattr(report, key) for key in kept})


def break_name(name: str, width: int) -> str:
    """A long name on several lines of at most `width` columns, broken after punctuation rather than inside a word."""
    lines = [""]
    for part in re.findall(r"[^:_/+. -]*[:_/+. -]?", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def labels_text(labels: Mapping[str, str], *, named: bool = False) -> str:
    """``key=value, key=value``. `named`: without those that the name beside them repeats."""
    left_out = ("condition", "step") if named else ()
    return ", ".join(f"{key}={value}" for key, value in labels.items() if key not in left_out)


def change_text(change: Change | None) -> str:
    """``▲ +10.2``: the verdict's mark and the change in percentage points."""
    if change is None:
        return ""
    return f"{MARK[change.verdict]} {change.estimate:+.1f}{CONTAMINATED if change.contaminated else ''}"


def corrected_p(claim: Claim) -> str:
    """``, p = 0.08 after Holm``, where only the correction leaves a claim undecided; else empty."""
    decided_alone = claim.ci is not None and (claim.ci[0] > 0 or claim.ci[1] < 0)
    undecided = claim.verdict == "underpowered" and decided_alone and claim.p_holm is not None
    return f", p = {claim.p_holm:.2g} after Holm" if undecided else ""


def reasoning_text(cell: Cell) -> tuple[str, str]:
    """The reasoning rate, and the accuracy with forced reasoning; empty where unknown."""
    rate = "" if cell.reasoning_rate is None else f"{cell.reasoning_rate:.2f}"
    mark = CONTAMINATED if cell.contaminated else ""
    return rate, f"{points(cell.forced.accuracy)}{mark}" if cell.forced else ""


def metric_figure(figures: Mapping[str, Any], name: str) -> str:
    """``0.62 [0.55, 0.69]``: a metric of a benchmark's figures, as `metric_text`."""
    return _metric(figures["metrics"][name], figures.get("metrics_ci", {}).get(name))


def metric_text(metric: Metric) -> str:
    """``0.62 [0.55, 0.69]``: the mean and its 95% interval, in the metric's own unit."""
    return _metric(metric.mean, metric.ci)


def _metric(mean: float, ci: Sequence[float] | None) -> str:
    return f"{mean:.3g}" + (" [{:.3g}, {:.3g}]".format(*ci) if ci else "")


def metric_change_text(change: MetricChange | None) -> str:
    """``+0.12 [+0.02, +0.22]``: the difference and its 95% interval; empty where there is none."""
    return "" if change is None else "{:+.2g} [{:+.2g}, {:+.2g}]".format(change.estimate, *change.ci)


def metric_names(report: Report) -> list[str]:
    """The metrics of all cells, the reward first."""
    return sorted({name for cell in report.cells() for name in cell.metrics}, key=lambda name: (name != "reward", name))


def efficiency_title(report: Report, entry: SampleEfficiency) -> str:
    """The title of a table of examples saved, marked where one of its conditions was trained on its questions."""
    conditions = {p.condition for start in (entry.base, entry.warmed) for p in start.points}
    contaminated = any(c.domain == entry.on and c.condition in conditions for c in report.contamination)
    return f"Examples of {entry.on} saved by the warm-up{CONTAMINATED if contaminated else ''}"


def saved_text(row: ExamplesSaved) -> tuple[str, str, str, str]:
    """What the base needs, what the warmed start needs, the difference, and its interval."""

    def number(value: float | None, sign: str = "") -> str:
        return "not reached" if value is None else f"{value:{sign}.0f}"

    low, high = row.ci
    interval = "not reached" if high is None else f"{number(low, '+')} to {number(high, '+')}"
    return number(row.base), number(row.warmed), number(row.saved, "+"), interval


def contamination_lines(report: Report) -> list[str]:
    """A line for each condition and domain with contaminated questions."""
    return [f"{c.condition} was trained on {c.questions} questions of {c.domain}" for c in report.contamination]


def scoring_lines(report: Report) -> list[str]:
    """A line for each way in which conditions were not scored as the benchmark scores, with the conditions."""
    groups: dict[tuple[str, str], list[str]] = {}
    for condition, row in report.matrix.items():
        for domain, cell in row.items():
            for phrase in cell.scoring:
                groups.setdefault((domain, phrase), []).append(condition)
    return [f"{', '.join(conditions)} on {domain}: {phrase}" for (domain, phrase), conditions in groups.items()]


def protocol_pair(a: Accuracy, b: Accuracy) -> str:
    """The protocol of two runs, or both where they differ; empty where it is unknown."""
    if a.protocol == b.protocol:
        return a.protocol
    return f"A {a.protocol or 'unknown'}, B {b.protocol or 'unknown'}"


def warning_lines(report: Report) -> list[tuple[str, bool]]:
    """What limits the figures, the most important first, and whether it makes them wrong rather than uncertain."""
    lines = [(f"{CONTAMINATED} CONTAMINATED: {line}", True) for line in contamination_lines(report)]
    lines += [(line, False) for line in report.unusable]
    lines += [(f"Not compared: {problem}", False) for problem in report.problems]
    lines += [(f"{SCORING} {line}", False) for line in scoring_lines(report)]
    lines += [(f"Measured differently: {line}", False) for line in settings_lines(report)]
    lines += [(line, False) for line in (*training_split_lines(report), *stopped_lines(report))]
    if any(cell.partial for cell in report.cells()):
        lines.append(("* some samples are still missing or left out", False))
    return lines


def checkpoint_lines(report: Report) -> list[str]:
    """The checkpoints that the report compares, the stages of each condition, and what each stage trained."""
    models = [f"{c.name} = {c.model}" for c in report.conditions if c.model not in ("", c.name)]
    lines = [f"Checkpoint{'' if len(models) == 1 else 's'}: {'; '.join(models)}"] if models else []
    if report.stages:
        chains = [f"{c.name} = {' > '.join(c.chain)}" for c in report.conditions if len(c.chain) > 1]
        lines.append(f"Conditions: {'; '.join(chains)}")
        lines.append("Stages: " + "; ".join(f"{name} = {text}" for name, text in report.stages.items()))
    return lines


def measured_lines(report: Report) -> list[str]:
    """How the benchmarks were evaluated: what holds for all conditions, then what differs, with the conditions."""
    domains: dict[str, list[str]] = {}
    for domain in report.domains:
        variants: dict[tuple[str, ...], list[str]] = {}
        for condition, row in report.matrix.items():
            if domain in row:
                variants.setdefault(_evaluation_facts(row[domain]), []).append(condition)
        if not variants:
            continue
        shared = [fact for fact in next(iter(variants)) if all(fact in facts for facts in variants)]
        differing = [
            f"{', '.join(fact for fact in facts if fact not in shared) or 'nothing else'} for {', '.join(names)}"
            for facts, names in variants.items()
            if len(variants) > 1
        ]
        domains.setdefault("; ".join(filter(None, (", ".join(shared), *differing))), []).append(domain)
    return [f"{', '.join(names)}: {text}" for text, names in domains.items()]


def _evaluation_facts(cell: Cell) -> tuple[str, ...]:
    seeds = len(cell.seeds)
    each = cell.samples / (cell.n * seeds)
    facts = [f"{cell.n:,} question{'' if cell.n == 1 else 's'}"]
    facts.append(f"{each:.3g} sample{'' if each == 1 else 's'} each" + (f" in {seeds} seeds" if seeds > 1 else ""))
    facts += [f"protocol {cell.protocol}"] if cell.protocol else []
    facts += [f"{name} {cell.sampling[name]:g}" for name in ("temperature", "top_p") if name in cell.sampling]
    facts += [f"at most {cell.sampling['max_tokens']:,.0f} tokens"] if "max_tokens" in cell.sampling else []
    return tuple(facts)


def cost_line(report: Report) -> str:
    """What the report cost, and on which machine, when and with which version it was measured."""
    tokens = sum(c.tokens or 0 for c in report.cost)
    p = report.provenance
    facts = [f"{tokens:,} tokens generated in evaluation" if tokens else ""]
    if "wall_s" in p:
        facts.append(f"{duration(p['wall_s'])} for the study with {workers(p['jobs'])}")
    elif seconds := sum(c.evaluation_s or 0 for c in report.cost):
        facts.append(duration(seconds))
    if hours := sum(c.gpu_hours or 0 for c in report.cost):
        facts.append(f"{hours:.3g} GPU-hours")
    environment = p.get("environment", {})
    gpus = environment.get("gpu", [])
    processor = f"{environment['processor']}, {environment['cores']} cores" if "processor" in environment else ""
    facts += [", ".join(gpus) or processor, p.get("created", "")[:10]]
    versions = environment.get("versions", {})
    facts += ["kkwarm " + versions["kkwarm"]] if "kkwarm" in versions else []
    return " · ".join(f for f in facts if f)


def settings_lines(report: Report) -> list[str]:
    """A line for each pair of conditions whose measurements differ."""
    return [
        f"{d.condition} and {d.baseline} on {', '.join(d.domains)}: {'; '.join(d.differences)}"
        for d in report.settings_differences
    ]


def training_split_lines(report: Report) -> list[str]:
    """A line for each domain of which questions of the training split were evaluated, with the conditions."""
    groups: dict[tuple[str, int, int], list[str]] = {}
    for condition, row in report.matrix.items():
        for domain, cell in row.items():
            if cell.training_split:
                groups.setdefault((domain, cell.training_split, cell.n), []).append(condition)
    return [
        f"{count:,} of the {n:,} questions of {domain} belong to kkwarm's training split ({', '.join(conditions)})"
        for (domain, count, n), conditions in groups.items()
    ]


def verdict_counts(report: Report) -> str:
    """How many changes are gains, losses, ties and underpowered, as a sentence; empty where nothing is compared."""
    counts: Counter[str] = Counter(cell.change.verdict for cell in report.cells() if cell.change)
    nouns = (("gain", "gain", "gains"), ("loss", "loss", "losses"), ("tie", "tie", "ties"))
    parts = [f"{counts[v]} {one if counts[v] == 1 else many}" for v, one, many in nouns if counts[v]]
    parts += [f"{counts['underpowered']} underpowered"] if counts["underpowered"] else []
    total = sum(counts.values())
    return f"{total} change{'' if total == 1 else 's'} from the baseline: {', '.join(parts)}." if total else ""


def stopped_lines(report: Report) -> list[str]:
    """A line for each cell that early stopping ended before its last question."""
    lines = []
    for condition, row in report.matrix.items():
        for domain, cell in row.items():
            if (stop := cell.stopped) is not None:
                rule = "" if stop["rule"] == "half-width" else f" by a test against {stop['baseline']}"
                count = f"{stop['questions']:,} of {stop['of']:,} questions"
                lines.append(f"{condition} on {domain} was stopped early{rule} after {count}")
    return lines


def nothing_learned_lines(report: Report) -> list[str]:
    """A line for each RLVR stage in which nothing was learned, as in `alarm_lines`."""
    return _alarm_lines(report, learned=False)


def alarm_lines(report: Report) -> list[str]:
    """A line for each other kind of alarm of each stage: the text of its first seed, and the other seeds that raised
    it.
    """
    return _alarm_lines(report, learned=True)


def _alarm_lines(report: Report, *, learned: bool) -> list[str]:
    groups: dict[tuple[str, str, str], list[tuple[int, dict[str, Any]]]] = {}
    for t in report.training:
        for alarm in t.alarms:
            implied = t.signal is False and alarm["kind"] == "no signal"
            if implied or (alarm["kind"] != NOTHING_LEARNED) != learned:
                continue
            key = (f"{t.conditions[0]} ({t.stage})", alarm["kind"], alarm.get("domain", ""))
            groups.setdefault(key, []).append((t.seed, alarm))
    lines = []
    for (name, kind, _), alarms in groups.items():
        seed, alarm = alarms[0]
        others = ", ".join(str(s) for s, _ in alarms[1:])
        also = f"; seed{'s' if len(alarms) > 2 else ''} {others} too" if others else ""
        lines.append(f"{name}, seed {seed}, step {alarm['step']}: {kind}: {alarm['text']}{also}")
    return lines


def evals_text(report: Report) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The table of in-training evaluations: domains, and for each stage its name and ``60 → 30`` for each domain."""
    domains = list(dict.fromkeys(d for e in report.in_training_evals for d in e.accuracy))
    rows = []
    for e in report.in_training_evals:
        ends = [
            "{:.0f} → {:.0f}".format(*(100 * v for v in e.accuracy[d])) if d in e.accuracy else "-" for d in domains
        ]
        rows.append((f"{e.condition} ({e.stage}), step {e.first_step} to {e.last_step}", ends))
    return domains, rows


def value_lines(document: Mapping[str, Any]) -> list[str]:
    """One ``name: value`` for each entry of a training's results, and none where there is no value."""
    lines = []
    for name, value in document.items():
        if isinstance(value, float):
            value = f"{value:.6g}"
        elif isinstance(value, Mapping):
            value = _inline(value)
        elif isinstance(value, list):
            value = "; ".join(map(str, value))
        if value not in ("", None):
            lines.append(f"{name.replace('_', ' ')}: {value}")
    return lines


def _inline(values: Mapping[str, Any]) -> str:
    parts = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            text = f"({_inline(value)})"
        else:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
        parts.append(f"{name} {text}")
    return ", ".join(parts)
