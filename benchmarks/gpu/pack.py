"""Collects the packages that `all.py` needs on a machine that has torch, transformers and accelerate only.

    python benchmarks/gpu/pack.py [-o benchmarks/gpu/packages] [--python 3.12] [--limit 60]

Downloads, as wheels, what kkwarm requires beyond these three packages and their own requirements, in the versions that
are installed here, and sorts the wheels into folders part1, part2, ... of at most --limit MiB, so that they can be
copied one by one. `all.py --packages FOLDER` installs them there without a network.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

PRESENT = ("torch", "transformers", "accelerate")
UNUSED = frozenset({"anthropic", "google-generativeai", "openai"})  # evalplus's clients of servers
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64")


def closure(names: Iterable[str]) -> dict[str, str]:
    """The installed versions of packages and of all that they require, by normalised name."""
    found: dict[str, str] = {}
    waiting = [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        key = f"{name}[{','.join(sorted(requirement.extras))}]"
        if key in found or name in UNUSED:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # of another platform
        found[key] = distribution.version
        for text in distribution.requires or ():
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return {key.partition("[")[0]: version for key, version in found.items()}


def download(name: str, version: str, python: str, folder: Path) -> Path:
    """The wheel of a package; one that is published as source only is built."""
    before = set(folder.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    target = [f"--python-version={python}", *(f"--platform={name}" for name in PLATFORMS), "--only-binary=:all:"]
    wanted = ["--no-deps", "-d", str(folder), f"{name}=={version}"]
    binary = subprocess.run([*pip, "download", *target, *wanted], capture_output=True, text=True)
    if binary.returncode:
        build = ["wheel", "--no-deps", "-w", str(folder), f"{name}=={version}"]
        built = subprocess.run([*pip, *build], capture_output=True, text=True)
        if built.returncode:
            raise SystemExit(f"{name} {version} is neither downloaded nor built:\n{binary.stderr}{built.stderr}")
    (wheel,) = set(folder.glob("*.whl")) - before
    return wheel


def fill_parts(wheels: Iterable[Path], limit: int) -> list[list[Path]]:
    """The wheels in parts of at most `limit` bytes, the largest first.

    :raises SystemExit: a wheel is larger than a part.
    """
    parts: list[list[Path]] = []
    for wheel in sorted(wheels, key=lambda path: -path.stat().st_size):
        size = wheel.stat().st_size
        if size > limit:
            raise SystemExit(f"{wheel.name} alone has {size / 2**20:.0f} MiB: raise --limit")
        for part in parts:
            if sum(path.stat().st_size for path in part) + size <= limit:
                part.append(wheel)
                break
        else:
            parts.append([wheel])
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parent / "packages")
    parser.add_argument("--python", default=f"{sys.version_info[0]}.{sys.version_info[1]}", help="of the GPU machine")
    parser.add_argument("--limit", type=int, default=60, help="MiB of a part")
    args = parser.parse_args()
    present = closure(PRESENT)
    needed = {name: version for name, version in closure(["kkwarm"]).items() if name not in present}
    needed.pop("kkwarm", None)  # it runs from its source
    with tempfile.TemporaryDirectory() as scratch:
        wheels = [download(name, version, args.python, Path(scratch)) for name, version in sorted(needed.items())]
        parts = fill_parts(wheels, args.limit * 2**20)
        shutil.rmtree(args.out, ignore_errors=True)
        for number, part in enumerate(parts, 1):
            folder = args.out / f"part{number}"
            folder.mkdir(parents=True)
            for wheel in part:
                shutil.move(wheel, folder)
    for folder in sorted(args.out.iterdir()):
        size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
        print(f"{folder}: {len(list(folder.iterdir()))} wheels, {size:.1f} MiB")  # noqa: T201


if __name__ == "__main__":
    main()
