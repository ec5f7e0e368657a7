"""A run folder: ``manifest.json`` (what was run, on what, by which settings) and ``samples.jsonl`` (append-only).

Every sample line carries a checksum. After a crash the last line may be torn: opening the run for writing cuts it off
(the sample is simply generated again) and says so. One process writes a run at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kkwarm import interrupt
from kkwarm.errors import KkwarmError
from kkwarm.paths import expanded
from kkwarm.schema.manifest import Kind, Manifest
from kkwarm.store.manifest import MANIFEST, read_manifest
from kkwarm.types import Completion, Sample, Status, Verdict

__all__ = ["Kind", "Line", "Run", "config_hash", "file_hash", "find_run", "runs_home"]

SAMPLES = "samples.jsonl"
Settings = Mapping[str, Any]
Extends = Callable[[Manifest], bool]
PRODUCTS = (SAMPLES, "traces.jsonl", "log.jsonl")  # files whose hashes a finished run keeps
PROTOCOL = 1  # raised when prompts, splits or verdict rules change so that results cannot be compared any more


def runs_home() -> Path:
    """Where runs are kept: `KKWARM_HOME`, by default ``./runs``."""
    return expanded(os.environ.get("KKWARM_HOME") or "runs")


def find_run(named: Path | str) -> Path:
    """The folder itself, or the one of that name under `runs_home`."""
    path = expanded(named)
    return path if path.exists() or not (runs_home() / path).exists() else runs_home() / path


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file (16 hex digits)."""
    with open(path, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()[:16]


def config_hash(config: Mapping[str, Any]) -> str:
    """Hash of a configuration (16 hex digits); equal configurations have equal hashes."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the stored samples, counted from 1: the sample, or what is wrong with the line."""

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
        self.mended = 0  # torn bytes that opening for writing cut off
        self._fresh = False  # made by this opening

    # -- opening -----------------------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        kind: Kind,
        config: Settings,
        inputs: Mapping[str, str] | None = None,
        extends: Extends | None = None,
    ) -> Run:
        """Creates the run, or goes on with it where the folder holds one of the same kind and configuration.

        :param config: settings that decide the result; JSON data.
        :param inputs: fingerprints of what it reads (data, prompts, checkpoint), by name.
        :param extends: whether this run only adds to the one of a manifest, whose settings are then replaced.
        :raises KkwarmError: another process writes it; it is a run of another configuration; it cannot be written.
        """
        import filelock

        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(path / ".lock", timeout=0)
            lock.acquire()
        except filelock.Timeout:
            raise KkwarmError(
                f"{path} is being written by another process", hint="wait for it, or choose another folder"
            ) from None
        except OSError as err:
            raise KkwarmError(
                f"{path} cannot be written: {err.strerror or err}", hint="choose another folder with -o"
            ) from None
        try:
            run = cls._opened(path, kind, config, inputs or {}, lock, extends)
        except BaseException:
            lock.release()
            raise
        return run

    @classmethod
    def _opened(
        cls, path: Path, kind: Kind, config: Settings, inputs: Mapping[str, str], lock: Any, extends: Extends | None
    ) -> Run:
        ours = config_hash({"kind": kind, "config": config, "inputs": inputs})
        if (path / MANIFEST).exists():
            run = cls.read(path)
            same = run.manifest.config_hash == ours
            if not (same or (extends is not None and extends(run.manifest))):
                raise _different_run(path, run.manifest, kind, config, inputs)
            run._lock = lock
            run._mend()
            if not same:
                run.record(config=_json_data(config), config_hash=ours, state="running")
            if not run.done:
                run.record(state="running", resumed=run.manifest.resumed + 1)
            return run
        if there := cls._products(path):
            raise KkwarmError(
                f"{there[0]} is there already, and {path} is no run (manifest.json is missing)",
                hint="choose another folder, or move the file away",
            )
        manifest = Manifest(
            kind=kind,
            protocol=PROTOCOL,
            config=_json_data(config),
            inputs=dict(inputs),
            config_hash=ours,
            created=_now(),
            state="running",
            environment=environment(),
        )
        run = cls(path, manifest, lock)
        run._fresh = True
        run._write_manifest()
        return run

    @classmethod
    def read(cls, path: Path | str) -> Run:
        """The run, for reading; nothing is changed.

        :raises KkwarmError: the folder holds no run, or its manifest is damaged.
        """
        path = Path(path)
        return cls(path, read_manifest(path))

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def done(self) -> bool:
        """Whether the run was finished."""
        return self.manifest.state == "done"

    # -- writing -----------------------------------------------------------------------------------------------------

    def append(self, samples: Iterable[Sample]) -> None:
        """Stores samples, on disk when this returns.

        :raises KkwarmError: the disk is full, or cannot be written; none of them is stored then.
        """
        lines = b"".join(_encode(s) for s in samples)
        if not lines:
            return
        try:
            if self._out is None:
                self._out = open(self.path / SAMPLES, "ab", buffering=0)  # noqa: SIM115 (kept open while the run is)
            self._write(lines)
        except OSError as err:
            raise KkwarmError(
                f"{self.path / SAMPLES} cannot be written: {err.strerror}", hint="free space; the run resumes"
            ) from None

    def _write(self, lines: bytes) -> None:
        """All of it or nothing: what comes next must not follow a torn line.

        An interrupt that comes once all is written takes nothing back: the lines are whole.
        """
        end = os.fstat(self._out.fileno()).st_size
        whole = end + len(lines)
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[self._out.write(rest) :]
            os.fsync(self._out.fileno())
        except BaseException as err:  # a full disk, or an interrupt
            with contextlib.suppress(OSError):
                if isinstance(err, OSError) or os.fstat(self._out.fileno()).st_size != whole:
                    os.ftruncate(self._out.fileno(), end)
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
            before = [*then.get("before", []), then["code"]] if then and then.get("code") != now.get("code") else []
            entries[name] = {**now, "before": before} if before else {**(then or {}), **now}
        if entries != self.manifest.verifiers:
            self.record(verifiers=entries)

    def finish(self, **fields: Any) -> None:
        """Marks the run done, with its results and the hashes of its files (``products``)."""
        made = {name: file_hash(self.path / name) for name in PRODUCTS if (self.path / name).exists()}
        self.record(state="done", finished=_now(), products={**made, **fields.pop("products", {})}, **fields)

    def close(self) -> None:
        """Gives the folder free. A run that is not done stays resumable."""
        if self._out is not None:
            self._out.close()
            self._out = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        """A new run that a mistake ended before its first sample, trace or step leaves no manifest, so that the mended
        command can take the folder.
        """
        try:
            if self._fresh and isinstance(err, KkwarmError) and not self._products(self.path):
                (self.path / MANIFEST).unlink(missing_ok=True)
            elif kind is not None and not self.done:
                self.record(state="interrupted")
                interrupt.KEPT.append(str(self.path))
        finally:
            self.close()

    @staticmethod
    def _products(path: Path) -> list[Path]:
        return [f for f in (path / name for name in PRODUCTS) if f.is_file() and f.stat().st_size]

    # -- reading -----------------------------------------------------------------------------------------------------

    def samples(self, benchmark: str | None = None) -> Iterator[Sample]:
        """Stored samples in the order of storing; a torn last line is left out.

        :raises KkwarmError: a line before the last is damaged, or its checksum does not fit (edited by hand).
        """
        for line in self.lines():
            if line.sample is None:
                raise KkwarmError(
                    f"{self.path / SAMPLES}, line {line.number}: {line.problem}",
                    hint="restore the file, or remove the run and repeat it; `kkwarm verify` lists every such line",
                )
            if benchmark is None or line.sample.benchmark == benchmark:
                yield line.sample

    def lines(self) -> Iterator[Line]:
        """Every whole line of the stored samples; one that is damaged or was changed comes with its problem."""
        path = self.path / SAMPLES
        if not path.exists():
            return
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                if not raw.endswith(b"\n"):
                    return  # torn by a crash, or being written right now
                try:
                    yield Line(number, _decode(raw))
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
                    yield Line(number, None, str(err))

    @property
    def torn(self) -> int:
        """Bytes of a last line that a crash cut short (0: none): writing goes on in their place."""
        path = self.path / SAMPLES
        if not path.exists():
            return 0
        data = path.read_bytes()
        return len(data) - (data.rfind(b"\n") + 1)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _mend(self) -> None:
        self.mended = self.torn
        if self.mended:
            path = self.path / SAMPLES
            with path.open("r+b") as out:
                out.truncate(path.stat().st_size - self.mended)

    def _write_manifest(self) -> None:
        temporary = self.path / f".{MANIFEST}.{os.getpid()}"
        try:
            with temporary.open("w", encoding="utf-8") as out:
                json.dump(self.manifest.dump(), out, indent=1, sort_keys=True, default=str)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(self.path / MANIFEST)
        except OSError as err:
            raise KkwarmError(
                f"{self.path / MANIFEST} cannot be written: {err.strerror}", hint="free space; the run resumes"
            ) from None


def environment() -> dict[str, Any]:
    """What the run ran on: versions, processor, sandbox, GPU (only where torch is already loaded), command line."""
    import platform
    import sys
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in ("kkwarm", "torch", "transformers", "trl", "lm-eval", "evalplus", "math-verify", "vllm"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": versions,
        "sandbox": _sandbox(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found


def _sandbox() -> dict[str, Any]:
    """The level at which model-written code runs, and whether the user has allowed the weakest."""
    from kkwarm.verify.sandbox import Level, allowed, landlock_missing, level, seccomp_missing

    try:
        at = level().value
    except KkwarmError:
        at = "none"
    found = {"level": at, "seccomp": not seccomp_missing(), "unsandboxed_code_allowed": allowed()}
    return found | ({"landlock": not landlock_missing()} if at == Level.PROCESS else {})


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    import platform

    return platform.processor() or platform.machine()


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
    here = dict(_settings(_json_data({**config, **inputs})))
    there = dict(_settings({**manifest.config, **manifest.inputs}))
    differences = [
        f"{key}: {_short(there.get(key, 'default'))} there, {_short(here.get(key, 'default'))} here"
        for key in sorted({*here, *there})
        if here.get(key) != there.get(key)
    ]
    what = f" ({'; '.join(differences)})" if differences else ""
    return KkwarmError(f"{path} already holds a run with different settings{what}", hint=hint)


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


def _encode(sample: Sample) -> bytes:
    body = json.dumps(asdict(sample), ensure_ascii=True, separators=(",", ":"))
    return f'{{"crc":{zlib.crc32(body.encode())},"sample":{body}}}\n'.encode()


def _decode(raw: bytes) -> Sample:
    line = json.loads(raw)
    body = line["sample"]
    text = json.dumps(body, ensure_ascii=True, separators=(",", ":"))
    if zlib.crc32(text.encode()) != line["crc"]:
        raise ValueError("its checksum does not fit: the line was changed")
    completion, verdict = body.pop("completion"), body.pop("verdict")
    if completion["token_ids"] is not None:
        completion["token_ids"] = tuple(completion["token_ids"])
    return Sample(
        **body,
        completion=Completion(**completion),
        verdict=Verdict(**{**verdict, "status": Status(verdict["status"])}),
    )
