"""Generates on an OpenAI-compatible server: by its completions endpoint, all samples of a prompt in one call."""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpx

from kkwarm.backends.base import Request
from kkwarm.backends.sampling import contiguous, engine_seed
from kkwarm.backends.text import cut_at_stop, finish_reason, token_ids
from kkwarm.errors import KkwarmError, unknown
from kkwarm.types import Completion, Sampling

__all__ = ["OpenAIBackend"]

log = logging.getLogger(__name__)
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
# vLLM's: without the first the stop string is cut off; with the second tokens can be counted for each choice; the
# others keep the checkpoint's own generation settings, a server's defaults, from changing what was asked for.
_EXTENSIONS: dict[str, Any] = {
    "include_stop_str_in_output": True,
    "return_token_ids": True,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
}

_SUSPICIOUS = 8
_OTHER = 7_919  # between the seeds of two attempts: more than a question has samples


class _Refused(Exception):
    """The server does not know a parameter."""


@dataclass(slots=True)
class OpenAIBackend:
    """A served model. Its seeds are the server's: equal calls give equal samples only where the server says so.

    :param concurrency: calls at a time. :param tries: attempts for each call, with growing pauses, before giving up.
    :param tokenizer: of the model, where it is known: prompts then go as tokens, and no more tokens are asked for than
        the server's context has.
    """

    checkpoint: str
    base_url: str
    fingerprint: str
    client: httpx.Client
    concurrency: int = 16
    tries: int = 8
    pause: float = 0.5
    tokenizer: Any = None
    name: str = "openai"
    tokens: int = 0
    _context: int | None = field(default=None, init=False)
    _extended: bool = field(default=True, init=False)
    _stop_here: bool = field(default=False, init=False)
    _given_up: threading.Event = field(default_factory=threading.Event, init=False)
    _varied: int | None = field(default=0, init=False)  # questions whose samples were all equal; None: some were not

    @classmethod
    def connect(
        cls,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        concurrency: int = 16,
        tries: int = 8,
        pause: float = 0.5,
    ) -> Self:
        """Asks the server for its models. The key comes from `api_key`, else ``OPENAI_API_KEY``.

        :raises KkwarmError: nobody answers, the key is refused, or the model is not served.
        """
        url = (base_url or os.environ.get("OPENAI_BASE_URL") or "").rstrip("/")
        if not url.startswith(("http://", "https://")):
            raise KkwarmError("--backend openai needs the server's address", hint="--base-url http://HOST:PORT/v1")
        key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(600, connect=10),
            limits=httpx.Limits(max_connections=concurrency),
        )
        named = hashlib.sha256(f"{url} {model}".encode()).hexdigest()[:16]
        opened = cls(model, url, named, client, concurrency, tries, pause)
        opened._check_served()
        return opened

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        """Yields the samples of a request when they have come.

        :raises KkwarmError: a call failed for good; samples of the calls that were under way come first.
        """
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="openai")
        waiting: dict[Future[list[Completion]], tuple[Request, tuple[int, ...]]] = {}
        finished: queue.SimpleQueue[Future[list[Completion]]] = queue.SimpleQueue()
        self._given_up.clear()
        failure: KkwarmError | None = None
        try:
            for request in requests:
                for part in contiguous(request.samples):
                    future = pool.submit(self._samples, replace(request, samples=part), sampling)
                    waiting[future] = request, part
            for future in waiting:
                future.add_done_callback(finished.put)  # of one that is cancelled, too
            for _ in range(len(waiting)):
                future = finished.get()
                if future.cancelled():
                    continue
                try:
                    drawn = future.result()
                except KkwarmError as err:
                    failure = failure or err
                    self._given_up.set()
                    pool.shutdown(wait=False, cancel_futures=True)
                    continue
                request, part = waiting[future]
                self._watch(drawn, sampling)
                for index, completion in zip(part, drawn, strict=True):
                    self.tokens += completion.n_tokens or 0
                    yield request, index, completion
        finally:
            self._given_up.set()
            pool.shutdown(wait=False, cancel_futures=True)
        if failure is not None:
            raise failure

    def _watch(self, drawn: Sequence[Completion], sampling: Sampling) -> None:
        """Says once where a server seems to be greedy whatever the temperature: transformers' `serve` is, unless the
        checkpoint's own generation settings sample."""
        if len(drawn) < 2 or sampling.temperature <= 0 or self._varied is None:
            return
        if len({c.text for c in drawn}) > 1:
            self._varied = None
            return
        self._varied += 1
        if self._varied == _SUSPICIOUS:
            log.warning(
                "%s: the samples of each of %d questions are equal: does the server sample?",
                self.base_url,
                _SUSPICIOUS,
            )

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """See `kkwarm.backends.base.Scores`: by `echo`, which vLLM's server has and OpenAI's own has not."""
        found = []
        for prompt, completion in texts:
            body = {
                "model": self.checkpoint,
                "prompt": [*prompt, *completion],
                "max_tokens": 1,
                "temperature": 0,
                "echo": True,
                "logprobs": 1,
            }
            answer = self._post(body)
            try:
                told = answer["choices"][0]["logprobs"]["token_logprobs"]
                found.append([float(x) for x in told[len(prompt) : len(prompt) + len(completion)]])
            except (KeyError, IndexError, TypeError):
                raise KkwarmError(f"{self.base_url} does not tell log-probabilities of a prompt") from None
        return found

    def close(self) -> None:
        self.client.close()

    # -- one request -------------------------------------------------------------------------------------------------

    def _samples(self, request: Request, sampling: Sampling) -> list[Completion]:
        """All samples of a request; a server that returns fewer choices than asked is asked again."""
        if sampling.temperature <= 0 and len(request.samples) > 1:  # they are equal, and vLLM refuses to draw several
            return self._samples(replace(request, samples=request.samples[:1]), sampling) * len(request.samples)
        got: list[Completion] = []
        idle = 0
        while len(got) < len(request.samples):
            rest = replace(request, samples=request.samples[len(got) :])
            new = self._ask(rest, sampling, attempt=idle)
            idle = 0 if new else idle + 1
            if idle >= self.tries:
                raise KkwarmError(
                    f"{self.base_url} returned no choices for {request.key}, {idle} times",
                    hint="see the server's log; what came is kept",
                )
            got += new
        return got

    def _ask(self, request: Request, sampling: Sampling, attempt: int) -> list[Completion]:
        prompt, room = self._fitted(request.prompt, sampling.max_tokens)
        if room <= 0:
            return [Completion("", 0, "length", ())] * len(request.samples)
        body: dict[str, Any] = {
            "model": self.checkpoint,
            "prompt": prompt,
            "n": len(request.samples),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": room,
            "seed": engine_seed(sampling.seed, request.key, request.samples[0]) + _OTHER * attempt,
        }
        stop_here, extended = self._stop_here, self._extended
        if request.stop and not stop_here:
            body["stop"] = list(request.stop)[:4]
        try:
            answer = self._post(body | (_EXTENSIONS if extended else {}))
        except _Refused:
            # A server without the extensions cuts the stop string off and does not say so: cut here instead.
            self._extended, self._stop_here = False, True
            return self._ask(request, sampling, attempt)
        choices = answer.get("choices")
        if not isinstance(choices, list) or not all(isinstance(c, Mapping) for c in choices):
            raise KkwarmError(f"{self.base_url} answers with no list of choices", hint="is it OpenAI-compatible?")
        choices = choices[: len(request.samples)]
        if request.stop and not stop_here and any(_ambiguous(c, request.stop) for c in choices):
            self._stop_here = True
            return self._ask(request, sampling, attempt)
        usage = answer.get("usage") or {}
        alone = usage.get("completion_tokens") if len(choices) == 1 else None
        return [_completion(choice, request.stop, alone) for choice in choices]

    def _fitted(self, prompt: str, wanted: int) -> tuple[str | list[int], int]:
        """The prompt as it is sent, and how many tokens may follow it."""
        if self.tokenizer is None:
            return prompt, wanted
        (ids,) = token_ids(self.tokenizer, [prompt])
        return ids, wanted if self._context is None else min(wanted, self._context - len(ids))

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        """One call, repeated with growing pauses while the server is busy, failing or cutting the answer short."""
        last = ""
        for attempt in range(self.tries):
            wait = min(self.pause * 2**attempt, 60.0) * random.uniform(0.5, 1.0)
            try:
                reply = self.client.post("/completions", json=body)
            except httpx.HTTPError as err:
                last = f"{type(err).__name__}: {err}"
            else:
                if reply.status_code == 200:
                    try:
                        answer = reply.json()
                    except ValueError:
                        last = "the answer was cut short"
                    else:
                        if isinstance(answer, dict):
                            return answer
                        last = "the answer is no object"
                elif reply.status_code in _AGAIN:
                    last = f"{reply.status_code} {_said(reply)}"
                    wait = max(wait, _retry_after(reply))
                else:
                    raise self._failure(reply, body)
            if attempt + 1 < self.tries:
                log.info("%s: %s; again in %.1f s", self.base_url, last, wait)
                if self._given_up.wait(wait):
                    break  # another call has failed for good
        raise KkwarmError(
            f"{self.base_url} failed {self.tries} times: {last}",
            hint="what came is kept: start again when the server is well; if it was busy, with --engine concurrency=4",
        )

    def _failure(self, reply: httpx.Response, body: Mapping[str, Any]) -> Exception:
        said = _said(reply)
        if reply.status_code in (400, 422) and any(name in body for name in _EXTENSIONS):
            if any(name in said for name in _EXTENSIONS) or "unrecognized" in said.lower() or "extra" in said.lower():
                return _Refused(said)
            hint = "lower --max-tokens" if "context" in said or "max_tokens" in said else ""
            return KkwarmError(f"{self.base_url} refuses the request: {said}", hint=hint)
        if reply.status_code in (401, 403):
            return KkwarmError(
                f"{self.base_url} refuses the key ({reply.status_code}: {said})", hint="set OPENAI_API_KEY"
            )
        if reply.status_code == 404:
            return KkwarmError(
                f"{self.base_url} does not serve {self.checkpoint!r} (404: {said})", hint="see its /models"
            )
        return KkwarmError(f"{self.base_url} answers {reply.status_code}: {said}")

    def _check_served(self) -> None:
        try:
            reply = self.client.get("/models")
        except httpx.HTTPError as err:
            raise KkwarmError(
                f"nobody answers at {self.base_url}: {type(err).__name__}: {err}", hint="is the server up?"
            ) from None
        if reply.status_code in (401, 403):
            raise self._failure(reply, {})
        try:
            told = {str(m["id"]): m for m in reply.json()["data"]} if reply.status_code == 200 else {}
        except (ValueError, KeyError, TypeError):
            told = {}
        served = list(told)
        length = told.get(self.checkpoint, {}).get("max_model_len")  # vLLM's
        self._context = length if isinstance(length, int) else None
        if served and self.checkpoint not in served:  # a server without /models is asked all the same
            raise unknown(f"model at {self.base_url}", self.checkpoint, served)


def _completion(choice: Mapping[str, Any], stop: Sequence[str], alone: int | None) -> Completion:
    text = str(choice.get("text") or "")
    reason = choice.get("finish_reason")
    stopped = choice.get("stop_reason")
    if isinstance(stopped, str) and stopped and not text.endswith(stopped):
        text += stopped
    ids = choice.get("token_ids")
    tokens = tuple(int(t) for t in ids) if isinstance(ids, list) else None
    cut = cut_at_stop(text, stop)
    if cut is not None:
        return Completion(cut, len(tokens) if tokens else alone, "stop", tokens)
    return Completion(text, len(tokens) if tokens is not None else alone, finish_reason(reason), tokens)


def _ambiguous(choice: Mapping[str, Any], stop: Sequence[str]) -> bool:
    """Whether a stop string may have been cut off: it ended by itself, shows none, and the server does not say why."""
    shown = cut_at_stop(str(choice.get("text") or ""), stop) is not None
    return choice.get("finish_reason") == "stop" and not shown and "stop_reason" not in choice


def _said(reply: httpx.Response) -> str:
    try:
        body = reply.json()
        found = body.get("error", body.get("message", body)) if isinstance(body, dict) else body
        found = found.get("message", found) if isinstance(found, dict) else found
    except ValueError:
        found = reply.text
    return " ".join(str(found).split())[:200]


def _retry_after(reply: httpx.Response) -> float:
    """Seconds that the server asks to wait, by its header: a number, or a date. At most ten minutes."""
    told = reply.headers.get("retry-after", "0")
    try:
        seconds = float(told)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(told).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), 600.0)
