"""Data parallel: several copies of a backend, each in a process of its own with its own devices.

A sample depends on the seed, its request and its index, not on where it was drawn: so the copies draw what one would.
(vLLM's own data parallelism is for servers: its offline engine refuses it.)
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from kkwarm.backends.base import Request
from kkwarm.backends.checkpoint import fingerprint, load_tokenizer, resolve
from kkwarm.errors import KkwarmError
from kkwarm.types import Completion, Sampling

__all__ = ["Replicas"]

_SHARES = 4  # a copy gets its work in about so many portions, so that none is left alone at the end
_LEAST = 64  # requests in a portion: enough to fill a batch


class Replicas:
    """A checkpoint in `count` processes; `options` are those of the backend."""

    def __init__(self, name: str, model: str, count: int, options: Mapping[str, Any]) -> None:
        if count < 2:
            raise KkwarmError(f"{count} replicas are no data parallelism", hint="leave out replicas")
        self.name = name
        self.checkpoint = resolve(model)
        self.fingerprint = fingerprint(model)
        self.tokenizer = load_tokenizer(model)
        devices = _devices(count, int(options.get("tensor_parallel_size") or 1))
        context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
        self._copies: dict[Connection, Any] = {}
        for number in range(count):
            ours, its = context.Pipe()
            arguments = (name, model, dict(options), _threads(count), its)
            copy = context.Process(target=_serve, args=arguments, daemon=name != "vllm", name=f"{name}-{number}")
            with _environment(devices[number]):  # what a process sees is decided before it imports torch
                copy.start()
            its.close()  # so that its end closes when the copy dies
            self._copies[ours] = copy
        self.tokens = 0

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        """Yields samples as any copy finishes them.

        :raises KkwarmError: a copy failed or died.
        """
        size = max(_LEAST, -(-len(requests) // (_SHARES * len(self._copies))))
        size = min(size, max(1, -(-len(requests) // len(self._copies))))
        portions = deque((at, list(requests[at : at + size])) for at in range(0, len(requests), size))
        busy = [pipe for pipe in self._copies if self._give(pipe, portions, sampling)]
        try:
            while busy:
                for pipe in wait(busy):
                    assert isinstance(pipe, Connection)
                    kind, *found = self._answer(pipe)
                    if kind == "sample":
                        at, index, completion = found
                        self.tokens += completion.n_tokens or 0
                        yield requests[at], index, completion
                    elif kind == "done":
                        if not self._give(pipe, portions, sampling):
                            busy.remove(pipe)
                    else:
                        message, hint = found
                        raise KkwarmError(message, hint=hint)
        finally:
            if busy:  # given up midway: what is still on its way must not be taken for an answer to the next call
                self.close()

    def close(self) -> None:
        """Ends the copies."""
        for copy in self._copies.values():
            if copy.is_alive():
                copy.terminate()
        for pipe, copy in self._copies.items():
            copy.join(10)
            pipe.close()
        self._copies = {}

    def _give(self, pipe: Connection, portions: deque[tuple[int, list[Request]]], sampling: Sampling) -> bool:
        """Hands a copy its next portion; False where none is left."""
        if not portions:
            return False
        with contextlib.suppress(OSError):  # it is dead: reading from it says so
            pipe.send((*portions.popleft(), sampling))
        return True

    def _answer(self, pipe: Connection) -> tuple[Any, ...]:
        try:
            found: tuple[Any, ...] = pipe.recv()
            return found
        except (EOFError, OSError):
            copy = self._copies[pipe]
            copy.join(10)
            hint = "what came is kept: start again, with a lower --batch-size if memory ran out"
            raise KkwarmError(f"{copy.name} ended with code {copy.exitcode}", hint=hint) from None


def _serve(name: str, model: str, options: dict[str, Any], threads: int | None, pipe: Connection) -> None:
    from kkwarm.backends import open_backend

    try:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        backend = open_backend(name, model, **options)
        while True:
            first, requests, sampling = pipe.recv()
            places = {id(request): first + at for at, request in enumerate(requests)}
            for request, index, completion in backend.generate(requests, sampling):
                pipe.send(("sample", places[id(request)], index, completion))
            pipe.send(("done",))
    except EOFError:
        return  # nobody asks any more
    except KkwarmError as err:
        pipe.send(("error", err.message, err.hint))
    except Exception as err:  # told to the process that waits, which would wait for ever
        cause = " ".join(str(err).split())[:300]
        pipe.send(("error", f"a copy of {name} failed: {type(err).__name__}: {cause}", "see `kkwarm doctor`"))


def _devices(count: int, width: int) -> list[str | None]:
    """The devices of each copy as CUDA_VISIBLE_DEVICES has them; None where there is no GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    import torch

    there = torch.cuda.device_count()
    if not there:
        return [None] * count
    if count * width > there:
        raise KkwarmError(
            f"{count} replicas of {width} devices need {count * width} devices: there are {there}",
            hint=f"replicas={there // width}",
        )
    names = [v.strip() for v in visible.split(",")] if visible else [str(i) for i in range(there)]
    return [",".join(names[at * width : (at + 1) * width]) for at in range(count)]


def _threads(count: int) -> int | None:
    """CPU threads of each copy, where there is no GPU."""
    import torch

    return None if torch.cuda.is_available() else max(1, (os.cpu_count() or 1) // count)


@contextmanager
def _environment(devices: str | None) -> Iterator[None]:
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
