"""Do the ways of running a checkpoint agree? Log-probabilities of the same tokens, and greedy texts.

The reference is transformers' eager attention, one text at a time, in the dtype that is used anyway. Its greedy
completions are then scored by every other way. Rounding differs between ways: a difference of log-probabilities up to
the tolerance is expected, and a greedy text may part from the reference's where its two best tokens are that close.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kkwarm.backends.base import Backend, Request, Scores
from kkwarm.errors import KkwarmError
from kkwarm.types import Completion, Sampling

__all__ = ["PROMPTS", "Divergence", "Variant", "probe", "tolerance"]

PROMPTS = (
    "Anna says that Bob is a knave. Bob says that both are knights. Who is what?",
    "What is 17 + 25?",
    "def double(x):",
    "The capital of France is",
    "1, 1, 2, 3, 5, 8,",
)


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where a greedy text leaves the reference's: after `tokens` equal ones. `margin`: the reference's log-probability
    of its token there, less that of the other's."""

    prompt: str
    tokens: int
    expected: str
    got: str
    margin: float | None


@dataclass(slots=True)
class Variant:
    """One way of running the checkpoint, beside the reference. `max_error`, `mean_error`: of log-probabilities."""

    name: str
    max_error: float | None = None
    mean_error: float | None = None
    same_texts: int = 0
    texts: int = 0
    divergences: list[Divergence] = field(default_factory=list)
    note: str = ""
    agrees: bool | None = None  # None: it could not be run


def tolerance(dtype: str) -> float:
    """The largest difference of log-probabilities that rounding explains: 1e-3 in fp32, 0.25 in bf16 and fp16."""
    return 1e-3 if dtype == "float32" else 0.25


def probe(
    checkpoint: str,
    *,
    prompts: Sequence[str] = PROMPTS,
    stop: tuple[str, ...] = (),
    max_tokens: int = 48,
    device: str | None = None,
    vllm: bool = False,
    server: tuple[str, str] | None = None,
    allowed: float | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[list[Variant], float]:
    """Compares every way with the reference; also returns the tolerance that `Variant.agrees` goes by.

    :param server: base URL of an OpenAI-compatible server, and the model's name there.
    :param allowed: tolerance of log-probabilities; None: by dtype.
    :param say: told what is being run.
    :raises KkwarmError: the reference itself cannot be run.
    """
    from kkwarm.backends import open_backend

    say("hf eager, one at a time")
    reference = open_backend("hf", checkpoint, device=device, attention="eager", batch_size=1)
    try:
        asked = _Asked(reference, prompts, stop, max_tokens)
        limit = tolerance(asked.dtype) if allowed is None else allowed
        ways = []
        for name, opening in _ways(checkpoint, device, vllm, server, asked.dtype):
            say(name)
            ways.append(_compared(name, opening, asked, limit))
        return ways, limit
    finally:
        reference.close()


def _ways(
    checkpoint: str, device: str | None, vllm: bool, server: tuple[str, str] | None, dtype: str
) -> list[tuple[str, Callable[[], Backend]]]:
    from kkwarm.backends import open_backend

    def hf(attention: str, rows: int | None) -> Callable[[], Backend]:
        return lambda: open_backend("hf", checkpoint, device=device, attention=attention, batch_size=rows)

    found = [
        ("hf eager, batched", hf("eager", None)),
        ("hf sdpa, one at a time", hf("sdpa", 1)),
        ("hf sdpa, batched", hf("sdpa", None)),
    ]
    if vllm:
        found.append(("vllm", lambda: open_backend("vllm", checkpoint, dtype=dtype)))
    if server is not None:
        url, name = server
        found.append((f"server {url}", lambda: open_backend("openai", name, base_url=url)))
    return found


class _Asked:
    """The reference: prompts, its greedy completions and their log-probabilities."""

    def __init__(self, backend: Any, prompts: Sequence[str], stop: tuple[str, ...], max_tokens: int) -> None:
        from kkwarm.backends.text import token_ids

        self.backend = backend
        self.dtype = str(backend.model.dtype).removeprefix("torch.")
        self.requests = [Request(prompt, prompt, (0,), stop) for prompt in dict.fromkeys(prompts)]
        self.sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=max_tokens)
        self.greedy = self.written(backend)
        prompt_ids = token_ids(backend.tokenizer, [r.prompt for r in self.requests])
        self.texts = [
            (ids, self.greedy[r.key].token_ids or ()) for r, ids in zip(self.requests, prompt_ids, strict=True)
        ]
        self.logprobs = backend.logprobs(self.texts)

    def written(self, backend: Backend) -> dict[str, Completion]:
        return {r.key: c for r, _, c in backend.generate(self.requests, self.sampling)}

    def divergence(self, key: str, prompt_ids: Sequence[int], other: Completion) -> Divergence:
        mine = self.greedy[key]
        if mine.token_ids is None or other.token_ids is None:  # the server keeps its tokens: compare letters
            at = _common(mine.text, other.text)
            return Divergence(key, at, mine.text[at : at + 20], other.text[at : at + 20], None)
        at = _common(mine.token_ids, other.token_ids)
        shown = self.backend.tokenizer.decode
        margin = None
        if at < min(len(mine.token_ids), len(other.token_ids)):
            before = [*prompt_ids, *mine.token_ids[:at]]
            pair = [(before, [mine.token_ids[at]]), (before, [other.token_ids[at]])]
            (best,), (second,) = self.backend.logprobs(pair)
            margin = best - second
        return Divergence(key, at, shown(mine.token_ids[at : at + 8]), shown(other.token_ids[at : at + 8]), margin)


def _compared(name: str, opening: Callable[[], Backend], asked: _Asked, limit: float) -> Variant:
    way = Variant(name, texts=len(asked.requests))
    try:
        backend = opening()
    except KkwarmError as err:
        way.note = str(err)
        return way
    try:
        _write(way, backend, asked)
        # Two tokens whose log-probabilities are each off by the limit can swap where they are twice as far apart.
        way.agrees = all(p.margin is not None and p.margin <= 2 * limit for p in way.divergences)
        if isinstance(backend, Scores):
            _score(way, backend, asked)
            way.agrees = way.agrees and way.max_error is not None and way.max_error <= limit
    except KkwarmError as err:  # a server that tells no log-probabilities is still judged by its texts
        way.note = str(err)
    finally:
        backend.close()
    return way


def _write(way: Variant, backend: Backend, asked: _Asked) -> None:
    written = asked.written(backend)
    for request, (ids, _) in zip(asked.requests, asked.texts, strict=True):
        if _same(written[request.key], asked.greedy[request.key]):
            way.same_texts += 1
        else:
            way.divergences.append(asked.divergence(request.key, ids, written[request.key]))


def _same(a: Completion, b: Completion) -> bool:
    """Equal tokens; where a server keeps them, equal text but for space around it (it may decode after the prompt)."""
    if a.token_ids is not None and b.token_ids is not None:
        return a.token_ids == b.token_ids
    return a.text.strip() == b.text.strip()


def _score(way: Variant, backend: Scores, asked: _Asked) -> None:
    errors = [
        abs(a - b)
        for mine, theirs in zip(asked.logprobs, backend.logprobs(asked.texts), strict=True)
        for a, b in zip(mine, theirs, strict=True)
    ]
    way.max_error = max(errors, default=0.0)
    way.mean_error = sum(errors) / max(1, len(errors))


def _common(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many first elements are equal."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
