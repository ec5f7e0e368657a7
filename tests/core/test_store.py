"""Runs on disk: append-only, checked, resumable, one writer."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kkwarm.errors import KkwarmError
from kkwarm.store import Run
from kkwarm.types import Completion, Sample, Status, Verdict


def sample(i: int) -> Sample:
    completion = Completion(f"odd \u2028 text \ud800 {i}", 3, "stop", (1, 2, i))
    return Sample("b", str(i), 0, completion, Verdict(Status.WRONG, "a", "why", {"base": 1.0}), "hash", {"k": [1]})


def test_samples_come_back_as_they_were(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", kind="bench", config={"a": 1}) as run:
        run.append(sample(i) for i in range(3))
    assert list(Run.read(tmp_path / "r").samples()) == [sample(i) for i in range(3)]
    assert list(Run.read(tmp_path / "r").samples("other")) == []


def test_a_torn_last_line_is_cut_off_and_said(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", kind="bench", config={}) as run:
        run.append([sample(0), sample(1)])
    path = tmp_path / "r" / "samples.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    assert len(list(Run.read(tmp_path / "r").samples())) == 1
    with Run.open(tmp_path / "r", kind="bench", config={}) as run:
        assert run.truncated_bytes > 0
        run.append([sample(1)])
    assert list(Run.read(tmp_path / "r").samples()) == [sample(0), sample(1)]


def test_a_full_disk_leaves_no_torn_line_before_what_comes_next(tmp_path: Path) -> None:
    """The disk fills up in the middle of a line; then there is room again, and the same process goes on."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Run.open(tmp_path / "r", kind="bench", config={}) as run:
        run.append([sample(0)])
        size = (tmp_path / "r" / "samples.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size * 5 // 2, limits[1]))
        try:
            with pytest.raises(KkwarmError, match=r"samples\.jsonl cannot be written: File too large"):
                run.append([sample(1), sample(2)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (tmp_path / "r" / "samples.jsonl").stat().st_size == size
        run.append([sample(1), sample(2)])
    assert list(Run.read(tmp_path / "r").samples()) == [sample(i) for i in range(3)]


@pytest.mark.parametrize(("interrupt", "stored"), [("fsync", 3), ("write", 1)])
def test_an_interrupt_takes_back_only_what_is_torn(
    interrupt: str, stored: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    class Halved:
        """A file whose write is interrupted when two thirds are written."""

        def __init__(self, file: Any) -> None:
            self.fileno, self.close, self._file = file.fileno, file.close, file

        def write(self, lines: memoryview) -> int:
            self._file.write(lines[: len(lines) * 2 // 3])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Run.open(tmp_path / "r", kind="bench", config={}) as run:
        run.append([sample(0)])
        with monkeypatch.context() as patch:
            if interrupt == "fsync":
                patch.setattr("os.fsync", stop)
            else:
                run._out = Halved(run._out)
            run.append([sample(1), sample(2)])
    with Run.open(tmp_path / "r", kind="bench", config={}) as run:
        assert not run.truncated_bytes and list(run.samples()) == [sample(i) for i in range(stored)]


def test_an_edited_line_is_found(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", kind="bench", config={}) as run:
        run.append([sample(0), sample(1)])
    path = tmp_path / "r" / "samples.jsonl"
    path.write_text(path.read_text().replace('"wrong"', '"correct"', 1))
    with pytest.raises(KkwarmError, match="line 1: its checksum does not match"):
        list(Run.read(tmp_path / "r").samples())


def test_another_configuration_is_refused_and_named(tmp_path: Path) -> None:
    Run.open(tmp_path / "r", kind="bench", config={"seed": 1, "k": 2}).close()
    with pytest.raises(KkwarmError, match=r"different settings \(seed: 1 there, 2 here\)"):
        Run.open(tmp_path / "r", kind="bench", config={"seed": 2, "k": 2})
    with pytest.raises(KkwarmError, match="a run of bench, not of rlvr"):
        Run.open(tmp_path / "r", kind="rlvr", config={"seed": 1, "k": 2})
    with pytest.raises(KkwarmError, match=r"\(data: default there, x here\)"):
        Run.open(tmp_path / "r", kind="bench", config={"seed": 1, "k": 2}, inputs={"data": "x"})


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", kind="bench", config={}), pytest.raises(KkwarmError, match="another process"):
        Run.open(tmp_path / "r", kind="bench", config={})
    Run.open(tmp_path / "r", kind="bench", config={}).close()


def test_a_killed_writer_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_store import sample\nfrom kkwarm.store import Run\n"
        "run = Run.open(sys.argv[1], kind='bench', config={})\n"
        "for i in range(10**6):\n    run.append([sample(i)]); print(i, flush=True)\n"
    )
    where = str(Path(__file__).parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "r"), where], stdout=subprocess.PIPE, text=True, env=env
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 20:
        pass
    time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    told = [int(line) for line in process.stdout.read().split()]
    process.wait()
    with Run.open(tmp_path / "r", kind="bench", config={}) as run:
        stored = list(run.samples())
    assert stored == [sample(i) for i in range(len(stored))]
    assert len(stored) > max([20, *told])


def test_state(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Run.open(tmp_path / "r", kind="bench", config={}):
        raise RuntimeError
    assert Run.read(tmp_path / "r").manifest.state == "interrupted"
    with Run.open(tmp_path / "r", kind="bench", config={}) as run:
        run.finish(results={"x": 1})
    assert Run.read(tmp_path / "r").done
    with Run.open(tmp_path / "r", kind="bench", config={}) as run:
        assert run.done
    assert Run.read(tmp_path / "r").done
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["results"] == {"x": 1}
    assert manifest["environment"]["versions"]["kkwarm"]


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(KkwarmError, match="no run folder"):
        Run.read(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(KkwarmError, match="cannot be read"):
        Run.read(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(KkwarmError, match="cannot be written"):
        Run.open(tmp_path / "file", kind="bench", config={})
