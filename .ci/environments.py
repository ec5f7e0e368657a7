"""Tests the package in environments of its own: ``python .ci/environments.py package|versions``.

`package` builds the source distribution and the wheel, checks their descriptions, installs the wheel, and runs commands
in an empty folder. `versions` runs the tests with the lowest and the highest versions of transformers, trl and lm-eval
that pyproject.toml allows. An environment holds only what is under test, and finds every other package in the
environment that runs this script. So a requirement that pyproject.toml forgets is not noticed; ``package --full``
installs them all.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("transformers", "trl", "lm-eval")
TESTS = ("tests/api", "tests/backends", "tests/evaluation", "tests/train", "tests/core/test_protocols.py")

VERSIONS = "import sys\nfrom importlib.metadata import version\nfor name in sys.argv[1:]: print(name, version(name))"
UNSATISFIED = """  # requirements of the libraries that the versions found in the environment do not meet
import sys
from importlib.metadata import requires, version
from packaging.requirements import Requirement
for line in [line for name in sys.argv[1:] for line in requires(name) or ()]:
    r = Requirement(line)
    if (r.marker is None or r.marker.evaluate({"extra": ""})) and not r.specifier.contains(version(r.name), True):
        print(f"{r.name}{r.specifier}")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["package", "versions"])
    parser.add_argument("ends", nargs="*", help="lowest, highest, or NAME==VERSION of libraries")
    parser.add_argument("--full", action="store_true", help="install all requirements, reusing nothing")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kkwarm-env-") as folder:
        if args.what == "package":
            test_package(Path(folder), full=args.full)
            return
        for end in args.ends or ["lowest", "highest"]:
            test_versions(Path(folder) / end, end)


def test_package(folder: Path, *, full: bool) -> None:
    """Builds the package and uses the wheel as a user does."""
    dist = folder / "dist"
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, ROOT])
    run([sys.executable, "-m", "twine", "check", "--strict", *sorted(dist.iterdir())])
    python = make_environment(folder / "env", layered=not full)
    wheel = next(dist.glob("*.whl"))
    constraints = ["-c", ROOT / "constraints.txt"] if full else ["--no-deps"]
    run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *constraints, wheel])
    empty = folder / "empty"
    empty.mkdir()
    found = "import kkwarm, kkwarm_mini; print(kkwarm.__file__, kkwarm_mini.__file__, sep='\\n')"
    files = run([python, "-c", found], cwd=empty, capture=True).split()
    assert all(Path(f).is_relative_to(folder / "env") for f in files), f"not the wheel's: {files}"
    kkwarm = python.with_name("kkwarm")
    for command in (["--version"], ["plugins"], ["check", "mini_mcq", "--search", "1"], ["study", "mini", "--dry-run"]):
        run([kkwarm, *command], cwd=empty)
    shutil.rmtree(folder / "env")


def test_versions(folder: Path, end: str) -> None:
    """Runs the tests that touch the libraries, with other versions of them.

    :param end: ``lowest``, ``highest``, or ``NAME==VERSION``, the others being those of this environment.
    """
    python = make_environment(folder, layered=True)
    wanted = [end] if "==" in end else [requirement(name, end) for name in LIBRARIES]
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--ignore-installed", "--no-deps"]
    run([*pip, *wanted])
    if missing := run([python, "-c", UNSATISFIED, *LIBRARIES], capture=True).splitlines():
        run([*pip, *missing])
    print(run([python, "-c", VERSIONS, *LIBRARIES], capture=True), flush=True)
    run([python, "-m", "pytest", "-q", *TESTS], cwd=ROOT, env={"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"})
    shutil.rmtree(folder)


def requirement(name: str, end: str) -> str:
    """The requirement of pyproject.toml; ``lowest`` pins its lower bound. pip chooses the highest version by itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    line = next(d for d in project["dependencies"] if re.split(r"[\[<>=!~]", d)[0] == name)
    if end == "highest":
        return line
    lowest = re.search(r">=([\w.]+)", line)
    assert end == "lowest" and lowest, f"{end} of {line}"
    return f"{name}=={lowest[1]}"


def make_environment(folder: Path, *, layered: bool) -> Path:
    """A virtual environment; returns its Python.

    :param layered: packages that it lacks are found in the environment of this process, but not kkwarm, whose editable
        installation is a .pth file there, which is not read.
    """
    venv.create(folder, with_pip=True)
    if layered:
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "layer.pth").write_text("\n".join(p for p in sys.path if Path(p).name == "site-packages") + "\n")
    return folder / "bin" / "python"


def run(command: list[object], *, cwd: Path = ROOT, env: dict[str, str] | None = None, capture: bool = False) -> str:
    """Runs a command; ends this script with its exit code if it fails."""
    words = [str(word) for word in command]
    print("$", *words, flush=True)
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(words, cwd=cwd, env=inherited | (env or {}), text=True, capture_output=capture)
    if done.returncode:
        print(done.stderr or "", file=sys.stderr)
        sys.exit(done.returncode)
    return done.stdout or ""


if __name__ == "__main__":
    main()
