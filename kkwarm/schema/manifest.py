"""The manifest of a run: what was run, with which settings, on which inputs, and with which results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from kkwarm.errors import shorten

SCHEMA_VERSION = 1
V = TypeVar("V")
Kind = Literal["bench", "score", "distill", "warmup", "rlvr", "study", "import"]
State = Literal["running", "interrupted", "done"]


Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]
Fraction = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**53)]
_Interval = Annotated[list[Finite], Field(min_length=2, max_length=2)]
StepName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,200}$")]  # the name of a folder or file
Digits = Annotated[str, Field(pattern=r"^[0-9]{1,10}$")]
_OPEN = ConfigDict(extra="allow", strict=True)


class _Config(TypedDict, total=False):
    """The settings that are read again later, with their types; others may have any."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    protocols: dict[str, str]
    read_by: dict[str, str]
    benchmarks: list[str]
    sampling: dict[str, dict[str, Any]]
    prompting: dict[str, dict[str, Any]]
    evaluation: dict[str, dict[str, Any]]
    seed: Count
    seeds: list[Count]
    domain: str
    teacher: str
    n: Count
    examples: Count | None
    decontaminate_against: list[str]


class _Stopped(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    rule: str
    questions: Count
    of: Count
    generations_saved: Count


class _HalfWidth(_Stopped):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    rule: Literal["half-width"]  # type: ignore[misc]
    interval: _Interval


class _Decided(_Stopped):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    rule: Literal["decided"]  # type: ignore[misc]
    baseline: str
    baseline_hash: str
    margin: Finite
    verdict: Literal["gain", "loss", "tie", "underpowered"] | None
    value: Finite
    low: Finite
    high: Finite
    tie_low: Finite
    tie_high: Finite
    p: Fraction
    level: Finite


Stopped = Annotated[_HalfWidth | _Decided, Field(discriminator="rule")]


class _Figures(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    n: Count
    samples: Count
    accuracy: Fraction | None
    stderr: Finite | None
    status: dict[str, Count]
    metrics: dict[str, Annotated[float, Field(allow_inf_nan=False)] | None]
    ci: dict[str, _Interval]
    metrics_ci: dict[str, _Interval | None]
    by: dict[str, dict[str, dict[str, Any]]]
    verifier: str
    mean_tokens: Finite | None
    reasoning_rate: Fraction | None
    contaminated: Count
    advice: str
    stopped: Stopped


class _Generation(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    tokens: Count
    seconds: Finite
    tokens_known: bool
    tokens_per_s: Finite | None
    gpu_hours: Finite | None


class _Results(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    throughput: _Generation
    benchmarks: dict[str, _Figures]
    signal: bool | None


class _Environment(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    python: str
    platform: str
    processor: str
    cores: int | None
    versions: dict[str, str]
    gpu: list[str]
    command: list[str]


class _Contaminated(TypedDict):
    """An evaluated question (`domain`, `id`) that was trained on, in the training question `trained`."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    domain: str
    id: str


class _Alarm(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    kind: str
    step: Count
    text: str
    domain: NotRequired[str]


class _VerifierCode(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    name: str
    code: str
    libraries: dict[str, str]
    before: list[str]


class _Unpinned(TypedDict):
    """Hashes of the published data, and of the data that was read instead."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]
    pinned: str
    content: str


class _Claim(TypedDict):
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]
    base: str
    warmed: str
    base_rlvr: str
    warmed_rlvr: str
    on: str
    warmup: str


def _of_type(kind: Any) -> AfterValidator:
    """Checks a value against a type and keeps it as it is, because its hash may be recorded."""
    adapter: TypeAdapter[Any] | None = None

    def check(value: Any) -> Any:
        nonlocal adapter
        if adapter is None:
            adapter = TypeAdapter(kind)
        adapter.validate_python(value)
        return value

    return AfterValidator(check)


class ModelSource(BaseModel):
    """The checkpoint that a run evaluated or started from: a folder or hub id, and the name to display."""

    model_config = ConfigDict(extra="forbid")
    checkpoint: str
    name: str = ""


class PlanCondition(BaseModel):
    """A condition of a study: its model and stages, and the condition that it is compared with."""

    model_config = ConfigDict(extra="forbid")
    name: str
    baseline: str | None
    chain: Annotated[list[str], Field(min_length=1)]


class StudyPlan(BaseModel):
    """The part of a study's plan that its report needs. `margin` is in percentage points.

    ``rows[condition][seed][part]`` is the id of a step; the parts are ``bench``, ``forced`` and the names of stages.
    """

    model_config = ConfigDict(extra="forbid")
    name: str = ""
    title: str
    note: str
    margin: Annotated[float, Field(allow_inf_nan=False, ge=0, le=100)]
    domains: list[str]
    conditions: list[PlanCondition]
    claims: Annotated[list[dict[str, Any]], _of_type(list[_Claim])]
    grids: dict[str, dict[Digits, str]] = {}
    rows: dict[str, dict[Digits, dict[str, StepName]]]
    steps: list[StepName]
    kinds: dict[str, str] = {}

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [c.name for c in self.conditions]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two conditions are named {shorten(name)}")
            if name not in self.rows:
                raise ValueError(f"rows.{shorten(name)} is missing")
        for condition in self.conditions:
            if condition.baseline is not None and condition.baseline not in names:
                raise ValueError(f"the baseline {shorten(condition.baseline)} is none of the conditions")
        for name, seeds in self.rows.items():
            for seed, parts in seeds.items():
                if "bench" not in parts:
                    raise ValueError(f"rows.{shorten(name)}.{seed}.bench is missing")
        return self


class StepAttempt(BaseModel):
    """One attempt at a step of a study. `started` and `ended` are seconds since the session began, `seconds` is the
    time that its worker measured, `number` counts the attempts from 1.
    """

    model_config = ConfigDict(extra="forbid")
    step: str
    number: int
    worker: str = ""
    started: Finite = 0.0
    ended: Finite = 0.0
    seconds: Finite = 0.0
    outcome: Literal["running", "done", "failed", "lost"] = "running"


class StudySession(BaseModel):
    """One call of `kkwarm study`: its executor, the number of steps at once, its duration, and all attempts."""

    model_config = ConfigDict(extra="forbid")
    executor: str
    slots: Count
    wall_s: Finite = 0.0
    attempts: list[StepAttempt] = []


class Manifest(BaseModel):
    """``manifest.json`` of a run folder. Fields that do not apply to a run keep their defaults and are not written.

    `config` holds the settings that decide the result, `inputs` the fingerprints of what the run read, and `products`
    the hashes of the files that it wrote. `evaluation_version` is the version of prompts, splits and verdict rules.
    `unpinned` lists the benchmarks and domains whose data is not the published data.
    Plugins and commands decide what `results` holds; ``results["benchmarks"]`` always is a mapping of mappings.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)
    schema_version: Literal[1] = 1
    kind: Kind
    evaluation_version: Count | None = None
    config: Annotated[dict[str, Any], _of_type(_Config)] = {}
    inputs: dict[str, str] = {}
    config_hash: str = ""
    created: str = ""
    finished: str = ""
    state: State = "running"
    resumed: Count = 0
    environment: Annotated[dict[str, Any], _of_type(_Environment)] = {}
    labels: dict[str, Any] = {}
    model: ModelSource | None = None
    results: Annotated[dict[str, Any], _of_type(_Results)] = {}
    products: dict[StepName, str] = {}
    verifiers: Annotated[dict[str, dict[str, Any]], _of_type(dict[str, _VerifierCode])] = {}
    provenance: dict[str, Any] = {}
    rescored_from: str = ""
    warnings: list[str] = []
    alarms: Annotated[list[dict[str, Any]], _of_type(list[_Alarm])] = []
    notes: list[str] = []
    # bench, score, import (`prompts`: one question of each benchmark, by `id`, and its prompt; `training_split`: ids of
    # the evaluated questions that belong to the training split)
    generation: Annotated[dict[str, Any], _of_type(_Generation)] = {}
    prompts: dict[str, dict[str, str]] = {}
    unpinned: Annotated[dict[str, dict[str, str]], _of_type(dict[str, _Unpinned])] = {}
    training_split: dict[str, list[str]] = {}
    stopped: Annotated[dict[str, Any], _of_type(dict[str, Stopped])] = {}
    file: str = ""
    differs: dict[str, list[dict[str, Any]]] = {}
    # contamination check
    compared_with: list[str] = []
    not_compared: dict[str, str] = {}
    contamination: Annotated[list[dict[str, Any]], _of_type(list[_Contaminated])] = []
    contaminated: list[str] | None = None
    # training; prompting: `protocols` by domain, and the other settings of the prompts that were given
    prompting: dict[str, Any] = {}
    traces: str = ""
    example_ids: list[str] = []
    device: str = ""
    precision: str = ""
    processes: Count = 1
    threads: Count = 0
    memory: dict[str, Any] | None = None
    # study: seconds of each step, of all workers and of all calls
    plan: StudyPlan | None = None
    jobs: Count = 0
    seconds: dict[str, Finite] = {}
    worker_s: Finite = 0.0
    wall_s: Finite = 0.0
    sessions: list[StudySession] = []

    @property
    def benchmarks(self) -> dict[str, dict[str, Any]]:
        """Figures by benchmark; empty where the run has none (yet)."""
        figures: dict[str, dict[str, Any]] = self.results.get("benchmarks", {})
        return figures

    def in_order(self, by_benchmark: Mapping[str, V]) -> dict[str, V]:
        """The entries in the order in which the run's benchmarks were asked for; others last."""
        rank = {name: i for i, name in enumerate(self.config.get("benchmarks", ()))}
        return dict(sorted(by_benchmark.items(), key=lambda entry: rank.get(entry[0], len(rank))))

    def dump(self) -> dict[str, Any]:
        """The fields that were set, as JSON data."""
        return {"schema_version": self.schema_version, **self.model_dump(exclude_unset=True)}


MAX_PROBLEMS = 4  # listed in one message
_EXPECTED = {
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "list_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "finite_number": "must be a finite number",
    "missing": "is missing",
    "extra_forbidden": "is unknown",
    "string_pattern_mismatch": "is not a valid name",
    "too_short": "is empty",
    "less_than_equal": "is too large",
    "greater_than_equal": "is too small",
}


def list_problems(error: ValidationError) -> list[str]:
    """A phrase for each problem that validation reported: where it is, what is expected, and what is there."""
    problems = [_describe(problem) for problem in error.errors(include_url=False)]
    more = len(problems) - MAX_PROBLEMS
    return problems if more <= 0 else [*problems[:MAX_PROBLEMS], f"and {more} more"]


def _describe(problem: Any) -> str:
    parts = [str(part) for part in problem["loc"] if not str(part).startswith(("function-after[", "_"))]
    where = ".".join(part if len(part) <= 60 else f"{part[:40]}..." for part in parts)
    kind = problem["type"]
    if kind in _EXPECTED:
        return f"{where} {_EXPECTED[kind]}"
    if kind == "literal_error":
        return f"{where} is {shorten(problem['input'])}, not {problem['ctx']['expected']}"
    message = str(problem["ctx"]["error"]) if kind == "value_error" else str(problem["msg"])
    return f"{where}: {message}" if where else message
