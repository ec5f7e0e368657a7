"""RLVR's rollouts by vLLM, through trl's own options: in this process, or on a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.schema.settings import RlvrConfig
from kkwarm.train import distributed
from kkwarm.train.in_training_eval import EvalEngine, EvalEngineFactory

_HEALTH_TIMEOUT = 10.0  # seconds; trl itself would wait for minutes


def vllm_arguments(config: RlvrConfig, stop: tuple[str, ...], max_model_length: int) -> dict[str, Any]:
    """Arguments of GRPOConfig. Others (``vllm_gpu_memory_utilization``, ``vllm_server_base_url``) come by ``--trl``.

    :param max_model_length: tokens of the longest prompt and completion, including in-training evaluation.
    """
    if config.vllm == "none":
        return {}
    arguments: dict[str, Any] = {
        "use_vllm": True,
        "vllm_mode": config.vllm,
        "generation_kwargs": {"stop": list(stop), "include_stop_str_in_output": True},
    }
    if config.vllm == "colocate":
        arguments["vllm_max_model_length"] = max_model_length  # the model's own limit would reserve unused memory
    return arguments


def check_server(args: Any) -> None:
    """Checks that the vLLM server of a GRPOConfig responds, before anything long begins."""
    if not args.use_vllm or args.vllm_mode != "server":
        return
    import httpx

    url = args.vllm_server_base_url or f"http://{args.vllm_server_host}:{args.vllm_server_port}"
    start = "start it with `trl vllm-serve --model MODEL`, on another GPU"
    try:
        reply = httpx.get(f"{url}/health", timeout=_HEALTH_TIMEOUT)
    except httpx.HTTPError as err:
        raise KkwarmError(
            f"no vLLM server responds at {url}: {type(err).__name__}",
            hint=f"{start}, and pass its address with --trl vllm_server_base_url=http://HOST:PORT",
        ) from None
    if reply.status_code != 200:
        raise KkwarmError(f"the vLLM server at {url} responds with status {reply.status_code}", hint=start)


def policy_engine(tokenizer: Any) -> EvalEngineFactory:
    """The engine that generates a trainer's rollouts, for in-training evaluation with the weights of its step.

    Every request has a seed of its own, and this process's random state is restored, so the rollouts that follow are
    the same as without evaluation.
    """

    from kkwarm.backends.openai import OpenAIBackend
    from kkwarm.backends.vllm import VllmBackend

    @contextmanager
    def engine(trainer: Any) -> Iterator[EvalEngine]:
        generation = trainer.vllm_generation
        _sync_weights(trainer, generation)
        if generation.mode == "server":
            if not distributed.is_main():
                yield EvalEngine(None, 0, 1)
                return
            client = generation.vllm_client
            backend = OpenAIBackend.connect(client.model, base_url=f"{client.base_url.rstrip('/')}/v1")
            backend.tokenizer = tokenizer  # so that prompts are sent as the same tokens as in rollouts
            yield EvalEngine(backend, 0, 1)
            backend.close()
            return
        size = generation.tensor_parallel_size  # this many processes share an engine, and generate the same
        rank, world_size = distributed.rank(), distributed.world_size()
        with _awake_engine(generation) as llm:
            shared = VllmBackend("policy", "", tokenizer, llm)
            yield EvalEngine(shared, rank // size, world_size // size, rank % size == 0)

    return engine


def _sync_weights(trainer: Any, generation: Any) -> None:
    """Copies the policy's weights to the engine, as trl does before rollouts, and records for trl that it has them."""
    step = trainer.state.global_step
    if step != trainer._last_loaded_step or getattr(generation, "_llm_weights_sleeping", False):
        generation.sync_weights()
        trainer._last_loaded_step = step


@contextmanager
def _awake_engine(generation: Any) -> Iterator[Any]:
    """The colocated engine with memory for its KV cache; afterwards its state is restored, with an empty cache."""
    import torch

    llm = generation.llm
    if generation.enable_sleep_mode:
        llm.wake_up(tags=["kv_cache"])
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):  # vLLM uses the process's random state for requests with seeds too
        yield llm
    llm.reset_prefix_cache()
    if generation.enable_sleep_mode:
        llm.sleep(level=2)
        generation._llm_weights_sleeping = True  # level 2 discards the weights
