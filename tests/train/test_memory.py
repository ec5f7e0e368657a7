"""The memory estimate against measured allocations on a CPU."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_task as toy

from kkwarm.backends.checkpoint import read_text_config
from kkwarm.errors import KkwarmError
from kkwarm.train import RlvrConfig, TrainConfig, WarmupConfig
from kkwarm.train.memory import (
    GIB,
    Device,
    ModelShape,
    _build_weights,
    _read_weights,
    estimate_memory,
    fit_to_device,
    read_shape,
)

# Qwen2.5-1.5B
QWEN = ModelShape(1_543_714_304, 1_310_000_000, 1536, 28, 12, 128, 8960, 151_936, 32_768)
TOLERANCE = (0.95, 1.25)  # predicted / measured


def cpu(bf16: bool) -> Device:
    return Device(0.0, cuda=False, bf16=bf16)


def gpu(gib: float) -> Device:
    return Device(gib * GIB, cuda=True, bf16=True)


def peak(work: Callable[[], object]) -> float:
    """Bytes by which `work` raised what was allocated, at its peak: storages are counted as they come and go."""
    import weakref

    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Live(TorchDispatchMode):
        now, most, sizes = 0, 0, {}

        def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
            out = f(*args, **(kwargs or {}))
            for storage in (t.untyped_storage() for t in tree_leaves(out) if isinstance(t, torch.Tensor)):
                if storage._cdata not in given and storage._cdata not in self.sizes:
                    self.sizes[storage._cdata] = storage.nbytes()
                    self.now += storage.nbytes()
                    self.most = max(self.most, self.now)
                    weakref.finalize(storage, self.freed, storage._cdata)
            return out

        def freed(self, key: int) -> None:
            self.now -= self.sizes.pop(key, 0)

    with Live() as live:
        work()
    return float(live.most)


def model_of(config: TrainConfig, **sizes: int) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config
    from trl.trainer.utils import add_fused_lm_head

    model_config = Qwen2Config(max_position_embeddings=2048, tie_word_embeddings=True, **sizes)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(model_config).train()
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    add_fused_lm_head(model)
    return model


SMALL = {
    "vocab_size": 1000,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize(
    ("rows", "tokens", "bf16", "gradient_checkpointing"),
    [(4, 256, False, False), (4, 256, True, True), (8, 64, True, False), (8, 64, False, True)],
)
def test_the_estimate_equals_what_a_step_allocates(
    tmp_path: Path, rows: int, tokens: int, bf16: bool, gradient_checkpointing: bool
) -> None:
    import torch

    config = WarmupConfig(gradient_checkpointing=gradient_checkpointing)
    model = model_of(config, **SMALL)
    model.save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    ids = torch.randint(0, 1000, (rows, tokens))
    mask = torch.ones_like(ids)
    mask[0, -tokens // 4 :] = 0

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = model(input_ids=ids, attention_mask=mask, labels=ids, fused_lm_head=True).loss
        loss.backward()

    step()
    gradients = sum(p.grad.numel() * p.grad.element_size() for p in model.parameters())
    measured = peak(step)  # gradients exist already: they are added to
    estimate = estimate_memory(shape, config, cpu(bf16), tokens=tokens, rows=rows)
    assert estimate.weights == estimate.gradients == gradients and estimate.optimizer == 2 * gradients
    ratio = (estimate.activations + estimate.working) / measured
    sys.stderr.write(
        f"predicted/measured {ratio:.3f} (rows {rows}, tokens {tokens}, bf16 {bf16}, "
        f"gradient checkpointing {gradient_checkpointing})"
    )
    assert TOLERANCE[0] < ratio < TOLERANCE[1]


@pytest.mark.slow
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
def test_the_estimate_holds_for_an_adapter(tmp_path: Path, bf16: bool, gradient_checkpointing: bool) -> None:
    import torch

    pytest.importorskip("peft")
    from peft import LoraConfig, get_peft_model

    config = WarmupConfig(gradient_checkpointing=gradient_checkpointing, lora_rank=8)
    model = model_of(config, **SMALL)
    model.save_pretrained(tmp_path)
    if gradient_checkpointing:
        model.enable_input_require_grads()  # as trl does: the embedding is frozen
    adapted = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    ids = torch.randint(0, 1000, (4, 256))
    mask = torch.ones_like(ids)
    mask[0, -64:] = 0

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = adapted(input_ids=ids, attention_mask=mask, labels=ids, fused_lm_head=True).loss
        loss.backward()

    step()
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    estimate = estimate_memory(read_shape(tmp_path), config, cpu(bf16), tokens=256, rows=4)
    assert 1.0 <= estimate.gradients / (4 * trained) < 1.1, "key and value are counted as wide as query"
    assert TOLERANCE[0] < (estimate.activations + estimate.working) / peak(step) < TOLERANCE[1]


QWENS = {  # (hidden, layers, heads, keys and values, MLP, vocabulary): parameters, as published
    "0.5B": ((896, 24, 14, 2, 4864, 151_936), 0.494e9),
    "1.5B": ((1536, 28, 12, 2, 8960, 151_936), 1.544e9),
    "3B": ((2048, 36, 16, 2, 11_008, 151_936), 3.086e9),
    "7B": ((3584, 28, 28, 4, 18_944, 152_064), 7.616e9),
}


@pytest.mark.parametrize("name", QWENS)
def test_published_models_fit_on_the_gpus_that_train_them(tmp_path: Path, name: str) -> None:
    """From a configuration alone: 16 bytes a parameter, and what is known to fit on cards of 24, 80 and 141 GB."""
    from transformers import Qwen2Config

    (hidden, layers, heads, pairs, mlp, vocab), parameters = QWENS[name]
    Qwen2Config(
        vocab_size=vocab, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=pairs, intermediate_size=mlp, tie_word_embeddings=name != "7B",
        max_position_embeddings=32_768,
    ).save_pretrained(tmp_path)  # fmt: skip
    shape = read_shape(tmp_path)
    assert shape.parameters == pytest.approx(parameters, rel=1e-3)

    def fits(config: TrainConfig, device: float) -> bool:
        try:
            fit_to_device(shape, config, gpu(device), tokens=4096, rows=8, step=8)
        except KkwarmError:
            return False
        return True

    least = estimate_memory(shape, WarmupConfig(gradient_checkpointing=True), gpu(0), tokens=4096, rows=1)
    assert least.weights + least.gradients + least.optimizer == 16 * shape.parameters
    fitting = {device: fits(WarmupConfig(), device) for device in (24, 80, 141)}
    assert fitting == {24: name == "0.5B", 80: name != "7B", 141: True}
    assert fits(WarmupConfig(lora=True), 24) and fits(WarmupConfig(qlora=True), 24)
    assert fits(WarmupConfig(qlora=True), 12), "QLoRA of 7B takes about 10 GiB"


@pytest.mark.parametrize("bf16", [False, True])
def test_counts_what_the_forward_pass_keeps(tmp_path: Path, bf16: bool) -> None:
    import torch

    def saved_bytes(layers: int) -> float:
        model = model_of(WarmupConfig(), **{**SMALL, "num_hidden_layers": layers})
        own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        ids = torch.randint(0, 1000, (2, 64))
        mask = torch.ones_like(ids)
        mask[0, -9:] = 0
        storages: dict[int, Any] = {}

        def pack(tensor: Any) -> Any:
            if tensor.untyped_storage().data_ptr() not in own:
                storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t)
        with hooks, torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            out = model(input_ids=ids, attention_mask=mask)
        del out
        return float(sum(s.nbytes() for s in storages.values()))

    model_of(WarmupConfig(), **SMALL).save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    activations = estimate_memory(shape, WarmupConfig(), cpu(bf16), tokens=64, rows=2).activations
    assert activations / shape.layers == pytest.approx(saved_bytes(2) - saved_bytes(1), rel=0.02)


@pytest.mark.parametrize("tied", [False, True])
def test_headers_of_the_weights_tell_what_a_built_model_does(tmp_path: Path, tied: bool) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

    for kind in (LlamaConfig, Qwen2Config):
        model = AutoModelForCausalLM.from_config(kind(tie_word_embeddings=tied, **SMALL))
        for size in ("1GB", "1MB"):  # one file, and several
            folder = tmp_path / kind.__name__ / size
            model.save_pretrained(folder, max_shard_size=size)
            stored = _read_weights(folder, read_text_config(folder))
            assert stored == _build_weights(folder) and stored["parameters"] == model.num_parameters()


def test_a_model_is_built_where_headers_do_not_tell(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, GPT2Config

    config = GPT2Config(vocab_size=99, n_embd=32, n_layer=2, n_head=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    assert _read_weights(tmp_path, read_text_config(tmp_path)) == {}
    assert (read_shape(tmp_path).vocab, read_shape(tmp_path).hidden) == (99, 32)
    (tmp_path / "config.json").write_text("{", "utf-8")
    with pytest.raises(KkwarmError, match="configuration cannot be read"):
        read_shape(tmp_path)


def fit(config: TrainConfig, device: float, tokens: int = 4096) -> Any:
    return fit_to_device(QWEN, config, gpu(device), tokens=tokens, rows=8, step=8)


def test_fits_by_fewer_rows_then_by_checkpointing_or_fails() -> None:
    roomy = fit(WarmupConfig(), 600)
    assert (roomy.rows, roomy.gradient_checkpointing, roomy.changes) == (8, False, "")
    divisor = fit_to_device(QWEN, WarmupConfig(), gpu(600), tokens=4096, rows=5, step=8)
    assert (divisor.rows, divisor.changes) == (4, ""), "5 rows fit into the memory, but do not divide the step"
    fewer = fit(WarmupConfig(), 141)
    assert fewer.rows < 8 and not fewer.gradient_checkpointing and fewer.estimate.total < 141 * GIB * 0.94
    assert f"changed to {fewer.rows} rows in a forward pass, not 8" in fewer.changes
    small = fit(WarmupConfig(), 40)
    assert small.gradient_checkpointing and "gradient checkpointing" in small.changes
    assert small.estimate.weights == small.estimate.gradients == 4 * QWEN.parameters == small.estimate.optimizer / 2
    with pytest.raises(KkwarmError, match=r"too large: about .* GiB .*but 24.0 GiB are available .*--lora needs about"):
        fit(WarmupConfig(), 24)
    assert fit(WarmupConfig(lora=True), 24).estimate.optimizer < GIB
    eighth, four = fit(WarmupConfig(optim="adamw_8bit"), 600).estimate, fit(WarmupConfig(qlora=True), 600).estimate
    assert (
        eighth.optimizer == roomy.estimate.optimizer / 4
        and four.weights < 0.3 * fit(WarmupConfig(), 600).estimate.weights
    )


def test_rlvr_counts_copies_and_vllms_share() -> None:
    config = RlvrConfig(domain="math")
    plain = fit(config, 140, tokens=1024).estimate
    assert plain.copies == 2 * QWEN.parameters
    assert fit(config.replace(beta=0.1), 140, tokens=1024).estimate.copies == 6 * QWEN.parameters
    shared = fit(config.replace(vllm="colocate"), 140, tokens=1024)
    assert shared.vllm_share == pytest.approx(0.3) and shared.estimate.vllm == pytest.approx(0.3 * 140 * GIB)
    tight = fit(config.replace(vllm="colocate"), 34, tokens=1024)
    assert 0.1 < tight.vllm_share < 0.3 and "of the GPU for vLLM" in tight.changes
    assert tight.estimate.total <= 34 * GIB


def test_rejects_a_model_larger_than_the_memory_before_loading_it(
    tmp_path: Path, base: Path, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kkwarm.train import memory, trainer_setup, warmup

    monkeypatch.setattr(memory, "available_memory", lambda **_: 1e6)
    with monkeypatch.context() as patch:
        patch.setattr(trainer_setup, "load_network", lambda *_: pytest.fail("it was loaded"))
        with pytest.raises(KkwarmError, match="too large: about"):
            warmup(base, traces, tmp_path / "w", WarmupConfig(max_steps=1, threads=1), progress=False)
        assert not (tmp_path / "w" / "manifest.json").exists()
    config = WarmupConfig(max_steps=1, threads=1, memory_check=False)
    assert warmup(base, traces, tmp_path / "w", config, progress=False).done


def test_a_dry_run_reports_memory(tmp_path: Path, base: Path, traces: Path) -> None:
    import json

    from click.testing import CliRunner

    from kkwarm.cli import cli

    for args in (["warmup", str(base), "--traces", str(traces)], ["rlvr", str(base), "--domain", "toy"]):
        more = ["--examples", "20"] if args[0] == "rlvr" else []
        result = CliRunner().invoke(cli, [*args, *more, "-o", str(tmp_path / "o"), "--dry-run", "--json"])
        assert result.exit_code == 0, result.output
        memory = json.loads(result.stdout)["memory"]
        assert memory["gib"]["total"] < memory["device_gib"] and memory["rows"] >= 1
    assert toy.WORDS
