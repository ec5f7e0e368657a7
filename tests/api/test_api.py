"""`import kkwarm`: light, typed, with the names and defaults of the commands, and results that notebooks show."""

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import kkwarm
from kkwarm.cli import cli

ROWS: list[dict[str, Any]] = [
    {"id": "mini_math/test/0", "completion": ["<think> so </think> <answer> 4 </answer>", "<answer> <b>5 </answer>"]},
    {"id": "mini_math/test/1", "completion": ["<answer> 4 </answer>"] * 2},
]
# What a command line needs and a function does not: output formats, dry runs, and the power analysis.
ONLY_COMMANDS = {"as_json", "dry_run", "probe", "power_only", "priors", "detect", "help"}
ONLY_COMMANDS |= {
    "html",
    "png",
    "svg",
    "csv",
    "parquet",
    "markdown",
    "latex",
    "budget_curve",
    "flips",
    "full",
    "sections",
}
OTHER_NAMES = {"names": "on", "seconds": "search", "protocol_name": "protocol", "name": "benchmark"}
FUNCTIONS = ("distill", "warmup", "rlvr", "bench", "score", "check", "compare", "report")


def options(command: str) -> dict[str, click.Parameter]:
    """The parameters of a command by the names that the function should have."""
    found = import_module(f"kkwarm.cli.{command}").command.params
    names = {"check": {"name": "name"}}.get(command, {})
    parameters = {names.get(p.name) or OTHER_NAMES.get(p.name, p.name): p for p in found if p.name not in ONLY_COMMANDS}
    return parameters


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_the_parameters_and_defaults_of_their_commands(name: str) -> None:
    parameters = inspect.signature(getattr(kkwarm, name)).parameters
    for option, param in options(name).items():
        assert option in parameters, f"kkwarm.{name} lacks {option}"
        default = parameters[option].default
        if param.required:
            assert default is inspect.Parameter.empty or parameters[option].kind is inspect.Parameter.VAR_POSITIONAL
        elif isinstance(param.default, int | float | str | bool):
            assert default == param.default, option
    assert set(parameters) - set(options(name)) <= {"progress", "run_a"}


def test_importing_and_looking_up_every_name_loads_nothing_heavy() -> None:
    code = (
        "import sys, kkwarm\n"
        "assert not {'pydantic', 'click', 'rich', 'numpy'} & set(sys.modules)\n"
        "assert set(kkwarm.__all__) <= set(dir(kkwarm))\n"
        "for name in kkwarm.__all__: getattr(kkwarm, name)\n"
        "print(sorted({'torch', 'transformers', 'lm_eval', 'trl', 'datasets', 'pandas', 'sympy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'benhc'"):
        kkwarm.benhc  # noqa: B018


def test_score_gives_what_the_command_prints(tmp_path: Path) -> None:
    file = tmp_path / "outputs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    command = CliRunner().invoke(cli, ["score", str(file), "--benchmark", "mini_math", "--json"])
    of_command = json.loads(command.stdout)
    for source, shown in ((str(file), str(file)), (ROWS, None)):
        result = kkwarm.score(source, benchmark="mini_math")
        document = json.loads(result.to_json())
        assert document["file"] == shown
        same = ("benchmarks", "protocol", "verifier", "notes")
        assert {k: document[k] for k in same} == {k: of_command[k] for k in same}
    assert result.samples_df()["status"].tolist() == ["correct", "unparsed", "correct", "correct"]
    assert result.metrics_df().loc["mini_math", "accuracy"] == 0.75


def test_rows_in_memory_resume_their_run_and_other_rows_are_refused(tmp_path: Path) -> None:
    kkwarm.score(ROWS, benchmark="mini_math", out=tmp_path / "run")
    before = (tmp_path / "run" / "samples.jsonl").read_bytes()
    kkwarm.score(ROWS, benchmark="mini_math", out=tmp_path / "run")
    assert (tmp_path / "run" / "samples.jsonl").read_bytes() == before
    with pytest.raises(kkwarm.KkwarmError, match="different settings"):
        kkwarm.score(ROWS[:1], benchmark="mini_math", out=tmp_path / "run")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no completions"),
        ([3], "line 1: int, not a mapping"),
        ([{"id": "a"}], 'line 1: key "completion" is missing'),
        ([ROWS[0], {"id": "none", "completion": "x"}], "line 2: mini_math has no id 'none'"),
    ],
)
def test_bad_rows_are_one_clear_line(rows: Any, message: str) -> None:
    with pytest.raises(kkwarm.KkwarmError, match=message):
        kkwarm.score(rows, benchmark="mini_math")


def test_compare_and_report_give_what_the_commands_print(tmp_path: Path) -> None:
    for name, rows in (("a", ROWS), ("b", [{**ROWS[0], "completion": ["x", "y"]}, ROWS[1]])):
        kkwarm.score(rows, benchmark="mini_math", out=tmp_path / name)
    paths = [str(tmp_path / name) for name in "ab"]
    comparison, report = kkwarm.compare(*paths), kkwarm.report(*map(kkwarm.load_run, paths))
    for command, result in (("compare", comparison), ("report", report)):
        printed = CliRunner().invoke(cli, [command, *paths, "--json"])
        assert json.loads(result.to_json()) == json.loads(printed.stdout)
    frame = report.matrix_df()
    assert frame.loc[("b", "mini_math"), "change"] == report.matrix["b"]["mini_math"].change.estimate
    assert frame["accuracy"].unstack(sort=False).loc["a", "mini_math"] == 0.75


def test_results_render_in_a_notebook_with_every_text_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    displayed: list[Any] = []  # in Jupyter, a rich console displays each line that it prints
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *args: displayed.append(args))
    folder = tmp_path / "<b>bold"
    result = kkwarm.score(ROWS, benchmark="mini_math", out=folder)
    run = kkwarm.load_run(folder)
    second = kkwarm.score(ROWS, benchmark="mini_math", out=tmp_path / "second").run
    shown = [result, run, kkwarm.compare(folder, str(second)), kkwarm.report(folder, str(second))]
    for thing in shown:
        html = thing._repr_html_()
        assert html.startswith("<pre") and "mini_math" in html
        assert "<b>" not in html
    assert "&lt;b&gt;bold" in run._repr_html_()
    assert displayed == []
    assert "75.0" in run._repr_html_()


def test_check_gives_what_the_command_prints() -> None:
    result = kkwarm.check("mini_mcq", examples=2, search=0.1)
    printed = CliRunner().invoke(cli, ["check", "mini_mcq", "--examples", "2", "--search", "0.1", "--json"])
    one, other = json.loads(result.to_json()), json.loads(printed.stdout)
    assert result.ok and one["ok"]
    assert [r["rule"] for r in one["rules"]] == [r["rule"] for r in other["rules"]]
    assert one["probes"] == other["probes"]
    assert "adversarial probes" in result._repr_html_()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kkwarm.bench("m", on="mini_math", sampels=2), "bench: sampels: unknown key; did you mean samples"),
        (lambda: kkwarm.bench("m", on=[]), "no benchmark is named"),
        (lambda: kkwarm.distill(domain="mini_kk", teacher="symbolic", out="x"), "distill: n: is missing"),
        (lambda: kkwarm.distill(domain="mini_kk", teacher="t", n=1, out="x", preset="papr"), "did you mean paper"),
        (lambda: kkwarm.rlvr("m", out="x"), "rlvr: domain: is missing"),
        (lambda: kkwarm.check("mini_math", examples=0), "at least 1 example"),
        (lambda: kkwarm.load_run("nowhere"), "there is no run"),
        (lambda: kkwarm.load_study(), "no study in"),
    ],
)
def test_bad_arguments_are_one_clear_error(call: Any, message: str) -> None:
    with pytest.raises(kkwarm.KkwarmError, match=message):
        call()


def test_a_run_that_is_no_study(tmp_path: Path) -> None:
    kkwarm.score(ROWS, benchmark="mini_math", out=tmp_path / "run")
    with pytest.raises(kkwarm.KkwarmError, match="is a score run, not a study"):
        kkwarm.load_study(tmp_path / "run")


def test_permissions_hold_for_one_call_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from kkwarm.api import _allowing
    from kkwarm.data.pins import unpinned_allowed

    with _allowing(unpinned=True, unsandboxed=True):
        assert unpinned_allowed() and os.environ["KKWARM_ALLOW_UNSANDBOXED_CODE"] == "1"
        with _allowing(unpinned=False):
            assert unpinned_allowed()
    assert not unpinned_allowed() and "KKWARM_ALLOW_UNSANDBOXED_CODE" not in os.environ


def test_distilled_traces_and_training_logs(tmp_path: Path) -> None:
    run = kkwarm.distill(domain="mini_kk", teacher="symbolic", n=8, out=tmp_path / "traces", progress=False)
    assert run.results["traces"] == 8 and run.checkpoint is None
    assert "traces: 8" in run._repr_html_()
    from kkwarm.store.frames import log_frame

    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 2, "loss": 1.0}\n{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 0.5}\n{"step": 3, "lo')
    assert log_frame(log)["loss"].to_dict() == {1: 2.0, 2: 0.5}
