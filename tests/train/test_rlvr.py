import json
from pathlib import Path
from typing import Any

import pytest
import toy_task as toy

from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry
from kkwarm.store import Run
from kkwarm.testing.checkpoint import tiny_checkpoint
from kkwarm.train import RlvrConfig, WarmupConfig, rlvr, warmup
from kkwarm.train.grpo import plan_rlvr
from kkwarm.types import Completion
from kkwarm.verify import verify

SMALL = {"prompts_per_step": 4, "generations": 4, "threads": 1}


@pytest.fixture(scope="module")
def warmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps the format, and is right about half the time."""
    load = toy.kkwarm.plugins.load
    toy.install()
    folder = tmp_path_factory.mktemp("warmed")
    toy.checkpoint(folder / "base")
    toy.write_traces(folder / "traces.jsonl", toy._teach(48, 0))
    config = WarmupConfig(learning_rate=1e-2, epochs=4, batch_size=8, threads=1)
    run = warmup(folder / "base", folder / "traces.jsonl", folder / "run", config, progress=False)
    toy.kkwarm.plugins.load = load
    return run.path


def log_of(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_rewards_equal_the_benchmarks_verdicts(tmp_path: Path, warmed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = RlvrConfig(domain="toy", examples=20, learning_rate=1e-4, steps=3, keep_rollouts=True, **SMALL)
    run = rlvr(warmed, config, tmp_path / "r", labels={"condition": "both"})
    assert capfd.readouterr().out == "", "nothing belongs on stdout"
    rows = [json.loads(line) for line in (run.path / "rollouts.jsonl").read_text().splitlines()]
    assert len(rows) == 3 * 16
    reg = registry()
    task, benchmark = reg.task("toy"), reg.benchmark("toy")
    examples = {e.id: e for e in task.load()}
    assert {r["id"] for r in rows} <= set(run.manifest.example_ids) <= set(examples)
    pairs = [(examples[r["id"]], Completion(r["completion"], finish_reason=r["finish"])) for r in rows]
    verdicts = verify(reg.verifier(benchmark.verifier), reg.protocol(benchmark), pairs)
    assert [v.status.value for v in verdicts] == [r["status"] for r in rows]
    assert [task.rewards.for_status(v.status) for v in verdicts] == [r["reward"] for r in rows]
    assert {r["status"] for r in rows} >= {"correct", "wrong"}
    assert all(
        r["completion"].endswith("</answer>") for r in rows if r["finish"] == "stop" and r["status"] == "correct"
    )
    for step, line in enumerate(log_of(run.path), 1):
        mine = [r for r in rows if r["step"] == step]
        groups = [[r["reward"] for r in mine[i : i + 4]] for i in range(0, 16, 4)]
        assert all(len({r["id"] for r in mine[i : i + 4]}) == 1 for i in range(0, 16, 4))
        assert line["reward"] == pytest.approx(sum(r["reward"] for r in mine) / 16)
        assert line["no_signal"] == sum(len(set(g)) == 1 for g in groups) / 4
        assert "truncated" not in line and {"entropy", "clip_fraction"} <= set(line), "trl's figures have plain names"
        assert line["at_token_limit"] == sum(r["finish"] == "length" for r in mine) / 16
        assert sum(line["status"].values()) == pytest.approx(1)  # type: ignore[attr-defined]
    assert run.manifest.results["completions"] == 48 and run.manifest.results["signal"]


@pytest.mark.slow
def test_parts_of_a_reward_and_a_stop_with_nothing_lost(
    tmp_path: Path, warmed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reward that fails in step 3 stops the run after step 2; once it is correct, the run ends with equal weights."""
    from safetensors.torch import load_file

    from kkwarm.train.callback import Progress
    from kkwarm.verify.rewards import RewardError, TaskReward

    notes: list[str] = []
    monkeypatch.setattr(Progress, "update", lambda self, done, note="": notes.append(note))
    config = RlvrConfig(domain="graded", examples=20, learning_rate=1e-3, steps=4, keep_rollouts=True, **SMALL)
    whole = rlvr(warmed, config, tmp_path / "whole", progress=False)
    for step, line in enumerate(log_of(whole.path), 1):
        rows = [r for r in map(json.loads, (whole.path / "rollouts.jsonl").open()) if r["step"] == step]
        for kind in ("rewards", "metrics"):
            names = {name for r in rows for name in r.get(kind, {})}
            expected = {n: pytest.approx(sum(r.get(kind, {}).get(n, 0) for r in rows) / 16, abs=1e-6) for n in names}
            assert line[kind] == expected
        assert all(r["reward"] == pytest.approx(sum(r["rewards"].values())) for r in rows)
        assert line["reward"] == pytest.approx(sum(line["rewards"].values()), abs=1e-5)  # type: ignore[attr-defined]
    assert {"answer", "length"} == set(line["rewards"]) and "near" in line["metrics"]  # type: ignore[call-overload,operator]
    assert any("(answer " in note and ", length " in note for note in notes)

    weighted = config.replace(steps=1, reward_weights={"length": 0.5})
    (line,) = log_of(rlvr(warmed, weighted, tmp_path / "weighted", progress=False).path)
    first = log_of(whole.path)[0]["rewards"]
    assert line["rewards"] == pytest.approx({"answer": first["answer"], "length": first["length"] / 2}, abs=1e-6)  # type: ignore[index]
    assert line["reward"] == pytest.approx(sum(line["rewards"].values()), abs=1e-5)  # type: ignore[attr-defined]
    with pytest.raises(KkwarmError, match="the reward of toy has no parts that could have a weight"):
        plan_rlvr(weighted.replace(domain="toy"))
    with pytest.raises(KkwarmError, match=r"the reward of graded: unknown part 'lenght'"):
        plan_rlvr(weighted.replace(reward_weights={"lenght": 0.5}))

    calls = iter(range(9))
    correct = TaskReward.__call__

    def failing(self: TaskReward, items: Any) -> Any:
        if next(calls) == 2:
            raise self._error(items[0][0], items[0][2], "is not finite: nan")
        return correct(self, items)

    monkeypatch.setattr(TaskReward, "__call__", failing)
    with pytest.raises(RewardError, match=r"the reward of graded for example toy/.*: nan .* it resumes after step 2\)"):
        rlvr(warmed, config, tmp_path / "r", progress=False)
    assert [row["step"] for row in log_of(tmp_path / "r")] == [1, 2]
    assert (tmp_path / "r" / "steps" / "checkpoint-2" / "complete.json").exists()
    monkeypatch.setattr(TaskReward, "__call__", correct)
    resumed = rlvr(warmed, config, tmp_path / "r", progress=False)
    one, other = (load_file(run.path / "checkpoint" / "model.safetensors") for run in (whole, resumed))
    assert all(one[k].equal(other[k]) for k in one)


@pytest.mark.slow
def test_the_reward_rises_on_a_learnable_task(tmp_path: Path, warmed: Path) -> None:
    config = RlvrConfig(
        domain="easy", examples=36, learning_rate=5e-3, steps=25, prompts_per_step=6, generations=8, threads=1
    )
    rows = log_of(rlvr(warmed, config, tmp_path / "r", progress=False).path)
    first, last = (sum(float(r["reward"]) for r in part) / 5 for part in (rows[:5], rows[-5:]))  # type: ignore[arg-type]
    assert last > first + 0.3


def test_equal_rewards_warn_and_leave_the_weights_unchanged(
    tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from click.testing import CliRunner

    from kkwarm.cli.rlvr import command

    out = tmp_path / "r"
    options = ["--domain", "toy", "--steps", "2", "--prompts-per-step", "2", "--generations", "2", "--max-tokens", "3"]
    result = CliRunner().invoke(
        command, [str(base), *options, "--top-p", "0.9", "-o", str(out), "--examples", "9", "--json"]
    )
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["signal"] is False and document["last"]["accuracy"] == 0.0
    assert any("biases the importance ratio" in w for w in document["warnings"])
    assert any(
        "nothing learned: the reward never varied within a group (mostly truncated); raise" in a
        for a in document["alarms"]
    )
    kinds = {alarm["kind"] for alarm in Run.read(out).manifest.alarms}
    assert kinds == {"nothing learned", "no signal", "token limit"}, "two steps are enough for alarms"
    assert result.stderr.count("no prompt gave a signal") == 1
    from safetensors.torch import load_file

    before, after = (load_file(f / "model.safetensors") for f in (base, out / "checkpoint"))
    assert all(before[k].equal(after[k]) for k in before)


def test_dropping_zero_advantages_changes_neither_loss_nor_gradient(tmp_path: Path, warmed: Path) -> None:
    import torch

    from kkwarm.train.grpo import build_trainer, render_prompts
    from kkwarm.train.grpo_trainer import drop_zero_advantages
    from kkwarm.train.trainer_setup import load_network
    from kkwarm.verify import Judge

    plan = plan_rlvr(RlvrConfig(domain="toy", examples=20, precision="fp32", micro_batch_size=8, **SMALL))
    with Judge() as judge:
        network = load_network(warmed, plan.config)
        trainer, _ = build_trainer(network, plan, render_prompts(plan, warmed), tmp_path, judge)
        trainer._can_drop_zero_advantages = lambda: False
        trainer.create_optimizer()
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        full = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    full["advantages"][4:12] = 0.0
    results = []
    for batch in (full, drop_zero_advantages(full, 1)):
        trainer.model.zero_grad()
        loss = trainer._compute_loss(trainer.model, batch)
        loss.backward()
        results.append((float(loss.detach()), torch.cat([p.grad.flatten() for p in trainer.model.parameters()])))
    remaining = drop_zero_advantages(full, 1)["advantages"]
    assert 0 < len(remaining) <= 8 and bool((remaining != 0).all())
    assert results[0][1].norm() > 0
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-4, atol=1e-6)
    assert drop_zero_advantages({"advantages": torch.zeros(8)}, 4)["advantages"].shape == (4,)


def test_lora_and_checkpointing(tmp_path: Path, warmed: Path) -> None:
    pytest.importorskip("peft")
    from safetensors.torch import load_file

    config = RlvrConfig(
        domain="toy",
        examples=20,
        learning_rate=1e-2,
        steps=2,
        lora_rank=4,
        gradient_checkpointing=True,
        micro_batch_size=8,
        **SMALL,
    )
    run = rlvr(warmed, config, tmp_path / "r", progress=False)
    before, after = (load_file(f / "checkpoint" / "model.safetensors") for f in (warmed, run.path))
    assert before.keys() == after.keys()
    assert {k.split(".")[-2] for k in before if not before[k].equal(after[k])} >= {"q_proj", "down_proj"}


@pytest.mark.slow
def test_warns_about_prompts_that_the_tokenizer_cannot_represent(tmp_path: Path) -> None:
    words = tiny_checkpoint(tmp_path / "words", vocab=["say"])
    run = rlvr(words, RlvrConfig(domain="toy", examples=20, steps=1, **SMALL), tmp_path / "r", progress=False)
    assert any("no token for some text of 20 of 20 prompts" in warning for warning in run.manifest.warnings)


def test_the_order_covers_all_examples_and_no_step_repeats_one() -> None:
    plan = plan_rlvr(RlvrConfig(domain="toy", examples=36, steps=20, prompts_per_step=5))
    order = plan.order()
    parts = [order[i : i + 5] for i in range(0, 100, 5)]
    assert len(order) == 100 and all(len(set(p)) == 5 for p in parts)
    assert len(set(order)) == 36
    assert plan_rlvr(RlvrConfig(domain="toy", examples=36, epochs=2, prompts_per_step=5)).steps == 14


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"domain": "tory"}, r"unknown task 'tory' \(did you mean toy"),
        ({"domain": "toy", "examples": 100}, "toy has 36 training examples, not 100"),
        ({"domain": "toy", "examples": 3}, "8 prompts in a step, but only 3 examples"),
        ({"domain": "toy:gold", "examples": 9}, "toy:gold has . training examples, not 9"),
        ({"domain": "toy", "temperature": 0.0}, "temperature must be above 0"),
        ({"domain": "toy", "generations": 1}, "generations: 1 is too small"),
        ({"domain": "toy", "learning_rate": -1.0}, "learning_rate: -1.0 is too small"),
    ],
)
def test_rejects_bad_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(KkwarmError, match=message):
        plan_rlvr(RlvrConfig(**settings))  # type: ignore[arg-type]


def test_the_papers_settings() -> None:
    from kkwarm.train import PAPER_RLVR, PAPER_WARMUP

    c = PAPER_RLVR
    assert (c.learning_rate, c.beta, c.generations, c.micro_batch_size, c.completions, c.epochs) == (
        1e-6,
        0.0,
        10,
        4,
        20,
        25.0,
    )
    assert (c.temperature, c.top_p, c.max_grad_norm, c.scale_rewards) == (0.7, 0.95, 0.1, "none")
    w = PAPER_WARMUP
    assert (w.learning_rate, w.betas, w.weight_decay, w.batch_size, w.micro_batch_size) == (
        1e-6,
        (0.9, 0.95),
        1e-4,
        2,
        1,
    )
    assert (w.max_grad_norm, w.warmup_steps, w.schedule) == (0.1, 25, "constant") and 3 <= w.epochs <= 5


def test_completions_from_token_ids_equal_those_of_the_backend(base: Path) -> None:
    """With vLLM, trl generates and passes token ids only."""
    from kkwarm.backends.checkpoint import load_tokenizer
    from kkwarm.train.rollout import completion_from_ids

    tokenizer = load_tokenizer(base)
    ends = frozenset({tokenizer.eos_token_id})

    def completion(ids: list[int]) -> Completion:
        return completion_from_ids(ids, tokenizer, stop=toy.TOY.stop, end_ids=ends, max_tokens=12)

    words = tokenizer("the word </think> <answer> red </answer>")["input_ids"]
    assert completion(words).finish_reason == "stop"
    assert completion(words).text == tokenizer.decode(words)
    assert completion([*words[:-1], tokenizer.eos_token_id]).finish_reason == "stop"
    assert completion(words[:2] * 6).finish_reason == "length"
