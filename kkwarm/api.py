"""The functions of `import kkwarm`: what the commands do, with the same names and defaults, and typed results.

Messages and progress go to stderr. Every function raises `KkwarmError` where its command exits with 2, and
`ContaminationError` where training data contains evaluated questions.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, get_type_hints, overload

from kkwarm.errors import KkwarmError, warn
from kkwarm.schema.arguments import BenchArguments, DistillArguments, RlvrArguments, WarmupArguments
from kkwarm.schema.settings import BenchConfig, DistillConfig, RlvrConfig, Settings, WarmupConfig, configure
from kkwarm.store import Run, find_run

if TYPE_CHECKING:
    import pandas

    from kkwarm.schema.report import Comparison, Comparisons, Report
    from kkwarm.scoring.files import ScoreResult
    from kkwarm.testing.check import CheckResult

__all__ = [
    "Study",
    "bench",
    "check",
    "compare",
    "distill",
    "load_run",
    "load_study",
    "report",
    "rlvr",
    "score",
    "warmup",
]

Preset = Literal["paper"]
RunLike = Run | Path | str
Names = str | Sequence[str]
F = TypeVar("F", bound=Callable[..., Any])


def _takes_settings(model: type[Settings], arguments: type) -> Callable[[F], F]:
    """Gives a function's signature the fields of a settings model in place of ``**settings``, for help and editors."""

    def decorate(function: F) -> F:
        signature, hints = inspect.signature(function), get_type_hints(arguments)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        for name, field in model.model_fields.items():
            default = inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)
            kind = inspect.Parameter.KEYWORD_ONLY
            own.append(inspect.Parameter(name, kind, default=default, annotation=hints.get(name, Any)))
        function.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
        return function

    return decorate


@contextmanager
def _allowing(*, unpinned: bool = False, unsandboxed: bool = False) -> Iterator[None]:
    """Allows other data than the published data, or model-written code without a sandbox, also in worker processes."""
    from kkwarm.data.pins import ALLOW_UNPINNED
    from kkwarm.verify.sandbox import ALLOW_UNSANDBOXED

    names = [name for name, allowed in ((ALLOW_UNPINNED, unpinned), (ALLOW_UNSANDBOXED, unsandboxed)) if allowed]
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# -- shared with the commands ------------------------------------------------------------------------------------------


def bench_config(
    model: str, names: Sequence[str], given: Mapping[str, Any], configure: Callable[..., BenchConfig]
) -> tuple[BenchConfig, str]:
    """The settings of `bench`, with the prompts that the checkpoint was trained with, and a note where they are used.

    :param names: benchmarks; each text may hold several names, separated by commas.
    :param configure: as `kkwarm.schema.settings.configure`, of a settings model and the given settings.
    """
    from kkwarm.evaluation.plan import parse_benchmark_names
    from kkwarm.protocols.inherit import inherit_protocol

    given, note = inherit_protocol(model, given, parse_benchmark_names(names))
    return configure(BenchConfig, given), note


def rlvr_config(
    model: str, given: Mapping[str, Any], preset: str | None, configure: Callable[..., RlvrConfig]
) -> tuple[RlvrConfig, str]:
    """As `bench_config`, of `rlvr`."""
    from kkwarm.protocols.inherit import inherit_protocol

    given, note = inherit_protocol(model, given, [given["domain"]] if "domain" in given else [])
    return configure(RlvrConfig, given, preset=preset), note


def load_domains(names: Names) -> None:
    """Registers domains that are not installed, such as the table PATH.toml.

    :raises KkwarmError: a domain is unknown, or its file has problems.
    """
    from kkwarm.plugins import registry

    for name in (names,) if isinstance(names, str) else names:
        registry().domain(name)


# -- training ----------------------------------------------------------------------------------------------------------


@_takes_settings(DistillConfig, DistillArguments)
def distill(
    *,
    out: Path | str,
    preset: Preset | None = None,
    backend: Literal["hf", "vllm", "openai"] | None = None,
    base_url: str | None = None,
    concurrency: int | None = None,
    engine: Mapping[str, Any] | None = None,
    unpinned: bool = False,
    allow_unsandboxed_code: bool = False,
    progress: bool = True,
    **settings: Unpack[DistillArguments],
) -> Run:
    """Generates warm-up traces of a domain with a teacher, into ``traces.jsonl`` of a run folder.

    An interrupted run resumes when the same call is repeated.

    :param out: the run folder.
    :param preset: ``"paper"`` starts from the settings of arXiv 2505.13718.
    :param backend: backend of a teacher that is a model; None: ``openai`` with `base_url`, otherwise ``hf``.
    :param base_url: address of an OpenAI-compatible server, such as ``http://localhost:8000/v1``.
    :param concurrency: number of simultaneous requests to a server.
    :param engine: further options of the backend, such as ``tensor_parallel_size``.
    :param unpinned: use data that is not the published content of a benchmark; every figure is marked.
    :param allow_unsandboxed_code: run model-written code even if no sandbox is available.
    :param progress: show progress on stderr.
    :param settings: `domain`, `teacher`, `n` (number of traces) and the other settings of ``kkwarm distill``.
    :returns: the finished run; its ``results`` count the traces and their verdicts.
    :raises KkwarmError: a setting is out of range, the domain or teacher is unknown, there are too few questions, or
        `out` holds another run.
    :raises ContaminationError: the traces contain questions of ``decontaminate_against``.
    """
    from kkwarm.train.distillation import distill as run_distill

    config = configure(DistillConfig, settings, where="distill", preset=preset)
    options = {**({} if concurrency is None else {"concurrency": concurrency}), **(engine or {})}
    with _allowing(unpinned=unpinned, unsandboxed=allow_unsandboxed_code):
        return run_distill(config, out, base_url=base_url, backend=backend, options=options, progress=progress)


@_takes_settings(WarmupConfig, WarmupArguments)
def warmup(
    model: RunLike,
    *,
    traces: RunLike,
    out: Path | str,
    preset: Preset | None = None,
    domain: Names = (),
    progress: bool = True,
    **settings: Unpack[WarmupArguments],
) -> Run:
    """Fine-tunes a checkpoint on traces (SFT, with the loss on completions only).

    Writes ``checkpoint/`` and ``log.jsonl`` to the run folder. An interrupted run resumes when the same call is
    repeated, and ends with the same weights.

    :param model: checkpoint folder, run with a checkpoint, hub id, or ``PACKAGE:ATTRIBUTE``.
    :param traces: a `distill` run, its folder, or a file of traces.
    :param out: the run folder.
    :param preset: ``"paper"`` starts from the settings of arXiv 2505.13718.
    :param domain: domains that the traces name and that are not installed, such as the table ``PATH.toml``.
    :param progress: show progress on stderr.
    :param settings: `epochs`, `learning_rate`, `batch_size` and the other settings of ``kkwarm warmup``.
    :returns: the finished run; `Run.checkpoint` is the trained checkpoint, `Run.metrics_df` the log.
    :raises KkwarmError: a setting is out of range, there is no checkpoint, the memory does not suffice, `out` holds
        another run, or the loss is not finite.
    :raises ContaminationError: the traces contain questions of ``decontaminate_against``.
    """
    from kkwarm.train.sft import warmup as run_warmup

    load_domains(domain)
    config = configure(WarmupConfig, settings, where="warmup", preset=preset)
    return run_warmup(_reference(model), _reference(traces), out, config, progress=progress)


@_takes_settings(RlvrConfig, RlvrArguments)
def rlvr(
    model: RunLike,
    *,
    out: Path | str,
    preset: Preset | None = None,
    unpinned: bool = False,
    allow_unsandboxed_code: bool = False,
    progress: bool = True,
    **settings: Unpack[RlvrArguments],
) -> Run:
    """Trains a checkpoint with GRPO on examples of a domain, with the domain's verifier as the reward (RLVR).

    Writes ``checkpoint/`` and ``log.jsonl`` to the run folder. An interrupted run resumes when the same call is
    repeated.

    :param model: as in `warmup`.
    :param out: as in `warmup`.
    :param preset: as in `warmup`.
    :param progress: as in `warmup`.
    :param unpinned: as in `distill`.
    :param allow_unsandboxed_code: as in `distill`.
    :param settings: `domain`, `examples`, `steps`, `learning_rate` and the other settings of ``kkwarm rlvr``.
    :returns: the finished run. ``results["signal"]`` is False where nothing was learned, because the rewards never
        differed within a group of completions.
    :raises KkwarmError: a setting is out of range, there is no checkpoint, the domain is unknown or has too few
        examples, `out` holds another run, or the loss is not finite.
    :raises ContaminationError: the examples contain questions of ``decontaminate_against``.
    """
    from kkwarm.train.grpo import rlvr as run_rlvr

    def with_preset(kind: type[RlvrConfig], given: Mapping[str, Any], preset: str | None) -> RlvrConfig:
        return configure(kind, given, where="rlvr", preset=preset)

    with _allowing(unpinned=unpinned, unsandboxed=allow_unsandboxed_code):
        config, note = rlvr_config(_reference(model), settings, preset, with_preset)
        if note:
            warn(note)
        return run_rlvr(_reference(model), config, out, progress=progress)


# -- evaluation --------------------------------------------------------------------------------------------------------


@_takes_settings(BenchConfig, BenchArguments)
def bench(
    model: RunLike,
    *,
    on: Names,
    out: Path | str | None = None,
    labels: Mapping[str, str] | None = None,
    unpinned: bool = False,
    allow_unsandboxed_code: bool = False,
    progress: bool = True,
    **settings: Unpack[BenchArguments],
) -> Run:
    """Evaluates a checkpoint on benchmarks. Samples are stored as they are generated.

    An interrupted run resumes when the same call is repeated.

    :param model: checkpoint folder, run with a checkpoint, hub id, ``PACKAGE:ATTRIBUTE``, or name of a served model.
    :param on: benchmarks, as `kkwarm domains` lists them, ``NAME:FACET``, or ``lm_eval:NAME``; a list, or one text with
        commas.
    :param out: the run folder; None: under ``runs/bench``, by model and settings.
    :param labels: stored with the run, for reports; they are not part of its identity.
    :param unpinned: as in `distill`.
    :param allow_unsandboxed_code: as in `distill`.
    :param progress: as in `distill`.
    :param settings: `samples` per question, `limit` of questions, `temperature` and the other settings of
        ``kkwarm bench``.
    :returns: the finished run: `Run.benchmarks` holds the figures, `Run.samples_df` the samples.
    :raises KkwarmError: a setting is out of range, a benchmark is unknown, there is no checkpoint, or `out` holds
        another run.
    """
    from kkwarm.evaluation import bench as run_bench
    from kkwarm.evaluation.plan import parse_benchmark_names

    def with_names(kind: type[BenchConfig], given: Mapping[str, Any]) -> BenchConfig:
        return configure(kind, given, where="bench")

    names = parse_benchmark_names((on,) if isinstance(on, str) else on)
    with _allowing(unpinned=unpinned, unsandboxed=allow_unsandboxed_code):
        config, note = bench_config(_reference(model), names, settings, with_names)
        if note:
            warn(note)
        return run_bench(_reference(model), names, out, config, labels=labels, progress=progress)


def score(
    file: Path | str | Sequence[Mapping[str, Any]],
    *,
    benchmark: str,
    protocol: str | None = None,
    samples_out: Path | str | None = None,
    workers: int | None = None,
    out: Path | str | None = None,
    unpinned: bool = False,
    allow_unsandboxed_code: bool = False,
) -> ScoreResult:
    """Scores saved outputs by a benchmark's verifier, without a model.

    :param file: JSON lines, or their rows as mappings: ``id`` (the benchmark's own), ``completion`` (a text, or a list
        of texts for several samples) and, optionally, ``reference`` (the gold answer; then the id need not be the
        benchmark's), ``question`` (beside a reference: readers accept its words beside an answer), ``finish_reason``
        and ``n_tokens``.
    :param benchmark: the benchmark that provides verifier and questions, as ``NAME`` or ``NAME:FACET``.
    :param protocol: by which answers are read, such as ``"official"``; None reads strictly.
    :param samples_out: file that gets a JSON line for each completion.
    :param workers: number of processes for slow verifiers; None: one per core.
    :param out: folder of a run that stores the samples; None: they are not stored.
    :param unpinned: as in `distill`.
    :param allow_unsandboxed_code: as in `distill`.
    :raises KkwarmError: a row is damaged, the benchmark is unknown or lacks an id, or a file cannot be written.
    """
    from kkwarm.scoring.files import score_file

    target = None if samples_out is None else Path(samples_out)
    with _allowing(unpinned=unpinned, unsandboxed=allow_unsandboxed_code):
        return score_file(file, benchmark, protocol=protocol, workers=workers, out=out, samples_out=target)


def check(
    name: str,
    *,
    examples: int = 12,
    search: float | None = None,
    seed: int = 0,
    peers: bool = False,
    protocol: str | None = None,
    unpinned: bool = False,
    allow_unsandboxed_code: bool = False,
) -> CheckResult:
    """Checks a domain without a model: conformance rules, adversarial probes on its verifier, and a search.

    :param name: the domain, or the table ``PATH.toml``.
    :param examples: number of evaluation examples on which the probes and the search are run.
    :param search: seconds of adversarial search; None: 200 cases per generator, in at most 30 seconds.
    :param seed: random seed of the generated cases.
    :param peers: also score the generated cases with the other scorers that the plugin names.
    :param protocol: protocol to check; None: the domain's.
    :param unpinned: as in `distill`.
    :param allow_unsandboxed_code: as in `distill`.
    :returns: what was found; `CheckResult.ok` is False where anything failed.
    :raises KkwarmError: the domain or protocol is unknown, or its data is not available.
    """
    from kkwarm.testing.check import run_check

    with _allowing(unpinned=unpinned, unsandboxed=allow_unsandboxed_code):
        return run_check(name, examples=examples, search=search, seed=seed, peers=peers, protocol=protocol)


# -- stored runs -------------------------------------------------------------------------------------------------------


def load_run(name: RunLike) -> Run:
    """Opens a stored run for reading.

    :param name: its folder, or its name under ``KKWARM_HOME``.
    :raises KkwarmError: there is no run, or its manifest is damaged.
    """
    return name if isinstance(name, Run) else Run.read(find_run(name))


def load_study(name: RunLike | None = None, *, margin: float | None = None, domain: Names = ()) -> Study:
    """Opens the folder of a study.

    :param name: its folder, or its name under ``KKWARM_HOME``; None: the newest study there.
    :param margin: equivalence margin in percentage points; None: the study's.
    :param domain: domains that the study names and that are not installed, such as the table ``PATH.toml``.
    :raises KkwarmError: there is no study.
    """
    from kkwarm.analysis.load import newest_study

    load_domains(domain)
    run = load_run(newest_study() if name is None else name)
    if run.manifest.kind != "study":
        raise KkwarmError(f"{run.path} is a {run.manifest.kind} run, not a study", hint="use kkwarm.load_run")
    return Study(run, margin)


def report(*runs: RunLike, across_protocols: bool = False, margin: float | None = None, domain: Names = ()) -> Report:
    """The transfer matrix, claims and sample efficiency of a study, or of bench runs side by side.

    :param runs: a study, or several bench runs, of which the first is the baseline; none: the newest study.
    :param across_protocols: also compare bench runs whose protocols differ.
    :param margin: equivalence margin in percentage points; None: the study's, or 5.
    :param domain: as in `load_study`.
    :raises KkwarmError: there is no study, a folder is no run, or a run has no samples.
    """
    from kkwarm.analysis.build import build_report
    from kkwarm.analysis.load import load, newest_study

    load_domains(domain)
    paths = [load_run(run).path for run in runs] or [newest_study()]
    return build_report(load(paths, margin=margin, across_protocols=across_protocols))


@overload
def compare(
    run_a: RunLike, run_b: RunLike, /, *, common: bool = ..., across_protocols: bool = ..., margin: float | None = ...
) -> Comparison: ...
@overload
def compare(
    run_a: RunLike, /, *runs: RunLike, common: bool = ..., across_protocols: bool = ..., margin: float | None = ...
) -> Comparisons: ...
def compare(
    run_a: RunLike, /, *runs: RunLike, common: bool = False, across_protocols: bool = False, margin: float | None = None
) -> Comparison | Comparisons:
    """Compares runs on the same questions: B minus A, with interval, test and verdict.

    :param run_a: the run that each other one is compared with.
    :param runs: at least one run. p-values are corrected over all comparisons.
    :param common: where the questions differ, compare those that both runs have.
    :param across_protocols: compare runs also where their protocols differ. The result lists the differences.
    :param margin: equivalence margin in percentage points: smaller differences are ties. None: that of early stopping,
        or 5.
    :returns: a `Comparison` of two runs; `Comparisons` of more.
    :raises KkwarmError: a run shares no benchmark with the first, or they cannot be paired.
    """
    from kkwarm.analysis.compare import compare_all

    if not runs:
        raise KkwarmError("name at least two runs")
    paths = [load_run(run).path for run in (run_a, *runs)]
    result = compare_all(paths, margin=margin, common=common, across_protocols=across_protocols)
    return result.comparisons[0] if len(runs) == 1 else result


@dataclass(frozen=True)
class Study:
    """A stored study: its run, its steps, and its report, which is computed from the stored samples.

    :param run: the run of the study's folder.
    :param margin: equivalence margin in percentage points; None: the study's own.
    """

    run: Run
    margin: float | None = None

    @cached_property
    def report(self) -> Report:
        """The report, as `kkwarm.report` computes it."""
        return report(self.run, margin=self.margin)

    @property
    def steps(self) -> dict[str, Run]:
        """The runs of the steps that have started, by the id of the step."""
        from kkwarm.analysis.load import study_plan

        folders = {step: self.run.path / "steps" / step for step in study_plan(self.run).steps}
        return {step: Run.read(path) for step, path in folders.items() if (path / "manifest.json").exists()}

    def matrix_df(self) -> pandas.DataFrame:
        """The transfer matrix; see `Report.matrix_df`."""
        return self.report.matrix_df()

    def to_json(self) -> str:
        """The report as JSON text, as ``kkwarm report --json`` prints it."""
        return self.report.to_json()

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def _reference(model: RunLike) -> str:
    return str(model.path) if isinstance(model, Run) else str(model)
