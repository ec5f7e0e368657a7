"""`rlvr` and `warmup` against the same steps written out in plain torch: one row at a time, without padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import toy_task as toy
from test_resume import steps

from kkwarm.backends.checkpoint import load_model, load_tokenizer
from kkwarm.train import RlvrConfig, WarmupConfig, rlvr, warmup
from kkwarm.train.rollout import Rollout

GROUP, LIMIT, RATE, CLIP = 4, 12, 2.0, 0.1
RLVR = RlvrConfig(
    domain="toy", examples=20, steps=2, prompts_per_step=4, generations=GROUP, max_tokens=LIMIT, temperature=0.7,
    epsilon=0.1, learning_rate=RATE, max_grad_norm=CLIP, micro_batch_size=8, precision="fp32", threads=1,
    trl={"num_iterations": 2, "optim": "sgd"},
)  # fmt: skip


@dataclass
class Sampled:
    """A completion's tokens, including the one that ended it; `old`: log-probabilities when it was sampled."""

    prompt: list[int]
    ids: list[int]
    advantage: float
    old: Any = None


@pytest.fixture(scope="module")
def warmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Right about half the time."""
    load = toy.kkwarm.plugins.load
    toy.install()
    folder = tmp_path_factory.mktemp("warmed")
    toy.checkpoint(folder / "base")
    toy.write_traces(folder / "traces.jsonl", toy._teach(48, 0))
    config = WarmupConfig(learning_rate=1e-2, epochs=4, batch_size=8, threads=1)
    run = warmup(folder / "base", folder / "traces.jsonl", folder / "run", config, progress=False)
    toy.kkwarm.plugins.load = load
    return run.path / "checkpoint"


def logprobs(model: Any, prompt: Sequence[int], ids: Sequence[int], temperature: float) -> Any:
    """Log-probability of each of `ids` after `prompt`: [len(ids)]."""
    import torch

    logits = model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1] / temperature
    return torch.log_softmax(logits, -1).gather(-1, torch.tensor(ids)[:, None])[:, 0]


def dr_grpo(
    model: Any, samples: Sequence[Sampled], *, temperature: float, epsilon: float, limit: int
) -> tuple[Any, int]:
    """Dr. GRPO (arXiv 2503.20783, eq. 3): the clipped surrogate, summed over tokens, divided by the number of
    completions and the largest length; and how many tokens were clipped.
    """
    import torch

    total, clipped = torch.zeros(()), 0
    for d in samples:
        now = logprobs(model, d.prompt, d.ids, temperature)
        if d.old is None:
            d.old = now.detach()
        ratio = (now - d.old).exp()
        inside = ratio.clamp(1 - epsilon, 1 + epsilon)
        kept = torch.minimum(ratio * d.advantage, inside * d.advantage)
        clipped += int((kept < ratio * d.advantage).sum())
        total = total - kept.sum()
    return total / (len(samples) * limit), clipped


def descend(model: Any, loss: Any) -> float:
    """A step of plain gradient descent with the norm clipped; returns the norm before."""
    import torch

    model.zero_grad()
    loss.backward()
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP))
    with torch.no_grad():
        for p in model.parameters():
            p -= RATE * p.grad
    return norm


def same_weights(model: Any, folder: Path) -> None:
    import torch

    for (name, one), other in zip(model.named_parameters(), load_model(folder).parameters(), strict=True):
        torch.testing.assert_close(one.detach(), other, rtol=1e-4, atol=2e-5, msg=name)


def test_two_steps_of_rlvr_are_two_steps_of_dr_grpo(
    tmp_path: Path, warmed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same rollouts, so the second step's ratios are not 1, and some are clipped. Rewards are recomputed."""
    from kkwarm.backends.text import decode, token_ids

    tokenizer = load_tokenizer(warmed)
    samples: list[Sampled] = []
    reward = Rollout.reward

    def recorded(self: Rollout, prompts: list[str], **columns: Any) -> list[float]:
        examples = [self._plan.examples[i] for i in columns["example"]]
        rewards = reward(self, prompts=prompts, **columns)
        for at, (prompt, tokens) in enumerate(
            zip(token_ids(tokenizer, prompts), columns["completion_ids"], strict=True)
        ):
            assert (rewards[at] == 2.0) == (
                f"<answer> {examples[at].answer} </answer>" in decode(tokenizer, list(tokens))
            )
            group = rewards[at - at % GROUP :][:GROUP]
            samples.append(Sampled(prompt, list(tokens), rewards[at] - sum(group) / GROUP))
        return rewards

    monkeypatch.setattr(Rollout, "reward", recorded)
    run = rlvr(warmed, RLVR, tmp_path / "r", progress=False)
    assert len(samples) == 16 and len({len(d.ids) for d in samples}) > 1, "one generation, of several lengths"
    ends = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("</answer>")}
    assert all(d.ids[-1] in ends or len(d.ids) == LIMIT for d in samples), "what ended a completion is trained on"
    assert any(d.advantage > 0 for d in samples) and any(d.advantage == 0 for d in samples)
    model, clipped = load_model(warmed), 0
    for row in steps(run.path):
        loss, clipped = dr_grpo(model, samples, temperature=0.7, epsilon=0.1, limit=LIMIT)
        assert row["loss"] == pytest.approx(float(loss.detach()), abs=1e-5)
        assert row["grad_norm"] == pytest.approx(descend(model, loss), rel=1e-3)
    assert clipped > 5
    same_weights(model, run.path / "checkpoint")


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (0.7, 0.8)])
def test_the_sampler_uses_the_distribution_that_is_trained(
    tmp_path: Path, warmed: Path, monkeypatch: pytest.MonkeyPatch, temperature: float, top_p: float
) -> None:
    """Log-probabilities of sampled tokens are equal in generation (with a KV cache, continuous batching and padded
    prompts) and in the trainer (one pass), at the same temperature. With top_p < 1 the sampler's distribution is the
    nucleus, which is what the run warns about; the comparison is with the full distribution.
    """
    import torch

    from kkwarm.backends.hf import HFBackend
    from kkwarm.train.grpo import build_trainer, plan_rlvr, render_prompts
    from kkwarm.train.trainer_setup import load_network
    from kkwarm.verify import Judge

    sampled: dict[tuple[str, int], list[float]] = {}
    sample = HFBackend._sample

    def recorded(self: HFBackend, batch: Any, logits: Any, alive: Any, sampling: Any) -> None:
        sample(self, batch, logits, alive, sampling)
        table = torch.log_softmax(logits.float() / temperature, -1)
        for i in alive:
            key = (batch.jobs[i].request.key, batch.sample[i])
            sampled.setdefault(key, []).append(float(table[i, batch.last[i]]))

    monkeypatch.setattr(HFBackend, "_sample", recorded)
    config = RLVR.replace(temperature=temperature, top_p=top_p, trl={}, micro_batch_size=16)
    plan = plan_rlvr(config)
    with Judge() as judge:
        network = load_network(warmed, config)
        trainer, _ = build_trainer(network, plan, render_prompts(plan, warmed), tmp_path, judge)
        trainer._can_drop_zero_advantages = lambda: False
        trainer.create_optimizer()
        trainer.model.train()
        batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    assert bool((batch["prompt_mask"][:, 0] == 0).any()), "prompts of several lengths"
    width = batch["completion_ids"].shape[1]
    with torch.no_grad():
        scored = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, width)[0]
    for at, n in enumerate(batch["completion_mask"].sum(1).tolist()):
        mine = sampled[f"0/0/{at - at % GROUP}", at % GROUP]
        assert len(mine) == n
        assert scored[at, :n].tolist() == pytest.approx(mine, abs=2e-5)


# -- SFT ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", [False, True])
def test_warmup_is_cross_entropy_of_the_completions(tmp_path: Path, base: Path, traces: Path, packing: bool) -> None:
    """The mean over all completion tokens of a step, however it is cut into passes or packed into rows; the end of
    sequence is one of them, the prompt is not.
    """
    import torch

    tokenizer, model = load_tokenizer(base), load_model(base)
    passes = {"batch_size": 12, "micro_batch_size": 2} if packing else {"batch_size": 48, "micro_batch_size": 8}
    config = WarmupConfig(
        learning_rate=RATE, schedule="constant", epochs=2, max_grad_norm=CLIP, precision="fp32", threads=1,
        packing=packing, trl={"optim": "sgd"}, **passes,
    )  # fmt: skip
    run = warmup(base, traces, tmp_path / "w", config, progress=False)
    log = steps(run.path)
    assert len(log) == 2, "a step is an epoch"
    for row in log:
        losses = []
        for t in toy._teach(48, 0):
            prompt = tokenizer(f"{t.question} <think>")["input_ids"]
            text = f"{t.question} <think> {t.reasoning} </think> <answer> {t.answer} </answer>"
            ids = tokenizer(text)["input_ids"][len(prompt) :] + [tokenizer.eos_token_id]
            losses.append(-logprobs(model, prompt, ids, 1.0))
        loss = torch.cat(losses).mean()
        assert row["loss"] == pytest.approx(float(loss.detach()), rel=1e-4)
        assert row["grad_norm"] == pytest.approx(descend(model, loss), rel=1e-3)
    same_weights(model, run.path / "checkpoint")
