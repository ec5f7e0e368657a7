"""The command line: mistakes are one line and exit code 2; JSON stands alone on stdout."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import click
import pytest
from kkwarm_mini.protocol import MINI

from kkwarm.cli import COMMANDS, Commands, cli, main
from kkwarm.plugins import registry
from kkwarm.store import Run
from kkwarm.types import Completion, Example, Response, Sample, Status, Verdict


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(args))
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


def test_an_unknown_command_suggests_a_similar_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "domians")
    assert (code, out) == (2, "")
    assert "did you mean domains" in err
    assert len(err.strip().splitlines()) == 1


def test_an_unknown_domain_suggests_a_similar_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "domains", "mat")
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert "math" in err


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        if (Path(__file__).parents[2] / "kkwarm" / "cli" / f"{name}.py").exists():
            code, out, _ = run(capsys, name, "--help")
            assert code == 0
            assert "Usage" in out


@pytest.mark.parametrize("command", ["domains", "plugins"])
def test_json_is_the_only_output_on_stdout(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = run(capsys, command, "--json")
    assert code == 0
    assert json.loads(out)


def test_output_of_plugins_does_not_mix_with_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(example: Example, response: Response) -> bool:
        sys.stdout.write("noise")
        return True

    loud = replace(registry().verifiers["mini_math"], check=check)
    monkeypatch.setitem(registry().verifiers, "mini_math", loud)
    file = tmp_path / "o.jsonl"
    row = {"id": "a", "completion": MINI.compose(None, "3"), "reference": "3"}
    file.write_text(json.dumps(row) + "\n")
    code, out, err = run(capsys, "score", str(file), "--benchmark", "mini_math", "--protocol", "mini", "--json")
    assert code == 0
    assert json.loads(out)["benchmarks"]["mini_math"]["accuracy"] == 1.0
    assert "noise" in err


def test_json_is_valid_in_any_encoding(tmp_path: Path) -> None:
    """LANG=C, and a lone surrogate in what a model wrote."""
    ask = "import sys; from kkwarm.cli import main; main(['try', 'mini_math', '3 \\u00e9 \\ud800', '--json'])"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for more in ({}, {"PYTHONIOENCODING": "utf-8"}):
        done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, env=env | more)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["status"] == "malformed"


@pytest.mark.parametrize("resumable", [True, False])
def test_sigterm_ends_a_command_as_ctrl_c_does(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumable: bool
) -> None:
    """Batch systems send SIGTERM before they take a node away. Only commands with a run are called resumable."""
    monkeypatch.setattr("kkwarm.interrupt.RESUMABLE_RUNS", runs := [])
    monkeypatch.setattr("kkwarm.cli.RESUMABLE_RUNS", runs)

    @click.command("wait")
    def wait() -> None:
        with Run.open(tmp_path / "run", kind="bench", config={}) if resumable else nullcontext() as opened:
            if opened is not None:
                opened.append([Sample("toy", "1", 0, Completion("4"), Verdict(Status.CORRECT))])
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)

    before = signal.getsignal(signal.SIGTERM)
    cli.add_command(wait)
    try:
        code, _, err = run(capsys, "wait")
    finally:
        del cli.commands["wait"]
        signal.signal(signal.SIGTERM, before)
    assert code == 130
    message = f"interrupted; 1 sample is stored in {tmp_path / 'run'}: repeat the command to resume"
    assert err.strip() == f"kkwarm: {message if resumable else 'interrupted'}"


def test_the_shell_completes_commands_options_and_domains() -> None:
    from click.shell_completion import BashComplete

    def of(*words: str) -> list[str]:
        *before, last = words
        return [
            item.value for item in BashComplete(cli, {}, "kkwarm", "_KKWARM_COMPLETE").get_completions(before, last)
        ]

    assert of("re") == ["rescore", "report"]
    assert of("report", "--h") == ["--html", "--help"]
    assert {"kk", "math", "mini_kk"} <= set(of("check", ""))
    assert of("bench", "MODEL", "--on", "kk,mini_mc") == ["kk,mini_mcq"]


def test_errors_respect_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    colours: list[object] = []
    monkeypatch.setattr("click.secho", lambda text, **style: colours.append(style.get("fg")))
    for value in ("", "1"):
        monkeypatch.setenv("NO_COLOR", value)
        with pytest.raises(SystemExit):
            main(["chekc"])
    assert colours == ["red", None]


def test_a_closed_stdin_counts_as_empty(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)  # as Python has it after `<&-`
    code, _, err = run(capsys, "try", "mini_math")
    assert (code, err.strip()) == (2, "kkwarm: no completion was given (give it as an argument or on standard input)")


def test_the_shell_completes_runs_and_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.shell_completion import ShellComplete

    monkeypatch.setenv("KKWARM_HOME", str(tmp_path))
    for name in ("first", "bench/second"):
        with Run.open(tmp_path / name, kind="bench", config={}):
            pass
    complete = ShellComplete(cli, {}, "kkwarm", "_KKWARM_COMPLETE")
    for words, incomplete, items in (
        (["compare", "first"], "be", [("bench/second", "plain"), ("be", "file")]),
        (["verify"], "f", [("first", "plain"), ("f", "file")]),
        (["bench"], "ru", [("ru", "dir")]),
    ):
        assert [(i.value, i.type) for i in complete.get_completions(words, incomplete)] == items


def test_a_plugin_whose_commands_fail_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.metadata

    import kkwarm_kk

    def fail(group: click.Group) -> None:
        raise RuntimeError("no commands")

    own = [p for p in importlib.metadata.entry_points(group="kkwarm") if p.dist is not None and p.dist.name == "kkwarm"]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: own)
    monkeypatch.setattr(kkwarm_kk, "kkwarm_commands", fail)
    assert "bench" in Commands().list_commands(click.Context(cli))
    assert "the commands of kk are missing: RuntimeError: no commands" in " ".join(capsys.readouterr().err.split())
