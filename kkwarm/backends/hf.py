"""Generates with transformers: rows enter as others finish, and the samples of a prompt share its prefill.

A sample does not depend on what else is in the batch, up to the rounding of the model's arithmetic: in fp32 that
seldom decides a token, in bf16 more often.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kkwarm.backends.base import Request
from kkwarm.backends.batch import Batch, Job
from kkwarm.backends.checkpoint import fingerprint, load_model, load_tokenizer, parse_dtype, resolve
from kkwarm.backends.memory import estimate_batch_size, is_out_of_memory, release_memory
from kkwarm.backends.network import Network
from kkwarm.backends.sampling import pick, row_key, uniforms
from kkwarm.backends.text import StopTables, check_token_ids, cut_at_stop, decode, end_tokens, finish_reason, token_ids
from kkwarm.errors import KkwarmError
from kkwarm.types import Completion, Sampling

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

__all__ = ["HFBackend"]

log = logging.getLogger(__name__)
_REFILL = 0.75  # rows enter when fewer than this share of the batch is alive
_COMPACT = 0.875  # finished rows leave when fewer than this share is alive


@dataclass(slots=True)
class HFBackend:
    """A checkpoint in this process.

    :param batch_size: rows (samples) at a time; None chooses by memory. Out of memory halves it and goes on.
    """

    checkpoint: str
    fingerprint: str
    tokenizer: Any
    model: Any
    batch_size: int | None = None
    name: str = "hf"
    tokens: int = 0
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
    ) -> Self:
        """Loads a checkpoint: see `kkwarm.backends.checkpoint.resolve`; `attention` is transformers' implementation."""
        if batch_size is not None and batch_size < 1:
            raise KkwarmError(f"a batch of {batch_size} rows is too small", hint="leave out --batch-size")
        tokenizer = load_tokenizer(model)
        if isinstance(dtype, str):
            dtype = parse_dtype(dtype)
        loaded = load_model(model, device=device, dtype=dtype, attention=attention)
        return cls(resolve(model), fingerprint(model), tokenizer, loaded, batch_size)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        """Yields samples as they are finished.

        :raises KkwarmError: one row alone does not fit into memory, or the model cannot be run in this way.
        """
        from kkwarm.backends.decode import use_decode_attention

        self._network = Network.inspect(self.model)
        jobs, refused = self._jobs(requests, sampling)
        yield from refused
        if jobs:
            with use_decode_attention(self.model):
                yield from self._drawn(jobs, sampling)

    def _drawn(self, jobs: list[Job], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        vocabulary = max(len(self.tokenizer), self._network.vocabulary)
        stops = StopTables(self.tokenizer, {job.request.stop for job in jobs}, vocabulary)
        ends = end_tokens(self.tokenizer, self.model, vocabulary)
        self._capacity = self.batch_size or self._fitting(jobs[0])
        queue, batch = deque(jobs), None
        while queue or batch is not None:
            try:
                batch = self._advance(batch, queue, stops, sampling)
            except (RuntimeError, MemoryError) as err:
                if not is_out_of_memory(err):
                    raise
                cause = " ".join(str(err).split())[:200]
            else:
                yield from self._finished(batch, stops, ends)
                if not batch.alive.any():
                    batch = None
                continue
            self._retreat(batch, queue, cause)
            batch = None
            release_memory()

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """See `kkwarm.backends.base.Scores`; `batch_size` texts at a time (None: all), padded on the left."""
        import torch

        self._network = Network.inspect(self.model)
        found: list[list[float]] = []
        rows = self.batch_size or max(1, len(texts))
        for at in range(0, len(texts), rows):
            part = [([*prompt, *completion], len(completion)) for prompt, completion in texts[at : at + rows]]
            ids, start = self._padded([ids for ids, _ in part])
            columns = torch.arange(ids.shape[1])[None, :]
            with torch.inference_mode():
                logits = self._network.whole(ids, columns >= start[:, None], (columns - start[:, None]).clamp_(min=0))
                table = torch.log_softmax(logits[:, :-1].float(), -1)
                told = table.gather(-1, ids[:, 1:, None].to(table.device))[..., 0].cpu()
            found += [row[ids.shape[1] - 1 - n :].tolist() for row, (_, n) in zip(told, part, strict=True)]
        return found

    def close(self) -> None:
        """Frees the model."""
        self.model = None
        release_memory()

    # -- rows come ---------------------------------------------------------------------------------------------------

    def _jobs(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> tuple[list[Job], list[tuple[Request, int, Completion]]]:
        """Longest prompt first, so that memory runs out early if it does; and samples of prompts that are too long."""
        context = self._network.context
        jobs, refused = [], []
        for request, ids in zip(requests, token_ids(self.tokenizer, [r.prompt for r in requests]), strict=True):
            check_token_ids(request.key, ids, self._network.embedded)
            limit = min(sampling.max_tokens, context - len(ids))
            if limit < 1:
                log.warning("%s: the prompt has %d tokens, the context %d: truncated", request.key, len(ids), context)
                refused += [(request, i, Completion("", 0, "length", ())) for i in request.samples]
            elif request.samples:
                jobs.append(Job(request, ids, limit, request.samples))
        jobs.sort(key=lambda job: -len(job.ids))
        return jobs, refused

    def _padded(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids [rows, columns], padded on the left, and the column at which each row starts."""
        import torch

        width = max(len(ids) for ids in rows)
        pad = self.tokenizer.pad_token_id
        pad = pad if pad < self._network.embedded else 0  # it is masked: any token that the model embeds will do
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
        return ids, torch.tensor([width - len(row) for row in rows])

    def _advance(self, batch: Batch | None, queue: deque[Job], stops: StopTables, sampling: Sampling) -> Batch:
        """One token for every row: the first one for rows that enter, the next one for the others."""
        alive = 0 if batch is None else int(batch.alive.sum())
        may_enter = batch is None or (self._network.plain and alive <= _REFILL * self._capacity)
        if queue and may_enter:
            return self._enter(batch, queue, stops, sampling)
        assert batch is not None
        if alive < _COMPACT * len(batch.alive):
            self._compact(batch)
        self._step(batch, sampling)
        return batch

    def _enter(self, batch: Batch | None, queue: deque[Job], stops: StopTables, sampling: Sampling) -> Batch:
        from kkwarm.backends.kv_cache import append_rows, select_rows

        room = self._capacity - (0 if batch is None else int(batch.alive.sum()))
        taken: list[Job] = []
        try:
            while queue and room > 0:
                job = queue.popleft()
                here, later = job.samples[:room], job.samples[room:]
                if later:
                    queue.appendleft(Job(job.request, job.ids, job.limit, later))
                taken.append(Job(job.request, job.ids, job.limit, here))
                room -= len(here)
            new, source = self._prefill(taken, stops, sampling)
            if batch is None:
                select_rows(new.cache, source, new.width)
                return new
            kept = np.flatnonzero(batch.alive)
            width = max(int(batch.length[kept].max()), new.width)
            append_rows(batch.cache, self._index(kept), new.cache, source, width)
        except BaseException:
            queue.extendleft(reversed(taken))
            raise
        batch.keep(kept)
        batch.add(new)
        batch.width = width
        # Rows that were there take no step now: their next token is drawn with the new rows' second.
        return batch

    def _prefill(self, jobs: list[Job], stops: StopTables, sampling: Sampling) -> tuple[Batch, torch.Tensor]:
        """Runs each prompt once; returns its samples as rows with their first token, and each row's prompt."""
        import torch

        from kkwarm.backends.kv_cache import make_cache

        ids, start = self._padded([job.ids for job in jobs])
        width = ids.shape[1]
        columns = torch.arange(width)[None, :]
        cache = make_cache(self.model)
        positions = (columns - start[:, None]).clamp_(min=0)
        logits = self._forward(ids, columns >= start[:, None], positions, cache, bool(start.any()), False)
        source = [at for at, job in enumerate(jobs) for _ in job.samples]
        rows = [(jobs[at], sample) for at, job in enumerate(jobs) for sample in job.samples]
        counts = np.zeros(len(rows), np.int64)
        batch = Batch(
            cache,
            [job for job, _ in rows],
            [sample for _, sample in rows],
            np.array([row_key(sampling.seed, job.request.key, sample) for job, sample in rows], np.uint64),
            np.array([stops.place(job.request.stop) for job, _ in rows], np.int64),
            np.array([job.limit for job, _ in rows], np.int64),
            np.array([len(job.ids) for job, _ in rows], np.int64),
            counts,
            np.zeros(len(rows), np.int64),
            np.ones(len(rows), bool),
            [[] for _ in rows],
            width,
        )
        index = self._index(np.array(source, np.int64))
        self._draw(batch, logits[index], np.arange(len(rows)), sampling)
        return batch, index

    # -- rows go on --------------------------------------------------------------------------------------------------

    def _step(self, batch: Batch, sampling: Sampling) -> None:
        import torch

        start = torch.from_numpy(batch.width - batch.length)
        mask = torch.arange(batch.width + 1)[None, :] >= start[:, None]
        # Finished rows run on unseen until they leave; their positions must stay within the context.
        positions = torch.from_numpy(np.minimum(batch.length, self._network.context - 1))[:, None]
        ids = torch.from_numpy(batch.last)[:, None]
        logits = self._forward(ids, mask, positions, batch.cache, bool(start.any()), True)
        batch.width += 1
        batch.length += 1
        self._draw(batch, logits, np.flatnonzero(batch.alive), sampling)

    def _forward(self, ids: Any, mask: Any, positions: Any, cache: Any, padded: bool, begun: bool) -> torch.Tensor:
        """See `Network`; here so that a test can let it run out of memory."""
        return self._network(ids, mask, positions, cache, padded, begun)

    def _draw(self, batch: Batch, logits: torch.Tensor, alive: NDArray[np.int64], sampling: Sampling) -> None:
        import torch

        with torch.inference_mode():
            uniform = uniforms(batch.key, batch.count)
            batch.last = pick(logits, uniform, sampling.temperature, sampling.top_p).cpu().numpy().astype(np.int64)
        batch.count += 1
        for i in alive:
            batch.tokens[i].append(int(batch.last[i]))

    # -- rows go -----------------------------------------------------------------------------------------------------

    def _finished(
        self, batch: Batch, stops: StopTables, ends: NDArray[np.bool_]
    ) -> list[tuple[Request, int, Completion]]:
        """Takes out rows that ended with the token just drawn."""
        ended = ends[batch.last]
        full = batch.count >= batch.limit
        may_stop = stops.hit(batch.stop, batch.last)
        done = []
        for i in np.flatnonzero(batch.alive & (ended | full | may_stop)):
            request, tokens = batch.jobs[i].request, batch.tokens[i]
            text = cut = None
            if not ended[i] and may_stop[i]:
                text = self._text(tokens)
                cut = cut_at_stop(text, request.stop)
            if cut is None and not ended[i] and not full[i]:
                continue
            reason = finish_reason("stop" if ended[i] or cut is not None else "length")
            if cut is None:
                cut = self._text(tokens[:-1] if ended[i] else tokens) if text is None else text
            batch.alive[i] = False
            self.tokens += len(tokens)
            done.append((request, batch.sample[i], Completion(cut, len(tokens), reason, tuple(tokens))))
        return done

    def _text(self, tokens: list[int]) -> str:
        return decode(self.tokenizer, tokens)

    def _compact(self, batch: Batch) -> None:
        from kkwarm.backends.kv_cache import select_rows

        kept = np.flatnonzero(batch.alive)
        width = int(batch.length[kept].max()) if self._network.plain else batch.width
        select_rows(batch.cache, self._index(kept), width)
        batch.keep(kept)
        batch.width = width

    def _retreat(self, batch: Batch | None, queue: deque[Job], cause: str) -> None:
        """After running out of memory: rows in in-training evaluation go back to the queue, and the batch is halved."""
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
        log.warning("out of memory: going on with %d rows at a time", self._capacity)

    # -- sizes -------------------------------------------------------------------------------------------------------

    def _index(self, rows: NDArray[np.int64]) -> torch.Tensor:
        import torch

        return torch.from_numpy(rows).to(self.model.device)

    def _fitting(self, longest: Job) -> int:
        # Few samples run to the limit; the cache grows with those that do.
        return estimate_batch_size(self.model, self._network.kept(), len(longest.ids) + min(longest.limit, 1024))
