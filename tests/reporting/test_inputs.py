"""What `kkwarm report` says of folders that are no runs, of runs in progress, and of mixed settings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pages import make_runs

from kkwarm.cli import main
from kkwarm.store import Run

Report = Callable[..., tuple[int, str, str]]


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """Runs the command as the console script does: exit code, stdout, stderr."""

    def run(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["report", *map(str, args)])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def change(path: Path, **fields: Any) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_an_empty_store(report: Report) -> None:
    code, out, err = report()
    assert (code, out) == (2, "")
    assert "no study in" in err
    assert "kkwarm study mini" in err


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_that_is_no_run(report: Report, tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "notes"
    if made:
        folder.mkdir()
        (folder / "readme.txt").write_text("hello")
    code, _, err = report(folder)
    assert code == 2
    assert ("is no run folder" if made else "there is no run") in err


def test_a_folder_of_runs_names_one(report: Report, tmp_path: Path) -> None:
    make_runs(tmp_path / "all")
    code, _, err = report(tmp_path / "all")
    assert code == 2
    assert "it holds runs" in err


def test_a_run_without_samples(report: Report, tmp_path: Path) -> None:
    with Run.open(tmp_path / "a", kind="bench", config={}):
        pass
    code, _, err = report(tmp_path / "a")
    assert code == 2
    assert "no samples" in err
    with Run.open(tmp_path / "w", kind="warmup", config={}):
        pass
    code, _, err = report(tmp_path / "w")
    assert code == 2
    assert "warmup run" in err


def test_a_run_in_progress_is_reported_as_such(report: Report, tmp_path: Path) -> None:
    paths = make_runs(tmp_path)
    change(paths[1], state="running")
    code, out, _ = report(*paths)
    assert code == 0
    assert "IN PROGRESS" in out
    assert "*" in out  # at the cells that still grow
    for form in ("--markdown", "--latex"):
        assert "n progress" in report(*paths, form)[1]
    assert json.loads(report(*paths, "--json")[1])["state"] == "in progress"
    assert report(*paths, "--html", tmp_path / "x.html")[0] == 0
    assert "In progress: figures will change" in (tmp_path / "x.html").read_text()


def test_a_torn_last_line_is_left_out(report: Report, tmp_path: Path) -> None:
    paths = make_runs(tmp_path)
    with (paths[1] / "samples.jsonl").open("ab") as out:
        out.write(b'{"crc":1,"sample":{"benchm')
    assert report(*paths)[0] == 0


def test_a_damaged_line_is_named(report: Report, tmp_path: Path) -> None:
    paths = make_runs(tmp_path)
    lines = (paths[1] / "samples.jsonl").read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"because", b"becauze")
    (paths[1] / "samples.jsonl").write_bytes(b"".join(lines))
    code, _, err = report(*paths)
    assert code == 2
    assert "line 4" in err


def test_mixed_protocols_are_shown_but_not_compared(report: Report, tmp_path: Path) -> None:
    paths = make_runs(tmp_path)
    change(paths[1], evaluation_version=99)
    code, out, _ = report(*paths)
    assert code == 0
    assert "cannot be paired: they differ in evaluation version (1 and 99)" in " ".join(out.split())
    document = json.loads(report(*paths, "--json")[1])
    assert all(cell["change"] is None for row in document["matrix"].values() for cell in row.values())
    for form in ("--markdown", "--latex"):
        assert "version (1 and 99)" in report(*paths, form)[1]


def test_two_ways_to_print_are_refused(report: Report, tmp_path: Path) -> None:
    code, _, err = report(*make_runs(tmp_path), "--json", "--latex")
    assert code == 2
    assert "choose one" in err


def test_files_that_cannot_be_written(report: Report, tmp_path: Path) -> None:
    paths = make_runs(tmp_path)
    (tmp_path / "file").write_text("")
    for option, target in (("--html", "file/x.html"), ("--png", "file/x.png"), ("--png", "file")):
        code, _, err = report(*paths, option, tmp_path / target)
        assert code == 2, err
        assert "cannot be written" in err
