"""Generates with transformers, by continuous batching: rows enter as others finish, and the samples of a prompt share
its prefill.

A sample does not depend on the rest of the batch, up to the rounding of the model's arithmetic; in fp32 rounding seldom
changes a token, in bf16 more often.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kkwarm.backends.base import Likelihood, Request
from kkwarm.backends.checkpoint import fingerprint, load_model, load_tokenizer, parse_dtype, resolve
from kkwarm.backends.checkpoint import trust_remote_code as trust
from kkwarm.backends.memory import estimate_batch_size, is_out_of_memory, release_memory
from kkwarm.backends.network import Network
from kkwarm.backends.sampling import penalize_repetition, row_key, sample_tokens, uniforms
from kkwarm.backends.text import StopTables, check_token_ids, cut_at_stop, decode, end_tokens, token_ids
from kkwarm.errors import KkwarmError
from kkwarm.types import Completion, Sampling

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
_REFILL = 0.75  # rows enter when fewer than this share of the batch is unfinished
_COMPACT = 0.875  # finished rows are removed when fewer than this share is unfinished
_LISTS = ("jobs", "sample", "tokens")
_ARRAYS = ("key", "stop", "limit", "length", "count", "last", "alive")


@dataclass(frozen=True, slots=True)
class Job:
    """Samples still to generate for one prompt."""

    request: Request
    ids: list[int]
    limit: int  # the most new tokens, which the context allows
    samples: tuple[int, ...]


@dataclass(slots=True)
class Batch:
    """Samples that are generated together. Lists and arrays have one entry for each row.

    :param stop: numbers of the stop strings (`StopTables`).
    :param limit, count: new tokens, at most and so far.
    :param length: columns of the row in the cache.
    :param last: the row's last token.
    :param alive: False once the row is finished.
    :param width: columns of the cache.
    :param seen: [rows, vocabulary], the tokens of prompt and completion; None without a repetition penalty.
    """

    cache: Any
    jobs: list[Job]
    sample: list[int]
    key: NDArray[np.uint64]
    stop: NDArray[np.int64]
    limit: NDArray[np.int64]
    length: NDArray[np.int64]
    count: NDArray[np.int64]
    last: NDArray[np.int64]
    alive: NDArray[np.bool_]
    tokens: list[list[int]]
    width: int = 0
    seen: NDArray[np.bool_] | None = None

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Removes all other rows, but not from the cache."""
        for name in _LISTS:
            setattr(self, name, [getattr(self, name)[i] for i in rows])
        for name in _ARRAYS:
            setattr(self, name, getattr(self, name)[rows])
        if self.seen is not None:
            self.seen = self.seen[rows]

    def append(self, other: Batch) -> None:
        """Appends the rows of `other`, but not to the cache."""
        for name in _LISTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _ARRAYS:
            setattr(self, name, np.concatenate([getattr(self, name), getattr(other, name)]))
        if self.seen is not None and other.seen is not None:
            self.seen = np.concatenate([self.seen, other.seen])


@dataclass(slots=True)
class HFBackend:
    """A checkpoint in this process.

    :param batch_size: rows (samples) at a time; None estimates it from memory. It is halved when memory runs out.
    """

    checkpoint: str
    fingerprint: str
    tokenizer: Any
    model: Any
    batch_size: int | None = None
    name: str = "hf"
    tokens: int = 0
    on_tokens: Callable[[int], None] | None = None
    _capacity: int = 0
    _network: Network = field(init=False)

    @classmethod
    def load(
        cls,
        model: str,
        *,
        device: str | None = None,
        dtype: torch.dtype | str | None = None,
        batch_size: int | None = None,
        attention: str | None = None,
        threads: int | None = None,
        trust_remote_code: bool = False,
    ) -> Self:
        """Loads a checkpoint (see `kkwarm.backends.checkpoint.resolve`).

        :param dtype: torch's, or its name, or ``4bit``.
        :param attention: transformers' ``attn_implementation``.
        :param threads: CPU threads of this process from now on.
        :param trust_remote_code: run the Python code that the checkpoint brings along.
        """
        if batch_size is not None and batch_size < 1:
            raise KkwarmError(f"a batch of {batch_size} rows is too small", hint="leave out --batch-size")
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        if trust_remote_code:
            trust(model)
        tokenizer = load_tokenizer(model)
        four_bit = dtype == "4bit"
        if isinstance(dtype, str):
            dtype = None if four_bit else parse_dtype(dtype)
        loaded = load_model(model, device=device, dtype=dtype, attention=attention, four_bit=four_bit)
        return cls(resolve(model), fingerprint(model), tokenizer, loaded, batch_size)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        """Yields samples as they finish.

        :raises KkwarmError: a single row does not fit into memory, or the model cannot be run by this backend.
        """
        from kkwarm.backends.decode import use_decode_attention

        self._network = Network.inspect(self.model)
        jobs, too_long = self._make_jobs(requests, sampling)
        yield from too_long
        if jobs:
            with use_decode_attention(self.model):
                yield from self._run_jobs(jobs, sampling)

    def _run_jobs(self, jobs: list[Job], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        vocabulary = max(len(self.tokenizer), self._network.vocabulary)
        stops = StopTables(self.tokenizer, {job.request.stop for job in jobs}, vocabulary)
        ends = end_tokens(self.tokenizer, self.model, vocabulary)
        self._capacity = self.batch_size or self._estimate_capacity(jobs[0])
        queue, batch = deque(jobs), None
        while queue or batch is not None:
            try:
                batch = self._advance(batch, queue, stops, sampling)
            except (RuntimeError, MemoryError) as err:
                if not is_out_of_memory(err):
                    raise
                cause = " ".join(str(err).split())[:200]
            else:
                yield from self._take_finished(batch, stops, ends)
                if not batch.alive.any():
                    batch = None
                continue
            self._requeue_and_halve(batch, queue, cause)
            batch = None
            release_memory()

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """See `kkwarm.backends.base.LogprobBackend`. Scores `batch_size` texts at a time (None: all), padded on the
        left.
        """
        import torch

        self._network = Network.inspect(self.model)
        logprobs: list[list[float]] = []
        rows = self.batch_size or max(1, len(texts))
        for first in range(0, len(texts), rows):
            part = [([*prompt, *completion], len(completion)) for prompt, completion in texts[first : first + rows]]
            ids, start = self._pad([ids for ids, _ in part])
            columns = torch.arange(ids.shape[1])[None, :]
            positions = (columns - start[:, None]).clamp_(min=0)
            with torch.inference_mode():
                logits = self._network.all_logits(ids, columns >= start[:, None], positions)
                table = torch.log_softmax(logits[:, :-1].float(), -1)
                scores = table.gather(-1, ids[:, 1:, None].to(table.device))[..., 0].cpu()
            logprobs += [row[ids.shape[1] - 1 - n :].tolist() for row, (_, n) in zip(scores, part, strict=True)]
        return logprobs

    @property
    def context(self) -> int | None:
        """Maximum number of tokens of a text; None where the model has no limit."""
        length = Network.inspect(self.model).context
        return None if length >= 2**31 else length

    def likelihoods(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Likelihood]:
        """See `kkwarm.backends.base.LikelihoodBackend`. Texts that differ in their last token only share a pass."""
        from kkwarm.backends.likelihood import score_texts

        self._network = Network.inspect(self.model)
        return score_texts(self._network, texts, self._pad, self.batch_size)

    def close(self) -> None:
        """Frees the model."""
        self.model = None
        release_memory()

    # -- rows enter --------------------------------------------------------------------------------------------------

    def _make_jobs(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> tuple[list[Job], list[tuple[Request, int, Completion]]]:
        """Jobs, longest prompt first so that memory runs out early if it does; and samples of prompts that are too long
        for the context.
        """
        context = self._network.context
        jobs, too_long = [], []
        for request, ids in zip(requests, token_ids(self.tokenizer, [r.prompt for r in requests]), strict=True):
            check_token_ids(request.key, ids, self._network.embedded)
            limit = min(request.limit(sampling), context - len(ids))
            if limit < 1:
                log.warning("%s: the prompt has %d tokens, the context %d: truncated", request.key, len(ids), context)
                too_long += [(request, i, Completion("", 0, "length", ())) for i in request.samples]
            elif request.samples:
                jobs.append(Job(request, ids, limit, request.samples))
        jobs.sort(key=lambda job: -len(job.ids))
        return jobs, too_long

    def _pad(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids [rows, columns], padded on the left, and the column at which each row starts."""
        import torch

        width = max(len(ids) for ids in rows)
        pad = self.tokenizer.pad_token_id
        pad = pad if pad < self._network.embedded else 0  # padding is masked: any token with an embedding will do
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
        return ids, torch.tensor([width - len(row) for row in rows])

    def _advance(self, batch: Batch | None, queue: deque[Job], stops: StopTables, sampling: Sampling) -> Batch:
        """Generates the first token of new rows if rows may enter, else the next token of every row."""
        alive = 0 if batch is None else int(batch.alive.sum())
        may_enter = batch is None or (self._network.full_cache and alive <= _REFILL * self._capacity)
        if queue and may_enter:
            return self._add_rows(batch, queue, stops, sampling)
        assert batch is not None
        if alive < _COMPACT * len(batch.alive):
            self._compact(batch)
        self._step(batch, sampling)
        return batch

    def _add_rows(self, batch: Batch | None, queue: deque[Job], stops: StopTables, sampling: Sampling) -> Batch:
        from kkwarm.backends.kv_cache import append_rows, select_rows

        free_rows = self._capacity - (0 if batch is None else int(batch.alive.sum()))
        jobs: list[Job] = []
        try:
            while queue and free_rows > 0:
                job = queue.popleft()
                now, later = job.samples[:free_rows], job.samples[free_rows:]
                if later:
                    queue.appendleft(Job(job.request, job.ids, job.limit, later))
                jobs.append(Job(job.request, job.ids, job.limit, now))
                free_rows -= len(now)
            new, source = self._prefill(jobs, stops, sampling)
            if batch is None:
                select_rows(new.cache, source, new.width)
                return new
            rows = np.flatnonzero(batch.alive)
            width = max(int(batch.length[rows].max()), new.width)
            append_rows(batch.cache, self._index(rows), new.cache, source, width)
        except BaseException:
            queue.extendleft(reversed(jobs))
            raise
        batch.keep(rows)
        batch.append(new)
        batch.width = width
        # The earlier rows take no step now: their next token is generated with the new rows' second.
        return batch

    def _prefill(self, jobs: list[Job], stops: StopTables, sampling: Sampling) -> tuple[Batch, torch.Tensor]:
        """Runs each prompt once. Returns the samples as rows with their first token, and the prompt's row of each."""
        import torch

        from kkwarm.backends.kv_cache import make_cache

        ids, start = self._pad([job.ids for job in jobs])
        width = ids.shape[1]
        columns = torch.arange(width)[None, :]
        cache = make_cache(self.model)
        positions = (columns - start[:, None]).clamp_(min=0)
        logits = self._forward(ids, columns >= start[:, None], positions, cache, bool(start.any()), False)
        source = [i for i, job in enumerate(jobs) for _ in job.samples]
        rows = [(job, sample) for job in jobs for sample in job.samples]
        batch = Batch(
            cache,
            jobs=[job for job, _ in rows],
            sample=[sample for _, sample in rows],
            key=np.array([row_key(sampling.seed, job.request.key, sample) for job, sample in rows], np.uint64),
            stop=np.array([stops.number(job.request.stop) for job, _ in rows], np.int64),
            limit=np.array([job.limit for job, _ in rows], np.int64),
            length=np.array([len(job.ids) for job, _ in rows], np.int64),
            count=np.zeros(len(rows), np.int64),
            last=np.zeros(len(rows), np.int64),
            alive=np.ones(len(rows), bool),
            tokens=[[] for _ in rows],
            width=width,
        )
        if sampling.repetition_penalty != 1:
            batch.seen = np.zeros((len(rows), logits.shape[-1]), bool)
            for row, (job, _) in enumerate(rows):
                batch.seen[row, job.ids] = True
        index = self._index(np.array(source, np.int64))
        self._sample(batch, logits[index], np.arange(len(rows)), sampling)
        return batch, index

    # -- rows continue -----------------------------------------------------------------------------------------------

    def _step(self, batch: Batch, sampling: Sampling) -> None:
        import torch

        start = torch.from_numpy(batch.width - batch.length)
        mask = torch.arange(batch.width + 1)[None, :] >= start[:, None]
        # Finished rows are computed until they are removed; their positions must stay within the context.
        positions = torch.from_numpy(np.minimum(batch.length, self._network.context - 1))[:, None]
        ids = torch.from_numpy(batch.last)[:, None]
        logits = self._forward(ids, mask, positions, batch.cache, bool(start.any()), True)
        batch.width += 1
        batch.length += 1
        self._sample(batch, logits, np.flatnonzero(batch.alive), sampling)

    def _forward(self, ids: Any, mask: Any, positions: Any, cache: Any, padded: bool, cached: bool) -> torch.Tensor:
        """See `Network`. A separate method, so that a test can make it run out of memory."""
        return self._network(ids, mask, positions, cache, padded, cached)

    def _sample(self, batch: Batch, logits: torch.Tensor, alive: NDArray[np.int64], sampling: Sampling) -> None:
        import torch

        with torch.inference_mode():
            uniform = uniforms(batch.key, batch.count)
            if batch.seen is not None:
                seen = torch.from_numpy(batch.seen).to(logits.device)
                logits = penalize_repetition(logits, seen, sampling.repetition_penalty)
            batch.last = sample_tokens(logits, uniform, sampling).cpu().numpy().astype(np.int64)
            if batch.seen is not None:
                batch.seen[np.arange(len(batch.last)), batch.last] = True
        batch.count += 1
        for i in alive:
            batch.tokens[i].append(int(batch.last[i]))
        if self.on_tokens is not None:
            self.on_tokens(len(alive))

    # -- rows leave --------------------------------------------------------------------------------------------------

    def _take_finished(
        self, batch: Batch, stops: StopTables, ends: NDArray[np.bool_]
    ) -> list[tuple[Request, int, Completion]]:
        """Samples that the last token finished; their rows are marked."""
        ended = ends[batch.last]
        full = batch.count >= batch.limit
        may_stop = stops.may_complete(batch.stop, batch.last)
        finished = []
        for i in np.flatnonzero(batch.alive & (ended | full | may_stop)):
            request, tokens = batch.jobs[i].request, batch.tokens[i]
            text = cut = None
            if not ended[i] and may_stop[i]:
                text = decode(self.tokenizer, tokens)
                cut = cut_at_stop(text, request.stop)
            if cut is None and not ended[i] and not full[i]:
                continue
            stopped = ended[i] or cut is not None
            if cut is None:
                cut = decode(self.tokenizer, tokens[:-1] if ended[i] else tokens) if text is None else text
            batch.alive[i] = False
            self.tokens += len(tokens)
            completion = Completion(cut, len(tokens), "stop" if stopped else "length", tuple(tokens))
            finished.append((request, batch.sample[i], completion))
        return finished

    def _compact(self, batch: Batch) -> None:
        """Removes finished rows."""
        from kkwarm.backends.kv_cache import select_rows

        rows = np.flatnonzero(batch.alive)
        width = int(batch.length[rows].max()) if self._network.full_cache else batch.width
        select_rows(batch.cache, self._index(rows), width)
        batch.keep(rows)
        batch.width = width

    def _requeue_and_halve(self, batch: Batch | None, queue: deque[Job], cause: str) -> None:
        """After running out of memory: puts unfinished rows back into the queue and halves the batch size."""
        rows = self._capacity if batch is None else min(self._capacity, max(1, len(batch.alive)))
        if batch is not None:
            for i in np.flatnonzero(batch.alive)[::-1]:
                job = batch.jobs[i]
                queue.appendleft(Job(job.request, job.ids, job.limit, (batch.sample[i],)))
        if rows <= 1:
            raise KkwarmError(
                f"out of memory with one row at a time ({cause})", hint="lower --max-tokens, or use a smaller model"
            )
        self._capacity = max(1, rows // 2)
        log.warning("out of memory: continuing with %d rows at a time", self._capacity)

    # -- sizes -------------------------------------------------------------------------------------------------------

    def _index(self, rows: NDArray[np.int64]) -> torch.Tensor:
        import torch

        return torch.from_numpy(rows).to(self.model.device)

    def _estimate_capacity(self, longest: Job) -> int:
        # Few samples reach the limit; memory is corrected if more do.
        tokens = len(longest.ids) + min(longest.limit, 1024)
        return estimate_batch_size(self.model, self._network.cache_bytes(), tokens)
