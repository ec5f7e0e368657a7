"""Estimates of time, memory and disk space, and the sizes of checkpoints that they rest on."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kkwarm import cost
from kkwarm.backends.sizes import ModelSize, read_size
from kkwarm.schema.document import Document, read
from kkwarm.schema.recipe import parse_recipe
from kkwarm.study.plan import make_plan
from kkwarm.testing.checkpoint import tiny_checkpoint

MACHINE = cost.Hardware("two cores", 2e11, 0.13, 0.5)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model")


def test_the_size_of_a_checkpoint_is_read_from_its_files(tiny: Path) -> None:
    from kkwarm.backends.hf import HFBackend

    size = read_size(str(tiny))
    backend = HFBackend.load(str(tiny))
    assert size.parameters == sum(p.numel() for p in backend.model.parameters())
    assert size.context == backend.model.config.max_position_embeddings
    list(backend.generate([], cost_sampling()))  # inspects the network
    assert size.cache_elements is not None and 4 * size.cache_elements == backend._network.cache_bytes()[1]


def cost_sampling() -> object:
    from kkwarm.types import Sampling

    return Sampling()


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("Qwen/Qwen2.5-3B", 3e9),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 135e6),
        ("someone/llama-3.1-8b-it", 8e9),
        ("someone/unnamed", None),
        ("no/such/folder", None),
        ("kkwarm_mini:NOTHING", None),
    ],
)
def test_the_name_of_a_model_that_is_not_here_tells_its_size(model: str, parameters: float | None) -> None:
    assert read_size(model).parameters == parameters


def test_a_damaged_checkpoint_has_no_size(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 40)
    assert read_size(str(tmp_path)) == ModelSize()


def test_a_measured_rate_replaces_the_assumed_one(tiny: Path) -> None:
    from kkwarm.throughput import record_throughput

    size = ModelSize(135e6)
    assumed = cost.estimate_rates(size, MACHINE)
    assert assumed.generate == pytest.approx(96, abs=1) and assumed.train == pytest.approx(123, abs=1)
    assert assumed.basis == "assumed from 0.135 G parameters on two cores"
    here, model = cost.this_machine(3), read_size(str(tiny))
    before = cost.known_rates(model, here)
    record_throughput(str(tiny), "generate", 100, 2.0, threads=3)  # too few tokens
    assert cost.known_rates(model, here) == before == cost.estimate_rates(model, here)
    record_throughput(str(tiny), "generate", 5000, 20.0, threads=3)
    rates = cost.known_rates(model, here)
    assert rates.generate == 250 and rates.train == before.train
    assert rates.basis.startswith("generation measured on 20") and "; training assumed from" in rates.basis
    record_throughput(str(tiny), "train", 500, 1.0, threads=3)
    assert cost.known_rates(model, here).train == 500
    assert cost.known_rates(model, cost.this_machine(1)).basis.startswith("assumed")  # other threads, other speed
    assert "1 G parameters (a guess)" in cost.estimate_rates(ModelSize(), MACHINE).basis


def test_memory_and_disk() -> None:
    size = ModelSize(1e9, 4096, cache_elements=100_000)
    cpu = cost.generation_memory(size, MACHINE, samples=2, tokens=1000)
    assert cpu == 4e9 + 2 * 1000 * 100_000 * 4
    assert cost.generation_memory(size, MACHINE, samples=10_000, tokens=1000) == 4e9 + 16e9, "the batch is limited"
    assert cost.generation_memory(ModelSize(), MACHINE, samples=1, tokens=1) is None
    full = cost.training_disk(size, lora=False, keeps_best=False)
    assert full == 4e9 + 3 * 12e9
    assert cost.training_disk(size, lora=True, keeps_best=False) < full / 3  # type: ignore[operator]
    assert cost.training_disk(size, lora=False, keeps_best=True, steps=0) == 8e9


def recipe_text(model: Path, more: str = "") -> str:
    return f"""title = "t"
[models]
base = "{model}"
[traces.symbolic]
domain = "mini_kk"
teacher = "symbolic"
n = 100
[stages.warm]
kind = "warmup"
traces = "symbolic"
[stages.rlvr]
kind = "rlvr"
domain = "mini_code"
steps = 3
max_tokens = 64
[[conditions]]
name = "warmed"
chain = ["base", "warm", "rlvr"]
[evaluate]
domains = ["mini_kk", "mini_code"]
limit = 10
max_tokens = 32
{more}"""


def document(tmp_path: Path, text: str) -> Document:
    (tmp_path / "r.toml").write_text(text)
    return read(tmp_path / "r.toml", ())


def test_a_plan_reads_the_models_size_and_respects_limits(tiny: Path, tmp_path: Path) -> None:
    plan = make_plan(parse_recipe("r", document(tmp_path, recipe_text(tiny))))
    bench, rlvr = (next(s.cost for s in plan.steps.values() if s.kind == kind) for kind in ("bench", "rlvr"))
    assert (bench.completions, bench.generated) == (20, 20 * 32), "limit and max_tokens"
    assert (rlvr.completions, rlvr.generated, rlvr.trained) == (192, 192 * 64, 192 * (64 + 200))
    parameters = read_size(str(tiny)).parameters
    assert parameters is not None
    rate = cost.estimate_rates(read_size(str(tiny)), cost.this_machine(1)).train
    warm = next(s.cost for s in plan.steps.values() if s.kind == "warmup")
    assert warm.seconds == pytest.approx(300 * 700 / rate + 5) and warm.disk == 4 * parameters
    larger = make_plan(parse_recipe("r", document(tmp_path, recipe_text(tiny, "[assume]\nparameters = 1e12\n"))))
    assert next(s.cost.seconds for s in larger.steps.values() if s.kind == "warmup") > 1e6


def test_wrong_keys_of_assume_are_named(tiny: Path, tmp_path: Path) -> None:
    from kkwarm.errors import KkwarmError

    wrong = "[assume]\nparamters = 3\nanswer = 0\nspeed = 4\n"
    with pytest.raises(KkwarmError) as err:
        parse_recipe("r", document(tmp_path, recipe_text(tiny, wrong)))
    message = str(err.value)
    assert "assume.paramters: unknown key; did you mean parameters?" in message
    assert "assume.answer: 0 is too small; at least 1" in message
    assert "assume.speed: unknown key" in message and "generate_rate" in message, "the keys are listed"


def test_dry_runs_report_time_memory_and_disk(tiny: Path, tmp_path: Path) -> None:
    from kkwarm.cli import cli

    traces = tmp_path / "traces"
    teach = ["distill", "--domain", "mini_kk", "--teacher", "symbolic", "-n", "8", "-o", str(traces)]
    assert CliRunner().invoke(cli, [*teach, "--json"]).exit_code == 0
    commands = {
        "distill": [*teach[:-1], str(tmp_path / "d")],
        "warmup": ["warmup", str(tiny), "--traces", str(traces), "-o", str(tmp_path / "w")],
        "rlvr": ["rlvr", str(tiny), "--domain", "mini_code", "--steps", "1", "-o", str(tmp_path / "r")],
        "bench": [*f"bench {tiny} --on mini_kk --limit 3 --max-tokens 10 -o".split(), str(tmp_path / "b")],
    }
    for name, command in commands.items():
        result = CliRunner().invoke(cli, [*command, "--dry-run", "--json"], catch_exceptions=False)
        estimate = json.loads(result.stdout)["estimate"]
        assert estimate["disk_gib"] >= 0 and estimate["disk_free_gib"] > 0 and estimate["basis"], name
        assert (estimate["memory_gib"] or 0) > 0 or name == "distill"
        text = CliRunner().invoke(cli, [*command, "--dry-run"], catch_exceptions=False).stdout
        assert "time: at most" in text and "disk: at most" in text and ("memory" in text or name == "distill")
        if name == "bench":
            assert estimate["seconds_at_most"] == pytest.approx(30 / estimate["generate_tokens_per_s"], abs=0.06)
