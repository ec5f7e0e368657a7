"""A run folder of someone else is data: nothing in it makes kkwarm read, run or overwrite something else."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_files import make_special

from kkwarm.cli import main
from kkwarm.errors import KkwarmError
from kkwarm.plugins import hookimpl, load, registry
from kkwarm.store import Run
from kkwarm.types import Completion, Domain, Example, Response, Sample, Status, Verdict

PRIVATE = "What is the private question?"


@pytest.fixture(autouse=True)
def _fresh_registry() -> Iterator[None]:
    """A domain that was named in one test must not be known in the next one."""
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table outside of the run, which its reader owns."""
    path = tmp_path / "private" / "e.toml"
    path.parent.mkdir()
    path.write_text('data = "rows.jsonl"\nquestion = "q"\nanswer = "a"\nverifier = "text"\n')
    rows = [{"q": f"{PRIVATE} {i}", "a": f"secret {i}"} for i in range(4)]
    (path.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_run(path: Path, benchmark: str, **fields: Any) -> Path:
    with Run.open(path, kind="bench", config={"benchmarks": [benchmark]}) as run:
        run.append(Sample(benchmark, f"test/{i}", 0, Completion("x"), Verdict(Status.WRONG)) for i in range(4))
        run.finish(**fields)
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = path / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def run_command(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in args])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def page_texts(path: Path) -> str:
    """All texts of a report's page, also those in its compressed blocks."""
    page = path.read_text()
    blocks = re.findall(r'data-block="\w+">([^<]+)<', page)
    return page + "".join(zlib.decompress(base64.b64decode(block)).decode("utf-8", "replace") for block in blocks)


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_report_embeds_no_table_that_only_the_run_names(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", str(table))
    assert run_command(capsys, "report", run, "--html", tmp_path / "r.html")[0] == 0
    assert PRIVATE not in page_texts(tmp_path / "r.html")
    assert run_command(capsys, "report", run, "--html", tmp_path / "r.html", "--domain", table)[0] == 0
    assert PRIVATE in page_texts(tmp_path / "r.html")


@pytest.mark.parametrize("narrowed", ["", ":x"])
@pytest.mark.parametrize("command", ["verify", "rescore"])
def test_no_command_reads_a_table_that_only_the_run_names(
    command: str, narrowed: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", f"{table}{narrowed}")
    table.write_text("damaged [[[")  # reading it would say so
    code, out, err = run_command(capsys, command, run, *(["--json"] if command == "verify" else ["--alone"]))
    assert code == (1 if command == "verify" else 2)
    assert "unknown benchmark" in out + err and "data alone loads installed domains only" in out + err
    assert "TOML" not in out + err


def test_a_table_that_the_user_names_is_read(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", str(table))
    code, out, _ = run_command(capsys, "rescore", run, "--alone", "--json", "--domain", table)
    assert code == 0 and json.loads(out)["benchmarks"][str(table)]["n"] == 4


def test_settings_of_training_name_no_table(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text("damaged [[[")
    settings = ({"domain": str(table)}, {"domain": "mini_math", "decontaminate_against": [str(table)]})
    for number, config in enumerate(settings):
        config |= {"examples": 3, "drop_contaminated": True}
        with Run.open(tmp_path / f"r{number}", kind="rlvr", config=config, inputs={"examples": "0" * 16}) as run:
            run.finish()
        _, out, _ = run_command(capsys, "verify", tmp_path / f"r{number}", "--json")
        (finding,) = (f for f in json.loads(out)["findings"] if f["what"] == "examples")
        assert finding["state"] == "unchecked" and "data alone loads installed domains only" in finding["detail"]


def test_traces_name_no_table(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = {"id": "1", "domain": str(table), "question": "q", "reasoning": None, "answer": "a", "teacher": "t"}
    (tmp_path / "traces.jsonl").write_text(json.dumps(trace) + "\n")
    command = ("warmup", "kkwarm_mini:BASE", "--traces", tmp_path / "traces.jsonl", "-o", tmp_path / "w", "--dry-run")
    code, _, err = run_command(capsys, *command)
    assert code == 2 and "trace 1: unknown task" in err and "name it with --domain" in err
    assert run_command(capsys, *command, "--domain", table)[0] == 0


def make_domain(name: str) -> Domain:
    def check(example: Example, response: Response) -> bool:
        return False

    return Domain(name, lambda: [Example("1", "q", "a")], check)


def test_hooks_learn_where_a_name_comes_from() -> None:
    calls: list[tuple[str, bool]] = []

    class Old:
        @hookimpl
        def kkwarm_resolve_domain(self, name: str) -> Domain | None:
            calls.append((name, False))
            return make_domain(name) if name.startswith("old") else None

    class New:
        @hookimpl
        def kkwarm_resolve_domain(self, name: str, from_run: bool) -> Domain | None:
            calls.append((name, from_run))
            return make_domain(name) if name.startswith("new") else None

    reg = load([("old", Old()), ("new", New())])
    with pytest.raises(KkwarmError, match="unknown benchmark 'old1'"):
        reg.benchmark("old1", from_run=True)
    assert calls == [("old1", True)]
    assert reg.benchmark("old1").name == reg.benchmark("old1", from_run=True).name == "old1"  # named by the user before
    assert reg.task("new1", from_run=True).name == "new1"


# -- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["../../other", "/tmp/other", "..", ".", "", "a/b", "a\0b", "x" * 300])
def test_steps_of_a_study_are_folders_of_it(step: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = {
        "title": "t",
        "note": "",
        "margin": 5,
        "domains": ["d"],
        "claims": [],
        "steps": [step],
        "conditions": [{"name": "a", "baseline": None, "chain": ["m"]}],
        "rows": {"a": {"0": {"bench": step}}},
    }
    with Run.open(tmp_path / "s", kind="study", config={}) as run:
        run.finish()
    edit(tmp_path / "s", lambda manifest: manifest.update(plan=plan))
    for command in ("report", "verify", "rescore"):
        code, _, err = run_command(capsys, command, tmp_path / "s")
        assert code == 2 and "plan.steps.0 is not a valid name" in err


def test_hashed_files_are_in_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", "mini_math")
    edit(run, lambda manifest: manifest.update(products={"../../etc/passwd": "0"}))
    code, _, err = run_command(capsys, "verify", run)
    assert code == 2 and "is not a valid name" in err


def test_a_report_reads_no_training_run_without_its_weights(tmp_path: Path) -> None:
    from kkwarm.analysis.load import load as load_runs

    with Run.open(tmp_path / "private", kind="rlvr", config={"seed": 0}) as run:
        run.record(alarms=[{"kind": "length", "step": 1, "text": "private"}])
        run.finish(products={"checkpoint": "fedcba9876543210"})
    model = {"name": "m", "checkpoint": str(tmp_path / "private")}
    for inputs, count in (({"checkpoint": "0" * 16}, 0), ({}, 0), ({"checkpoint": "fedcba9876543210"}, 1)):
        path = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        with Run.open(path, kind="bench", config={}, inputs=inputs) as run:
            run.append([Sample("d", "1", 0, Completion("x"), Verdict(Status.WRONG))])
            run.finish(model=model)
        assert len(load_runs([path]).training) == count


def test_verify_imports_no_package_that_a_run_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run.open(tmp_path / "r", kind="bench", config={"backend": "hf"}, inputs={"checkpoint": "0" * 16}) as run:
        run.finish(model={"name": "m", "checkpoint": "antigravity:x"})
    sys.modules.pop("antigravity", None)
    _, out, _ = run_command(capsys, "verify", tmp_path / "r", "--json")
    (finding,) = (f for f in json.loads(out)["findings"] if f["what"] == "checkpoint")
    assert "belongs to no installed plugin" in finding["detail"]
    assert "antigravity" not in sys.modules


# -- links, pipes, devices --------------------------------------------------------------------------------------------


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device"])
@pytest.mark.parametrize("file", ["samples.jsonl", "manifest.json", ".lock"])
def test_a_run_with_something_that_is_no_file(
    file: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", "mini_math")
    (run / file).unlink()
    make_special(run / file, kind)
    with pytest.raises(KkwarmError), Run.open(run, kind="bench", config={"benchmarks": ["mini_math"]}) as opened:
        opened.append([Sample("mini_math", "new", 0, Completion("x"), Verdict(Status.WRONG))])
    if file != ".lock":
        for command in (("report", run), ("verify", run), ("rescore", run, "--alone")):
            code, _, err = run_command(capsys, *command)
            assert code == 2 and len(err.strip().splitlines()) == 1 and f"{file} is a" in err


@pytest.mark.parametrize("file", ["samples.jsonl", ".lock"])
def test_a_run_is_never_written_through_a_link(file: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "mini_math")
    content = (run / file).read_bytes()
    mine = tmp_path / "mine"
    mine.write_bytes(content + b"incomplete line")
    (run / file).unlink(missing_ok=True)
    (run / file).symlink_to(mine)
    with pytest.raises(KkwarmError, match="is a symbolic link, not a file"):
        Run.open(run, kind="bench", config={"benchmarks": ["mini_math"]})
    assert mine.read_bytes() == content + b"incomplete line"
    if file == "samples.jsonl":
        assert len(list(Run.read(run).samples())) == 4  # reading is allowed


@pytest.mark.timeout(60)
def test_a_study_with_pipes_for_logs(tmp_path: Path) -> None:
    from kkwarm.analysis.training import read_steps

    os.mkfifo(tmp_path / "log.jsonl")
    with pytest.raises(KkwarmError, match="is a named pipe"):
        read_steps(tmp_path / "log.jsonl", "reward")


# -- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "ignored"), [(signal.SIGTERM, False), (signal.SIGHUP, False), (signal.SIGHUP, True)]
)
def test_a_closed_terminal_interrupts_a_command(number: signal.Signals, ignored: bool, tmp_path: Path) -> None:
    """The command waits for its input; SIGHUP ends it like SIGTERM, but for ``nohup``."""
    os.mkfifo(tmp_path / "outputs.jsonl")
    arguments = ["score", str(tmp_path / "outputs.jsonl"), "--benchmark", "mini_math"]
    code = (
        f"import signal, sys; signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if ignored else 'SIG_DFL'});"
        "from kkwarm.cli import main; main(sys.argv[1:])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    writer = os.open(tmp_path / "outputs.jsonl", os.O_WRONLY)  # opens when the command does
    time.sleep(0.2)
    process.send_signal(number)
    if ignored:
        os.write(writer, b'{"id": "a", "completion": "3", "reference": "3"}\n')
    os.close(writer) if ignored else None
    _, err = process.communicate(timeout=60)
    if not ignored:
        os.close(writer)
    assert process.returncode == (0 if ignored else 130), err
    assert (b"interrupted" in err) is not ignored
