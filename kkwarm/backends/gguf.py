"""GGUF files as checkpoints: their configuration, tokenizer and end tokens are converted once and kept in the cache.

The weights are read from the GGUF file itself, and dequantized, whenever the model is loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kkwarm.backends.hub import CONFIG, one_line
from kkwarm.errors import KkwarmError
from kkwarm.files import cache_folder

SUFFIX = ".gguf"
_VERSION = 1  # raise it when the conversion changes: folders of another version are made again
_SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
_SUPPORTED = "https://huggingface.co/docs/transformers/gguf lists the architectures that it reads"


def find_gguf(path: Path) -> Path | None:
    """The GGUF file that `path` names: the file itself, or the only one in a folder without a ``config.json``.

    :raises KkwarmError: the folder holds several, or the file is one part of a split model.
    """
    if path.is_file():
        files = [path] if path.suffix == SUFFIX else []
    elif path.is_dir() and not (path / CONFIG).is_file():
        files = sorted(file for file in path.glob(f"*{SUFFIX}") if not file.name.startswith("mmproj"))
    else:
        files = []
    if not files:
        return None
    if _SPLIT.search(files[0].name):
        raise KkwarmError(
            f"{files[0]} is one part of a split GGUF file, which transformers cannot read",
            hint="merge the parts with llama.cpp's `llama-gguf-split --merge`",
        )
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:5])
        raise KkwarmError(f"{path} holds {len(files)} GGUF files ({names})", hint="give the path of one of them")
    return files[0]


def metadata_folder(file: Path) -> Path:
    """A folder with the file's ``config.json``, ``generation_config.json`` and tokenizer, in transformers' formats.

    It is kept in kkwarm's cache folder under the file's name, size and modification time.

    :raises KkwarmError: the package gguf is missing, the file is damaged, or transformers lacks its architecture.
    """
    file = file.resolve()
    stat = file.stat()
    identity = f"{_VERSION}:{file}:{stat.st_size}:{stat.st_mtime_ns}:{version('transformers')}"
    folder = cache_folder() / "gguf" / f"{file.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    if not (folder / CONFIG).is_file():
        _require_gguf(file)
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            _convert_metadata(file, scratch)
            scratch.chmod(0o755)
            scratch.replace(folder)
        except OSError:
            if not (folder / CONFIG).is_file():  # else another process was first
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def load_gguf_model(file: Path, options: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The dequantized model, and transformers' ``output_loading_info``.

    :param options: further arguments of ``from_pretrained``.
    """
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    _require_gguf(file)
    folder = metadata_folder(file)
    options = dict(options)
    if hasattr(transformers, "GgufConfig"):  # else transformers always dequantizes
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar is not transformers' own
        model, info = AutoModelForCausalLM.from_pretrained(
            str(file.parent), gguf_file=file.name, config=AutoConfig.from_pretrained(folder), **options
        )
    # The weights are ordinary tensors now: they can be saved and trained.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return model, info


def end_of_turn(tokenizer: Any) -> str | None:
    """The special token that the chat template writes after an assistant's message; None if it has none."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    mark = "kkwarm"
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": mark}]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception:  # a template raises what it wants; commands that use it report that
        return None
    rest = text.rpartition(mark)[2]
    special = [t.content for t in tokenizer.added_tokens_decoder.values() if t.content and t.content in rest]
    return min(special, key=lambda token: (rest.index(token), -len(token)), default=None)


def _convert_metadata(file: Path, folder: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    fields = _read_fields(file)
    try:
        config = AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    except Exception as err:  # transformers raises many unrelated types for a file that it cannot read
        architecture = str(fields.get("general.architecture"))
        if "not supported" in str(err) or (isinstance(err, KeyError) and architecture in str(err)):
            raise KkwarmError(
                f"{file}: transformers cannot read GGUF files of the architecture {architecture!r}", hint=_SUPPORTED
            ) from err
        raise KkwarmError(f"{file} cannot be read: {one_line(err)}") from err
    ends = _set_end_tokens(tokenizer, fields)
    for name in ("quantization_config", "_model_name_or_path"):
        config.__dict__.pop(name, None)
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id
    ).save_pretrained(folder)
    tokenizer.clean_up_tokenization_spaces = False  # it would remove spaces before punctuation
    tokenizer.save_pretrained(folder)
    (folder / "gguf.json").write_text(json.dumps({"file": str(file)}), "utf-8")
    config.save_pretrained(folder)  # last: it marks the folder as complete


def _set_end_tokens(tokenizer: Any, fields: Mapping[str, Any]) -> list[int]:
    """Sets eos, bos and pad to what the file and its chat template say. Returns the ids of all end tokens.

    transformers' converters confuse some of them: SmolLM2's eos becomes ``<|im_start|>``.
    """

    def token(name: str) -> str | None:
        index = fields.get(f"tokenizer.ggml.{name}_token_id")
        return None if index is None else str(tokenizer.convert_ids_to_tokens(int(index)))

    ends = [end_of_turn(tokenizer), token("eos"), token("eot"), token("eom")]
    known = list(dict.fromkeys(end for end in ends if end is not None and end in tokenizer.get_vocab()))
    if known:
        tokenizer.eos_token = known[0]
    if bos := token("bos"):
        tokenizer.bos_token = bos
    # Padding is masked everywhere; a pad token that starts a message would still be confusing.
    tokenizer.pad_token = token("padding") or tokenizer.eos_token
    tokenizer.padding_side = "left"
    ids = tokenizer.convert_tokens_to_ids(known)
    return sorted(set(ids)) if known else [tokenizer.eos_token_id]


def _read_fields(file: Path) -> dict[str, Any]:
    """The file's scalar metadata."""
    from gguf import GGUFReader, GGUFValueType

    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise KkwarmError(f"{file} is no GGUF file", hint="it was not downloaded completely, or is another format")
    try:
        reader = GGUFReader(str(file))
        return {
            name: field.contents()
            for name, field in reader.fields.items()
            if field.types and field.types[0] != GGUFValueType.ARRAY
        }
    except Exception as err:  # the reader raises many unrelated types for a truncated file
        raise KkwarmError(f"{file} is damaged: {one_line(err)}", hint="download it again") from err


def _require_gguf(file: Path) -> None:
    from importlib.util import find_spec

    if find_spec("gguf") is None:
        raise KkwarmError(f"{file}: reading GGUF files needs the package gguf", hint="pip install 'kkwarm[gguf]'")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
