"""Generates with vLLM's offline engine; the samples of a prompt are one request, so that they share its prefill."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kkwarm.backends.base import Likelihood, Request
from kkwarm.backends.checkpoint import ADAPTER, default_device, default_dtype, fingerprint, load_tokenizer, resolve
from kkwarm.backends.sampling import contiguous_runs, engine_seed
from kkwarm.backends.text import cut_at_stop, decode, has_special_tags, parse_finish_reason, token_ids
from kkwarm.errors import KkwarmError
from kkwarm.types import Completion, Sampling

_CHUNK = 1024  # requests in a call: enough to fill the engine, few enough that results are stored often


def import_vllm(alternative: str) -> Any:
    """The module `vllm`.

    :param alternative: what the user can do without it, for the error's hint.
    :raises KkwarmError: it is not installed, or does not fit this machine's driver or torch.
    """
    # By default vLLM and its processes log to stdout, which --json reserves for one document.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    try:
        import vllm
    except Exception as err:  # ImportError, OSError or RuntimeError, depending on what does not fit
        if isinstance(err, ImportError) and err.name == "vllm":
            raise KkwarmError("vLLM is not installed", hint=f"pip install 'kkwarm[vllm]', {alternative}") from None
        cause = f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"
        raise KkwarmError(f"vLLM cannot be imported: {cause}", hint=f"see `kkwarm doctor`, {alternative}") from err
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
        """Loads a checkpoint, or a LoRA adapter on its base; `options` are passed to `vllm.LLM`."""
        source = resolve(model)
        LLM = import_vllm("or use --backend hf").LLM
        lora = None
        base = source
        if Path(source, ADAPTER).is_file():
            from vllm.lora.request import LoRARequest

            adapter = json.loads(Path(source, ADAPTER).read_text("utf-8"))
            base = resolve(adapter["base_model_name_or_path"])
            lora = LoRARequest("adapter", 1, source)
            options = {**options, "enable_lora": True, "max_lora_rank": int(adapter.get("r", 16))}
        device = default_device()
        # The same dtype as the hf backend's; by default vLLM runs an fp32 checkpoint in bf16 even on a CPU.
        options.setdefault("dtype", str(default_dtype(device)).removeprefix("torch."))
        if device == "cpu":  # with a seed for each request it fails: "CPU Generator does not use offset"
            options.setdefault("enable_chunked_prefill", False)
        try:
            # generation_config "vllm" ignores the checkpoint's own top_k and penalties.
            engine = LLM(model=base, generation_config="vllm", **options)
        except Exception as err:  # vLLM raises many unrelated types when it cannot start
            cause = " ".join(str(err).split())[:300]
            raise KkwarmError(
                f"vLLM cannot serve {source}: {type(err).__name__}: {cause}",
                hint="see `kkwarm doctor`, or use --backend hf",
            ) from err
        return cls(source, fingerprint(model), load_tokenizer(model), engine, lora)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        """Yields the samples of a chunk of requests when the chunk is done."""
        context = int(self.engine.llm_engine.model_config.max_model_len)
        prompts = token_ids(self.tokenizer, [r.prompt for r in requests])
        for first in range(0, len(requests), _CHUNK):
            last = first + _CHUNK
            chunk = []
            for request, ids in zip(requests[first:last], prompts[first:last], strict=True):
                if len(ids) >= context:
                    yield from ((request, i, Completion("", 0, "length", ())) for i in request.samples)
                else:
                    chunk += [(request, run, ids) for run in contiguous_runs(request.samples)]
            yield from self._generate_chunk(chunk, sampling, context)

    def _generate_chunk(
        self, chunk: list[tuple[Request, tuple[int, ...], list[int]]], sampling: Sampling, context: int
    ) -> Iterator[tuple[Request, int, Completion]]:
        from vllm import SamplingParams

        if not chunk:
            return
        parameters = [
            SamplingParams(
                n=len(run) if sampling.temperature > 0 else 1,  # vLLM refuses several greedy samples
                temperature=sampling.temperature,
                top_p=sampling.top_p if sampling.temperature > 0 else 1.0,
                top_k=sampling.top_k if sampling.temperature > 0 else 0,
                min_p=sampling.min_p if sampling.temperature > 0 else 0.0,
                repetition_penalty=sampling.repetition_penalty,
                max_tokens=min(request.limit(sampling), context - len(ids)),
                stop=list(request.stop),
                include_stop_str_in_output=True,
                skip_special_tokens=not has_special_tags(self.tokenizer),  # a stop string may be a special token
                seed=engine_seed(sampling.seed, request.key, run[0]),
            )
            for request, run, ids in chunk
        ]
        outputs = self._run_engine([{"prompt_token_ids": ids} for _, _, ids in chunk], parameters)
        for (request, run, _), output in zip(chunk, outputs, strict=True):
            self.tokens += sum(len(choice.token_ids) for choice in output.outputs)
            choices = output.outputs if sampling.temperature > 0 else output.outputs * len(run)
            for index, choice in zip(run, choices, strict=True):
                yield request, index, self._make_completion(choice, request.stop)

    def _run_engine(self, inputs: Sequence[Any], parameters: Any) -> Any:
        try:
            return self.engine.generate(inputs, parameters, use_tqdm=False, lora_request=self.lora)
        except Exception as err:  # an engine that dies raises many unrelated types
            cause = f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"
            raise KkwarmError(f"vLLM failed: {cause}", hint="finished samples are kept: run it again") from err

    def _make_completion(self, choice: Any, stop: Sequence[str]) -> Completion:
        """The same completion as the hf backend makes from these tokens."""
        ids = tuple(int(t) for t in choice.token_ids)
        by_token = choice.finish_reason == "stop" and not isinstance(choice.stop_reason, str)  # not by a stop string
        text = decode(self.tokenizer, ids[:-1] if by_token else ids)
        cut = None if by_token else cut_at_stop(text, stop)
        return Completion(text if cut is None else cut, len(ids), parse_finish_reason(choice.finish_reason), ids)

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """See `kkwarm.backends.base.LogprobBackend`."""
        from vllm import SamplingParams

        inputs = [{"prompt_token_ids": [*prompt, *completion]} for prompt, completion in texts]
        outputs = self._run_engine(inputs, SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0))
        logprobs = []
        for (prompt, completion), output in zip(texts, outputs, strict=True):
            rows = output.prompt_logprobs[len(prompt) :]
            logprobs.append([float(row[token].logprob) for row, token in zip(rows, completion, strict=True)])
        return logprobs

    @property
    def context(self) -> int:
        """Maximum number of tokens of a text. vLLM always generates a token, which takes one of the model's."""
        return int(self.engine.llm_engine.model_config.max_model_len) - 1

    def likelihoods(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Likelihood]:
        """See `kkwarm.backends.base.LikelihoodBackend`."""
        from vllm import SamplingParams

        longest = self.context
        for context, continuation in texts:
            if not context or not 0 < len(continuation) < longest:
                raise KkwarmError(
                    f"a text to score has {len(context)} + {len(continuation)} tokens; vLLM takes {longest}",
                    hint="raise --engine max_model_len, or use --backend hf",
                )
        inputs = [{"prompt_token_ids": [*context, *continuation][-longest:]} for context, continuation in texts]
        parameters = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=1)
        results: list[Likelihood] = []
        for output, (_, continuation) in zip(self._run_engine(inputs, parameters), texts, strict=True):
            rows = output.prompt_logprobs[-len(continuation) :]
            scores = [row[token] for row, token in zip(rows, continuation, strict=True)]
            results.append((sum(float(s.logprob) for s in scores), all(s.rank == 1 for s in scores)))
        return results

    def close(self) -> None:
        """Ends the engine."""
        self.engine = None
        gc.collect()
