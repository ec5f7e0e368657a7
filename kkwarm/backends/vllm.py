"""Generates with vLLM's offline engine; the samples of a prompt go in one request, so that they share its prefill."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kkwarm.backends.base import Request
from kkwarm.backends.checkpoint import ADAPTER, default_device, default_dtype, fingerprint, load_tokenizer, resolve
from kkwarm.backends.sampling import contiguous, engine_seed
from kkwarm.backends.text import finish_reason, token_ids
from kkwarm.errors import KkwarmError
from kkwarm.types import Completion, Sampling

__all__ = ["VllmBackend"]

_WAVE = 1024  # requests handed over at once: enough to fill the engine, few enough to be stored as they come


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
        try:
            from vllm import LLM
        except ImportError as err:
            cause = "is not installed" if err.name == "vllm" else f"cannot be imported: {err}"
            raise KkwarmError(f"vLLM {cause}", hint="pip install 'kkwarm[vllm]', or use --backend hf") from None
        lora = None
        served = source
        if Path(source, ADAPTER).is_file():
            from vllm.lora.request import LoRARequest

            adapter = json.loads(Path(source, ADAPTER).read_text("utf-8"))
            served = resolve(adapter["base_model_name_or_path"])
            lora = LoRARequest("adapter", 1, source)
            options = {**options, "enable_lora": True, "max_lora_rank": int(adapter.get("r", 16))}
        # As transformers would have it; left alone, vLLM makes an fp32 checkpoint bf16 even on a CPU.
        options.setdefault("dtype", str(default_dtype(default_device())).removeprefix("torch."))
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
                n=len(part),
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
        outputs = self.engine.generate(inputs, parameters, use_tqdm=False, lora_request=self.lora)
        for (request, part, _), output in zip(wave, outputs, strict=True):
            for index, choice in zip(part, output.outputs, strict=True):
                self.tokens += len(choice.token_ids)
                ids = tuple(int(t) for t in choice.token_ids)
                yield request, index, Completion(choice.text, len(ids), finish_reason(choice.finish_reason), ids)

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """See `kkwarm.backends.base.Scores`."""
        from vllm import SamplingParams

        inputs = [{"prompt_token_ids": [*prompt, *completion]} for prompt, completion in texts]
        asked = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
        outputs = self.engine.generate(inputs, asked, use_tqdm=False, lora_request=self.lora)
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
