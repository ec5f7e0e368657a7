"""kkwarm: warm up on Knights & Knaves, then RLVR on at most 100 examples, and see what transfers.

Everything a plugin needs is in `kkwarm.types`, `kkwarm.plugins`, `kkwarm.protocols`, `kkwarm.data`, `kkwarm.verify`,
`kkwarm.sandbox`, `kkwarm.schema`, `kkwarm.errors` and `kkwarm.testing`; claims also need `kkwarm.analysis`, and
commands `kkwarm.cli` and `kkwarm.files`. Importing this package imports nothing heavy.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("kkwarm")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]


def __getattr__(name: str) -> object:
    """`kkwarm.sandbox`, imported when it is first used."""
    if name == "sandbox":
        return import_module("kkwarm.sandbox")
    raise AttributeError(f"module 'kkwarm' has no attribute {name!r}")
