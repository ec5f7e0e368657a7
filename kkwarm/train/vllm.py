"""RLVR's rollouts by vLLM, through trl's own options: in this process, or on a server."""

from __future__ import annotations

from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.train.config import RlvrConfig

__all__ = ["check", "settings"]

_PATIENCE = 10.0  # seconds for a server to say that it is there; trl itself would wait for minutes


def settings(config: RlvrConfig, stop: tuple[str, ...], width: int) -> dict[str, Any]:
    """Arguments of trl's config. `width`: tokens of the longest prompt and completion.

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
    """Whether vLLM, or the server, is there, before anything long begins. `args`: trl's config.

    :raises KkwarmError: vLLM is missing or broken, or nobody answers.
    """
    if not args.use_vllm:
        return
    try:
        import vllm  # noqa: F401
    except ImportError as err:
        cause = "is not installed" if err.name == "vllm" else f"cannot be imported: {err}"
        raise KkwarmError(f"vLLM {cause}", hint="pip install 'kkwarm[vllm]', or leave out --vllm") from None
    if args.vllm_mode != "server":
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
