"""Run folders: ``manifest.json`` describes the run, ``samples.jsonl`` is append-only.

Every line of ``samples.jsonl`` carries a checksum. A crash can leave the last line incomplete; opening the run for
writing truncates it, and the sample is generated again. Only one process may write a run at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kkwarm import interrupt
from kkwarm.errors import KkwarmError
from kkwarm.files import append_regular, expand_path, open_regular, write_file
from kkwarm.redaction import redact_data
from kkwarm.schema.manifest import Kind, Manifest
from kkwarm.schema.settings import stored_identity
from kkwarm.store.environment import environment
from kkwarm.store.lines import decode_sample, encode_sample
from kkwarm.store.manifest import MANIFEST, read_manifest
from kkwarm.types import Sample

if TYPE_CHECKING:
    import pandas

SAMPLES, LOCK = "samples.jsonl", ".lock"
HASHED_FILES = (SAMPLES, "traces.jsonl", "log.jsonl")  # a finished run records their hashes as `products`
EVALUATION_VERSION = 1  # raised when prompts, splits or verdict rules change: results are then not compared any more
Settings = Mapping[str, Any]


def runs_home() -> Path:
    """The folder of all runs: ``KKWARM_HOME``, by default ``./runs``."""
    return expand_path(os.environ.get("KKWARM_HOME") or "runs")


def find_run(name: Path | str) -> Path:
    """The folder `name` if it exists, else the folder of that name under `runs_home`."""
    path = expand_path(name)
    return path if path.exists() or not (runs_home() / path).exists() else runs_home() / path


def find_training_run(model: str | os.PathLike[str]) -> Run | None:
    """The run that produced a checkpoint; None where no run did or its folder is gone.

    :param model: a run folder, its ``checkpoint/`` or ``best/``, or any other model reference.
    """
    path = expand_path(model)
    for folder in (path, path.parent) if path.name in ("checkpoint", "best") else (path,):
        try:
            return Run.read(folder)
        except KkwarmError:
            continue
    return None


def read_contamination(model: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Evaluation items that a checkpoint was trained on: ``domain``, ``id``, ``trained``, ``how``.

    The manifest of its training run lists them, including those of earlier runs. Empty where no run produced it.

    :param model: as for `find_training_run`.
    """
    run = find_training_run(model)
    return [] if run is None else list(run.manifest.contamination)


def read_training_examples(model: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The examples of domains that a checkpoint was trained on by RLVR, in its training run and in those before it, as
    entries of a manifest's ``contamination``. They matter where the training split is evaluated.

    :param model: as for `find_training_run`.
    """
    entries: list[dict[str, Any]] = []
    seen: set[str] = set()
    run = find_training_run(model)
    while run is not None and str(run.path) not in seen:
        seen.add(str(run.path))
        domain = str(run.manifest.config.get("domain", "")).partition(":")[0]
        entries += [
            {"domain": domain, "id": i, "trained": i, "how": "training split"} for i in run.manifest.example_ids
        ]
        source = run.manifest.model
        run = None if source is None else find_training_run(source.checkpoint)
    return entries


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file (16 hex digits).

    :raises FileNotFoundError: it does not exist.
    :raises KkwarmError: it is no regular file, or cannot be read.
    """
    with open_regular(path) as data:
        return hashlib.file_digest(data, "sha256").hexdigest()[:16]


def config_hash(config: Mapping[str, Any]) -> str:
    """Hash of a configuration (16 hex digits). Equal configurations have equal hashes. Secrets do not count."""
    text = json.dumps(redact_data(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_hash(kind: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """A run's identity: the hash of its kind, its inputs and the settings that decide the result."""
    return config_hash({"kind": kind, "config": stored_identity(kind, config), "inputs": inputs})


@dataclass(frozen=True, slots=True)
class StoredLine:
    """A line of ``samples.jsonl``, numbered from 1: its sample, or the problem with the line."""

    number: int
    sample: Sample | None
    problem: str = ""


class Run:
    """One run folder, open for writing (`Run.open`) or for reading (`Run.read`)."""

    def __init__(self, path: Path, manifest: Manifest, lock: Any = None) -> None:
        self.path = path
        self.manifest = manifest
        self._lock = lock
        self._out: Any = None
        self.truncated_bytes = 0  # size of the incomplete last line that `open` removed
        self._created = False  # whether `open` created the folder's run

    # -- opening -----------------------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        kind: Kind,
        config: Settings,
        inputs: Mapping[str, str] | None = None,
        extends: Callable[[Manifest], bool] | None = None,
    ) -> Run:
        """Creates a run, or resumes the one in the folder if it has the same kind, settings and inputs.

        :param config: the settings that decide the result, as JSON data. Secrets in it are not stored.
        :param inputs: fingerprints of what the run reads (data, prompts, checkpoint), by name.
        :param extends: tells whether this run only extends the one with the given manifest; its settings are replaced.
        :raises KkwarmError: another process writes the folder, it holds a different run, or it cannot be written.
        """
        import filelock

        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            with append_regular(path / LOCK):  # filelock itself would follow a link, and empty the file behind it
                pass
            lock = filelock.FileLock(path / LOCK, timeout=0)
            lock.acquire()
        except filelock.Timeout:
            raise KkwarmError(
                f"{path} is being written by another process", hint="wait for it, or use another --out"
            ) from None
        except OSError as err:
            raise KkwarmError(f"{path} cannot be written: {err.strerror or err}", hint="use another --out") from None
        try:
            return cls._create_or_resume(path, kind, config, inputs or {}, lock, extends)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _create_or_resume(
        cls,
        path: Path,
        kind: Kind,
        config: Settings,
        inputs: Mapping[str, str],
        lock: Any,
        extends: Callable[[Manifest], bool] | None,
    ) -> Run:
        config, inputs = redact_data(_json_data(config)), redact_data(dict(inputs))
        identity = run_hash(kind, config, inputs)
        if (path / MANIFEST).exists():
            run = cls.read(path)
            same = run.manifest.config_hash == identity
            if not (same or (extends is not None and extends(run.manifest))):
                raise _different_run(path, run.manifest, kind, config, inputs)
            run._lock = lock
            run._truncate_incomplete_line()
            if not same:
                run.record(config=dict(config), config_hash=identity, state="running")
            if not run.done:
                run.record(state="running", resumed=run.manifest.resumed + 1)
            return run
        if files := cls._written_files(path):
            raise KkwarmError(
                f"{files[0]} already exists, but {path} is no run folder ({MANIFEST} is missing)",
                hint="use another --out, or move the file away",
            )
        manifest = Manifest(
            kind=kind,
            evaluation_version=EVALUATION_VERSION,
            config=dict(config),
            inputs=dict(inputs),
            config_hash=identity,
            created=_now(),
            state="running",
            environment=environment(),
        )
        run = cls(path, manifest, lock)
        run._created = True
        run._write_manifest()
        return run

    @classmethod
    def read(cls, path: Path | str) -> Run:
        """Opens a run for reading. Nothing on disk changes.

        :raises KkwarmError: the folder holds no run, or its manifest is damaged.
        """
        path = Path(path)
        return cls(path, read_manifest(path))

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return self.manifest.state == "done"

    @property
    def results(self) -> dict[str, Any]:
        """The results in the manifest; empty before the end."""
        return self.manifest.results

    @property
    def benchmarks(self) -> dict[str, dict[str, Any]]:
        """The figures by benchmark, such as ``accuracy`` and ``stderr`` (fractions); empty where there are none."""
        return self.manifest.benchmarks

    @property
    def checkpoint(self) -> Path | None:
        """The folder of the checkpoint that a training has written; None where there is none."""
        path = self.path / "checkpoint"
        return path if path.is_dir() else None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, kind={self.manifest.kind!r}, state={self.manifest.state!r})"

    def _repr_html_(self) -> str:
        from kkwarm.reporting.notebook import html

        return html(self)

    # -- writing -----------------------------------------------------------------------------------------------------

    def append(self, samples: Iterable[Sample]) -> None:
        """Writes samples to disk before it returns.

        :raises KkwarmError: the disk is full or cannot be written; then none of the samples is stored.
        """
        lines = b"".join(encode_sample(s) for s in samples)
        if not lines:
            return
        try:
            if self._out is None:
                self._out = append_regular(self.path / SAMPLES)
            self._write(lines)
        except OSError as err:
            raise KkwarmError(
                f"{self.path / SAMPLES} cannot be written: {err.strerror}", hint="free space; the run resumes"
            ) from None

    def _write(self, lines: bytes) -> None:
        """Writes all lines or none, so that no line can follow an incomplete one.

        An interrupt after the last byte was written does not remove the lines.
        """
        start = os.fstat(self._out.fileno()).st_size
        end = start + len(lines)
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[self._out.write(rest) :]
            os.fsync(self._out.fileno())
        except BaseException as err:  # a full disk or an interrupt
            with contextlib.suppress(OSError):
                if isinstance(err, OSError) or os.fstat(self._out.fileno()).st_size != end:
                    os.ftruncate(self._out.fileno(), start)
            raise

    def record(self, **fields: Any) -> None:
        """Sets fields of the manifest and writes it atomically.

        :raises pydantic.ValidationError: a field is unknown, or its value has another type.
        """
        for name, value in fields.items():
            setattr(self.manifest, name, value)
        self._write_manifest()

    def record_verifiers(self, verifiers: Mapping[str, Mapping[str, Any]]) -> None:
        """Records which code verifies each benchmark. Different code of earlier sessions stays listed in `before`."""
        entries = dict(self.manifest.verifiers)
        for name, now in verifiers.items():
            then = entries.get(name)
            changed = then is not None and "code" in then and then["code"] != now.get("code")
            before = [*then.get("before", []), then["code"]] if then and changed else []
            entries[name] = {**now, "before": before} if before else {**(then or {}), **now}
        if entries != self.manifest.verifiers:
            self.record(verifiers=entries)

    def finish(self, **fields: Any) -> None:
        """Marks the run as done and records its results and the hashes of its files (``products``)."""
        hashes = {name: file_hash(self.path / name) for name in HASHED_FILES if (self.path / name).exists()}
        self.record(state="done", finished=_now(), products={**hashes, **fields.pop("products", {})}, **fields)

    def close(self) -> None:
        """Releases the folder. A run that is not done can be resumed."""
        if self._out is not None:
            self._out.close()
            self._out = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        """Closes the run. If a usage error ended a new run before it wrote any file, its manifest is removed, so that
        the corrected command can use the folder.
        """
        try:
            if self._created and isinstance(err, KkwarmError) and not self._written_files(self.path):
                (self.path / MANIFEST).unlink(missing_ok=True)
            elif kind is not None and not self.done:
                self.record(state="interrupted")
                interrupt.RESUMABLE_RUNS.append(str(self.path))
        finally:
            self.close()

    @staticmethod
    def _written_files(path: Path) -> list[Path]:
        return [f for f in (path / name for name in HASHED_FILES) if f.is_file() and f.stat().st_size]

    # -- reading -----------------------------------------------------------------------------------------------------

    def stored(self) -> str:
        """What a resumed run keeps, for a message: ``37 samples are stored``."""
        if self.manifest.plan is not None:
            return f"{len(self.manifest.seconds)} of {len(self.manifest.plan.steps)} steps are done and stored"
        if self.manifest.kind in ("warmup", "rlvr"):
            complete = self.path.glob("steps/checkpoint-*/complete.json")
            step = max((int(p.parent.name.rpartition("-")[2]) for p in complete), default=0)
            return f"the training is stored up to step {step}"
        count = sum(1 for _ in self.lines())
        return f"{count:,} sample{' is' if count == 1 else 's are'} stored"

    def samples(self, benchmark: str | None = None) -> Iterator[Sample]:
        """Stored samples in the order of storing. An incomplete last line is skipped.

        :raises KkwarmError: a line is damaged, or its checksum does not match (it was edited by hand).
        """
        for line in self.lines():
            if line.sample is None:
                raise KkwarmError(
                    f"{self.path / SAMPLES}, line {line.number}: {line.problem}",
                    hint="restore the file, or delete the run and make it again; `kkwarm verify` lists every such line",
                )
            if benchmark is None or line.sample.benchmark == benchmark:
                yield line.sample

    def samples_df(self, benchmark: str | None = None) -> pandas.DataFrame:
        """The stored samples as a data frame, a row for each; see `kkwarm.store.frames.samples_frame`.

        :raises KkwarmError: as `samples`.
        """
        from kkwarm.store.frames import samples_frame

        return samples_frame(self.samples(benchmark))

    def metrics_df(self) -> pandas.DataFrame:
        """A training's log, with a row for each step, or the figures of other runs, with a row for each benchmark; see
        `kkwarm.store.frames`.
        """
        from kkwarm.store.frames import figures_frame, log_frame

        if self.manifest.kind in ("warmup", "rlvr"):
            return log_frame(self.path / "log.jsonl")
        return figures_frame(self.benchmarks)

    def lines(self) -> Iterator[StoredLine]:
        """Every complete line of ``samples.jsonl``; a damaged or edited line comes with its problem."""
        try:
            file = open_regular(self.path / SAMPLES)
        except FileNotFoundError:
            return
        with file as lines:
            for number, raw in enumerate(lines, 1):
                if not raw.endswith(b"\n"):
                    return  # incomplete after a crash, or being written right now
                try:
                    yield StoredLine(number, decode_sample(raw))
                except ValueError as err:
                    yield StoredLine(number, None, str(err))

    @property
    def incomplete_bytes(self) -> int:
        """Size of an incomplete last line that a crash left; 0 where there is none."""
        try:
            file = open_regular(self.path / SAMPLES)
        except FileNotFoundError:
            return 0
        with file:
            size = end = file.seek(0, os.SEEK_END)
            while end:
                start = max(0, end - 2**20)
                file.seek(start)
                newline = file.read(end - start).rfind(b"\n")
                if newline >= 0:
                    return size - (start + newline + 1)
                end = start
            return size

    # -- inside ------------------------------------------------------------------------------------------------------

    def _truncate_incomplete_line(self) -> None:
        self.truncated_bytes = self.incomplete_bytes
        if self.truncated_bytes:
            with append_regular(self.path / SAMPLES) as out:
                os.ftruncate(out.fileno(), os.fstat(out.fileno()).st_size - self.truncated_bytes)

    def _write_manifest(self) -> None:
        data = redact_data(json.loads(json.dumps(self.manifest.dump(), default=str)))
        text = json.dumps(data, indent=1)
        write_file(self.path / MANIFEST, text, hint="free space; the run resumes")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _json_data(config: Settings) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return data


def _different_run(
    path: Path, manifest: Manifest, kind: Kind, config: Settings, inputs: Mapping[str, str]
) -> KkwarmError:
    hint = "use another --out, or delete it"
    if manifest.kind != kind:
        return KkwarmError(f"{path} already holds a run of {manifest.kind}, not of {kind}", hint=hint)
    given, stored = stored_identity(kind, _json_data(config)), stored_identity(kind, manifest.config)
    # Hashes of inputs follow from the settings, so they are named only where the settings agree.
    differences = _differences(given, stored) or _differences(inputs, manifest.inputs)
    what = f" ({'; '.join(differences)})" if differences else ""
    return KkwarmError(f"{path} already holds a run with different settings{what}", hint=hint)


def _differences(given: Settings, stored: Settings) -> list[str]:
    here, there = dict(_settings(given)), dict(_settings(stored))
    return [
        f"{key}: {_short(there.get(key, 'default'))} there, {_short(here.get(key, 'default'))} here"
        for key in sorted({*here, *there})
        if here.get(key) != there.get(key)
    ]


def _settings(config: Settings, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting with its full name, such as ``sampling.math.temperature``."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
