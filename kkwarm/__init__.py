"""kkwarm: warm up on Knights & Knaves, then RLVR on at most 100 examples, and see what transfers.

The functions `distill`, `warmup`, `rlvr`, `bench`, `score`, `check`, `compare` and `report` do what the commands of
these names do, and return typed results; `load_run` and `load_study` open stored ones. They and the core types are
imported when they are first used: importing this package imports nothing heavy.

Everything a plugin needs is in `kkwarm.types`, `kkwarm.plugins`, `kkwarm.hookspecs`, `kkwarm.protocols`, `kkwarm.data`,
`kkwarm.verify`, `kkwarm.sandbox`, `kkwarm.schema`, `kkwarm.errors` and `kkwarm.testing`; claims also need
`kkwarm.analysis`, and commands `kkwarm.cli` and `kkwarm.files`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from kkwarm.api import Study, bench, check, compare, distill, load_run, load_study, report, rlvr, score, warmup
    from kkwarm.errors import ContaminationError, KkwarmError
    from kkwarm.schema.report import Comparison, Comparisons, Report
    from kkwarm.scoring.files import ScoreResult
    from kkwarm.store import Run
    from kkwarm.testing.check import CheckResult
    from kkwarm.types import (
        Benchmark,
        Completion,
        Domain,
        Example,
        Protocol,
        Response,
        Rewards,
        Sample,
        Sampling,
        Status,
        Task,
        Teacher,
        Trace,
        Verdict,
        Verifier,
    )

_TYPES = "Benchmark Completion Domain Example Protocol Response Rewards Sample Sampling Status Task Teacher Trace"
_NAMES = {
    "kkwarm.api": "Study bench check compare distill load_run load_study report rlvr score warmup",
    "kkwarm.errors": "ContaminationError KkwarmError",
    "kkwarm.schema.report": "Comparison Comparisons Report",
    "kkwarm.scoring.files": "ScoreResult",
    "kkwarm.store": "Run",
    "kkwarm.testing.check": "CheckResult",
    "kkwarm.types": f"{_TYPES} Verdict Verifier",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "Benchmark",
    "CheckResult",
    "Comparison",
    "Comparisons",
    "Completion",
    "ContaminationError",
    "Domain",
    "Example",
    "KkwarmError",
    "Protocol",
    "Report",
    "Response",
    "Rewards",
    "Run",
    "Sample",
    "Sampling",
    "ScoreResult",
    "Status",
    "Study",
    "Task",
    "Teacher",
    "Trace",
    "Verdict",
    "Verifier",
    "__version__",
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


def __getattr__(name: str) -> Any:
    """A public name, or `kkwarm.sandbox`, imported when it is first used."""
    if name == "sandbox":
        return import_module("kkwarm.sandbox")
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("kkwarm")
        except PackageNotFoundError:  # a source tree that was never installed
            return "0+unknown"
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
