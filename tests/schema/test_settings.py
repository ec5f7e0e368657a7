"""Settings: bounds, presets, identity, percentage points, and one definition for files, options and documentation."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from kkwarm.cli import cli
from kkwarm.schema.document import ConfigError
from kkwarm.schema.settings import (
    BenchConfig,
    DistillConfig,
    RlvrConfig,
    Settings,
    WarmupConfig,
    extra_of,
    fraction_hint,
    identity,
    stored_identity,
    value_of,
)

ALL: list[type[Settings]] = [DistillConfig, WarmupConfig, RlvrConfig, BenchConfig]


def test_all_bad_values_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        RlvrConfig(domain="kk", examples=0, top_p=2, seed=-1, optim="adam")
    assert len(error.value.problems) == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 0}, "temperature must be above 0"),
        ({"temperature": 1e-9}, "must be 0, or from 0.001 to 100"),
        ({"generations": 1}, "at least 2"),
        ({"beta": -0.1}, "too small"),
        ({"steps": 2_000_000}, "too many"),
        ({"drop_contaminated": True, "allow_contamination": True}, "exclude each other"),
    ],
)
def test_values_that_cannot_work(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RlvrConfig(domain="kk", **values)


def test_a_rank_or_qlora_turns_lora_on() -> None:
    assert WarmupConfig(lora_rank=4).lora and WarmupConfig(qlora=True).lora
    assert not WarmupConfig().lora and not WarmupConfig().replace(seed=1).lora


def test_identity_leaves_out_defaults_and_what_does_not_decide() -> None:
    assert identity(RlvrConfig(domain="kk", examples=100, learning_rate=1e-6, nproc=4)) == {"domain": "kk"}
    assert identity(WarmupConfig(epochs=1)) == identity(WarmupConfig(epochs=1.0)) == {"epochs": 1.0}
    assert identity(WarmupConfig(decontaminate_against=("math",))) == {}
    drop = WarmupConfig(decontaminate_against=("math",), drop_contaminated=True)
    assert identity(drop) == {"decontaminate_against": ["math"], "drop_contaminated": True}


def test_a_new_setting_does_not_change_the_identity_of_stored_runs() -> None:
    config = RlvrConfig(domain="kk", steps=3)
    stored = json.loads(json.dumps(config.dump()))
    del stored["epsilon"]  # as if the run were older than this setting
    assert stored_identity("rlvr", stored) == identity(config)
    assert stored_identity("study", {"anything": 1}) == {"anything": 1}


def test_steps() -> None:
    assert RlvrConfig(domain="kk").steps_for(100) == 62  # what an epoch leaves over makes no step
    assert RlvrConfig(domain="kk", steps=5).steps_for(100) == 5
    assert WarmupConfig(epochs=1.5, batch_size=8).steps_for(100) == 19


def test_a_fraction_gets_a_hint() -> None:
    assert fraction_hint("--margin", 0.05) == (
        "--margin is in percentage points: 0.05 means 0.05 points; did you mean 5?"
    )
    assert fraction_hint("--margin", 5) == fraction_hint("--margin", 0) == ""


@pytest.mark.parametrize("model", ALL)
def test_every_setting_is_described_in_a_sentence(model: type[Settings]) -> None:
    for name, field in model.model_fields.items():
        assert field.description and field.description.endswith("."), name
        assert extra_of(field)["panel"], name


@pytest.mark.parametrize(
    ("command", "model"),
    [("distill", DistillConfig), ("warmup", WarmupConfig), ("rlvr", RlvrConfig), ("bench", BenchConfig)],
)
def test_help_lists_every_setting_with_its_default(command: str, model: type[Settings]) -> None:
    result = CliRunner().invoke(cli, [command, "--help"], env={"COLUMNS": "300"})
    text = " ".join(result.output.split())
    for name, field in model.model_fields.items():
        assert name.replace("_", "-") in text or extra_of(field)["option"] in text, name
    assert "Number of completions per prompt, whose rewards are compared with each other. [default: 8]" in text or (
        command != "rlvr"
    )


def test_all_bad_options_are_reported_at_once_by_their_names() -> None:
    arguments = ["rlvr", "m", "--domain", "kk", "--top-p", "2", "--examples", "many", "--precision", "fp64", "-o", "x"]
    with pytest.raises(ConfigError) as error:
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert error.value.problems == (
        "--precision: 'fp64' is not one of auto, bf16, fp32",
        "--examples: must be a whole number, not 'many'",
        "--top-p: 2.0 is too large; at most 1",
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (20, {"kk": 20, "kk:3": 20, "math": 20}),
        ("20", {"kk": 20}),
        ("kk=8,20", {"kk": 8, "kk:3": 8, "math": 20}),
        ("kk=8,kk:3=9", {"kk": 8, "kk:3": 9, "math": None}),
        ({"kk": 8}, {"kk": 8, "math": None}),
        (None, {"kk": None}),
    ],
)
def test_a_count_may_differ_between_benchmarks(value: Any, expected: dict[str, int | None]) -> None:
    config = BenchConfig(limit=value)
    assert {name: value_of(config.limit, name) for name in expected} == expected
    assert BenchConfig(**json.loads(json.dumps(identity(config)))) == config


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("kk=a", "must be a whole number"),
        ("kk=", "a value is missing"),
        ("kk=1,kk=2", "two values for kk"),
        ({"kk": 0}, "0 is too small; at least 1"),
        (True, "must be a whole number"),
        (2.5, "must be a whole number"),
    ],
)
def test_bad_counts_of_benchmarks_are_refused(value: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        BenchConfig(max_tokens=value)


def test_a_value_for_a_benchmark_that_is_not_evaluated_is_refused() -> None:
    for option, values in (("--limit", "kk=3"), ("--max-tokens", "mini_mth=3"), ("--protocol", "kk=paper")):
        command = ["bench", "kkwarm_mini:BASE", "--on", "mini_math", option, values, "--dry-run"]
        result = CliRunner().invoke(cli, command)
        assert result.exit_code and f"unknown benchmark in {option}" in str(result.exception), result.output
