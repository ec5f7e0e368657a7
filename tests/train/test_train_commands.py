import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kkwarm.cli import cli
from kkwarm.cli.options import parse_pairs
from kkwarm.errors import KkwarmError
from kkwarm.schema.settings import RlvrConfig, WarmupConfig


def test_the_commands_import_nothing_heavy() -> None:
    code = (
        "import sys, kkwarm.cli.distill, kkwarm.cli.warmup, kkwarm.cli.rlvr, kkwarm.train, kkwarm.schema.settings\n"
        "print([m for m in ('torch', 'trl', 'transformers', 'datasets', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reports_the_path_of_the_best_weights(tmp_path: Path, base: Path, traces: Path) -> None:
    command = ["warmup", str(base), "--traces", str(traces), "-o", str(tmp_path / "w"), "--json", "--threads", "1"]
    eval_on = [
        "--eval-on",
        "easy",
        "--eval-every",
        "36",
        "--eval-questions",
        "12",
        "--epochs",
        "6",
        "--learning-rate",
        "1e-2",
    ]
    done = CliRunner().invoke(cli, [*command, *eval_on])
    best = json.loads(done.stdout)["best"]
    assert best["step"] == 36 and best["weights"] == str(tmp_path / "w" / "best")
    assert "the best so far: weights kept" in done.stderr and (tmp_path / "w" / "best" / "config.json").is_file()


@pytest.mark.parametrize("name", ["warmup", "rlvr"])
def test_options_that_are_not_given_are_not_set(name: str) -> None:
    """An option that switches something off must not do so by being left out."""
    from kkwarm.cli.options import given_settings

    model = WarmupConfig if name == "warmup" else RlvrConfig
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    given = ["model", "-o", "out", *(["--traces", "."] if name == "warmup" else ["--domain", "d"])]

    def parsed(*more: str) -> dict[str, object]:
        settings = given_settings(model, command.make_context(name, [*given, *more]))
        return {k: v for k, v in settings.items() if k != "domain"}

    assert parsed() == {}
    assert parsed("--no-memory-check", "--no-keep-best") == {"memory_check": False, "keep_best": False}


def test_rejects_a_model_that_does_not_fit(
    tmp_path: Path, base: Path, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kkwarm.train.memory

    monkeypatch.setattr(kkwarm.train.memory, "available_memory", lambda **_: 1e6)
    done = CliRunner().invoke(cli, ["warmup", str(base), "--traces", str(traces), "-o", str(tmp_path / "w")])
    assert isinstance(done.exception, KkwarmError) and "too large: about" in done.exception.message


def test_dry_runs_report_the_plan_and_write_nothing(tmp_path: Path, base: Path, traces: Path) -> None:
    def document(*args: str) -> dict[str, object]:
        result = CliRunner().invoke(cli, [*args, "-o", str(tmp_path / "out"), "--dry-run", "--json"])
        assert result.exit_code == 0, result.output
        parsed: dict[str, object] = json.loads(result.stdout)
        return parsed

    d = document("distill", "--domain", "toy", "--teacher", str(base), "-n", "5", "--samples", "4")
    assert (d["questions"], d["completions"], d["tokens_at_most"], d["backend"]) == (5, 20, 240, "hf")
    w = document("warmup", str(base), "--traces", str(traces), "--preset", "paper", "--epochs", "2")
    assert (w["traces"], w["steps"], w["domains"]) == (48, 48, ["toy"])
    r = document("rlvr", str(base), "--domain", "toy", "--preset", "paper", "--examples", "20")
    assert (r["examples"], r["steps"], r["completions"], r["tokens_at_most"]) == (20, 250, 5000, 60000)
    assert not (tmp_path / "out").exists()


def test_distill_then_warmup(tmp_path: Path, base: Path) -> None:
    run = CliRunner().invoke(
        cli, ["distill", "--domain", "toy", "--teacher", "symbolic", "-n", "9", "-o", str(tmp_path / "d")]
    )
    assert run.exit_code == 0 and "traces: 9" in run.output
    args = [
        "--traces",
        str(tmp_path / "d"),
        "-o",
        str(tmp_path / "w"),
        "--max-steps",
        "2",
        "--trl",
        "label_smoothing_factor=0",
    ]
    run = CliRunner().invoke(cli, ["warmup", str(base), *args, "--threads", "1", "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["steps"] == 2
    assert (tmp_path / "w" / "checkpoint" / "config.json").exists()


@pytest.mark.parametrize(
    ("pairs", "settings"),
    [(("a=1",), {"a": 1}), (("a-b=x y",), {"a_b": "x y"}), (("a=True", 'b={"c": 2}'), {"a": True, "b": {"c": 2}})],
)
def test_trl_arguments_are_read_as_json_or_text(pairs: tuple[str, ...], settings: dict[str, object]) -> None:
    assert parse_pairs(pairs, "--trl") == settings
    with pytest.raises(KkwarmError, match="--trl a: not KEY=VALUE"):
        parse_pairs(("a",), "--trl")


def test_a_bad_setting_gives_one_line(tmp_path: Path) -> None:
    args = ["distill", "--domain", "toy", "--teacher", "symbolic", "-n", "3", "--top-p", "2", "-o", str(tmp_path / "d")]
    result = CliRunner().invoke(cli, args)
    assert isinstance(result.exception, KkwarmError) and "--top-p: 2.0 is too large; at most 1" in str(result.exception)
