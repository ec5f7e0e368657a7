"""reasoning-gym's entries, generated once for all processes and kept in the user's cache.

Several of its data sets walk over sets: another process, with another hash seed, gets other questions from the same
seed. So they are generated in a process with a fixed hash seed. Entries hold Python objects, hence pickle.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError, unknown_name

__all__ = ["dataset", "entries", "silent"]

Entry = Mapping[str, Any]
_HASH_SEED = "0"


@lru_cache(maxsize=4)
def dataset(name: str, seed: int, size: int) -> Any:
    """reasoning-gym's data set of that name.

    :raises KkwarmError: reasoning-gym is not installed, has no such data set, or cannot make it without settings.
    """
    try:
        from reasoning_gym.factory import DATASETS, create_dataset
    except ModuleNotFoundError as err:
        raise KkwarmError(
            f"reasoning_gym:{name} needs reasoning-gym ({err.name} is missing)", hint="pip install 'kkwarm[bridges]'"
        ) from None
    if name not in DATASETS:
        raise unknown_name("data set of reasoning-gym", name, DATASETS)
    try:
        with silent():
            return create_dataset(name, seed=seed, size=size)
    except Exception as err:
        raise KkwarmError(f"reasoning-gym cannot make {name}: {type(err).__name__}: {err}") from err


@lru_cache(maxsize=4)
def entries(name: str, seed: int, size: int) -> tuple[Entry, ...]:
    """All entries of a data set: the same ones in every process.

    :raises KkwarmError: they cannot be generated.
    """
    path = _folder() / f"{name}-{seed}-{size}.pickle"
    if path.exists():
        with contextlib.suppress(Exception), open(path, "rb") as file:  # cut short, say: it is made again
            return tuple(pickle.load(file))
    dataset(name, seed, size)  # what is wrong is said here, not by the other process
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / "entries"
        done = subprocess.run(
            [sys.executable, "-m", "kkwarm_bridges.entries", name, str(seed), str(size), str(made)],
            env={
                **os.environ,
                "PYTHONHASHSEED": _HASH_SEED,
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            },
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            cause = (done.stderr.strip().splitlines() or ["no cause given"])[-1]
            raise KkwarmError(f"reasoning-gym cannot generate {name}: {cause}")
        made.replace(path)
    with open(path, "rb") as file:
        return tuple(pickle.load(file))


@contextlib.contextmanager
def silent() -> Any:
    """What reasoning-gym prints goes nowhere: standard output may be a JSON document."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    root = Path(base) if base else Path.home() / ".cache"
    return root / "kkwarm" / f"reasoning-gym-{metadata.version('reasoning-gym')}"


def _generate(name: str, seed: int, size: int, out: Path) -> None:
    source = dataset(name, seed, size)
    with silent():
        made = [source[i] for i in range(size)]
    out.write_bytes(pickle.dumps(made))


if __name__ == "__main__":
    _generate(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
