"""Loads a domain's examples in another process with another hash seed, which exposes loaders that iterate over sets."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterable

from kkwarm.data.splits import fingerprint
from kkwarm.plugins import Registry, registry
from kkwarm.types import Domain, Example


def load_in_subprocess(domain: Domain, reg: Registry) -> str | None:
    """The fingerprint of the examples as another process loads them; None if it cannot access `load` (a lambda, say).

    :raises RuntimeError: loading fails there; with the last line of its output.
    """
    try:
        payload = pickle.dumps(domain.load)
    except Exception:  # pickle raises many types for objects without an importable name
        if reg is not registry():
            return None
        payload = pickle.dumps(domain.name)
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    process = subprocess.run(
        [sys.executable, "-m", "kkwarm.testing.subprocess_load"],
        input=payload,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
    )
    if process.returncode != 0:
        lines = process.stderr.decode("utf-8", "replace").strip().splitlines()
        raise RuntimeError(f"another process cannot load it: {lines[-1] if lines else 'no cause was printed'}")
    return process.stdout.decode().split()[-1]


def _main() -> None:
    load = pickle.loads(sys.stdin.buffer.read())  # written by the process that started this one
    examples: Iterable[Example] = registry().domain(load).load() if isinstance(load, str) else load()
    print(fingerprint(list(examples)))  # noqa: T201


if __name__ == "__main__":
    _main()
