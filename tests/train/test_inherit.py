"""A checkpoint is asked by the protocol that it was trained with."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kkwarm.cli import cli
from kkwarm.protocols.inherit import describe_prompting, inherit_protocol
from kkwarm.schema.settings import RlvrConfig, WarmupConfig
from kkwarm.store import Run


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The folder of a warm-up on K&K by `logic-rl`, without its weights."""
    with Run.open(tmp_path / "warmed", kind="warmup", config={}) as run:
        run.record(prompting=describe_prompting(WarmupConfig(protocol="logic-rl"), ["kk"]))
        run.finish()
    return tmp_path / "warmed"


def test_the_protocol_of_training_is_recorded() -> None:
    assert describe_prompting(WarmupConfig(), ["kk", "mini_kk"]) == {"protocols": {"kk": "paper", "mini_kk": "mini"}}
    given = RlvrConfig(domain="math", protocol="boxed", chat="on", system="Be brief.")
    assert describe_prompting(given, ["math"]) == {"protocols": {"math": "boxed"}, "chat": "on", "system": "Be brief."}


def test_it_is_inherited_where_a_benchmark_has_it(trained: Path) -> None:
    settings, note = inherit_protocol(str(trained), {"samples": 2}, ["kk", "math"])
    assert settings == {"samples": 2, "protocol": "kk=logic-rl"}, "math does not have it"
    assert f"{trained} was trained by protocol logic-rl, and is asked in the same way" in note
    assert inherit_protocol(str(trained / "checkpoint"), {}, ["kk"])[0] == {"protocol": "kk=logic-rl"}
    assert inherit_protocol(str(trained), {}, ["math", "no such benchmark"]) == ({}, "")


def test_another_protocol_of_the_user_is_kept_with_a_warning(trained: Path) -> None:
    given = {"protocol": "paper"}
    settings, note = inherit_protocol(str(trained), given, ["kk"])
    assert settings == given and note.endswith("was trained by protocol logic-rl, but it is asked by protocol paper")
    assert inherit_protocol(str(trained), {"protocol": "logic-rl"}, ["kk"])[1] == ""


def test_a_default_protocol_changes_nothing(tmp_path: Path) -> None:
    with Run.open(tmp_path / "warmed", kind="warmup", config={}) as run:
        run.record(prompting=describe_prompting(WarmupConfig(), ["kk"]))
        run.finish()
    assert inherit_protocol(str(tmp_path / "warmed"), {}, ["kk", "math"]) == ({}, "")
    other, _ = inherit_protocol(str(tmp_path / "warmed"), {}, ["kk", "mini_kk"])
    assert other == {"protocol": "mini_kk=paper"}, "the default of another domain is another protocol"
    assert inherit_protocol("some/model", {}, ["kk"]) == ({}, "")


@pytest.mark.slow
def test_rlvr_and_bench_inherit_from_a_warm_up(tmp_path: Path) -> None:
    """Warm-up, RLVR and evaluation by commands; only the first names the protocol."""
    from kkwarm.testing.checkpoint import tiny_checkpoint

    def run(*arguments: str) -> tuple[dict[str, object], str]:
        result = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False)
        assert result.exit_code in (0, 1), result.output
        return json.loads(result.stdout), result.stderr

    base = tiny_checkpoint(tmp_path / "base")
    traces, warmed, rlvr = (str(tmp_path / name) for name in ("traces", "warmed", "rlvr"))
    run("distill", "--domain", "mini_kk", "--teacher", "symbolic", "-n", "4", "-o", traces)
    run("warmup", str(base), "--traces", traces, "-o", warmed, "--max-steps", "1", "--protocol", "paper")
    small = ["--steps", "1", "--prompts-per-step", "2", "--generations", "2", "--max-tokens", "4"]
    _, messages = run("rlvr", warmed, "--domain", "mini_kk", "--examples", "2", *small, "-o", rlvr)
    assert "was trained by protocol paper, and is asked in the same way" in messages
    assert Run.read(rlvr).manifest.prompting == {"protocols": {"mini_kk": "paper"}}
    results, messages = run("bench", rlvr, "--on", "mini_kk", "--limit", "2", "--max-tokens", "4", "-o", f"{rlvr}-b")
    assert results["benchmarks"]["mini_kk"]["protocol"] == "paper"  # type: ignore[index]
    assert "was trained by protocol paper" in messages
    results, messages = run("bench", str(base), "--on", "mini_kk", "--limit", "2", "-o", str(tmp_path / "b"))
    assert results["benchmarks"]["mini_kk"]["protocol"] == "mini"  # type: ignore[index]
