"""Generates with vLLM's offline engine; the samples of a prompt go in one request, so that they share its prefill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kkwarm.backends.base import Request
from kkwarm.backends.checkpoint import ADAPTER, default_device, default_dtype, fingerprint, load_tokenizer, resolve
from kkwarm.backends.sampling import contiguous, engine_seed
from kkwarm.backends.text import cut_at_stop, decode, finish_reason, token_ids
from kkwarm.errors import KkwarmError
from kkwarm.types import Completion, Sampling

__all__ = ["VllmBackend", "import_vllm"]

_WAVE = 1024  # requests handed over at once: enough to fill the engine, few enough to be stored as they come


def import_vllm(otherwise: str) -> Any:
    """The module `vllm`.

    :param otherwise: what the user may do without it.
    :raises KkwarmError: it is not installed, or cannot be import_vllm here (another driver, another torch).
    """
    # Its log goes to stdout otherwise, that of its processes too: into the document that --json promises there.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    try:
        import vllm
    except Exception as err:  # a driver or a library that does not fit is an ImportError, an OSError or a RuntimeError
        if isinstance(err, ImportError) and err.name == "vllm":
            raise KkwarmError("vLLM is not installed", hint=f"pip install 'kkwarm[vllm]', {otherwise}") from None
        cause = f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"
        raise KkwarmError(f"vLLM cannot be import_vllm: {cause}", hint=f"see `kkwarm doctor`, {otherwise}") from err
    return vllm


@dataclass(slots=True)
class VllmBackend:
    """A checkpoint in a vLLM engine of this process."""

    checkpoint: str
    fingerprint: str
    tokenizer: Any
    engine: Any
    lora: Any = None
    name: str = "vllm"
    tokens: int = 0

    @classmethod
    def load(cls, model: str, **options: Any) -> Self:
        """Loads a checkpoint, or a LoRA adapter on its base; `options` go to `vllm.LLM`.

        :raises KkwarmError: vLLM is missing, or cannot start on this machine or with this checkpoint.
        """
        source = resolve(model)
        LLM = import_vllm("or use --backend hf").LLM
        lora = None
        served = source
        if Path(source, ADAPTER).is_file():
            from vllm.lora.request import LoRARequest

            adapter = json.loads(Path(source, ADAPTER).read_text("utf-8"))
            served = resolve(adapter["base_model_name_or_path"])
            lora = LoRARequest("adapter", 1, source)
            options = {**options, "enable_lora": True, "max_lora_rank": int(adapter.get("r", 16))}
        device = default_device()
        # As transformers would have it; left alone, vLLM makes an fp32 checkpoint bf16 even on a CPU.
        options.setdefault("dtype", str(default_dtype(device)).removeprefix("torch."))
        if device == "cpu":  # a prompt in parts with a seed of its own: "CPU Generator does not use offset"
            options.setdefault("enable_chunked_prefill", False)
        try:
            # generation_config "vllm": the checkpoint's own top_k or penalties must not change what was asked for.
            engine = LLM(model=served, generation_config="vllm", **options)
        except Exception as err:  # vLLM raises many unrelated types when it cannot start
            cause = " ".join(str(err).split())[:300]
            raise KkwarmError(
                f"vLLM cannot serve {source}: {type(err).__name__}: {cause}",
                hint="see `kkwarm doctor`, or use --backend hf",
            ) from err
        return cls(source, fingerprint(model), load_tokenizer(model), engine, lora)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        """Yields the samples of a wave of requests when the wave is done."""
        context = int(self.engine.llm_engine.model_config.max_model_len)
        prompts = token_ids(self.tokenizer, [r.prompt for r in requests])
        for at in range(0, len(requests), _WAVE):
            wave = []
            for request, ids in zip(requests[at : at + _WAVE], prompts[at : at + _WAVE], strict=True):
                if len(ids) >= context:
                    yield from ((request, i, Completion("", 0, "length", ())) for i in request.samples)
                else:
                    wave += [(request, part, ids) for part in contiguous(request.samples)]
            yield from self._wave(wave, sampling, context)

    def _wave(
        self, wave: list[tuple[Request, tuple[int, ...], list[int]]], sampling: Sampling, context: int
    ) -> Iterator[tuple[Request, int, Completion]]:
        from vllm import SamplingParams

        if not wave:
            return
        parameters = [
            SamplingParams(
                n=len(part) if sampling.temperature > 0 else 1,  # vLLM refuses several greedy samples
                temperature=sampling.temperature,
                top_p=sampling.top_p if sampling.temperature > 0 else 1.0,
                max_tokens=min(sampling.max_tokens, context - len(ids)),
                stop=list(request.stop),
                include_stop_str_in_output=True,
                seed=engine_seed(sampling.seed, request.key, part[0]),
            )
            for request, part, ids in wave
        ]
        inputs = [{"prompt_token_ids": ids} for _, _, ids in wave]
        outputs = self._outputs(inputs, parameters)
        for (request, part, _), output in zip(wave, outputs, strict=True):
            self.tokens += sum(len(choice.token_ids) for choice in output.outputs)
            choices = output.outputs if sampling.temperature > 0 else output.outputs * len(part)
            for index, choice in zip(part, choices, strict=True):
                yield request, index, self._completion(choice, request.stop)

    def _outputs(self, inputs: Sequence[Any], parameters: Any) -> Any:
        try:
            return self.engine.generate(inputs, parameters, use_tqdm=False, lora_request=self.lora)
        except Exception as err:  # an engine that dies raises many unrelated types
            cause = f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"
            raise KkwarmError(f"vLLM failed: {cause}", hint="what came is kept: start again") from err

    def _completion(self, choice: Any, stop: Sequence[str]) -> Completion:
        """As the hf backend makes it of the same tokens."""
        ids = tuple(int(t) for t in choice.token_ids)
        ended = choice.finish_reason == "stop" and not isinstance(choice.stop_reason, str)  # by a token, not a string
        text = decode(self.tokenizer, ids[:-1] if ended else ids)
        cut = None if ended else cut_at_stop(text, stop)
        return Completion(text if cut is None else cut, len(ids), finish_reason(choice.finish_reason), ids)

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """See `kkwarm.backends.base.Scores`."""
        from vllm import SamplingParams

        inputs = [{"prompt_token_ids": [*prompt, *completion]} for prompt, completion in texts]
        asked = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
        outputs = self._outputs(inputs, asked)
        found = []
        for (prompt, completion), output in zip(texts, outputs, strict=True):
            told = output.prompt_logprobs[len(prompt) :]
            found.append([float(row[token].logprob) for row, token in zip(told, completion, strict=True)])
        return found

    def close(self) -> None:
        """Ends the engine."""
        self.engine = None
        import gc

        gc.collect()
