"""What is damaged and which commands read it. `run_case` runs one case in this process."""

import contextlib
import functools
import io
import json
import os
import random
import re
import shutil
import signal
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_mutate import mutate_file
from fuzz_server import FileServer

from kkwarm.cli import main

__all__ = ["TARGETS", "Case", "Outcome", "run_case"]

LIMIT_S = 600  # a command on these small inputs that takes longer hangs

REPORTS: tuple[tuple[str, ...], ...] = (
    ("--json",), ("--markdown",), ("--latex",), (), ("--html", "out/r.html"), ("--svg", "out/r.svg"),
    ("--png", "out/r.png"),
)  # fmt: skip
RUN_COMMANDS: tuple[tuple[str, ...], ...] = (
    *(("report", "a", "b", *how) for how in REPORTS),
    ("report", "b", "a", "--json"),
    ("compare", "a", "b", "--json"),
    ("compare", "b", "a", "--common", "--flips", "3"),
    ("rescore", "a", "--alone", "--json"),
    ("rescore", "a", "--alone", "-o", "out/rescored"),
    ("rescore", "b", "--compare-to", "a"),
    ("verify", "a", "--json"),
    ("verify", "a"),
    ("power", "--on", "mini_math", "--prior", "a", "--detect", "3", "--json"),
    ("power", "--on", "mini_math", "--prior", "a", "--prior", "b"),
    ("bench", "a", "--on", "mini_math", "--limit", "2", "--dry-run"),
)
STUDY_COMMANDS: tuple[tuple[str, ...], ...] = (
    *(("report", "study", *how) for how in REPORTS),
    ("report", "study/steps/bench-base-s0", "study/steps/bench-warmed-s0", "--json"),
    ("verify", "study", "--json"),
    ("verify", "study/steps/rlvr-s0"),
    ("verify", "study/steps/warm-s0"),
    ("verify", "study/steps/traces"),
    ("rescore", "study", "--json"),
    ("rescore", "study", "-o", "out/rescored"),
    ("rescore", "study/steps/bench-warmed-s0", "--json"),
    ("power", "--on", "mini_math", "--prior", "study/steps/bench-base-s0"),
    ("warmup", "kkwarm_mini:BASE", "--traces", "study/steps/traces", "-o", "out/w", "--dry-run"),
    ("bench", "study/steps/rlvr-s0", "--on", "mini_math", "--dry-run"),
)
SERVER = ("--base-url", "{url}", "--engine", "tries=1", "--engine", "timeout=20")
# Name of the target -> (files to damage, as patterns, and the commands that read them).
TARGETS: dict[str, tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]] = {
    "manifest": (("a/manifest.json",), RUN_COMMANDS),
    "samples": (("a/samples.jsonl",), RUN_COMMANDS),
    "study-manifest": (("study/manifest.json",), STUDY_COMMANDS),
    "step-manifest": (("study/steps/*/manifest.json",), STUDY_COMMANDS),
    "study-samples": (("study/steps/*/samples.jsonl",), STUDY_COMMANDS),
    "logs": (("study/steps/*/log.jsonl", "study/steps/*/evals.jsonl"), STUDY_COMMANDS),
    "report": (("study/report.json",), (("verify", "study", "--json"),)),
    "traces": (
        ("study/steps/traces/traces.jsonl",),
        (
            ("warmup", "kkwarm_mini:BASE", "--traces", "study/steps/traces", "-o", "out/w", "--dry-run"),
            ("warmup", "kkwarm_mini:BASE", "--traces", "study/steps/traces/traces.jsonl", "-o", "out/w", "--dry-run",
             "--json", "--decontaminate-against", "mini_kk"),
            ("verify", "study/steps/traces"),
        ),
    ),
    "lm-eval": (
        ("lm_eval/base/*",),
        (
            ("import", "lm-eval", "lm_eval", "-o", "out/i", "--json"),
            ("import", "lm-eval", "lm_eval", "-o", "out/i"),
            ("import", "lm-eval", "lm_eval", "-o", "out/i", "--as", "sums_gen=mini_math"),
            ("import", "lm-eval", "lm_eval", "-o", "out/i", "--filter", "strict"),
            ("import", "lm-eval", "lm_eval", "-o", "out/i", "--as", "sums_gen=sums.toml", "--as", "sums_mc=mini_math",
             "--reverify"),
        ),
    ),
    "evalplus": (
        ("evalplus/*.json",),
        (
            ("import", "evalplus", "evalplus", "-o", "out/i", "--json"),
            ("import", "evalplus", "evalplus", "-o", "out/i"),
        ),
    ),
    "outputs": (
        ("outputs.jsonl", "capitals.jsonl"),
        (
            ("score", "capitals.jsonl", "--benchmark", "table.toml", "--json"),
            ("score", "outputs.jsonl", "--benchmark", "mini_math", "--json"),
            ("score", "outputs.jsonl", "--benchmark", "mini_math", "--samples-out", "out/s.jsonl", "-o", "out/r"),
        ),
    ),
    "recipe": (
        ("recipe.toml", "recipe.yaml"),
        (
            ("study", "{file}", "--dry-run", "--json"),
            ("study", "{file}", "--dry-run"),
            ("study", "{file}", "--dry-run", "--set", "evaluate.limit=3", "--set", "stages.warm.epochs=2"),
            ("study", "{file}", "--dry-run", "--set", "conditions.base.chain=3"),
        ),
    ),
    "table": (
        ("table.toml", "rows.csv"),
        (
            ("domains", "table.toml"),
            ("domains", "table.toml", "--json"),
            ("score", "capitals.jsonl", "--benchmark", "table.toml"),
            ("try", "table.toml", "City 3"),
            ("power", "--on", "table.toml"),
        ),
    ),
    "server": (
        ("server/*.json",),
        (
            ("bench", "served", "--on", "mini_math", "--limit", "2", "--samples", "2", "--backend", "openai", *SERVER,
             "-o", "out/b", "--json"),
            ("bench", "served", "--on", "mini_kk", "--limit", "2", "--backend", "openai", *SERVER, "-o", "out/b"),
            ("distill", "--domain", "mini_math", "--teacher", "served", "-n", "2", *SERVER, "-o", "out/d", "--json"),
        ),
    ),
    "accelerate": (
        ("config.yaml",),
        (
            ("warmup", "kkwarm_mini:BASE", "--traces", "study/steps/traces", "-o", "out/w", "--dry-run",
             "--accelerate-config", "config.yaml"),
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. `problem` is empty where it ended as it should."""

    code: int
    out: str
    err: str
    problem: str = ""


@dataclass(slots=True)
class Case:
    """One damaged file and one command. Equal names, targets and seeds make equal cases."""

    target: str
    seed: int
    file: str = ""
    command: tuple[str, ...] = ()
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.target} {self.seed}")


def run_case(case: Case, inputs: Path) -> Outcome:
    """Damages a copy of the inputs and runs the command in it.

    Every command has to end with 0, 1 or 2; with 2, by one line on stderr and nothing on stdout; with ``--json``, by
    one valid JSON document on stdout.
    """
    patterns, commands = TARGETS[case.target]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "in")
        shutil.copytree(inputs, folder, symlinks=True)
        files = sorted(f for p in patterns for f in folder.glob(p) if f.is_file())
        file = case.rng.choice(files)
        case.file = str(file.relative_to(folder))
        file.write_bytes(mutate_file(case.rng, file.name, file.read_bytes()))
        command = case.rng.choice(commands)
        case.command = tuple(part.replace("{file}", case.file) for part in command)
        if "{url}" in command:
            server = _server()
            server.folder = folder / "server"
            case.command = tuple(part.replace("{url}", server.url) for part in case.command)
        (folder / "out").mkdir()
        return run_command(case.command, folder)


@functools.cache
def _server() -> FileServer:
    return FileServer()


def run_command(command: tuple[str, ...], folder: Path) -> Outcome:
    """Runs a command in this process, in `folder`."""
    from kkwarm_bridges import table

    from kkwarm.plugins import registry

    if any(".toml" in part for part in command):  # domains of an earlier, equally named table
        registry.cache_clear()
        table.load_examples.cache_clear()
    out, err = io.StringIO(), io.StringIO()
    problem, code = "", 0
    with _inside(folder), _time_limit(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(command))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            code, problem = 70, _describe(error)
    return Outcome(code, out.getvalue(), err.getvalue(), problem or _find_problem(command, code, out, err))


def _find_problem(command: tuple[str, ...], code: int, out: io.StringIO, err: io.StringIO) -> str:
    if code not in (0, 1, 2):
        return f"exit code {code}: {err.getvalue()[-300:]}"
    if "Traceback" in err.getvalue():
        return f"a traceback on stderr: {err.getvalue()[-600:]}"
    lines = [line for line in err.getvalue().splitlines() if line.strip()]
    if code == 2:
        errors = [line for line in lines if line.startswith("kkwarm: ")]
        if not errors or out.getvalue():
            return f"exit code 2 with {out.getvalue()[:80]!r} on stdout and {err.getvalue()[:300]!r} on stderr"
        if len(errors[-1]) > 2_000:
            return f"an error of {len(errors[-1])} characters: {errors[-1][:200]}"
    if code == 0 and "--json" in command:
        try:
            json.loads(out.getvalue(), parse_constant=_refuse_constant)
        except ValueError as error:
            return f"--json printed no valid JSON: {error}: {out.getvalue()[:200]!r}"
    return ""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _describe(error: BaseException) -> str:
    """The exception and the lines of kkwarm that led to it, last first."""
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if "kkwarm" in f.filename and "tests" not in f.filename
    ]
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[:-6:-1])
    text = re.sub(r"\s+", " ", str(error))[:200]
    return f"{type(error).__name__}: {text} [{where}]"


class HangError(BaseException):
    """The command took longer than `LIMIT_S`."""


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise HangError(f"no end after {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    here = Path.cwd()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    os.chdir(folder)
    names = {"KKWARM_HOME": "runs", "KKWARM_DATA": "data"}
    values = {name: str(folder / value) for name, value in names.items()} | {"KKWARM_UNPINNED": "1"}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        os.chdir(here)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
