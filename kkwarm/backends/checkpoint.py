"""Finds, fingerprints and loads checkpoints: folders, runs, LoRA adapters, package data, and hub ids."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from kkwarm.backends.gguf import SUFFIX, find_gguf, load_gguf_model, metadata_folder
from kkwarm.backends.hub import ADAPTER, CONFIG, hub_file, one_line
from kkwarm.backends.integrity import GENERATION
from kkwarm.errors import KkwarmError, unknown_name
from kkwarm.files import expand_path

if TYPE_CHECKING:
    import torch

_WEIGHTS = (".safetensors", ".bin", ".pt")
_SIZES = (
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "vocab_size",
)
_WITHOUT_DEFAULTS = ("TokenizersBackend", "PreTrainedTokenizerFast")  # classes without special tokens of their own
_STRUCTURAL = ("bos_token", "eos_token", "pad_token", "unk_token")
_trusted: set[str] = set()  # resolved checkpoints whose own Python code may run
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


def resolve(model: str | os.PathLike[str]) -> str:
    """The folder of the checkpoint, its GGUF file, or its hub id.

    :param model: a checkpoint folder, a run folder that holds ``checkpoint/``, a GGUF file or a folder with one,
        ``package:ATTRIBUTE`` or a hub id.
    :raises KkwarmError: it is none of these, or a hub id that is neither reachable nor cached.
    """
    path = expand_path(resolve_package_path(str(model)))
    if path.is_dir():
        for folder in (path, path / "checkpoint"):
            if (folder / CONFIG).is_file() or (folder / ADAPTER).is_file():
                return str(folder)
            if file := find_gguf(folder):
                return str(file)
        if (path / "manifest.json").exists():
            raise KkwarmError(f"{path} is a run without a checkpoint", hint="if it is unfinished, run it again")
        raise KkwarmError(f"{path} is no checkpoint: it contains neither {CONFIG} nor {ADAPTER}")
    if path.is_file() and find_gguf(path):
        return str(path)
    if path.exists():
        raise KkwarmError(f"{path} is a file, not a checkpoint folder", hint="a GGUF file ends in .gguf")
    name = str(model)
    if _looks_like_path(name):
        raise KkwarmError(f"{name} does not exist", hint="give a checkpoint folder, a run folder or a hub id")
    hub_file(name)
    return name


def resolve_package_path(model: str) -> str:
    """The folder of ``package:ATTRIBUTE``, such as ``kkwarm_mini:BASE``; any other text is returned unchanged."""
    package, colon, attribute = model.partition(":")
    if not colon or not package.isidentifier() or not attribute.isidentifier():
        return model
    try:
        folder = getattr(importlib.import_module(package), attribute)
    except ModuleNotFoundError as err:
        raise KkwarmError(f"model {model}: package {err.name} is not installed") from None
    except AttributeError:
        raise KkwarmError(f"model {model}: {package} has no {attribute}") from None
    if not Path(folder).is_dir():
        raise KkwarmError(f"model {model}: {folder} is no folder", hint=f"reinstall {package}")
    return str(folder)


def trust_remote_code(model: str | os.PathLike[str]) -> None:
    """Lets this process run the Python code that a checkpoint, or an adapter's base, brings along."""
    source = resolve(model)
    _trusted.update((source, resolve(_base_of(source) or source)))


def files_of(source: str) -> str:
    """The folder with the configuration and tokenizer of a resolved checkpoint; a hub id is returned unchanged."""
    return str(metadata_folder(Path(source))) if is_gguf(source) else source


def is_gguf(source: str) -> bool:
    """Whether a resolved checkpoint is a GGUF file."""
    return source.endswith(SUFFIX) and Path(source).is_file()


def display_name(model: str | os.PathLike[str]) -> str:
    """A short name for tables and folders: the run's name for a run folder or its ``checkpoint/``, and RUN-best for its
    ``best/``.
    """
    path = Path(str(model).rstrip("/"))
    if path.name == "best" and (path.parent / "manifest.json").is_file():
        return f"{path.absolute().parent.name}-best"
    name = path.parent.name if path.name == "checkpoint" and path.parent.name else path.name
    name = name.removesuffix(SUFFIX)
    return name.replace(":", "-")  # kkwarm_mini:BASE; a colon in a folder's name breaks search paths


class LazyTokenizer:
    """A checkpoint's tokenizer that is loaded when more than its chat template, special tokens and ids is asked for. A
    dry run needs no more, and importing transformers' tokenizers takes seconds.
    """

    def __init__(self, model: str | os.PathLike[str]) -> None:
        self._model, self._loaded, self._folder = model, None, Path(resolve(model))
        self._settings = _read_tokenizer_config(self._folder)
        self.chat_template = _read_chat_template(self._folder, self._settings)

    def __call__(self, text: str | list[str], *, add_special_tokens: bool = True, **options: Any) -> Any:
        """``input_ids`` of a text or a list of texts, by tokenizer.json."""
        if options:
            return self._load()(text, add_special_tokens=add_special_tokens, **options)
        rows = self.backend_tokenizer.encode_batch(
            [text] if isinstance(text, str) else text, add_special_tokens=add_special_tokens
        )
        return {"input_ids": rows[0].ids if isinstance(text, str) else [row.ids for row in rows]}

    @cached_property
    def backend_tokenizer(self) -> Any:
        """The tokenizer of the tokenizers library, without truncation and padding."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def apply_chat_template(self, conversation: list[dict[str, str]], **arguments: Any) -> str:
        """The conversation by the chat template, as the tokenizer renders it."""
        from transformers.utils.chat_template_utils import render_jinja_template

        named = {k: v.get("content") if isinstance(v, dict) else v for k, v in self._settings.items()}
        given = {k: v for k, v in named.items() if k.endswith("_token") and isinstance(v, str)} | arguments
        given.pop("tokenize", None)
        try:
            texts, _ = render_jinja_template([conversation], chat_template=self.chat_template, **given)
        except Exception:  # it may use a token that only the tokenizer's class defines; its own errors are raised below
            return str(self._load().apply_chat_template(conversation, **arguments))
        return str(texts[0])

    def get_added_vocab(self) -> dict[str, int]:
        """The tokenizer's added tokens with their ids."""
        return dict(self._added)

    @cached_property
    def _added(self) -> dict[str, int]:
        try:
            data = json.loads((self._folder / "tokenizer.json").read_text("utf-8"))
            return {token["content"]: token["id"] for token in data["added_tokens"]}
        except (OSError, ValueError, KeyError, TypeError):
            return dict(self._load().get_added_vocab())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        token = name.removesuffix("_id")
        plain = self._settings.get("tokenizer_class") in _WITHOUT_DEFAULTS
        if self._loaded is None and token in _STRUCTURAL and (plain or token in self._settings):
            value = self._settings.get(token)
            text = value.get("content") if isinstance(value, dict) else value
            if text is None and token != "pad_token":
                return None
            if isinstance(text, str) and name == token:
                return text
            if isinstance(text, str) and (number := self._added.get(text)) is not None:
                return number
        return getattr(self._load(), name)

    def _load(self) -> Any:
        if self._loaded is None:
            self._loaded = load_tokenizer(self._model)
        return self._loaded

    @classmethod
    def of(cls, model: str | os.PathLike[str]) -> Any:
        """The lazy tokenizer of a folder with a tokenizer.json and at most one template; else the tokenizer itself."""
        folder = Path(resolve(model))
        several = isinstance(_read_tokenizer_config(folder).get("chat_template"), list)
        return cls(model) if (folder / "tokenizer.json").is_file() and not several else load_tokenizer(model)


def _read_tokenizer_config(folder: Path) -> dict[str, Any]:
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _read_chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The text of a folder's chat template, without loading its tokenizer; None if it has none."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    template = settings.get("chat_template")
    return template if isinstance(template, str) else None


def load_tokenizer(model: str | os.PathLike[str]) -> Any:
    """The tokenizer, with left padding for generation. Without a pad token it pads with eos, else unk, else token 0."""
    _import_without_sklearn()
    from transformers import AutoTokenizer

    source = files_of(resolve(model))
    if (
        Path(source).is_dir()
        and (base := _base_of(source))
        and not any((Path(source) / f).exists() for f in _TOKENIZER)
    ):
        source = files_of(resolve(base))
    try:
        with _quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", trust_remote_code=source in _trusted)
    except Exception as err:  # transformers raises many unrelated types for an unreadable tokenizer
        if Path(source).is_dir() and not any(Path(source, f).exists() for f in _TOKENIZER):
            raise KkwarmError(f"{source} has no tokenizer", hint="save its files beside the weights") from err
        raise _loading_error(f"{source}: its tokenizer cannot be loaded", err) from err
    if tokenizer.pad_token_id is None:
        # Padding is masked everywhere, so the token does not change results.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def read_own_sampling(model: str | os.PathLike[str]) -> dict[str, float]:
    """The sampling settings in a checkpoint's ``generation_config.json``: temperature, top_p, top_k, min_p and
    repetition_penalty, as far as it has them. Empty where it does not say that it samples (``do_sample``).
    """
    from huggingface_hub import hf_hub_download

    source = resolve(model)
    base = files_of(resolve(_base_of(source) or source))
    try:
        file = Path(base, GENERATION) if Path(base).is_dir() else Path(hf_hub_download(base, GENERATION))
        settings = json.loads(file.read_text("utf-8"))
    except Exception:  # most checkpoints have none; the hub's client raises many types for a missing file
        return {}
    if not isinstance(settings, dict) or settings.get("do_sample") is not True:
        return {}
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    return {n: v for n in names if isinstance(v := settings.get(n), int | float) and not isinstance(v, bool)}


def load_model(
    model: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    merge_adapters: bool = True,
    attention: str | None = None,
    check: bool = True,
    four_bit: bool = False,
) -> Any:
    """The causal language model in evaluation mode, on its device.

    :param dtype: default bf16 on CUDA, fp32 on the CPU.
    :param four_bit: quantize the weights to 4 bits (NF4, by bitsandbytes); `dtype`, by default bf16, is that of the
        computation. Such weights cannot be merged with an adapter, so the peft model is returned.
    :param merge_adapters: merge a LoRA adapter into its base (generates faster); False returns the peft model.
    :param attention: transformers' `attn_implementation`; None: transformers' default.
    :param check: refuse weights that exceed the device's free memory before they are read.
    :raises KkwarmError: no checkpoint, an encoder, unreadable, missing or too large weights, or an unavailable device.
    """
    source = resolve(model)
    target = _parse_device(device)
    options: dict[str, Any] = {"dtype": dtype or default_dtype(target)}
    if four_bit:
        options = _quantization(source, target, dtype)
    elif check:
        _check_memory(source, target, options["dtype"])
    if attention:
        options["attn_implementation"] = _check_attention(attention)
    adapter = Path(source, ADAPTER).is_file()
    try:
        with _quiet_transformers():
            if adapter:
                loaded = _load_adapter(source, options, merge_adapters and not four_bit)
            else:
                loaded = _load_model(source, options)
        if not four_bit:  # such weights are on the device already, and refuse `to`
            loaded = loaded.to(target)
    except KkwarmError:
        raise
    except Exception as err:  # transformers, safetensors and torch raise many unrelated types for a bad checkpoint
        raise _loading_error(f"{source} cannot be loaded", err) from err
    return loaded.eval()


def _quantization(source: str, device: torch.device, dtype: torch.dtype | None) -> dict[str, Any]:
    """transformers' options for weights of 4 bits."""
    import torch
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise KkwarmError(
            f"{source}: weights of 4 bits need the package bitsandbytes", hint="pip install 'kkwarm[4bit]'"
        )
    if is_gguf(source) or getattr(read_config(source), "quantization_config", None) is not None:
        raise KkwarmError(f"{source} is quantized already", hint="leave out the dtype 4bit")
    compute = dtype or torch.bfloat16
    quantization = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
    )
    return {"dtype": compute, "quantization_config": quantization, "device_map": {"": str(device)}}


def _check_attention(name: str) -> str:
    """:raises KkwarmError: transformers has no such attention. (A kernel from the hub has a slash in its name.)"""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    names = {"eager", *(key for key in ALL_ATTENTION_FUNCTIONS.valid_keys() if "|" not in key)}
    if name not in names and "/" not in name:
        raise unknown_name("attention", name, names)
    return name


def _load_model(source: str, options: Mapping[str, Any]) -> Any:
    """The model of a folder or hub id, checked for completeness."""
    _import_without_sklearn()
    from transformers import AutoModelForCausalLM

    from kkwarm.backends.integrity import check_checkpoint

    trusted = source in _trusted
    checks = {"trust_remote_code": trusted, "output_loading_info": True, "ignore_mismatched_sizes": True}
    if is_gguf(source):
        loaded, loading_info = load_gguf_model(Path(source), {**checks, **options})
    else:
        loaded, loading_info = AutoModelForCausalLM.from_pretrained(source, **checks, **options)
    check_checkpoint(source, loaded, loading_info)
    return loaded


def read_config(model: str | os.PathLike[str]) -> Any:
    """transformers' configuration of a checkpoint; for an adapter, that of its base."""
    from transformers import AutoConfig

    source = resolve(model)
    try:
        with _quiet_transformers():
            base = resolve(_base_of(source) or source)
            config = AutoConfig.from_pretrained(files_of(base), trust_remote_code=base in _trusted)
    except KkwarmError:
        raise
    except Exception as err:  # transformers raises many unrelated types for an unreadable configuration
        raise _loading_error(f"{source}: its configuration cannot be read", err) from err
    layers = getattr(config.get_text_config(), "num_hidden_layers", 1)
    if not isinstance(layers, int) or layers < 1:
        raise KkwarmError(f"{source}: its configuration has {layers} layers (num_hidden_layers)")
    context = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    if context is not None and context < 1:
        raise KkwarmError(
            f"{source}: its configuration allows no text (max_position_embeddings is {context})",
            hint="correct config.json",
        )
    return config


def read_text_config(model: str | os.PathLike[str]) -> Any:
    """The sizes of a checkpoint's decoder (``hidden_size``, ``vocab_size``, ...): from config.json itself where it is a
    plain decoder's and has them all, because transformers' configurations take seconds to import.
    """
    source = resolve(model)
    folder = Path(files_of(resolve(_base_of(source) or source)))
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        plain = not any(k in config for k in ("text_config", "auto_map", "quantization_config"))
        if plain and all(type(config[k]) is int and config[k] > 0 for k in _SIZES) and _is_known(config["model_type"]):
            return SimpleNamespace(**config)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # `read_config` reports what is wrong
    return read_config(model).get_text_config(decoder=True)


def _is_known(model_type: str) -> bool:
    """Whether transformers has a package for this type of model."""
    spec = find_spec("transformers")
    places = () if spec is None else spec.submodule_search_locations or ()
    return model_type.isidentifier() and any(Path(place, "models", model_type).is_dir() for place in places)


def _loading_error(what: str, err: Exception) -> KkwarmError:
    """A library's error about a checkpoint, with a hint."""
    message = str(err)
    hint = ""
    if "out of memory" in message.lower():
        hint = "the model is larger than the memory of the device: use a smaller one, or --backend vllm"
    elif "trust_remote_code" in message:
        hint = "--trust-remote-code runs that code: give it only if you trust its author"
        return KkwarmError(f"{what}: it brings Python code of its own, which kkwarm does not run", hint=hint)
    elif kind := re.search(r"model type `(.+?)` but Transformers does not recognize", message):
        hint = "correct model_type in config.json, or update transformers"
        return KkwarmError(f"{what}: transformers does not have the architecture {kind[1]!r}", hint=hint)
    elif isinstance(err, ImportError) and not isinstance(err, ModuleNotFoundError):
        hint = "install the package that it names"
    elif "no file named" in message:
        hint = "its weights are missing: fetch or save them again"
    elif type(err).__name__ == "SafetensorError":
        hint = "the file is damaged or truncated: fetch or save it again"
    return KkwarmError(f"{what}: {one_line(err)}", hint=hint)


def default_device() -> str:
    """``cuda`` if available, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def default_dtype(device: str | torch.device) -> torch.dtype:
    """bf16 on CUDA (fp16 if the GPU lacks bf16), fp32 elsewhere."""
    import torch

    if torch.device(device).type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def parse_dtype(name: str) -> torch.dtype:
    """``float32``, ``bfloat16`` or ``float16``."""
    import torch

    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in dtypes:
        raise unknown_name("dtype", name, dtypes)
    return dtypes[name]


def fingerprint(model: str | os.PathLike[str]) -> str:
    """Hash (16 hex digits) of configuration, weights and tokenizer; for a hub id, of its commit.

    An adapter's fingerprint includes its base. A file is read once for each size and modification time.
    """
    source = resolve(model)
    digest = hashlib.sha256()
    if is_gguf(source):
        stat = Path(source).stat()
        return _sha256(str(Path(source).resolve()), stat.st_size, stat.st_mtime_ns)[:16]
    if not Path(source).is_dir():
        commit = Path(hub_file(source)).parent.name  # the cache keeps a commit's files under snapshots/COMMIT/
        digest.update(f"hub:{source}:{commit}".encode())
        return digest.hexdigest()[:16]
    folder = Path(source)
    for path in sorted(folder.iterdir()):
        if path.name in (CONFIG, ADAPTER, *_TOKENIZER) or (
            path.suffix in _WEIGHTS and path.name != "training_args.bin"
        ):
            stat = path.stat()
            digest.update(f"{path.name}:{_sha256(str(path.resolve()), stat.st_size, stat.st_mtime_ns)}".encode())
    if base := _base_of(source):
        digest.update(fingerprint(base).encode())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=4096)
def _sha256(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _looks_like_path(name: str) -> bool:
    """Whether a name is a path: a hub id is ``name`` or ``owner/name``."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith("/") or "\\" in name or not name


def _parse_device(device: str | torch.device | None) -> torch.device:
    import torch

    try:
        target = torch.device(device or default_device())
    except RuntimeError:
        raise KkwarmError(f"unknown device {device!r}", hint="use cpu, cuda or cuda:0") from None
    if target.type == "cuda" and not torch.cuda.is_available():
        raise KkwarmError("no CUDA device is available", hint="leave out --device, or see `kkwarm doctor`")
    if target.type == "cuda" and target.index is not None and target.index >= torch.cuda.device_count():
        raise KkwarmError(f"{target} does not exist: there are {torch.cuda.device_count()} CUDA devices")
    return target


def _base_of(source: str) -> str | None:
    """The base checkpoint of a LoRA adapter; None if the folder is no adapter."""
    path = Path(source, ADAPTER)
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as err:
        raise KkwarmError(f"{path} cannot be read: {getattr(err, 'strerror', None) or err}") from None
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not base or not isinstance(base, str):
        raise KkwarmError(f"{path} names no base model", hint="add base_model_name_or_path")
    if expand_path(base).resolve() == Path(source).resolve():
        raise KkwarmError(f"{path} names itself as its base model", hint="correct base_model_name_or_path")
    return base


def _check_memory(source: str, device: torch.device, dtype: torch.dtype) -> None:
    """:raises KkwarmError: the weights exceed the free memory; on a CPU, the system would kill the process silently."""
    import torch
    from transformers import AutoModelForCausalLM

    from kkwarm.backends.memory import available_memory

    config = read_config(source)
    try:
        if getattr(config, "quantization_config", None) is not None:
            return  # fewer bits than `dtype`
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError):
        return  # loading reports the problem
    gib = sum(p.numel() for p in network.parameters()) * dtype.itemsize / 2**30
    free = available_memory(device) / 2**30
    if gib > free:
        kind = str(dtype).removeprefix("torch.")
        raise KkwarmError(
            f"{source} is too large: {gib:.1f} GiB in {kind}, {free:.1f} GiB of {device} are free",
            hint="use a smaller model, another device, or a server (--backend openai)",
        )


def _load_adapter(source: str, options: dict[str, Any], merge: bool) -> Any:
    try:
        from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftModel
    except ImportError:
        raise KkwarmError(
            f"{source} is a LoRA adapter and peft is missing", hint="pip install 'kkwarm[lora]'"
        ) from None
    from kkwarm.backends.integrity import check_weights

    if Path(source).is_dir() and not any(Path(source, f"adapter_model{end}").exists() for end in _WEIGHTS):
        raise KkwarmError(
            f"{source} is a LoRA adapter without its weights: adapter_model.safetensors is missing",
            hint="fetch or save it again",
        )
    if Path(source).is_dir():
        kind = json.loads(Path(source, ADAPTER).read_text("utf-8")).get("peft_type")
        if kind not in PEFT_TYPE_TO_CONFIG_MAPPING:
            where = Path(source, ADAPTER)
            raise KkwarmError(f"{where}: peft does not have the peft_type {kind!r}", hint="a LoRA adapter's is LORA")
    base = _load_model(resolve(_base_of(source) or ""), options)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")  # peft would continue without them
        loaded = PeftModel.from_pretrained(base, source)
    check_weights(source, loaded)
    return loaded.merge_and_unload() if merge else loaded


@lru_cache(maxsize=1)
def _import_without_sklearn() -> None:
    """Imports transformers' generation without sklearn, which takes two seconds, and which only assisted generation
    uses, where it is installed.
    """
    import transformers.utils as utils

    available = utils.is_sklearn_available
    utils.is_sklearn_available = lambda: False
    try:
        import transformers.generation.candidate_generator  # noqa: F401
    finally:
        utils.is_sklearn_available = available


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silences transformers' progress bars, reports and advice on stderr; errors are still raised."""
    from transformers.utils import logging

    progress_bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if progress_bars:
            logging.enable_progress_bar()
