"""Log-likelihoods of given texts, for lm-eval's multiple-choice and perplexity tasks.

Texts become tokens as in lm-eval's ``hf`` model, so that the figures are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import TOKENIZER_INFINITY
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from kkwarm.backends.base import Backend, LikelihoodBackend
from kkwarm.errors import KkwarmError, describe_error
from kkwarm.evaluation.collect import RunSink, SampleRequest, SampleRequests
from kkwarm.types import Sample, Status, Verdict

if TYPE_CHECKING:
    from kkwarm.evaluation.lm_eval_tasks import Document, LmEvalBenchmark

_PART = 64  # questions, or windows of texts, that are scored together, so that a kill loses little

_CONTEXT = 2048  # lm-eval's assumption where neither the model nor the tokenizer has a limit


def require_likelihoods(backend: Backend, name: str) -> LikelihoodBackend:
    """The backend, if it can score given tokens."""
    if isinstance(backend, LikelihoodBackend) and backend.tokenizer is not None:
        return backend
    raise KkwarmError(
        f"{name} scores the likelihood of given texts, which --backend {backend.name} cannot",
        hint="a server needs --engine tokenizer=CHECKPOINT for it"
        if backend.name == "openai"
        else "use --backend hf or vllm for it",
    )


def collect_likelihoods(requests: SampleRequests, benchmark: LmEvalBenchmark, backend: Backend, sink: RunSink) -> None:
    """Scores the likelihood of each question's continuations, and passes the verdicts to `sink` in parts."""
    scorer = require_likelihoods(backend, requests.name)
    # Questions of similar length are scored together, the longest first.
    prompts = sorted(requests.prompts, key=lambda p: -len(p.prompt))
    for first in range(0, len(prompts), _PART):
        part = prompts[first : first + _PART]
        documents = [benchmark.documents[p.example.id] for p in part]
        pairs = _Encoder(scorer.tokenizer).encode([i for d in documents for i in d.instances])
        scores = iter(scorer.likelihoods(pairs))
        responses = [[next(scores) for _ in d.instances] for d in documents]
        sink([_sample(benchmark, p, d, r) for p, d, r in zip(part, documents, responses, strict=True)])


def _sample(
    benchmark: LmEvalBenchmark, prompt: SampleRequest, document: Document, likelihoods: list[tuple[float, bool]]
) -> Sample:
    try:
        verdict = benchmark.verdict(document, likelihoods)
    except KkwarmError:
        raise
    except Exception as err:  # the task's own code
        verdict = Verdict(Status.ERROR, reason=f"lm-eval's scorer failed: {describe_error(err)}")
    meta = {**prompt.meta, "likelihoods": [list(pair) for pair in likelihoods]}
    completion = benchmark.completion(document, likelihoods)
    return Sample(benchmark.name, prompt.example.id, 0, completion, verdict, prompt.prompt_hash, meta)


def text_likelihoods(
    backend: LikelihoodBackend, texts: Sequence[str], on_scored: Callable[[int], object] = lambda count: None
) -> list[float]:
    """The log-likelihood of each complete text. Texts that are longer than the context are scored in windows.

    :param on_scored: called with the number of texts that were just scored.
    """
    encoder = _Encoder(backend.tokenizer)
    results: list[float] = []
    for first in range(0, len(texts), _PART):
        windows = []
        part = texts[first : first + _PART]
        for text in part:
            own = get_rolling_token_windows(
                encoder.tok_encode(text), encoder.prefix_token_id, _context(backend), context_len=1
            )
            windows.append([make_disjoint_window(window) for window in own])
        scores = iter(backend.likelihoods([window for own in windows for window in own]))
        results += [sum(next(scores)[0] for _ in own) for own in windows]
        on_scored(len(part))
    return results


def _context(backend: LikelihoodBackend) -> int:
    length = backend.context
    if length is None:
        length = getattr(backend.tokenizer, "model_max_length", TOKENIZER_INFINITY)
    return _CONTEXT if length >= TOKENIZER_INFINITY else int(length)


class _Encoder(TemplateLM):
    """lm-eval's rules for splitting a context and a continuation into tokens."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self._pairs: list[tuple[list[int], list[int]]] = []

    def encode(self, instances: Sequence[Instance]) -> list[tuple[list[int], list[int]]]:
        """Token ids of each request's context and continuation."""
        self.loglikelihood(list(instances), disable_tqdm=True)
        return self._pairs

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        first = self.tokenizer.bos_token_id
        return int(first) if first is not None else self.eot_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        # As lm_eval/models/huggingface.py: a text that begins with the first token gets no second one.
        if add_special_tokens is None and string.startswith(self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        arguments = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        ids: list[int] = self.tokenizer.encode(string, **arguments)
        return ids

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        self._pairs = [(list(context), list(continuation)) for _text, context, continuation in requests]
        return []

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        raise NotImplementedError
