"""Models, data and options that the GPU measurements share: random models of Qwen2.5's shapes, and a domain for them.

Nothing is downloaded. A random model generates up to the token limit, so every side of a comparison makes the same
number of tokens. The domain's verdicts are pseudo-random, by a hash of the completion, so that groups differ in reward
and a GRPO step does the work of a real one.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "speed"))

import kkwarm.plugins
from kkwarm.plugins import hookimpl
from kkwarm.protocols import TextReader
from kkwarm.types import Domain, Example, Protocol, Response, Sampling, Trace

__all__ = [
    "SHAPES",
    "Shape",
    "argument_parser",
    "device_peak_mb",
    "install_domain",
    "make_model",
    "make_traces",
    "model_folder",
    "peak_flops",
]


@dataclass(frozen=True)
class Shape:
    """Qwen2.5's configuration: layers, width, MLP, heads, heads of keys and values, vocabulary."""

    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    vocabulary: int | None = 151_936  # None: the tokenizer's

    def flops(self, context: float, vocabulary: int) -> float:
        """Operations per token in training (forward and backward, without recomputation): 6 for each weight of a matrix
        product, including the output layer, and 6 x layers x width x context for causal attention (PaLM's, halved).

        :param context: tokens of a sequence; for several lengths, the sum of their squares over their sum.
        """
        size = self.hidden // self.heads
        attention = self.hidden * size * (2 * self.heads + 2 * self.kv_heads)
        weights = self.layers * (attention + 3 * self.hidden * self.mlp) + self.hidden * vocabulary
        return 6.0 * weights + 6.0 * self.layers * self.hidden * context


SHAPES = {
    "0.5B": Shape(24, 896, 4864, 14, 2),
    "1.5B": Shape(28, 1536, 8960, 12, 2),
    "3B": Shape(36, 2048, 11008, 16, 2),
    "tiny": Shape(2, 64, 128, 2, 1, None),  # heads of 32: the smallest that vLLM has kernels for
}
# Dense bf16, by the vendor's data sheets.
_PEAK = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12}
WORDS = ("knight", "knave", "says", "that", "is", "not", "and", "or", "if", "then", "only", "liar", "truth", "island")


def argument_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that all measurements have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-o", "--out", type=Path, help="JSON file.  [default: benchmarks/results/gpu_NAME.json]")
    parser.add_argument("--shape", choices=list(SHAPES), default="1.5B")
    parser.add_argument("--tiny", action="store_true", help="Use a model of two layers, to check that it runs.")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="Folder for models and runs.")
    return parser


def model_folder(args: argparse.Namespace) -> Path:
    """The checkpoint of `--shape`, made if it does not exist yet."""
    if args.tiny:
        args.shape = "tiny"
    path: Path = args.work / f"qwen2.5-{args.shape}-random"
    if not (path / "config.json").exists():
        make_model(SHAPES[args.shape], path)
    return path


def make_model(shape: Shape, path: Path) -> None:
    """Saves a random model in bf16, with a tokenizer trained on the domain's questions."""
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    from kkwarm.testing.checkpoint import EOS, PAD, _byte_level

    inner = _byte_level(1024, (e.question for e in _examples()), [EOS, PAD])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=EOS, pad_token=PAD)
    config = Qwen2Config(
        vocab_size=shape.vocabulary or len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=32_768,
        rope_theta=1e6,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2ForCausalLM(config)
    model.to(torch.bfloat16 if shape.vocabulary else torch.float32).save_pretrained(path)
    tokenizer.save_pretrained(path)


def peak_flops() -> float | None:
    """Dense bf16 operations a second of this machine's first GPU; None if unknown."""
    import torch

    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name(0)
    return next((flops for model, flops in _PEAK.items() if model in name), None)


def device_peak_mb() -> int | None:
    """Peak memory that torch allocated on the GPU, in MiB; None without a GPU."""
    import torch

    return torch.cuda.max_memory_allocated() // 2**20 if torch.cuda.is_available() else None


def make_traces(path: Path, count: int, words: int) -> Path:
    """`count` traces of about `words` words of reasoning."""
    from kkwarm.train import write_traces

    rng = random.Random(0)
    examples = (e for e in _examples(count) if e.split == "train")  # the contamination check rejects the others
    rows = [
        Trace(f"t{i}", "speed", e.question, " ".join(rng.choices(WORDS, k=words)), "knight", "random")
        for i, e in zip(range(count), examples, strict=False)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_traces(path, rows)
    return path


def _examples(count: int = 512) -> list[Example]:
    rng = random.Random(1)
    return [
        Example(f"speed/{i}", f"{i}: " + " ".join(rng.choices(WORDS, k=120)), "", "train" if i % 2 else "test")
        for i in range(2 * count)
    ]


SPEED = Protocol("speed", TextReader(), text=lambda messages: messages[-1].content + "\n")
"""The question unchanged; the whole completion is the answer. Completions reach the limit: no stop string."""


def _random_verdict(example: Example, response: Response) -> bool:
    return hashlib.sha256((response.answer or "").encode("utf-8", "surrogatepass")).digest()[0] % 2 == 0


class _Plugin:
    @hookimpl
    def kkwarm_protocols(self) -> list[Any]:
        return [SPEED]

    @hookimpl
    def kkwarm_domains(self) -> list[Domain]:
        sampling = Sampling(1.0, 1.0, 512)
        return [Domain("speed", _examples, _random_verdict, protocol="speed", sampling=sampling)]


def install_domain() -> None:
    """Registers the domain `speed` in this process."""
    load = kkwarm.plugins.load
    kkwarm.plugins.load = lambda extra=(): load([*extra, ("speed", _Plugin())])  # type: ignore[assignment]
    kkwarm.plugins.registry.cache_clear()
