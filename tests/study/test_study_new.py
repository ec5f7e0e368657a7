"""`kkwarm study new`: a recipe for one's own checkpoint and domain."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kkwarm.backends.sizes import ModelSize
from kkwarm.cli import cli
from kkwarm.cost import Hardware, Rates
from kkwarm.schema.document import Document
from kkwarm.schema.recipe import Recipe, RlvrStage, WarmupStage, load_recipe, parse_recipe
from kkwarm.study.new import Choices, _choose_sizes, _is_python
from kkwarm.study.recipe_text import render_recipe
from kkwarm.testing.checkpoint import tiny_checkpoint

MINI = ["--domain", "mini_code", "--warmup-domain", "mini_kk", "--benchmarks", "mini_math,mini_mcq"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["study", *arguments])


def test_two_commands_from_a_checkpoint_to_a_plan(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine" / "study.toml"
    result = invoke("new", "--model", str(tiny), *MINI, "-o", str(file))
    assert result.exit_code == 0, result.output
    assert "base, warmed, base + RLVR, warmed + RLVR, direct SFT, shuffled SFT" in result.stdout
    assert f"run it: kkwarm study {file}" in result.stdout
    recipe = load_recipe(str(file))
    assert recipe.models == {"base": str(tiny)}
    assert recipe.evaluate.domains == ("mini_code", "mini_kk", "mini_math", "mini_mcq")
    (claim,) = recipe.claims
    assert (claim.on, claim.warmup, claim.warmed_rlvr) == ("mini_code", "mini_kk", "warmed + RLVR")
    text = file.read_text()
    assert text.count("paper") > 20 and "# Estimate: " in text and " on this machine." in text
    assert max(len(line.replace(str(file), "").replace(str(tiny), "")) for line in text.splitlines()) <= 120
    plan = invoke(str(file), "--dry-run", "--json")
    assert plan.exit_code == 0, plan.output
    document = json.loads(plan.stdout)
    assert {s["kind"] for s in document["steps"]} == {"distill", "warmup", "rlvr", "bench"}
    assert document["total"]["seconds"] > 0
    again = invoke("new", "--model", str(tiny), *MINI, "-o", str(file))
    assert again.exit_code != 0 and file.read_text() == text, "an existing file is kept"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--domain": "mini_cod"}, "unknown task 'mini_cod' (did you mean mini_code"),
        ({"--benchmarks": "mini_mat"}, "unknown benchmark 'mini_mat'"),
        ({"--warmup-domain": "mini_math"}, "unknown teacher"),
        ({"--model": "./nowhere"}, "./nowhere does not exist"),
        ({"-o": "study.yaml"}, "study.yaml is no TOML file"),
        ({"--model": "kkwarm_mini:NOTHING"}, "kkwarm_mini has no NOTHING"),
    ],
)
def test_bad_input(
    change: dict[str, str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kkwarm.cli import main

    monkeypatch.chdir(tmp_path)
    options = {"--model": "kkwarm_mini:BASE", "--domain": "mini_code", "--warmup-domain": "mini_kk", "-o": "s.toml"}
    arguments = [part for pair in (options | change).items() for part in pair]
    with pytest.raises(SystemExit) as end:
        main(["study", "new", *arguments])
    assert end.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


CPU = Hardware("2 cores", 2e11, 0.13, 0.5)
GPU = Hardware("one GPU (H100)", 989e12, 0.05, 0.3, cuda=True)


def choices(parameters: float, hardware: Hardware, context: int = 32768, **facts: object) -> Choices:
    size = ModelSize(parameters, context)
    rates = Rates(hardware.flops * 0.1 / (2 * parameters), hardware.flops * 0.4 / (6 * parameters), "assumed")
    found = Choices(
        *("some/model", "math", "kk", ("math", "kk"), ("direct",), size, hardware, rates, False),
        prompt=200,
        longest_prompt=400,
        trace=500,
        available=7500,
        is_code=False,
        questions={"math": 500},
        limits={"math": 4096, "kk": 600},
    )
    return _choose_sizes(replace(found, **facts))  # type: ignore[arg-type]


def parse(chosen: Choices) -> Recipe:
    import tomllib

    return parse_recipe("r", Document(tomllib.loads(render_recipe(chosen)), "r.toml", {}))


def stages(chosen: Choices) -> tuple[WarmupStage, RlvrStage]:
    recipe = parse(chosen)
    warm, rlvr = recipe.stages["warm"], recipe.stages["rlvr"]
    assert isinstance(warm, WarmupStage) and isinstance(rlvr, RlvrStage)
    return warm, rlvr


def test_on_a_gpu_the_papers_sizes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kkwarm.study.new.device_memory", lambda hardware: 80e9)
    chosen = choices(3e9, GPU)
    warm, rlvr = stages(chosen)
    assert (chosen.traces, chosen.limit, chosen.max_tokens) == (5000, {}, 4096)
    assert (warm.learning_rate, warm.batch_size, warm.epochs) == (1e-6, 2, 3)
    assert (rlvr.learning_rate, rlvr.prompts_per_step, rlvr.generations, rlvr.epochs) == (1e-6, 2, 10, 25)
    assert not rlvr.lora
    warm, rlvr = stages(choices(14e9, GPU))
    assert warm.lora and rlvr.lora and rlvr.learning_rate == 1e-5, "an adapter where all weights do not fit"


def test_sizes_follow_the_model_and_the_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kkwarm.study.new.device_memory", lambda hardware: 16e9)
    small, large = choices(135e6, CPU), choices(1e9, CPU)
    assert small.traces > large.traces and (small.steps or 0) > (large.steps or 0) and not small.lora and large.lora
    warm, rlvr = stages(small)
    assert warm.learning_rate == 5e-5 and rlvr.steps == small.steps and rlvr.max_tokens == 512
    assert choices(135e6, CPU, context=1024).max_tokens == 512
    narrow = choices(135e6, CPU, context=640)
    assert narrow.max_tokens == 224 and narrow.eval_tokens == {"math": 239, "kk": 239}, (
        "what the context leaves for the longest prompt"
    )
    assert small.eval_tokens == {"math": 640, "kk": 600}, "room for answers as long as the traces, within their limits"
    assert small.limit["math"] < small.limit["kk"] == parse(small).evaluate.limit["kk"]  # type: ignore[index]
    code = choices(135e6, CPU, available=50, is_code=True)
    assert code.examples == 50 and "see `kkwarm doctor` for the sandbox" in render_recipe(code)
    assert _is_python("def f(x):\n    return x") and _is_python("    return x\n    pass".replace("pass", "pass\n"))
    assert not _is_python("42") and not _is_python("I return home")


def test_new_has_its_own_help() -> None:
    assert "--warmup-domain" in invoke("new", "--help").stdout
    assert "--dry-run" in invoke("--help").stdout and "kkwarm study new" in invoke("--help").stdout
