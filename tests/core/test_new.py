"""kkwarm new: the plugin that it writes installs, passes `kkwarm check`, and passes its own tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kkwarm.cli import main
from kkwarm.scaffold import KINDS, render_plugin

CHECKS = """
import sys
from kkwarm.cli import main
for kind in sys.argv[1:]:
    try:
        main(["check", f"fresh_{kind}"])
    except SystemExit as ended:
        assert ended.code == 0, kind
    else:
        raise AssertionError("it ends with its exit code")
"""


@pytest.mark.slow
def test_new_plugins_pass_as_written(tmp_path: Path) -> None:
    """Of every kind; in one process, for speed: torch and lm-eval take seconds to import."""
    site = tmp_path / "site"
    for kind in KINDS:
        with pytest.raises(SystemExit) as ended:
            main(["new", f"fresh_{kind}", "--kind", kind, "--path", str(tmp_path / kind)])
        assert ended.value.code == 0
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), *(str(tmp_path / k) for k in KINDS)], check=True, timeout=240)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])}
    own_tests = [str(tmp_path / kind / "tests") for kind in KINDS]
    for command in (["-c", CHECKS, *KINDS], ["-m", "pytest", "-q", "--import-mode=importlib", *own_tests]):
        done = subprocess.run(
            [sys.executable, *command], env=env, capture_output=True, text=True, timeout=240, cwd=site
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert command[0] == "-c" or f"{2 * len(KINDS)} passed" in done.stdout  # two of each


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_domain_is_at_most_thirty_lines(kind: str) -> None:
    source = render_plugin("fresh", kind)["kkwarm_fresh.py"]
    assert len([line for line in source.splitlines() if line.strip()]) <= 30


@pytest.mark.parametrize("name", ["Fresh", "1st", "a-b", "class", ""])
def test_a_bad_name_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["new", name])
    assert ended.value.code == 2
    assert "is not a valid domain name" in capsys.readouterr().err


def test_a_folder_with_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(SystemExit) as ended:
        main(["new", "fresh", "--path", str(tmp_path)])
    assert ended.value.code == 2
    assert "not empty" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
