"""Finding, fingerprinting and loading checkpoints."""

import json
import re
import shutil
from pathlib import Path

import pytest

from kkwarm.backends.checkpoint import (
    LazyTokenizer,
    display_name,
    fingerprint,
    load_model,
    load_tokenizer,
    resolve,
    resolve_package_path,
)
from kkwarm.backends.text import token_ids, unknown_token_warning
from kkwarm.errors import KkwarmError
from kkwarm.testing.checkpoint import tiny_checkpoint


def test_resolves_folder_and_run(tiny: Path, tmp_path: Path) -> None:
    assert resolve(tiny) == str(tiny)
    run = tmp_path / "warm"
    shutil.copytree(tiny, run / "checkpoint")
    (run / "manifest.json").write_text("{}")
    assert resolve(run) == str(run / "checkpoint")
    assert display_name(resolve(run)) == "warm"
    assert fingerprint(run) == fingerprint(tiny)


def test_unknown_tokens_give_a_warning(tiny: Path, tmp_path: Path) -> None:
    words = load_tokenizer(tiny_checkpoint(tmp_path / "words", vocab=["the", "cat"]))
    said = unknown_token_warning(words, ["the cat", "the dog the bird", "the cat the fox"], "prompts")
    assert said.startswith("the tokenizer has no token for some text of 2 of 3 prompts, such as 'dog': the model reads")
    assert (
        unknown_token_warning(words, ["the cat"] * 1000, "prompts") == unknown_token_warning(words, [], "prompts") == ""
    )
    assert unknown_token_warning(load_tokenizer(tiny), ["Grüße 語", "any"], "prompts") == ""  # bytes: all is read
    assert " of 250 of 250 traces" in unknown_token_warning(words, ["a dog"] * 500, "traces")


def test_a_package_attribute_is_a_model(tmp_path: Path) -> None:
    found = resolve("kkwarm_mini:BASE")
    assert (Path(found) / "config.json").is_file() and fingerprint("kkwarm_mini:BASE") == fingerprint(found)
    assert display_name("kkwarm_mini:BASE") == "kkwarm_mini-BASE"
    assert resolve_package_path("Qwen/Qwen2.5-3B") == "Qwen/Qwen2.5-3B" and resolve_package_path(str(tmp_path)) == str(
        tmp_path
    )
    with pytest.raises(KkwarmError, match="not installed"):
        resolve("kkwarm_absent:BASE")
    with pytest.raises(KkwarmError, match="has no NOTHING"):
        resolve("kkwarm:NOTHING")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("./nowhere", "does not exist"),
        ("/no/such/folder", "does not exist"),
        ("EMPTY", "neither config.json"),
        ("FILE", "is a file"),
        ("RUN", "run without a checkpoint"),
        ("owner/never-cached-model", "hub cannot be reached"),
        ("bad name with spaces", "neither a folder nor a model"),
    ],
)
def test_paths_that_are_no_checkpoints(name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").write_text("x")
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "manifest.json").write_text("{}")
    given = str(tmp_path / name) if name.isupper() else name
    with pytest.raises(KkwarmError, match=says):
        resolve(given)


def test_the_fingerprint_depends_on_the_weights(tiny: Path, tmp_path: Path) -> None:
    other = tiny_checkpoint(tmp_path / "other", seed=1)
    same = tiny_checkpoint(tmp_path / "same", seed=0)
    assert fingerprint(same) == fingerprint(tiny) != fingerprint(other)


def test_pad_token_is_found(tmp_path: Path) -> None:
    bare = tiny_checkpoint(tmp_path / "bare", pad_token=False)
    tokenizer = load_tokenizer(bare)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id and tokenizer.padding_side == "left"


def test_damaged_weights_are_an_error(tiny: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    (broken / "model.safetensors").write_bytes(b"\x00" * 10)
    with pytest.raises(KkwarmError, match="broken cannot be loaded"):
        load_model(broken, device="cpu")


def test_a_missing_tokenizer_is_an_error(tiny: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny, bare, ignore=shutil.ignore_patterns("tokenizer*", "chat_template*"))
    with pytest.raises(KkwarmError, match=r"bare has no tokenizer \(save its files beside the weights\)"):
        load_tokenizer(bare)


def test_missing_weights_are_an_error(tiny: Path, tmp_path: Path) -> None:
    """transformers would fill them with random numbers, and go on."""
    from safetensors.torch import load_file, save_file

    part = tmp_path / "part"
    shutil.copytree(tiny, part)
    weights = load_file(part / "model.safetensors")
    name = next(n for n in weights if "down_proj" in n)
    save_file({n: w for n, w in weights.items() if n != name}, part / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(KkwarmError, match=f"part lacks 1 of its weights, such as {re.escape(name)}"):
        load_model(part, device="cpu")


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertForMaskedLM(BertConfig(vocab_size=16, **sizes)).save_pretrained(tmp_path / "bert")
    with pytest.raises(KkwarmError, match=r"bert is an encoder \(bert\): it cannot generate"):
        load_model(tmp_path / "bert", device="cpu")


def test_a_missing_cuda_device_is_an_error(tiny: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(KkwarmError, match="no CUDA device"):
        load_model(tiny, device="cuda")
    with pytest.raises(KkwarmError, match="unknown device"):
        load_model(tiny, device="abacus")


def test_adapter_is_merged(tiny: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    base = load_model(tiny, device="cpu")
    peft = get_peft_model(base, LoraConfig(target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM"))
    adapter = tmp_path / "adapter"
    peft.save_pretrained(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tiny)
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    ids = torch.tensor([[5, 6, 7]])
    merged = load_model(adapter, device="cpu")
    assert torch.allclose(merged(ids).logits, peft(ids).logits, atol=1e-3)
    assert not torch.allclose(merged(ids).logits, load_model(tiny, device="cpu")(ids).logits, atol=1e-3)
    assert fingerprint(adapter) != fingerprint(tiny)
    assert load_tokenizer(adapter).eos_token_id is not None


def test_a_model_larger_than_memory_is_refused_before_loading(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kkwarm.backends.memory

    monkeypatch.setattr(kkwarm.backends.memory, "available_memory", lambda device: 1000)
    with pytest.raises(KkwarmError, match=r"is too large: 0\.\d GiB in float32, 0\.0 GiB of cpu are free .*smaller"):
        load_model(tiny, device="cpu")
    assert load_model(tiny, device="cpu", check=False).device.type == "cpu"


def _changed_weights(tiny: Path, folder: Path, name: str, value: float) -> Path:
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny, folder)
    weights = load_file(folder / "model.safetensors")
    key = next(n for n in weights if name in n)
    weights[key].view(-1)[3] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tiny: Path, tmp_path: Path, value: float) -> None:
    with pytest.raises(KkwarmError, match=r"down_proj\.weight is not finite .*earlier checkpoint"):
        load_model(_changed_weights(tiny, tmp_path / "bad", "down_proj", value), device="cpu")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"intermediate_size": 8}, r"weights do not fit its config: .* is of shape \(\d+, \d+\), by config.json of"),
        ({"num_hidden_layers": 1}, "has layers that its config does not have"),
        ({"num_hidden_layers": -1}, r"-1 layers \(num_hidden_layers\)"),
        ({"max_position_embeddings": 0}, r"allows no text \(max_position_embeddings is 0\) \(correct config.json\)"),
        ({"model_type": "qwerty9"}, r"does not have the architecture 'qwerty9' \(correct model_type"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "x.C", "AutoModelForCausalLM": "x.M"}},
            "Python code of its own",
        ),
    ],
)
def test_a_config_that_does_not_fit_the_weights(
    tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], changes: dict[str, object], says: str
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(tiny, bad)
    config = json.loads((bad / "config.json").read_text()) | changes
    (bad / "config.json").write_text(json.dumps(config))
    (bad / "x.py").write_text("class C: pass")
    with pytest.raises(KkwarmError, match=says):
        load_model(bad, device="cpu")
    assert capfd.readouterr() == ("", "")  # no report of transformers', no question


def test_an_unreadable_generation_config_is_an_error(tiny: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(tiny, bad)
    (bad / "generation_config.json").write_text("{bad")
    with pytest.raises(KkwarmError, match=r"generation_config.json cannot be read: .*\(correct or remove it\)"):
        load_model(bad, device="cpu")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ([1], "names no base model"),
        ({"base_model_name_or_path": 5}, "names no base model"),
        ({"base_model_name_or_path": "ITSELF"}, "names itself as its base model"),
        ({"base_model_name_or_path": "BASE"}, r"LoRA adapter without its weights: .*\(fetch or save it again"),
    ],
)
def test_invalid_adapters(tiny: Path, tmp_path: Path, config: object, says: str) -> None:
    (tmp_path / "adapter").mkdir()
    text = json.dumps(config).replace("ITSELF", str(tmp_path / "adapter")).replace("BASE", str(tiny))
    (tmp_path / "adapter" / "adapter_config.json").write_text(text)
    with pytest.raises(KkwarmError, match=says):
        load_model(tmp_path / "adapter", device="cpu")


def _adapter(folder: Path, base: Path, name: str, value: float, **settings: object) -> Path:
    """A LoRA adapter of the base's query projections, of whose weights all have `value` and a `name` for a layer."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    config = json.loads((base / "config.json").read_text())
    width, out = config["hidden_size"], config["num_attention_heads"] * config["head_dim"]
    said = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps({**said, "base_model_name_or_path": str(base), **settings}))
    shapes = {"A": (2, width), "B": (out, 2)}
    weights = {
        f"base_model.model.model.{name}.{i}.self_attn.q_proj.lora_{k}.weight": torch.full(shape, value)
        for i in range(config["num_hidden_layers"])
        for k, shape in shapes.items()
    }
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("name", "value", "settings", "says"),
    [
        ("layers", float("nan"), {}, r"weight .*lora_A.* is not finite .*earlier checkpoint"),
        ("blocks", 0.0, {}, "cannot be loaded: .*missing adapter keys"),
        (
            "layers",
            0.0,
            {"peft_type": "FOO"},
            r"adapter_config.json: peft does not have the peft_type 'FOO' .*\(a LoRA adapter's is",
        ),
        ("layers", 0.0, {"peft_type": None}, r"adapter_config.json: peft does not have the peft_type None"),
    ],
)
def test_adapters_with_invalid_weights(
    tiny: Path, tmp_path: Path, name: str, value: float, settings: dict[str, object], says: str
) -> None:
    load_model(_adapter(tmp_path / "good", tiny, "layers", 0.0), device="cpu")
    with pytest.raises(KkwarmError, match=says):
        load_model(_adapter(tmp_path / "bad", tiny, name, value, **settings), device="cpu")


def test_missing_weights_have_a_hint(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "bad")
    (tmp_path / "bad" / "model.safetensors").unlink()
    with pytest.raises(KkwarmError, match="its weights are missing: fetch or save them again"):
        load_model(tmp_path / "bad", device="cpu")


def test_integer_weights_are_an_error(tiny: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "eight bits"
    shutil.copytree(tiny, folder)
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    name = next(n for n in weights if n.endswith("weight") and weights[n].ndim == 2)
    weights[name] = (weights[name] * 100).to(torch.int8)
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(KkwarmError, match=r"holds integers \(I8\) for 1 of its weights"):
        load_model(str(folder))


def test_sharded_and_untied_weights(tmp_path: Path) -> None:
    import torch

    whole = tiny_checkpoint(tmp_path / "whole")
    model = load_model(whole)
    assert model.lm_head.weight is model.model.embed_tokens.weight  # tied, and stored once
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path / "shards")(ids).logits, model(ids).logits)
    next(iter(sorted((tmp_path / "shards").glob("*.safetensors")))).unlink()
    with pytest.raises(KkwarmError, match=r"cannot be loaded|lacks"):
        load_model(tmp_path / "shards")


REMOTE = """
from transformers import LlamaForCausalLM, LlamaConfig
class OwnConfig(LlamaConfig):
    model_type = "own_llama"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_remote_code_runs_only_where_it_is_trusted(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kkwarm.backends.checkpoint import trust_remote_code

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "own"
    shutil.copytree(tiny, folder)
    (folder / "own.py").write_text(REMOTE)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own_llama",
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(KkwarmError, match="Python code of its own") as caught:
        load_model(folder)
    assert "--trust-remote-code" in caught.value.hint and not (tmp_path / "modules").exists()
    trust_remote_code(folder)
    assert type(load_model(folder)).__name__ == "OwnModel"


def test_weights_of_4_bits(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    if importlib.util.find_spec("bitsandbytes") is not None:
        model = load_model(tiny, device="cpu", four_bit=True)
        assert type(model.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
        return
    with pytest.raises(KkwarmError, match=r"need the package bitsandbytes.*kkwarm\[4bit\]"):
        load_model(tiny, device="cpu", four_bit=True)


def test_the_lazy_tokenizer_of_dry_runs_renders_as_the_tokenizer(tmp_path: Path, tiny: Path) -> None:
    folder = tmp_path / "chat"
    shutil.copytree(tiny, folder)
    template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{{ mood }}"
    )
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    lazy, loaded = LazyTokenizer.of(folder), load_tokenizer(folder)
    turns = [{"role": "user", "content": "A question."}]
    for arguments in ({}, {"mood": "calm", "add_generation_prompt": True}):
        expected = loaded.apply_chat_template(turns, tokenize=False, **arguments)
        assert lazy.apply_chat_template(turns, tokenize=False, **arguments) == expected
    assert lazy.get_added_vocab() == loaded.get_added_vocab()
    texts = ["zoey is a knight.", "<s>x", "", "A text, with é and 42."]
    assert token_ids(lazy, texts) == token_ids(loaded, texts)
    names = [f"{n}_token{end}" for n in ("bos", "eos", "unk") for end in ("", "_id")]
    assert [getattr(lazy, n) for n in names] == [getattr(loaded, n) for n in names]
    assert unknown_token_warning(lazy, texts, "texts") == unknown_token_warning(loaded, texts, "texts")
    assert lazy._loaded is None
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system role') }}", "utf-8")
    with pytest.raises(Exception, match="no system role"):
        LazyTokenizer.of(folder).apply_chat_template(turns, tokenize=False)
