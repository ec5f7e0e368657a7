"""`kkwarm verify` on the runs that train: traces, examples, checkpoints."""

from pathlib import Path

import pytest

from kkwarm.plugins import registry
from kkwarm.scoring.verify_run import State, verify_run
from kkwarm.store import Run
from kkwarm.train import DistillConfig, RlvrConfig, WarmupConfig, distill, rlvr, warmup


def states(run: Run) -> dict[str, State]:
    return {f.what: f.state for f in verify_run(Run.read(run.path), registry())}


@pytest.mark.slow
def test_a_chain_agrees_until_something_is_changed(base: Path, tmp_path: Path) -> None:
    distilled = distill(DistillConfig(domain="toy", teacher="symbolic", n=12), tmp_path / "traces", progress=False)
    assert states(distilled) == {"settings": State.AGREES, "file traces.jsonl": State.AGREES, "traces": State.AGREES}

    warmed = warmup(base, distilled.path, tmp_path / "warmed", WarmupConfig(max_steps=1, threads=1), progress=False)
    results = states(warmed)
    assert {k: results[k] for k in ("settings", "file checkpoint", "traces", "checkpoint")} == dict.fromkeys(
        ("settings", "file checkpoint", "traces", "checkpoint"), State.AGREES
    )

    config = RlvrConfig(domain="toy", examples=2, steps=1, prompts_per_step=2, generations=2, max_tokens=4, threads=1)
    trained = rlvr(warmed.path, config, tmp_path / "trained", progress=False)
    assert set(states(trained).values()) == {State.AGREES}

    traces = distilled.path / "traces.jsonl"
    traces.write_text(traces.read_text().replace("the word is", "the word was", 1))
    weights = next((warmed.path / "checkpoint").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    differs = {
        name: {what for what, state in states(run).items() if state is State.DIFFERS}
        for name, run in (("traces", distilled), ("warmed", warmed), ("trained", trained))
    }
    assert differs == {
        "traces": {"file traces.jsonl", "traces"},
        "warmed": {"file checkpoint", "traces"},
        "trained": {"checkpoint"},
    }
