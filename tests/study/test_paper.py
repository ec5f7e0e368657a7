"""The paper's recipe: what it would cost, and every stage of it on a tiny checkpoint and a few real items."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kkwarm.schema.recipe import load_recipe
from kkwarm.study.cost import Cost, _benchmark_questions
from kkwarm.study.plan import make_plan


def study(*args: str) -> subprocess.CompletedProcess[str]:
    code = "from kkwarm.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, "study", *args], capture_output=True, text=True)


def test_dry_run_needs_no_model_and_no_data(tmp_path: Path) -> None:
    done = study("paper-qwen2.5-3b", "--dry-run", "--json", "-o", str(tmp_path / "s"), "--jobs", "1")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    steps = {s["id"].rpartition("-")[0]: s for s in plan["steps"]}
    assert steps["traces-long-s0"]["completions"] == 20_000
    assert steps["base-warm-s0"]["updates"] == 30_000  # 20,000 traces, 3 epochs, batches of 2
    assert steps["base-warm-rlvr-math-s0"]["updates"] == 1250  # 100 examples, 25 epochs, 2 a step
    assert steps["base-rlvr-code-s0"]["updates"] == 625
    assert steps["bench-base-s0"]["completions"] == 4 * (500 + 114 + 1199 + 281)
    assert plan["total"]["hours"] > 1
    assert plan["total"]["seconds"] == pytest.approx(sum(s["seconds"] for s in plan["steps"]), abs=1)
    assert any("FLOP" in text for text in plan["assumptions"]["text"])
    assert not (tmp_path / "s").exists()


def test_dry_run_for_people() -> None:
    done = study("paper-qwen2.5-3b", "--dry-run")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    for part in ("warmed + history", "20 steps", "GPU-hours", "Assumed:", "base > warm > rlvr-code"):
        assert part in text


def test_costs_follow_settings() -> None:
    def cost(*settings: str) -> Cost:
        return make_plan(load_recipe("paper-qwen2.5-3b", settings)).steps[key(settings)].cost

    def key(settings: tuple[str, ...]) -> str:
        plan = make_plan(load_recipe("paper-qwen2.5-3b", settings))
        return next(k for k in plan.steps if k.startswith("base-rlvr-math"))

    whole, half = cost(), cost("stages.rlvr-math.epochs=12.5")
    assert half.generated * 2 == whole.generated
    slower = cost("assume.flops=100e12")
    assert slower.seconds > 5 * whole.seconds


def test_questions_of_tables_are_counted() -> None:
    tables = Path(__file__).parents[2] / "benchmarks/studies/smollm2-135m"
    counts = [_benchmark_questions(str(tables / name)) for name in ("next_number.toml", "plural.toml")]
    assert counts == [200, 144]
    assert _benchmark_questions("math") == _benchmark_questions("missing.toml") == 500


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_stage_on_real_items(shared_data: Path, tmp_path: Path) -> None:
    from kkwarm.plugins import registry
    from kkwarm.testing.checkpoint import tiny_checkpoint

    texts = [e.question for name in ("math", "humaneval_plus") for e in list(registry().benchmark(name).load())[:40]]
    tiny = tiny_checkpoint(tmp_path / "tiny", texts=texts, vocab=400, context=4096)
    settings = [
        f"models.base={tiny}",
        "traces.long.teacher=symbolic",  # a random teacher writes nothing that could be split into a trace
        "traces.long.n=6",
        "traces.long.samples=1",
        "evaluate.limit=3",
        "evaluate.samples=2",
        "evaluate.max_tokens=12",
        "stages.warm.epochs=1",
    ]
    for stage in ("math", "code", "physics", "history"):
        settings += [f"stages.rlvr-{stage}.{s}" for s in ("examples=4", "epochs=1", "max_tokens=12", "generations=4")]
    out = tmp_path / "study"
    args = [a for s in settings for a in ("--set", s)]
    done = study("paper-qwen2.5-3b", "-o", str(out), "--json", *args)
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads(done.stdout)
    assert document["state"] == "done"
    assert len(document["claims"]) == 1 + 3 * 4
    for row in document["matrix"].values():
        assert {d: cell["n"] for d, cell in row.items()} == dict.fromkeys(document["domains"], 3)
        assert all(cell["samples"] == 6 for cell in row.values())
    assert {c["condition"] for c in document["curves"]} == {n for n in document["matrix"] if "+" in n}
