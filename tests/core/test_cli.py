"""The command line: mistakes are one line and exit code 2; JSON stands alone on stdout."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import click
import pytest

from kkwarm.cli import COMMANDS, cli, main


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(args))
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


def test_an_unknown_command_offers_a_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "domians")
    assert (code, out) == (2, "")
    assert "did you mean domains" in err
    assert len(err.strip().splitlines()) == 1


def test_an_unknown_domain_offers_a_near_one(capsys: pytest.CaptureFixture[str]) -> None:
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
def test_json_stands_alone(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = run(capsys, command, "--json")
    assert code == 0
    assert json.loads(out)


def test_sigterm_ends_a_command_as_ctrl_c_does(capsys: pytest.CaptureFixture[str]) -> None:
    """A batch system sends it before it takes a node away."""

    @click.command("wait")
    def wait() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    before = signal.getsignal(signal.SIGTERM)
    cli.add_command(wait)
    try:
        with pytest.raises(SystemExit) as end:
            main(["wait"])
    finally:
        del cli.commands["wait"]
        signal.signal(signal.SIGTERM, before)
    assert end.value.code == 130
    assert "the same command goes on" in capsys.readouterr().err
