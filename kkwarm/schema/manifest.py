"""The manifest of a run: what was run, with which settings, on which inputs, and with which results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

__all__ = [
    "SCHEMA_VERSION",
    "Kind",
    "Manifest",
    "ModelSource",
    "PlanCondition",
    "StepAttempt",
    "StudyPlan",
    "StudySession",
    "list_problems",
]

SCHEMA_VERSION = 1
Kind = Literal["bench", "score", "distill", "warmup", "rlvr", "study", "import"]
State = Literal["running", "interrupted", "done"]


def _check_config(config: dict[str, Any]) -> dict[str, Any]:
    problems = []
    if not isinstance(config.get("protocols", {}), Mapping):
        problems.append("config.protocols must be a mapping")
    if not isinstance(config.get("benchmarks", []), list | tuple):
        problems.append("config.benchmarks must be a list")
    if problems:
        raise ValueError("; ".join(problems))
    return config


def _check_results(results: dict[str, Any]) -> dict[str, Any]:
    benchmarks = results.get("benchmarks", {})
    if not isinstance(benchmarks, Mapping):
        raise ValueError("results.benchmarks must be a mapping")
    names = [name for name, figures in benchmarks.items() if not isinstance(figures, Mapping)]
    if names:
        raise ValueError("; ".join(f"results.benchmarks.{name} must be a mapping" for name in names))
    return results


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
    chain: list[str]


class StudyPlan(BaseModel):
    """The part of a study's plan that its report needs. `margin` is in percentage points.

    ``rows[condition][seed][part]`` is the id of a step; the parts are ``bench``, ``forced`` and the names of stages.
    """

    model_config = ConfigDict(extra="forbid")
    name: str = ""
    title: str
    note: str
    margin: float
    domains: list[str]
    conditions: list[PlanCondition]
    claims: list[dict[str, Any]]
    grids: dict[str, dict[str, str]] = {}
    rows: dict[str, dict[str, dict[str, str]]]
    steps: list[str]
    kinds: dict[str, str] = {}


class StepAttempt(BaseModel):
    """One attempt at a step of a study. `started` and `ended` are seconds since the session began, `seconds` is the
    time that its worker measured, `number` counts the attempts from 1.
    """

    model_config = ConfigDict(extra="forbid")
    step: str
    number: int
    worker: str = ""
    started: float = 0.0
    ended: float = 0.0
    seconds: float = 0.0
    outcome: Literal["running", "done", "failed", "lost"] = "running"


class StudySession(BaseModel):
    """One call of `kkwarm study`: its executor, the number of steps at once, its duration, and all attempts."""

    model_config = ConfigDict(extra="forbid")
    executor: str
    slots: int
    wall_s: float = 0.0
    attempts: list[StepAttempt] = []


class Manifest(BaseModel):
    """``manifest.json`` of a run folder. Fields that do not apply to a run keep their defaults and are not written.

    `config` holds the settings that decide the result, `inputs` the fingerprints of what the run read, and `products`
    the hashes of the files that it wrote. `evaluation_version` is the version of prompts, splits and verdict rules.
    Plugins and commands decide what `results` holds; ``results["benchmarks"]`` always is a mapping of mappings.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)
    schema_version: Literal[1] = 1
    kind: Kind
    evaluation_version: int | None = None
    config: Annotated[dict[str, Any], AfterValidator(_check_config)] = {}
    inputs: dict[str, str] = {}
    config_hash: str = ""
    created: str = ""
    finished: str = ""
    state: State = "running"
    resumed: int = 0
    environment: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    model: ModelSource | None = None
    results: Annotated[dict[str, Any], AfterValidator(_check_results)] = {}
    products: dict[str, str] = {}
    verifiers: dict[str, dict[str, Any]] = {}
    provenance: dict[str, Any] = {}
    rescored_from: str = ""
    warnings: list[str] = []
    alarms: list[dict[str, Any]] = []
    notes: list[str] = []
    # bench, score, import
    generation: dict[str, Any] = {}
    stopped: dict[str, Any] = {}
    lm_eval: dict[str, Any] = {}
    file: str = ""
    differs: dict[str, list[dict[str, Any]]] = {}
    # contamination check
    compared_with: list[str] = []
    not_compared: dict[str, str] = {}
    contamination: list[dict[str, Any]] = []
    contaminated: list[str] | None = None
    # training
    traces: str = ""
    example_ids: list[str] = []
    device: str = ""
    precision: str = ""
    processes: int = 1
    threads: int = 0
    memory: dict[str, Any] | None = None
    # study: seconds of each step, of all workers and of all calls
    plan: StudyPlan | None = None
    jobs: int = 0
    seconds: dict[str, float] = {}
    worker_s: float = 0.0
    wall_s: float = 0.0
    sessions: list[StudySession] = []

    @property
    def benchmarks(self) -> dict[str, dict[str, Any]]:
        """Figures by benchmark; empty where the run has none (yet)."""
        figures: dict[str, dict[str, Any]] = self.results.get("benchmarks", {})
        return figures

    def dump(self) -> dict[str, Any]:
        """The fields that were set, as JSON data."""
        return {"schema_version": self.schema_version, **self.model_dump(exclude_unset=True)}


_EXPECTED = {
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "list_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "missing": "is missing",
    "extra_forbidden": "is unknown",
}


def list_problems(error: ValidationError) -> list[str]:
    """A phrase for each problem that validation reported: where it is, what is expected, and what is there."""
    problems = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        kind = problem["type"]
        if kind == "value_error":
            text = str(problem["ctx"]["error"])
        elif kind in _EXPECTED:
            text = f"{where} {_EXPECTED[kind]}"
        elif kind == "literal_error":
            text = f"{where} is {problem['input']!r}, not {problem['ctx']['expected']}"
        else:
            text = f"{where}: {problem['msg']}"
        problems.append(text)
    return problems
