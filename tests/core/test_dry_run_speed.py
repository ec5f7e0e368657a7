"""Dry runs load no weights and little code, and ``--probe`` measures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kkwarm.cli import cli
from kkwarm.testing.checkpoint import tiny_checkpoint

LOADED = """
import sys
from kkwarm.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
names = ("torch", "transformers", "trl", "datasets", "lm_eval", "sklearn")
print(*(name for name in names if name in sys.modules), file=sys.stderr)
"""


def test_a_dry_run_of_raw_text_imports_no_torch(tmp_path: Path) -> None:
    """The weights are not read as weights either: any file of their name will do."""
    model = tiny_checkpoint(tmp_path / "model")
    command = ["bench", str(model), "--on", "mini_math", "--limit", "2", "--dry-run", "--json"]
    process = subprocess.run([sys.executable, "-c", LOADED, *command], capture_output=True, text=True)
    assert json.loads(process.stdout)["benchmarks"][0]["questions"] == 2
    assert process.stderr.split() == []


@pytest.mark.slow
def test_training_dry_runs_import_no_transformers(tmp_path: Path) -> None:
    """They read sizes from config.json and the weights' headers, and count tokens by the tokenizers library."""
    model, traces = tiny_checkpoint(tmp_path / "model"), tmp_path / "traces"
    CliRunner().invoke(cli, ["distill", "--domain", "mini_kk", "--teacher", "symbolic", "-n", "4", "-o", str(traces)])
    for command in (["rlvr", str(model), "--domain", "mini_math"], ["warmup", str(model), "--traces", str(traces)]):
        command += ["-o", str(tmp_path / "run"), "--dry-run"]
        process = subprocess.run([sys.executable, "-c", LOADED, *command], capture_output=True, text=True)
        assert "memory: about" in process.stdout and process.stderr.split() == ["torch"]


@pytest.mark.slow
def test_a_probe_measures_what_the_dry_run_then_uses(tmp_path: Path) -> None:
    model = str(tiny_checkpoint(tmp_path / "model"))
    command = ["rlvr", model, "--domain", "mini_math", "-o", str(tmp_path / "run"), "--json"]
    before = json.loads(CliRunner().invoke(cli, [*command, "--dry-run"]).stdout)["estimate"]
    after = json.loads(CliRunner().invoke(cli, [*command, "--probe"]).stdout)["estimate"]
    assert before["basis"].startswith("assumed") and "measured" in after["basis"] and "assumed" not in after["basis"]
    again = json.loads(CliRunner().invoke(cli, [*command, "--dry-run"]).stdout)["estimate"]
    assert again["generate_tokens_per_s"] == after["generate_tokens_per_s"] and again["basis"] == after["basis"]
