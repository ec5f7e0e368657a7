"""The report of a study, as ``report.json`` and ``kkwarm report --json`` hold it, and the comparison of two runs.

Accuracies and their errors and intervals are fractions (0 to 1). Differences, their errors and intervals, and margins
are percentage points.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from kkwarm.json_text import parse_json

if TYPE_CHECKING:
    import pandas

SCHEMA_VERSION = 1
Outcome = Literal["gain", "loss", "tie", "underpowered"]
State = Literal["done", "in progress"]
Interval = tuple[float, float]


_SURROGATES = re.compile("[\ud800-\udfff]")


def replace_surrogates(value: Any) -> Any:
    """Replaces halves of surrogate pairs, which have no encoding, by U+FFFD, in texts of any depth."""
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATES.sub("\ufffd", value)
    if isinstance(value, dict):
        return {replace_surrogates(k): replace_surrogates(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(replace_surrogates(v) for v in value)
    return value


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> str:
        """As JSON text, as the commands print it with ``--json``."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)

    @model_validator(mode="before")
    @classmethod
    def _replace_surrogates(cls, data: Any) -> Any:
        return replace_surrogates(data)


class _Shown(_Model):
    """A result that a notebook shows as the terminal does."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, whose content to_json() gives>"

    def _repr_html_(self) -> str:
        from kkwarm.reporting.notebook import html

        return html(self)


class Condition(_Model):
    """A row of the matrix, the row that its changes are measured against, the checkpoint and the stages that trained
    it, and the labels of its run. `model`: the checkpoint's name, where kkwarm did not train it in this study.
    """

    name: str
    baseline: str | None
    chain: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    model: str = ""


class Difference(_Model):
    """A difference of accuracies with its 95% interval, in percentage points."""

    estimate: float
    ci: Interval
    p: float
    verdict: Outcome


class Metric(_Model):
    """The mean over questions of a metric of the samples, in its own unit, with its 95% interval (None where all values
    outside 0..1 are equal). The reward is the metric ``reward``.
    """

    mean: float
    stderr: float
    ci: Interval | None


class MetricChange(_Model):
    """A paired difference of a metric, in its own unit, with its 95% interval, which is not corrected for the number of
    comparisons.
    """

    estimate: float
    ci: Interval


class Change(Difference):
    """A paired difference from `baseline`, in percentage points.

    `p_holm`: p after Holm's correction over all changes of the matrix, or all benchmarks of a comparison (None where
    `p` belongs to a group-sequential test). `seed_share`: share of the squared standard error that comes from seeds
    (None for one seed). `gained`, `lost`: questions that most samples answer correctly in one of both only.
    `contaminated`: one of both was trained on questions of this cell. `ci_90`: the interval that lies within the
    equivalence `margin` where the verdict is a tie. `metrics`: by name, those that both have.
    """

    baseline: str
    ci_90: Interval
    margin: float
    stderr: float
    p_holm: float | None
    test: str
    questions: int
    seeds: int
    seed_share: float | None
    gained: int
    lost: int
    contaminated: bool = False
    metrics: dict[str, MetricChange] = {}


class PromptExample(_Model):
    """The prompt of one question (`id`) of a domain, by the protocol with this label, which `conditions` used."""

    domain: str
    protocol: str
    conditions: tuple[str, ...]
    id: str
    text: str


class Figure(_Model):
    """A mean over `n` questions with its 95% interval (None for a single question)."""

    value: float
    ci: Interval | None
    n: int


class Cost(_Model):
    """What a condition took, in all its seeds: tokens generated and seconds of generation in its evaluation, and
    seconds of its training (None where unknown). `gpu_hours`: of both, on all visible GPUs; None without one.
    """

    condition: str
    tokens: int | None
    evaluation_s: float | None
    training_s: float | None
    gpu_hours: float | None


class Accuracy(_Model):
    """The accuracy of a condition on a domain: mean over `n` questions, with standard error and 95% interval.

    `seeds`: None where no seed is recorded;
    `by_seed`: the accuracy of each seed; `status`: counts of completions; `partial`: samples are missing; `protocol`:
    the protocol with what was changed about it, such as ``plain (chat)``; `metrics`: by name.
    """

    accuracy: float
    stderr: float
    ci: Interval
    n: int
    seeds: tuple[int | None, ...]
    by_seed: tuple[float, ...]
    samples: int
    status: dict[str, int]
    partial: bool
    protocol: str = ""
    metrics: dict[str, Metric] = {}


class Cell(Accuracy):
    """A cell of the matrix. `reasoning_rate`: share of completions that reason before the answer; `tokens`: mean
    length; `lengths`: its median and 95th percentile; `forced`: accuracy where the prompt forces reasoning;
    `contaminated`: number of its questions that the condition was trained on; `scoring`: how the scoring differed from
    the benchmark's own (another verifier, other gold answers); `stopped`: the record of early stopping; `pass_at`: by
    ``pass@2``, ...; `facets`: accuracy by facet and value; `training_split`: number of its
    questions that belong to the training split; `sampling`: ``temperature``, ``top_p`` and ``max_tokens``, where known.
    """

    reasoning_rate: float | None
    tokens: float | None
    lengths: tuple[float, float] | None
    change: Change | None
    forced: Accuracy | None
    contaminated: int = 0
    scoring: tuple[str, ...] = ()
    stopped: dict[str, Any] | None = None
    pass_at: dict[str, Figure] = {}
    facets: dict[str, dict[str, Figure]] = {}
    training_split: int = 0
    sampling: dict[str, float] = {}


class StepEfficiency(_Model):
    """RLVR from two starts over equal steps, by the share of correct rollouts.

    `advantage`: mean difference over the steps in percentage points, for each seed. `level`: where the base's curves
    end. `steps_base`, `steps_warmed`: the first step at which the smoothed curve reaches it; None if never.
    """

    advantage: tuple[float, ...]
    seeds: tuple[int, ...]
    steps: int
    level: float
    steps_base: int | None
    steps_warmed: int | None
    start_base: float
    start_warmed: float
    final_warmed: float


class Claim(_Model):
    """A claim of a paper. `holds`: True, False, or None where it is undecided; `p_holm`: corrected over the paper's
    claims; `statement`: what the estimate is, or what data is missing; `from_base`: the same difference from the base.
    """

    id: str
    on: str
    text: str
    domains: tuple[str, ...]
    verdict: Outcome | Literal["no data"]
    holds: bool | None
    statement: str
    estimate: float | None = None
    ci: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    test: str = ""
    seeds: int = 0
    questions: int = 0
    contaminated: bool = False
    from_base: Difference | None = None
    efficiency: StepEfficiency | None = None


class Roles(_Model):
    """The conditions that the claims compare."""

    base: str
    warmed: str
    base_rlvr: str
    warmed_rlvr: str
    on: str
    warmup: str


class Curve(_Model):
    """The log of one RLVR run: rollouts' mean reward and share of correct ones, raw and as 5-step means."""

    condition: str
    seed: int
    steps: tuple[int, ...]
    reward: tuple[float, ...]
    smoothed_reward: tuple[float, ...]
    accuracy: tuple[float, ...] | None
    smoothed_accuracy: tuple[float, ...] | None


class Band(_Model):
    """A curve's mean over seeds, its lowest and highest seed, and each seed."""

    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    by_seed: tuple[tuple[float, ...], ...]


class MeanCurve(_Model):
    """The smoothed curves of a condition's RLVR, on the steps that all seeds have."""

    condition: str
    steps: tuple[int, ...]
    reward: Band
    accuracy: Band | None


class EfficiencyPoint(_Model):
    """The accuracy after RLVR on a number of examples."""

    examples: int
    condition: str
    accuracy: float
    ci: Interval
    by_seed: tuple[float, ...]


class EfficiencyStart(_Model):
    """One start of a sample-efficiency comparison: a condition and its points."""

    condition: str
    points: tuple[EfficiencyPoint, ...]


class ExamplesSaved(_Model):
    """The examples that each start needs for the accuracy (`level`) that the base reaches with `examples`.

    `base`, `warmed`: None where the start never reaches it; `saved`: base minus warmed, with its 95% interval (None:
    not reached); `reached`: share of bootstrap samples that reach it.
    """

    examples: int
    level: float
    base: float | None
    warmed: float | None
    saved: float | None
    ci: tuple[float | None, float | None]
    reached: float
    verdict: Literal["saves", "costs", "undecided"]


class SampleEfficiency(_Model):
    """Accuracy against the number of RLVR examples on the domain `on`, from both starts."""

    on: str
    base: EfficiencyStart
    warmed: EfficiencyStart
    saved: tuple[ExamplesSaved, ...]


class EvalPoint(_Model):
    """An in-training evaluation: accuracy by domain."""

    step: int
    accuracy: dict[str, float]


class Training(_Model):
    """Alarms (``kind``, ``step``, ``text``, ``domain``) and in-training evaluations of one training run. `signal`:
    False where nothing was learned, because the rewards of RLVR never varied within a group; None for a warm-up, and
    before the end.
    """

    stage: str
    kind: str
    seed: int
    conditions: tuple[str, ...]
    alarms: tuple[dict[str, Any], ...]
    evals: tuple[EvalPoint, ...]
    signal: bool | None = None


class InTrainingEvals(_Model):
    """Accuracy by domain at a stage's first and last in-training evaluation, means over seeds."""

    condition: str
    stage: str
    seeds: int
    first_step: int
    last_step: int
    accuracy: dict[str, tuple[float, float]]


class Contamination(_Model):
    """The number of evaluated questions of a domain that a condition was trained on."""

    condition: str
    domain: str
    questions: int


class SettingsDifference(_Model):
    """How the measurements of two compared conditions differ, where another tool generated the samples of one."""

    condition: str
    baseline: str
    domains: tuple[str, ...]
    differences: tuple[str, ...]


class Progress(_Model):
    """How many steps of a study are done."""

    done: int
    steps: int


class Report(_Shown):
    """The report of a study, or of bench runs side by side.

    `matrix`: cells by condition and domain; `statuses`: counts of completions by condition, over all domains;
    `comparisons`: size of the family for which the p-values of changes are corrected; `margin`: equivalence margin in
    percentage points; `advice`: what would decide the underpowered changes; `problems`: what could not be compared, and
    why; `unusable`: cells of which no completion can be scored, with what to do; `stages`: what each stage of the
    conditions' chains trained, by name; `prompts`: one for each domain and protocol, where the runs stored it; `cost`:
    of each condition; `runs`: folders of the study or the runs.
    """

    schema_version: int = SCHEMA_VERSION
    title: str
    state: State
    progress: Progress | None
    conditions: tuple[Condition, ...]
    domains: tuple[str, ...]
    matrix: dict[str, dict[str, Cell]]
    statuses: dict[str, dict[str, int]]
    claims: tuple[Claim, ...]
    roles: tuple[Roles, ...]
    curves: tuple[Curve, ...]
    mean_curves: tuple[MeanCurve, ...]
    efficiency: tuple[SampleEfficiency, ...]
    margin: float
    comparisons: int
    method: str
    advice: str
    note: str
    problems: tuple[str, ...]
    unusable: tuple[str, ...] = ()
    stages: dict[str, str] = {}
    prompts: tuple[PromptExample, ...] = ()
    settings_differences: tuple[SettingsDifference, ...]
    training: tuple[Training, ...]
    in_training_evals: tuple[InTrainingEvals, ...]
    contamination: tuple[Contamination, ...]
    cost: tuple[Cost, ...]
    provenance: dict[str, Any]
    runs: tuple[str, ...]

    @model_validator(mode="before")
    @classmethod
    def _check_version(cls, data: Any) -> Any:
        version = data.get("schema_version") if isinstance(data, dict) else SCHEMA_VERSION
        if version not in (None, SCHEMA_VERSION):
            raise ValueError(f"schema version {version} is unknown; this kkwarm reads version {SCHEMA_VERSION}")
        return data

    def baseline(self, condition: str) -> str | None:
        """The condition that this one is compared with."""
        return next((c.baseline for c in self.conditions if c.name == condition), None)

    def cells(self) -> list[Cell]:
        """All cells of the matrix."""
        return [cell for row in self.matrix.values() for cell in row.values()]

    def matrix_df(self) -> pandas.DataFrame:
        """The transfer matrix as a data frame: a row for each cell, indexed by `condition` and `domain`.

        The columns are fields of `Cell` (`accuracy` and `stderr` are fractions), `low` and `high` of its 95% interval,
        and of the change from the `baseline`, in percentage points: `change`, `change_low`, `change_high`, `p_holm` and
        `verdict`. ``matrix_df()["accuracy"].unstack(sort=False)`` is the matrix alone.
        """
        import pandas

        rows = {(c, d): _cell_row(cell) for c, row in self.matrix.items() for d, cell in row.items()}
        index = pandas.MultiIndex.from_tuples(list(rows), names=("condition", "domain"))
        return pandas.DataFrame(list(rows.values()), index=index)


class BenchmarkComparison(_Model):
    """Two runs on one benchmark. `flipped`: ids of the questions that most samples of only that run answer correctly;
    `scoring`: how the scoring of each run differed from the benchmark's own;
    `stopped`: the early-stopping record of each run; `statement`: the verdict as a sentence.
    """

    a: Accuracy
    b: Accuracy
    change: Change
    contaminated: dict[str, int]
    scoring: dict[str, tuple[str, ...]]
    only_a: int
    only_b: int
    flipped: dict[str, tuple[str, ...]]
    settings_differences: tuple[str, ...]
    stopped: dict[str, dict[str, Any] | None]
    statement: str


class Comparison(_Shown):
    """A paired comparison of two runs, as ``kkwarm compare --json`` prints it. `margin`: percentage points, where no
    early stopping set another; each change has its own. `labels`: those given to each run.
    """

    a: str
    b: str
    state: State
    states: dict[str, State]
    labels: dict[str, dict[str, str]]
    margin: float
    benchmarks: dict[str, BenchmarkComparison]
    method: str


class Comparisons(_Shown):
    """Several runs, each compared with the `baseline`, as ``kkwarm compare --json`` prints more than two."""

    baseline: str
    comparisons: tuple[Comparison, ...]
    method: str


class RunSummary(_Model):
    """A run as ``kkwarm runs --json`` lists it: accuracies with 95% intervals and questions by benchmark."""

    path: str
    kind: str
    state: str
    created: str
    model: str
    labels: dict[str, str]
    accuracy: dict[str, float]
    ci: dict[str, Interval]
    questions: dict[str, int]
    tokens: int | None
    seconds: float | None


class RankedRun(_Model):
    """A run of a leaderboard. `mean`: of its accuracies; `best_rank`, `worst_rank`: 1 + the number of runs that are
    significantly better, and the number that are not significantly worse; `groups`: letters of its groups.
    """

    name: str
    path: str
    labels: dict[str, str]
    mean: float
    accuracy: dict[str, Accuracy]
    best_rank: int
    worst_rank: int
    groups: str


class Leaderboard(_Model):
    """Runs in the order of their mean accuracy, as ``kkwarm leaderboard --json`` prints it. `pairs`: compared runs."""

    benchmarks: tuple[str, ...]
    runs: tuple[RankedRun, ...]
    pairs: int
    method: str


def _cell_row(cell: Cell) -> dict[str, Any]:
    names = ("accuracy", "stderr", "n", "samples", "reasoning_rate", "tokens", "contaminated", "partial", "protocol")
    row = {name: getattr(cell, name) for name in names} | {"low": cell.ci[0], "high": cell.ci[1]}
    if cell.change is not None:
        row |= {"baseline": cell.change.baseline, "change": cell.change.estimate}
        row |= {"change_low": cell.change.ci[0], "change_high": cell.change.ci[1]}
        row |= {"p_holm": cell.change.p_holm, "verdict": cell.change.verdict}
    return row


def parse_report(text: bytes | str) -> Report:
    """A report from its JSON text.

    :raises ValueError: it is no report, or of another schema version; one line.
    """
    try:
        return Report.model_validate(parse_json(text))
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        more = f" (and {err.error_count() - 1} more problems)" if err.error_count() > 1 else ""
        raise ValueError(f"{where}: {message}{more}" if where else f"{message}{more}") from None
