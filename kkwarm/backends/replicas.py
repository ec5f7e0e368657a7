"""Data parallelism: several copies of a backend, each in a process with its own devices.

A sample depends on the seed, its request and its index only, so several copies generate the same samples as one.
(vLLM's own data parallelism is for servers: its offline engine refuses it.)
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from multiprocessing.connection import Connection, wait
from typing import Any

from kkwarm.backends.base import Likelihood, LiveBackend, Request
from kkwarm.backends.checkpoint import fingerprint, load_tokenizer, resolve
from kkwarm.errors import KkwarmError
from kkwarm.types import Completion, Sampling

_PARTS = 4  # parts of the work for each copy, so that none is idle for long at the end
_MIN_PART = 64  # requests in a part: enough to fill a batch


class Replicas:
    """A checkpoint in `count` processes; `options` are those of the backend."""

    def __init__(self, name: str, model: str, count: int, options: Mapping[str, Any]) -> None:
        if count < 2:
            raise KkwarmError(f"{count} replicas are no data parallelism", hint="leave out replicas")
        self.name = name
        self.checkpoint = resolve(model)
        self.fingerprint = fingerprint(model)
        self.tokenizer = load_tokenizer(model)
        devices = _assign_devices(count, int(options.get("tensor_parallel_size") or 1))
        context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
        self._copies: dict[Connection, Any] = {}
        for number in range(count):
            parent_end, child_end = context.Pipe()
            arguments = (name, model, dict(options), _threads_per_copy(count), child_end)
            copy = context.Process(target=_run_copy, args=arguments, daemon=name != "vllm", name=f"{name}-{number}")
            with _visible_devices(devices[number]):  # a process reads them when it imports torch
                copy.start()
            child_end.close()  # so that the pipe closes when the copy dies
            self._copies[parent_end] = copy
        self.tokens = 0
        self.on_tokens: Callable[[int], None] | None = None

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        """Yields samples as any copy finishes them."""
        size = max(_MIN_PART, -(-len(requests) // (_PARTS * len(self._copies))))
        size = min(size, max(1, -(-len(requests) // len(self._copies))))
        parts = deque((first, list(requests[first : first + size])) for first in range(0, len(requests), size))
        busy = [pipe for pipe in self._copies if self._send_part(pipe, parts, sampling)]
        try:
            while busy:
                for pipe in wait(busy):
                    assert isinstance(pipe, Connection)
                    kind, *content = self._receive(pipe)
                    if kind == "sample":
                        number, index, completion = content
                        self.tokens += completion.n_tokens or 0
                        yield requests[number], index, completion
                    elif kind == "tokens":
                        if self.on_tokens is not None:
                            self.on_tokens(content[0])
                    elif kind == "done":
                        if not self._send_part(pipe, parts, sampling):
                            busy.remove(pipe)
                    else:
                        message, hint = content
                        raise KkwarmError(message, hint=hint)
        finally:
            if busy:  # interrupted: samples still in the pipes must not be taken for results of the next call
                self.close()

    @cached_property
    def context(self) -> int | None:
        """Maximum number of tokens of a text; None where the model has no limit."""
        pipe = next(iter(self._copies))
        self._send(pipe, "context")
        context: int | None = self._receive_result(pipe)
        return context

    def likelihoods(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Likelihood]:
        """See `kkwarm.backends.base.LikelihoodBackend`. Each copy scores as many texts as the others."""
        size = -(-len(texts) // len(self._copies))
        parts = [texts[first : first + size] for first in range(0, len(texts), max(1, size))]
        for pipe, part in zip(self._copies, parts, strict=False):
            self._send(pipe, "likelihoods", list(part))
        return [score for pipe, _ in zip(self._copies, parts, strict=False) for score in self._receive_result(pipe)]

    def close(self) -> None:
        """Ends the copies."""
        for copy in self._copies.values():
            if copy.is_alive():
                copy.terminate()
        for pipe, copy in self._copies.items():
            copy.join(10)
            pipe.close()
        self._copies = {}

    def _send_part(self, pipe: Connection, parts: deque[tuple[int, list[Request]]], sampling: Sampling) -> bool:
        """Sends a copy the next part; False if none is left."""
        if not parts:
            return False
        self._send(pipe, "generate", *parts.popleft(), sampling)
        return True

    def _send(self, pipe: Connection, *message: Any) -> None:
        with contextlib.suppress(OSError):  # the copy is dead; reading from it reports that
            pipe.send(message)

    def _receive(self, pipe: Connection) -> tuple[Any, ...]:
        try:
            message: tuple[Any, ...] = pipe.recv()
            return message
        except (EOFError, OSError):
            copy = self._copies[pipe]
            copy.join(10)
            hint = "finished samples are kept: run it again, with a lower --batch-size if memory ran out"
            raise KkwarmError(f"{copy.name} ended with code {copy.exitcode}", hint=hint) from None

    def _receive_result(self, pipe: Connection) -> Any:
        kind, *content = self._receive(pipe)
        if kind == "error":
            message, hint = content
            raise KkwarmError(message, hint=hint)
        return content[0]


class _TokenReports:
    """Sends the number of new tokens to the parent, once a second."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._count, self._sent = pipe, 0, time.monotonic()

    def add(self, count: int) -> None:
        self._count += count
        if (now := time.monotonic()) - self._sent >= 1.0:
            self._pipe.send(("tokens", self._count))
            self._count, self._sent = 0, now


def _run_copy(name: str, model: str, options: dict[str, Any], threads: int | None, pipe: Connection) -> None:
    """The main function of a copy's process."""
    from kkwarm.backends import open_backend

    try:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        backend: Any = open_backend(name, model, **options)
        if isinstance(backend, LiveBackend):
            backend.on_tokens = _TokenReports(pipe).add
        while True:
            task, *arguments = pipe.recv()
            if task == "context":
                pipe.send(("result", backend.context))
                continue
            if task == "likelihoods":
                pipe.send(("result", backend.likelihoods(*arguments)))
                continue
            first, requests, sampling = arguments
            numbers = {id(request): first + i for i, request in enumerate(requests)}
            for request, index, completion in backend.generate(requests, sampling):
                if not isinstance(backend, LiveBackend):
                    pipe.send(("tokens", completion.n_tokens or 0))
                pipe.send(("sample", numbers[id(request)], index, completion))
            pipe.send(("done",))
    except EOFError:
        return  # the parent closed the pipe
    except KkwarmError as err:
        pipe.send(("error", err.message, err.hint))
    except Exception as err:  # the parent would wait forever if it were not sent
        cause = " ".join(str(err).split())[:300]
        pipe.send(("error", f"a copy of {name} failed: {type(err).__name__}: {cause}", "see `kkwarm doctor`"))


def _assign_devices(count: int, width: int) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each copy, `width` devices each; None without a GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    import torch

    available = torch.cuda.device_count()
    if not available:
        return [None] * count
    if count * width > available:
        raise KkwarmError(
            f"{count} replicas of {width} devices need {count * width} devices: there are {available}",
            hint=f"replicas={available // width}",
        )
    names = [v.strip() for v in visible.split(",")] if visible else [str(i) for i in range(available)]
    return [",".join(names[i * width : (i + 1) * width]) for i in range(count)]


def _threads_per_copy(count: int) -> int | None:
    """CPU threads of each copy; None with a GPU."""
    import torch

    return None if torch.cuda.is_available() else max(1, (os.cpu_count() or 1) // count)


@contextmanager
def _visible_devices(devices: str | None) -> Iterator[None]:
    """Sets CUDA_VISIBLE_DEVICES for processes that start meanwhile."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    try:
        yield
    finally:
        if devices is not None:
            if before is None:
                del os.environ["CUDA_VISIBLE_DEVICES"]
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = before
