"""Backends draw completions from a checkpoint: transformers, vLLM, an OpenAI-compatible server, or a file."""

from __future__ import annotations

from typing import Any

from kkwarm.backends.base import Backend, Request
from kkwarm.errors import KkwarmError, unknown_name

__all__ = ["BACKENDS", "Backend", "Request", "open_backend"]

# Name -> options it takes, so that a wrong one is refused before anything heavy is imported.
BACKENDS: dict[str, frozenset[str]] = {
    "hf": frozenset({"device", "dtype", "batch_size", "attention", "replicas"}),
    "vllm": frozenset(
        {"dtype", "tensor_parallel_size", "gpu_memory_utilization", "max_model_len", "enforce_eager", "replicas"}
    ),
    "openai": frozenset({"base_url", "api_key", "concurrency", "tries", "timeout"}),
    "replay": frozenset({"file"}),
}

_COUNTS = frozenset({"batch_size", "tensor_parallel_size", "max_model_len", "replicas", "concurrency"})
_NAMES = frozenset({"device", "dtype", "attention", "base_url", "api_key", "file"})


def open_backend(name: str, model: str, **options: Any) -> Backend:
    """Opens a backend on a checkpoint; options that are None are left out.

    :param name: ``hf`` (device, dtype, batch_size, attention), ``vllm`` (see `BACKENDS`), ``openai`` (base_url) or
        ``replay`` (file). hf and vllm take `replicas`: so many copies, each in a process with devices of its own.
    :raises KkwarmError: unknown backend or option; the checkpoint or server cannot be had.
    """
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)
    given = {key: value for key, value in options.items() if value is not None}
    for option in given.keys() - BACKENDS[name]:
        takers = [b for b, known in BACKENDS.items() if option in known]
        raise KkwarmError(
            f"backend {name} has no option {option}", hint=f"{option} belongs to {', '.join(takers)}" if takers else ""
        )
    for option, value in given.items():
        if option in _COUNTS and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise KkwarmError(f"{option} must be a whole number from 1 on, not {value!r}")
        if option in _NAMES and isinstance(value, bool | int | float | list | dict):
            raise KkwarmError(f"{option} must be a name, not {value!r}")
    replicas = given.pop("replicas", 1)
    if replicas > 1:
        from kkwarm.backends.replicas import Replicas

        return Replicas(name, model, replicas, given)
    if name == "hf":
        from kkwarm.backends.hf import HFBackend

        return HFBackend.load(model, **given)
    if name == "vllm":
        from kkwarm.backends.vllm import VllmBackend

        return VllmBackend.load(model, **given)
    if name == "openai":
        from kkwarm.backends.openai import OpenAIBackend

        return OpenAIBackend.connect(model, **given)
    from kkwarm.backends.replay import ReplayBackend

    return ReplayBackend.read(model, **given)
