"""Checks that all ways of running a checkpoint agree, by log-probabilities of the same tokens and by greedy texts.

The reference is transformers' eager attention with one text at a time, in the usual dtype. Every variant scores its
greedy completions. Variants round differently: log-probabilities may differ up to the tolerance, and a greedy text may
diverge from the reference's where the two best tokens are that close.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kkwarm.backends.base import Backend, LogprobBackend, Request
from kkwarm.errors import KkwarmError
from kkwarm.redaction import redact
from kkwarm.types import Completion, Sampling

PROMPTS = (
    "Anna says that Bob is a knave. Bob says that both are knights. Who is what?",
    "What is 17 + 25?",
    "def double(x):",
    "The capital of France is",
    "1, 1, 2, 3, 5, 8,",
)


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where a greedy text diverges from the reference's: after `tokens` equal tokens (characters, if a server keeps its
    tokens).

    :param margin: the reference's log-probability of its own token there, minus that of the other token.
    """

    prompt: str
    tokens: int
    expected: str
    actual: str
    margin: float | None


@dataclass(slots=True)
class Variant:
    """One way of running the checkpoint, compared with the reference.

    :param max_error, mean_error: differences of log-probabilities.
    :param note: why it could not be run, or not be scored.
    :param agrees: None if it could not be run.
    """

    name: str
    max_error: float | None = None
    mean_error: float | None = None
    same_texts: int = 0
    texts: int = 0
    divergences: list[Divergence] = field(default_factory=list)
    note: str = ""
    agrees: bool | None = None


def default_tolerance(dtype: str) -> float:
    """The largest difference of log-probabilities that rounding explains: 1e-3 in fp32, 0.25 in bf16 and fp16."""
    return 1e-3 if dtype == "float32" else 0.25


def compare_variants(
    checkpoint: str,
    *,
    prompts: Sequence[str] = PROMPTS,
    stop: tuple[str, ...] = (),
    max_tokens: int = 48,
    device: str | None = None,
    vllm: bool = False,
    server: tuple[str, str] | None = None,
    tolerance: float | None = None,
    on_start: Callable[[str], None] = lambda _: None,
) -> tuple[list[Variant], float]:
    """Compares every variant with the reference; also returns the tolerance that decides `Variant.agrees`.

    :param server: base URL of an OpenAI-compatible server, and the model's name there.
    :param tolerance: of log-probabilities; None: by dtype.
    :param on_start: called with the name of each variant before it runs.
    :raises KkwarmError: the reference cannot be run.
    """
    from kkwarm.backends import open_backend

    on_start("hf eager, one at a time")
    backend = open_backend("hf", checkpoint, device=device, attention="eager", batch_size=1)
    try:
        reference = _Reference(backend, prompts, stop, max_tokens)
        tolerance = default_tolerance(reference.dtype) if tolerance is None else tolerance
        variants = []
        for name, open_variant in _list_variants(checkpoint, device, vllm, server, reference.dtype):
            on_start(name)
            variants.append(_compare(name, open_variant, reference, tolerance))
        return variants, tolerance
    finally:
        backend.close()


def _list_variants(
    checkpoint: str, device: str | None, vllm: bool, server: tuple[str, str] | None, dtype: str
) -> list[tuple[str, Callable[[], Backend]]]:
    from kkwarm.backends import open_backend

    def hf(attention: str, rows: int | None) -> Callable[[], Backend]:
        return lambda: open_backend("hf", checkpoint, device=device, attention=attention, batch_size=rows)

    variants = [
        ("hf eager, batched", hf("eager", None)),
        ("hf sdpa, one at a time", hf("sdpa", 1)),
        ("hf sdpa, batched", hf("sdpa", None)),
    ]
    if vllm:
        variants.append(("vllm", lambda: open_backend("vllm", checkpoint, dtype=dtype)))
    if server is not None:
        url, name = server
        variants.append((f"server {redact(url)}", lambda: open_backend("openai", name, base_url=url)))
    return variants


class _Reference:
    """The reference's greedy completions and their log-probabilities."""

    def __init__(self, backend: Any, prompts: Sequence[str], stop: tuple[str, ...], max_tokens: int) -> None:
        from kkwarm.backends.text import token_ids

        self.backend = backend
        self.dtype = str(backend.model.dtype).removeprefix("torch.")
        self.requests = [Request(prompt, prompt, (0,), stop) for prompt in dict.fromkeys(prompts)]
        self.sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=max_tokens)
        self.completions = self.complete(backend)
        prompt_ids = token_ids(backend.tokenizer, [r.prompt for r in self.requests])
        self.texts = [
            (ids, self.completions[r.key].token_ids or ()) for r, ids in zip(self.requests, prompt_ids, strict=True)
        ]
        self.logprobs = backend.logprobs(self.texts)

    def complete(self, backend: Backend) -> dict[str, Completion]:
        """Greedy completions of the prompts by a backend."""
        return {r.key: c for r, _, c in backend.generate(self.requests, self.sampling)}

    def find_divergence(self, key: str, prompt_ids: Sequence[int], other: Completion) -> Divergence:
        own = self.completions[key]
        if own.token_ids is None or other.token_ids is None:  # a server keeps its tokens: compare characters
            n = _common_prefix(own.text, other.text)
            return Divergence(key, n, own.text[n : n + 20], other.text[n : n + 20], None)
        n = _common_prefix(own.token_ids, other.token_ids)
        decode = self.backend.tokenizer.decode
        margin = None
        if n < min(len(own.token_ids), len(other.token_ids)):
            before = [*prompt_ids, *own.token_ids[:n]]
            pair = [(before, [own.token_ids[n]]), (before, [other.token_ids[n]])]
            (best,), (second,) = self.backend.logprobs(pair)
            margin = best - second
        return Divergence(key, n, decode(own.token_ids[n : n + 8]), decode(other.token_ids[n : n + 8]), margin)


def _compare(name: str, open_variant: Callable[[], Backend], reference: _Reference, tolerance: float) -> Variant:
    variant = Variant(name, texts=len(reference.requests))
    try:
        backend = open_variant()
    except KkwarmError as err:
        variant.note = str(err)
        return variant
    try:
        _compare_texts(variant, backend, reference)
        # Two tokens can swap if they are up to twice the tolerance apart, because both log-probabilities may be off.
        variant.agrees = all(d.margin is not None and d.margin <= 2 * tolerance for d in variant.divergences)
        if isinstance(backend, LogprobBackend):
            _compare_logprobs(variant, backend, reference)
            variant.agrees = variant.agrees and variant.max_error is not None and variant.max_error <= tolerance
    except KkwarmError as err:  # a server without log-probabilities is compared by its texts alone
        variant.note = str(err)
    finally:
        backend.close()
    return variant


def _compare_texts(variant: Variant, backend: Backend, reference: _Reference) -> None:
    completions = reference.complete(backend)
    for request, (ids, _) in zip(reference.requests, reference.texts, strict=True):
        if _is_same(completions[request.key], reference.completions[request.key]):
            variant.same_texts += 1
        else:
            variant.divergences.append(reference.find_divergence(request.key, ids, completions[request.key]))


def _is_same(a: Completion, b: Completion) -> bool:
    """Whether tokens are equal, or texts up to surrounding space (a server may decode after the prompt)."""
    if a.token_ids is not None and b.token_ids is not None:
        return a.token_ids == b.token_ids
    return a.text.strip() == b.text.strip()


def _compare_logprobs(variant: Variant, backend: LogprobBackend, reference: _Reference) -> None:
    errors = [
        abs(a - b)
        for own, other in zip(reference.logprobs, backend.logprobs(reference.texts), strict=True)
        for a, b in zip(own, other, strict=True)
    ]
    variant.max_error = max(errors, default=0.0)
    variant.mean_error = sum(errors) / max(1, len(errors))


def _common_prefix(a: Sequence[Any], b: Sequence[Any]) -> int:
    """The number of equal elements at the beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
