"""What a run asks: for each benchmark its questions, prompts, format, verifier and sampling."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kkwarm.data.splits import content_hash, fingerprint
from kkwarm.errors import KkwarmError
from kkwarm.evaluation.config import BenchConfig
from kkwarm.plugins import Registry
from kkwarm.types import Benchmark, Completion, Example, Format, Sampling, Verifier

__all__ = ["KNOWN", "Entry", "Item", "choose", "entry", "named", "shuffled"]

KNOWN = "lm_eval:"  # prefix of tasks that lm-eval itself knows
_SALT = "kkwarm-limit-1"


@dataclass(frozen=True, slots=True)
class Item:
    """A question with its prompt."""

    example: Example
    prompt: str
    prompt_hash: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One benchmark of the run, as `name` (``+forced`` where `force` is put before every completion)."""

    name: str
    benchmark: Benchmark
    format: Format
    verifier: Verifier
    sampling: Sampling
    items: tuple[Item, ...]
    force: str = ""

    @property
    def facet_of(self) -> dict[str, str] | None:
        """Question id -> value of the benchmark's facet."""
        facet = self.benchmark.facet
        if facet is None:
            return None
        return {i.example.id: str(i.example.meta[facet]) for i in self.items if facet in i.example.meta}

    def completed(self, completion: Completion) -> Completion:
        """The completion as it is stored and judged."""
        return replace(completion, text=self.force + completion.text, token_ids=None)

    def inputs(self) -> dict[str, str]:
        """Fingerprints of the questions and of the prompts."""
        prompts = hashlib.sha256("\x1e".join(i.prompt for i in self.items).encode("utf-8", "surrogatepass"))
        return {
            f"data:{self.name}": fingerprint([i.example for i in self.items]),
            f"prompts:{self.name}": prompts.hexdigest()[:16],
        }


def named(names: Sequence[str]) -> list[str]:
    """Benchmark names, each once; a name may hold several, separated by commas.

    :raises KkwarmError: no name is left.
    """
    found = list(dict.fromkeys(part.strip() for name in names for part in name.split(",") if part.strip()))
    if not found:
        raise KkwarmError("no benchmark is named", hint="--on NAME,NAME: see `kkwarm domains`")
    return found


def entry(name: str, registry: Registry, config: BenchConfig, tokenizer: Any) -> Entry:
    """Loads a benchmark's questions and renders its prompts.

    :raises KkwarmError: unknown name or format, no questions, ids that are not unique, nothing to force by.
    """
    benchmark = registry.benchmark(name)
    fmt = registry.format(config.format or benchmark.format)
    force = ""
    if config.force:
        force = fmt.force
        if not force:
            raise KkwarmError(f"format {fmt.name} has no text that forces step-by-step work", hint="use --format")
    own = benchmark.sampling
    sampling = Sampling(
        own.temperature if config.temperature is None else config.temperature,
        own.top_p if config.top_p is None else config.top_p,
        own.max_tokens if config.max_tokens is None else config.max_tokens,
        config.seed,
    )
    examples = list(benchmark.load())
    if not examples:
        raise KkwarmError(f"benchmark {name} has no questions")
    twice = [id_ for id_, count in Counter(e.id for e in examples).items() if count > 1]
    if twice:
        raise KkwarmError(f"benchmark {name} has several questions of id {twice[0]!r}", hint="ids must be unique")
    items = []
    for example in choose(examples, config.limit):
        prompt = fmt.render(example.question, tokenizer) + force
        items.append(Item(example, prompt, hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]))
    shown = f"{benchmark.name}+forced" if force else benchmark.name
    return Entry(shown, benchmark, fmt, registry.verifier(benchmark.verifier), sampling, tuple(items), force)


def choose(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most `limit` examples, chosen by content: not by order, so that a sorted benchmark gives no easy start."""
    if limit is None or limit >= len(examples):
        return list(examples)

    kept = set(sorted(range(len(examples)), key=lambda at: _rank(examples[at]))[:limit])
    return [example for at, example in enumerate(examples) if at in kept]


def shuffled(items: Sequence[Item]) -> list[Item]:
    """In the order in which `choose` takes them: as good as random, and always the same."""
    return sorted(items, key=lambda item: _rank(item.example))


def _rank(example: Example) -> tuple[str, str]:
    return hashlib.sha256(f"{_SALT}:{content_hash(example)}".encode()).hexdigest(), example.id
