"""Without namespaces, code is refused unless the user allows it, which the run records."""

import json
from pathlib import Path

import pytest
from kkwarm_humaneval_plus import mbpp

from kkwarm.cli import COMMANDS, main
from kkwarm.verify.sandbox import (
    ALLOW_UNSANDBOXED,
    Level,
    Sandbox,
    landlock_unavailable,
    levels,
    pool,
    seccomp_unavailable,
)

from .mbpp_rows import ROWS, write

CODE = "def is_not_prime(n): return n < 2 or any(n % d == 0 for d in range(2, n))"


@pytest.fixture
def weak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unpinned: None) -> Path:
    """A machine without namespaces, with MBPP+ and a file of outputs."""
    monkeypatch.setattr(levels, "_start_problem", lambda at: "" if at is Level.PROCESS else "forbidden here")
    monkeypatch.setattr(pool, "_shared", {})
    monkeypatch.setenv(ALLOW_UNSANDBOXED, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))
    monkeypatch.setattr(mbpp, "COUNT", len(ROWS))
    write(tmp_path, ROWS)
    outputs = tmp_path / "outputs.jsonl"
    outputs.write_text(json.dumps({"id": "Mbpp/3", "completion": CODE}) + "\n")
    return outputs


def kkwarm(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(args))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_code_is_refused_with_a_hint(weak: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kkwarm("score", str(weak), "--benchmark", "mbpp_plus", "--json") == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.strip().splitlines()) == 1
    assert "refused" in err and "--allow-unsandboxed-code" in err and "forbidden here" in err


def test_allowed_code_runs_and_the_run_records_it(weak: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = weak.parent / "run"
    command = ["score", str(weak), "--benchmark", "mbpp_plus", "--json", "-o", str(run), "--allow-unsandboxed-code"]
    assert kkwarm(*command) == 0
    assert json.loads(capsys.readouterr().out)["benchmarks"]["mbpp_plus"]["accuracy"] == 1.0
    recorded = json.loads((run / "manifest.json").read_text())["environment"]["sandbox"]
    locks = {"seccomp": not seccomp_unavailable(), "landlock": not landlock_unavailable()}
    assert recorded == {"level": "process", "unsandboxed_code_allowed": True, **locks}
    for sandbox in pool._shared.values():
        assert sandbox.level is Level.PROCESS
        sandbox.close()


@pytest.mark.parametrize(("allowed", "says"), [("", "refused"), ("1", "allowed")])
def test_doctor_names_the_level(
    weak: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], allowed: str, says: str
) -> None:
    monkeypatch.setenv(ALLOW_UNSANDBOXED, allowed)
    kkwarm("doctor", "--json", "--offline")
    (line,) = [x for x in json.loads(capsys.readouterr().out)["findings"] if x["what"] == "sandbox"]
    assert line["state"] == "note" and "level process" in line["detail"] and says in line["detail"]


def test_a_run_names_the_level_in_force(tmp_path: Path) -> None:
    from kkwarm.store import Run

    with Run.open(tmp_path / "run", kind="bench", config={}) as run:
        recorded = run.manifest.environment["sandbox"]
    assert (recorded["level"], recorded["seccomp"]) == (levels.strongest_level().value, not seccomp_unavailable())
    assert recorded["unsandboxed_code_allowed"] is levels.unsandboxed_allowed()


@pytest.mark.parametrize("name", ["bench", "check", "distill", "rescore", "rlvr", "score", "study", "try"])
def test_every_command_that_verifies_has_the_flag(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert name in COMMANDS
    assert kkwarm(name, "--help") == 0
    assert "--allow-unsandboxed-code" in capsys.readouterr().out


def test_trusted_code_runs_at_any_level(weak: Path) -> None:
    with Sandbox(1, trusted=True) as sandbox:
        assert sandbox.level is Level.PROCESS
