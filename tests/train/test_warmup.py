import json
import shutil
from pathlib import Path

import pytest
import toy_task as toy

from kkwarm.errors import KkwarmError
from kkwarm.train import WarmupConfig, warmup, write_traces
from kkwarm.train.sft import IGNORED, WarmupPlan, build_trainer, plan_warmup

CONFIG = WarmupConfig(learning_rate=1e-2, epochs=4, batch_size=8, threads=1)


def test_the_loss_falls_and_the_checkpoint_loads(
    tmp_path: Path, base: Path, traces: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from kkwarm.backends.checkpoint import load_model, load_tokenizer

    run = warmup(base, traces, tmp_path / "w", CONFIG, labels={"condition": "warmed"})
    results = run.manifest.results
    assert results["loss"] < 0.3 * results["first_loss"]
    assert results["steps"] == 24 and results["traces"] == 48
    assert results["tokens"] == 4 * plan_warmup(base, traces, CONFIG).tokens
    assert run.manifest.labels == {"condition": "warmed"}
    assert capfd.readouterr().out == "", "nothing belongs on stdout"
    model, tokenizer = load_model(run.path), load_tokenizer(run.path)
    ids = tokenizer("say the word : blue <think>", return_tensors="pt")["input_ids"]
    text = tokenizer.decode(model.generate(ids, max_new_tokens=12, do_sample=False)[0])
    assert "the word is" in text and text.endswith("</answer> <|endoftext|>")


def test_loss_is_on_the_completion_only(tmp_path: Path, base: Path, traces: Path) -> None:
    from kkwarm.backends.checkpoint import load_model, load_tokenizer

    tokenizer = load_tokenizer(base)
    plan = plan_warmup(base, traces, CONFIG)
    trainer, _ = build_trainer(load_model(base), tokenizer, plan, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["input_ids"].shape[0] == 8
    wanted = {
        f"{t.question} <think>": f"the word is {t.answer} </think> <answer> {t.answer} </answer>" for t in plan.traces
    }
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        learnt = [i for i, label in enumerate(labels) if label != IGNORED]
        assert [ids[i] for i in learnt] == [labels[i] for i in learnt]
        assert learnt == list(range(learnt[0], learnt[-1] + 1)), "one stretch"
        prompt = tokenizer.decode(ids[: learnt[0]])
        assert tokenizer.decode([ids[i] for i in learnt]) == f"{wanted[prompt]} <|endoftext|>"


def test_packed_rows_do_not_see_each_other(tmp_path: Path, base: Path, traces: Path) -> None:
    """The same traces give the same loss, whether they share a row or not."""
    import torch

    from kkwarm.backends.checkpoint import load_model, load_tokenizer

    config = CONFIG.replace(precision="fp32", epochs=1.0)
    tokenizer = load_tokenizer(base)
    losses = []
    for packing in (False, True):
        packed = config.replace(packing=packing, batch_size=48 if not packing else 64)
        plan = plan_warmup(base, traces, packed)
        trainer, _ = build_trainer(load_model(base), tokenizer, plan, tmp_path)
        batch = next(iter(trainer.get_train_dataloader()))
        assert (batch["labels"] != IGNORED).sum() == sum(
            len(i) - p for i, p in zip(plan.ids, plan.prompt_lengths, strict=True)
        )
        with torch.no_grad():
            losses.append(float(trainer.compute_loss(trainer.model, batch)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("packing", [False, True])
def test_padding_does_not_change_the_loss(tmp_path: Path, base: Path, traces: Path, packing: bool) -> None:
    """On a GPU batches are padded to a multiple of 64."""

    logs = []
    for name, more in (("as it is", {}), ("padded", {"pad_to_multiple_of": 64})):
        config = CONFIG.replace(precision="fp32", max_steps=2, packing=packing, trl=more)
        run = warmup(base, traces, tmp_path / name, config, progress=False)
        logs.append([json.loads(line) for line in (run.path / "log.jsonl").read_text("utf-8").splitlines()])
    for ours, theirs in zip(*logs, strict=True):
        assert ours["tokens"] == theirs["tokens"]
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)


def test_long_traces_are_left_out_and_counted(tmp_path: Path, base: Path) -> None:
    listed = toy._teach(8, 0)
    long = [toy.Trace("long", "toy", "say : red", "the word is " * 30, "red", "symbolic")]
    path = tmp_path / "traces.jsonl"
    write_traces(path, [*listed, *long])
    run = warmup(base, path, tmp_path / "w", WarmupConfig(max_steps=1, threads=1), progress=False)
    assert run.manifest.warnings == ["1 of 9 traces are longer than 64 tokens and are left out"]
    with pytest.raises(KkwarmError, match="none of 9 traces fits into 4 tokens"):
        warmup(base, path, tmp_path / "x", WarmupConfig(max_length=4), progress=False)


def test_warns_about_words_that_the_tokenizer_cannot_represent(
    tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = [*toy._teach(8, 0), toy.Trace("odd", "toy", "say : mauve", "the word is mauve", "mauve", "symbolic")]
    write_traces(tmp_path / "traces.jsonl", listed)
    run = warmup(base, tmp_path / "traces.jsonl", tmp_path / "w", WarmupConfig(max_steps=1, threads=1), progress=False)
    (warning,) = run.manifest.warnings
    assert "no token for some text of 1 of 9 traces, such as 'mauve': the model reads <unk> there" in warning
    assert warning in capsys.readouterr().err


def test_each_epoch_is_shuffled_anew() -> None:
    plan = WarmupPlan(WarmupConfig(epochs=2.5, batch_size=2, seed=1), [], [[1]] * 10, [0] * 10)
    order = plan.order(10)
    assert len(order) == 25 and plan.steps(10) == 13
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10)) and order[:10] != order[10:20]
    by_steps = WarmupPlan(WarmupConfig(max_steps=7, batch_size=2), [], [], []).order(10)
    assert by_steps[:10] != order[:10] and len(by_steps) == 14


def test_lora_is_merged_into_the_checkpoint(tmp_path: Path, base: Path, traces: Path) -> None:
    pytest.importorskip("peft")
    from safetensors.torch import load_file

    config = WarmupConfig(learning_rate=1e-2, max_steps=3, batch_size=8, lora_rank=4, threads=1)
    run = warmup(base, traces, tmp_path / "w", config, progress=False)
    before, after = (load_file(folder / "model.safetensors") for folder in (base, run.path / "checkpoint"))
    changed = {k for k in before if not before[k].equal(after[k])}
    assert changed and all("proj" in name for name in changed) and before.keys() == after.keys()
    assert (run.path / "adapter" / "adapter_config.json").exists()


def test_a_loss_that_is_not_finite_stops_with_the_last_good_checkpoint(
    tmp_path: Path, base: Path, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import SFTTrainer

    compute_loss = SFTTrainer.compute_loss

    def poisoned(self: object, *args: object, **kwargs: object) -> object:
        loss = compute_loss(self, *args, **kwargs)
        return loss * float("nan") if self.state.global_step == 4 else loss  # type: ignore[attr-defined]

    monkeypatch.setattr(SFTTrainer, "compute_loss", poisoned)
    config = WarmupConfig(learning_rate=1e-2, epochs=2, batch_size=8, save_every=2, threads=1)
    with pytest.raises(KkwarmError, match=r"loss is nan at step 5; the last good checkpoint is .*checkpoint-4"):
        warmup(base, traces, tmp_path / "w", config, progress=False)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            WarmupConfig(max_steps=1, trl={"packng": True}),
            r"unknown argument of trl's SFTConfig 'packng' \(did you mean",
        ),
        (WarmupConfig(max_steps=1, trl={"loss_type": "no such"}), "trl rejects the settings: Invalid `loss_type`"),
    ],
)
def test_trl_arguments_are_checked(
    tmp_path: Path, base: Path, traces: Path, config: WarmupConfig, message: str
) -> None:
    with pytest.raises(KkwarmError, match=message):
        warmup(base, traces, tmp_path / "w", config, progress=False)
    assert not (tmp_path / "w" / "manifest.json").exists(), "the folder is free for the corrected command"


def test_no_pad_token_no_checkpoint_unknown_domain(tmp_path: Path, traces: Path) -> None:
    model = toy.checkpoint(tmp_path / "padless", pad_token=False)
    run = warmup(model, traces, tmp_path / "w", WarmupConfig(max_steps=1, threads=1), progress=False)
    assert run.done
    with pytest.raises(KkwarmError, match="is no checkpoint"):
        warmup(tmp_path, traces, tmp_path / "x", WarmupConfig())
    path = tmp_path / "traces.jsonl"
    write_traces(path, [toy.Trace("a", "toi", "q", None, "x", "t")])
    with pytest.raises(KkwarmError, match=r"trace 1: unknown task 'toi' \(did you mean toy"):
        warmup(model, path, tmp_path / "y", WarmupConfig())


@pytest.mark.parametrize(
    ("unk", "shift", "message"),
    [
        (None, 0, r"its tokenizer fails: .*does it belong to this checkpoint"),
        ("<unk>", 1000, r"token \d+ is beyond the model's \d+ \(does the tokenizer belong"),
    ],
)
def test_rejects_the_tokenizer_of_another_checkpoint(
    tmp_path: Path, base: Path, traces: Path, unk: str | None, shift: int, message: str
) -> None:
    """Before a step: it would train on nonsense, or on CUDA kill the process."""
    bad = tmp_path / "bad"
    shutil.copytree(base, bad)
    content = json.loads((bad / "tokenizer.json").read_text())
    pieces = {piece: i for piece, i in content["model"]["vocab"].items() if unk or i < 8}
    content["model"]["vocab"] = {piece: i + shift for piece, i in pieces.items()}
    content["model"]["unk_token"] = unk or "<gone>"
    content["added_tokens"] = []
    (bad / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(KkwarmError, match=message):
        warmup(bad, traces, tmp_path / "w", WarmupConfig(max_steps=1, batch_size=2))
    assert not (tmp_path / "w" / "manifest.json").exists()
