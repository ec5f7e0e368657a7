"""kkwarm new: what it writes installs, keeps every rule, and passes its own test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kkwarm.cli import main
from kkwarm.scaffold import KINDS, render


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_passes_as_written(kind: str, tmp_path: Path) -> None:
    name = f"fresh_{kind}"
    with pytest.raises(SystemExit) as ended:
        main(["new", name, "--kind", kind, "--path", str(tmp_path / "p")])
    assert ended.value.code == 0
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(tmp_path / "p")], check=True, timeout=120)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])}
    for command in (["kkwarm", "check", name], ["pytest", "-q", str(tmp_path / "p" / "tests")]):
        done = subprocess.run(
            [sys.executable, "-m", *command], env=env, capture_output=True, text=True, timeout=120, cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_domain_is_at_most_thirty_lines(kind: str) -> None:
    source = render("fresh", kind)["kkwarm_fresh.py"]
    assert len([line for line in source.splitlines() if line.strip()]) <= 30


@pytest.mark.parametrize("name", ["Fresh", "1st", "a-b", "class", ""])
def test_a_bad_name_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["new", name])
    assert ended.value.code == 2
    assert "cannot be a domain's name" in capsys.readouterr().err


def test_a_folder_with_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(SystemExit) as ended:
        main(["new", "fresh", "--path", str(tmp_path)])
    assert ended.value.code == 2
    assert "not empty" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
