"""Loads a domain's examples in another process, with another hash seed: what walks over sets gives itself away."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterable

from kkwarm.data.splits import fingerprint
from kkwarm.plugins import Registry, registry
from kkwarm.types import Domain, Example

__all__ = ["load_in_subprocess"]


def load_in_subprocess(domain: Domain, reg: Registry) -> str | None:
    """The fingerprint of the examples that another process loads; None where it has no way to them (a lambda, say).

    :raises RuntimeError: loading fails there; with its last line.
    """
    try:
        payload = pickle.dumps(domain.load)
    except Exception:  # pickle raises many types for what has no importable name
        if reg is not registry():
            return None
        payload = pickle.dumps(domain.name)
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        [sys.executable, "-m", "kkwarm.testing.subprocess_load"],
        input=payload,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
    )
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise RuntimeError(f"another process cannot load it: {lines[-1] if lines else 'no cause given'}")
    return done.stdout.decode().split()[-1]


def _main() -> None:
    found = pickle.loads(sys.stdin.buffer.read())  # written by the process that started this one
    examples: Iterable[Example] = registry().domain(found).load() if isinstance(found, str) else found()
    print(fingerprint(list(examples)))  # noqa: T201


if __name__ == "__main__":
    _main()
