"""The loop behind bench, distill and in-training evaluation: generates completions, verifies them, passes them on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from kkwarm.backends.base import Backend, LiveBackend, Request
from kkwarm.protocols import ReasoningSplitter
from kkwarm.store import Run
from kkwarm.types import ChatPrompt, Completion, Example, Protocol, Sample, Sampling, Verifier
from kkwarm.verify import Judge
from kkwarm.verify.rewards import TaskReward

_BATCH_SIZE = 64  # completions that are verified together
_MAX_WAIT = 5.0  # seconds after which a smaller batch is verified, so that a kill loses little

SampleKey = tuple[str, str, int]  # benchmark, example id, sample index
Sink = Callable[[Sequence[Sample]], object]


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """Samples of one example, by their indices. For `key`, which seeds their randomness, and `chat`, see
    `kkwarm.backends.Request`.
    """

    key: str
    example: Example
    prompt: str
    indices: tuple[int, ...]
    prompt_hash: str = ""
    meta: Mapping[str, object] = field(default_factory=dict)
    chat: ChatPrompt | None = None


@dataclass(frozen=True, slots=True)
class SampleRequests:
    """Samples of one benchmark or training task that are generated and verified in the same way.

    :param name: the `benchmark` of the samples.
    :param prefix: the forced beginning of every completion; prompts end with it.
    :param split_reasoning: separates the reasoning of a completion from its answer.
    :param reward: gives the rewards that are stored with the samples.
    """

    name: str
    protocol: Protocol
    verifier: Verifier
    sampling: Sampling
    prompts: Sequence[SampleRequest]
    prefix: str = ""
    split_reasoning: ReasoningSplitter = field(default_factory=ReasoningSplitter)
    reward: TaskReward | None = None

    @property
    def samples(self) -> int:
        """The number of requested samples."""
        return sum(len(p.indices) for p in self.prompts)


@dataclass(slots=True)
class GenerationStats:
    """Seconds and tokens of generation, without verification. `tokens_known` is False if a count is missing."""

    seconds: float = 0.0
    tokens: int = 0
    tokens_known: bool = True

    def measure(
        self, completions: Iterator[tuple[Request, int, Completion]]
    ) -> Iterator[tuple[Request, int, Completion]]:
        """Passes completions through and counts them."""
        while True:
            start = time.perf_counter()
            result = next(completions, None)
            self.seconds += time.perf_counter() - start
            if result is None:
                return
            n_tokens = result[2].n_tokens
            self.tokens_known = self.tokens_known and n_tokens is not None
            self.tokens += n_tokens or 0
            yield result


def collect(
    groups: Sequence[SampleRequests],
    backend: Backend,
    judge: Judge,
    sink: Sink,
    stats: GenerationStats | None = None,
    on_tokens: Callable[[int], None] | None = None,
) -> None:
    """Generates the requested samples, verifies them in batches and passes each batch to `sink`.

    Every completion that the backend has yielded reaches the sink, even if generation is interrupted or fails. After an
    interruption the sink may get samples for a second time.

    :param groups: requests of several benchmarks are generated together; their sampling settings may differ in
        `max_tokens` only.
    :param on_tokens: called with the number of new tokens, while they are generated where the backend can tell.
    """
    asked = {prompt.key: (group, prompt) for group in groups for prompt in group.prompts}
    backend_requests = [
        Request(p.key, p.prompt, p.indices, group.protocol.stop, group.sampling.max_tokens, p.chat)
        for group, p in asked.values()
    ]
    pending: list[_Pending] = []
    batch_start = time.monotonic()
    with _report_tokens(backend, on_tokens) as live:
        generated = iter(backend.generate(backend_requests, groups[0].sampling))
        try:
            for request, index, completion in (stats or GenerationStats()).measure(generated):
                group, prompt = asked[request.key]
                if on_tokens is not None and not live:
                    on_tokens(completion.n_tokens or 0)
                whole = replace(completion, text=group.prefix + completion.text)
                split = group.split_reasoning(whole, prompt.prompt.removesuffix(group.prefix))
                stored = replace(split, token_ids=None)
                pending.append((group, prompt, index, stored))
                if len(pending) >= _BATCH_SIZE or time.monotonic() - batch_start > _MAX_WAIT:
                    _verify_and_store(pending, judge, sink)
                    batch_start = time.monotonic()
        finally:
            _verify_and_store(pending, judge, sink)


_Pending = tuple[SampleRequests, SampleRequest, int, Completion]


def _verify_and_store(pending: list[_Pending], judge: Judge, sink: Sink) -> None:
    """Verifies the pending completions, passes them to the sink, and empties the list."""
    samples = []
    for group in {id(group): group for group, *_ in pending}.values():
        own = [(prompt, index, completion) for g, prompt, index, completion in pending if g is group]
        verdicts = judge.verify(group.verifier, group.protocol, [(p.example, completion) for p, _, completion in own])
        items = [(p.example, completion, verdict) for (p, _, completion), verdict in zip(own, verdicts, strict=True)]
        rewards = group.reward.stored(items) if group.reward is not None else [None] * len(items)
        samples += [
            Sample(group.name, p.example.id, index, completion, verdict, p.prompt_hash, p.meta, reward)
            for (p, index, completion), verdict, reward in zip(own, verdicts, rewards, strict=True)
        ]
    if samples:
        sink(samples)
    pending.clear()


@contextmanager
def _report_tokens(backend: Backend, on_tokens: Callable[[int], None] | None) -> Iterator[bool]:
    """Makes the backend report its tokens meanwhile. Yields whether it does so while it generates."""
    if not isinstance(backend, LiveBackend):
        yield False
        return
    backend.on_tokens = on_tokens
    try:
        yield True
    finally:
        backend.on_tokens = None


class RunSink:
    """A sink that appends samples to a run, each of them once.

    :param on_stored: called with the samples that were just stored.
    """

    def __init__(self, run: Run, on_stored: Callable[[Sequence[Sample]], object] = lambda samples: None) -> None:
        self._run, self._on_stored = run, on_stored
        self._appending = False
        self.samples = self._read()

    def missing(self, benchmark: str, id_: str, count: int) -> tuple[int, ...]:
        """Indices below `count` for which the run has no sample of this example."""
        return tuple(index for index in range(count) if (benchmark, id_, index) not in self.samples)

    def __call__(self, samples: Sequence[Sample]) -> None:
        if self._appending:  # interrupted during the last call: its samples may be on disk
            self.samples = self._read()
        new = {_key(s): s for s in samples if _key(s) not in self.samples}
        self._appending = True
        self._run.append(new.values())
        self.samples.update(new)
        self._appending = False
        self._on_stored(list(new.values()))

    def _read(self) -> dict[SampleKey, Sample]:
        return {_key(sample): sample for sample in self._run.samples()}


def _key(sample: Sample) -> SampleKey:
    return sample.benchmark, sample.id, sample.index
