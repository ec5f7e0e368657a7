"""Backends generate completions: with transformers, vLLM, an OpenAI-compatible server, or from a file."""

from __future__ import annotations

from typing import Any

from kkwarm.backends.base import Backend, Request
from kkwarm.errors import KkwarmError, shorten, unknown_name

__all__ = ["BACKENDS", "Backend", "Request", "open_backend"]

# The options of each backend, checked before anything heavy is imported.
BACKENDS: dict[str, frozenset[str]] = {
    "hf": frozenset({"device", "dtype", "batch_size", "attention", "threads", "trust_remote_code", "replicas"}),
    "vllm": frozenset(
        {
            *("dtype", "tensor_parallel_size", "gpu_memory_utilization", "max_model_len", "enforce_eager"),
            *("trust_remote_code", "replicas"),
        }
    ),
    "openai": frozenset({"base_url", "api_key", "concurrency", "tries", "timeout", "tokenizer"}),
    "replay": frozenset({"file"}),
}

_INTEGER_OPTIONS = frozenset(
    {"batch_size", "tensor_parallel_size", "max_model_len", "threads", "replicas", "concurrency"}
)
_TEXT_OPTIONS = frozenset({"device", "dtype", "attention", "base_url", "api_key", "file", "tokenizer"})


def open_backend(name: str, model: str, **options: Any) -> Backend:
    """Opens a backend; options that are None are ignored.

    :param name: ``hf``, ``vllm``, ``openai`` or ``replay``; `BACKENDS` lists the options of each. With `replicas`, hf
        and vllm run that many copies, each in a process with its own devices.
    :raises KkwarmError: unknown backend or option, or the checkpoint or server is unavailable.
    """
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)
    given = {key: value for key, value in options.items() if value is not None}
    for option in given.keys() - BACKENDS[name]:
        others = [b for b, options_of in BACKENDS.items() if option in options_of]
        raise KkwarmError(
            f"backend {name} has no option {option}", hint=f"{option} belongs to {', '.join(others)}" if others else ""
        )
    for option, value in given.items():
        if option in _INTEGER_OPTIONS and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise KkwarmError(f"{option} must be a whole number of at least 1, not {value!r}")
        if option in _TEXT_OPTIONS and isinstance(value, bool | int | float | list | dict):
            found = "a value of another kind" if option == "api_key" else shorten(value)
            raise KkwarmError(f"{option} must be text, not {found}")
    if given.get("trust_remote_code"):
        from kkwarm.backends.checkpoint import trust_remote_code

        trust_remote_code(model)
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
