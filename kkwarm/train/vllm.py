"""RLVR's rollouts by vLLM, through trl's own options: in this process, or on a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.train import distributed
from kkwarm.train.config import RlvrConfig
from kkwarm.train.in_training_eval import EvalEngine, EvalEngineFactory

__all__ = ["check", "live", "settings"]

_PATIENCE = 10.0  # seconds for a server to say that it is there; trl itself would wait for minutes


def settings(config: RlvrConfig, stop: tuple[str, ...], width: int) -> dict[str, Any]:
    """Arguments of trl's config. `width`: tokens of the longest prompt and completion, watched ones too.

    Whatever else trl has (``vllm_gpu_memory_utilization``, ``vllm_enable_sleep_mode``, ``vllm_server_base_url``) comes
    by ``--trl``.
    """
    if config.vllm == "none":
        return {}
    found: dict[str, Any] = {
        "use_vllm": True,
        "vllm_mode": config.vllm,
        "generation_kwargs": {"stop": list(stop), "include_stop_str_in_output": True},
    }
    if config.vllm == "colocate":
        found["vllm_max_model_length"] = width  # the model's own limit would reserve memory that nothing uses
    return found


def check(args: Any) -> None:
    """Whether the server is there, before anything long begins. `args`: trl's config.

    :raises KkwarmError: nobody answers.
    """
    if not args.use_vllm or args.vllm_mode != "server":
        return
    import httpx

    url = args.vllm_server_base_url or f"http://{args.vllm_server_host}:{args.vllm_server_port}"
    start = "start it with `trl vllm-serve --model MODEL`, on another GPU"
    try:
        reply = httpx.get(f"{url}/health", timeout=_PATIENCE)
    except httpx.HTTPError as err:
        raise KkwarmError(
            f"nobody answers at {url}: {type(err).__name__}",
            hint=f"{start}, and name it by --trl vllm_server_base_url=http://HOST:PORT",
        ) from None
    if reply.status_code != 200:
        raise KkwarmError(f"the vLLM server at {url} answers {reply.status_code}", hint=start)


def live(tokenizer: Any) -> EvalEngineFactory:
    """Drawing by the engine that draws a trainer's rollouts, with the weights of its step.

    Every request has a seed of its own, and the state of this process's random numbers is put back, so that the
    rollouts that follow are drawn as if nothing had been.
    """

    @contextmanager
    def engine(trainer: Any) -> Iterator[EvalEngine]:
        generation = trainer.vllm_generation
        _sync(trainer, generation)
        if generation.mode == "server":
            backend = _server(generation.vllm_client, tokenizer) if distributed.is_main() else None
            yield EvalEngine(backend, 0, 1)
            if backend is not None:
                backend.close()
            return
        size = generation.tensor_parallel_size  # so many processes share an engine, and draw the same
        with _awake(generation) as llm:
            yield EvalEngine(
                _colocated(llm, tokenizer),
                distributed.rank() // size,
                distributed.world_size() // size,
                distributed.rank() % size == 0,
            )

    return engine


def _sync(trainer: Any, generation: Any) -> None:
    """Gives the engine the policy's weights, as trl does before rollouts, and tells trl that it has them."""
    step = trainer.state.global_step
    if step != trainer._last_loaded_step or getattr(generation, "_llm_weights_sleeping", False):
        generation.sync_weights()
        trainer._last_loaded_step = step


@contextmanager
def _awake(generation: Any) -> Iterator[Any]:
    """The colocated engine, with room for keys and values; left as it was found, without what it has cached."""
    import torch

    llm = generation.llm
    if generation.enable_sleep_mode:
        llm.wake_up(tags=["kv_cache"])
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):  # vLLM draws from the process's own state for requests with seeds too
        yield llm
    llm.reset_prefix_cache()
    if generation.enable_sleep_mode:
        llm.sleep(level=2)
        generation._llm_weights_sleeping = True  # of level 2: the weights are gone


def _colocated(llm: Any, tokenizer: Any) -> Any:
    from kkwarm.backends.vllm import VllmBackend

    return VllmBackend("policy", "", tokenizer, llm)


def _server(client: Any, tokenizer: Any) -> Any:
    from kkwarm.backends.openai import OpenAIBackend

    backend = OpenAIBackend.connect(client.model, base_url=f"{client.base_url.rstrip('/')}/v1")
    backend.tokenizer = tokenizer  # prompts go as the tokens that rollouts would have
    return backend
