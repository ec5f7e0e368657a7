"""Generates on an OpenAI-compatible server: by its completions endpoint, all samples of a prompt in one call."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, Self

import httpx

from kkwarm.backends.base import Request
from kkwarm.backends.sampling import contiguous, engine_seed
from kkwarm.backends.server import One, Refused, Server
from kkwarm.backends.text import cut_at_stop, finish_reason, token_ids
from kkwarm.errors import KkwarmError, shorten
from kkwarm.types import Completion, Sampling

__all__ = ["OpenAIBackend"]

log = logging.getLogger(__name__)
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
_LINGER = 60.0  # seconds for calls under way when another has failed for good
_BROKEN_OFF = ("abort", "error")  # finish reasons of a choice that is no whole sample: vLLM's, when it is stopped

_Call = tuple[Request, tuple[int, ...]]  # some samples of a request
_Answer = tuple[_Call, list[Completion]] | Exception | None


@dataclass(slots=True)
class OpenAIBackend:
    """A served model. Its seeds are the server's: equal calls give equal samples only where the server says so.

    :param concurrency: calls at a time.
    :param tokenizer: of the model, where it is known: prompts then go as tokens, and no more tokens are asked for than
        the server's context has.
    """

    checkpoint: str
    fingerprint: str
    server: Server
    concurrency: int = 16
    tokenizer: Any = None
    context: int | None = None  # tokens, where the server tells
    name: str = "openai"
    tokens: int = 0
    _extended: bool = field(default=True, init=False)
    _stop_here: bool = field(default=False, init=False)
    _one: bool = field(default=False, init=False)
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
        timeout: float = 600.0,
        pause: float = 0.5,
    ) -> Self:
        """Asks the server for its models. The key comes from `api_key`, else ``OPENAI_API_KEY``; the rest: `Server`.

        :raises KkwarmError: nobody answers, the key is refused, or the model is not served.
        """
        url = (base_url or os.environ.get("OPENAI_BASE_URL") or "").rstrip("/")
        if not url.startswith(("http://", "https://")):
            instead = f", not {shorten(url)}" if url else ""
            raise KkwarmError(
                f"--backend openai needs the server's address{instead}", hint="--base-url http://HOST:PORT/v1"
            )
        for name, value in (("concurrency", concurrency), ("tries", tries), ("timeout", timeout)):
            whole = isinstance(value, int) or (name == "timeout" and isinstance(value, float))
            if not whole or isinstance(value, bool) or not 1 <= value < math.inf:
                raise KkwarmError(f"{name} must be a number from 1 on, not {value!r}")
        key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10)),
            limits=httpx.Limits(max_connections=concurrency),
        )
        server = Server(url, model, client, tries, timeout, pause, tuple(_EXTENSIONS))
        told = server.describe()
        root, length = told.get("root"), told.get("max_model_len")  # vLLM's
        # What is served, where it tells: a job that was put back into the queue finds its server on another node.
        named = hashlib.sha256(f"{root or url} {model}".encode()).hexdigest()[:16]
        context = length if isinstance(length, int) else None
        return cls(model, named, server, concurrency, context=context)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        """Yields the samples of a request when they have come.

        :raises KkwarmError: a call failed for good; samples of the calls that were under way come first.
        """
        calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        for request in requests:
            for part in contiguous(request.samples):
                calls.put((request, part))
        answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self.server.given_up.clear()
        count = min(self.concurrency, calls.qsize())
        for number in range(count):  # daemons: one that waits for an answer must not keep the process from ending
            arguments = (calls, answers, sampling)
            threading.Thread(target=self._work, args=arguments, daemon=True, name=f"openai-{number}").start()
        failure: Exception | None = None
        try:
            while count:
                try:
                    answer = answers.get(timeout=None if failure is None else _LINGER)
                except queue.Empty:
                    break
                if answer is None:
                    count -= 1
                elif isinstance(answer, Exception):
                    failure = failure or answer
                    self.server.given_up.set()
                else:
                    (request, part), drawn = answer
                    self._watch(drawn, sampling)
                    for index, completion in zip(part, drawn, strict=True):
                        self.tokens += completion.n_tokens or 0
                        yield request, index, completion
        finally:
            self.server.given_up.set()
            with contextlib.suppress(queue.Empty):  # whoever still waits for an answer finds nothing to go on with
                while True:
                    calls.get_nowait()
        if failure is not None:
            raise failure

    def _work(self, calls: queue.SimpleQueue[_Call], answers: queue.SimpleQueue[_Answer], sampling: Sampling) -> None:
        """Makes one call after the other until none is left, or one has failed for good anywhere; None says so."""
        try:
            while not self.server.given_up.is_set():
                request, part = call = calls.get_nowait()
                answers.put((call, self._samples(replace(request, samples=part), sampling)))
        except queue.Empty:
            pass
        except Exception as err:  # raised where the answers are read
            answers.put(err)
        finally:
            answers.put(None)

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
                self.server.url,
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
            answer = self.server.post(body)
            try:
                told = answer["choices"][0]["logprobs"]["token_logprobs"]
                found.append([float(x) for x in told[len(prompt) : len(prompt) + len(completion)]])
            except (KeyError, IndexError, TypeError):
                raise KkwarmError(f"{self.server.url} does not tell log-probabilities of a prompt") from None
        return found

    def close(self) -> None:
        self.server.client.close()

    # -- one request -------------------------------------------------------------------------------------------------

    def _samples(self, request: Request, sampling: Sampling) -> list[Completion]:
        """All samples of a request; a server that returns fewer choices than asked is asked again."""
        if sampling.temperature <= 0 and len(request.samples) > 1:  # they are equal, and vLLM refuses to draw several
            return self._samples(replace(request, samples=request.samples[:1]), sampling) * len(request.samples)
        got: list[Completion] = []
        idle = 0
        while len(got) < len(request.samples):
            rest = replace(request, samples=request.samples[len(got) :])
            if idle and self.server.given_up.wait(self.server.patience(idle)):
                break  # another call has failed for good
            new = self._ask(rest, sampling, attempt=idle)
            idle = 0 if new else idle + 1
            if idle >= self.server.tries:
                raise KkwarmError(
                    f"{self.server.url} returned no choices for {request.key}, {idle} times",
                    hint="see the server's log; what came is kept",
                )
            got += new
        if len(got) < len(request.samples):
            raise KkwarmError(f"{self.server.url}: {request.key} was given up")
        return got

    def _ask(self, request: Request, sampling: Sampling, attempt: int) -> list[Completion]:
        prompt, room = self._fitted(request.prompt, sampling.max_tokens)
        if room <= 0:
            return [Completion("", 0, "length", ())] * len(request.samples)
        body: dict[str, Any] = {
            "model": self.checkpoint,
            "prompt": prompt,
            "n": 1 if self._one else len(request.samples),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": room,
            "seed": engine_seed(sampling.seed, request.key, request.samples[0]) + _OTHER * attempt,
        }
        stop_here, extended = self._stop_here, self._extended
        if request.stop and not stop_here:
            body["stop"] = list(request.stop)[:4]
        try:
            answer = self.server.post(body | (_EXTENSIONS if extended else {}))
        except Refused:
            # A server without the extensions cuts the stop string off and does not say so: cut here instead.
            self._extended, self._stop_here = False, True
            return self._ask(request, sampling, attempt)
        except One:
            self._one = True
            return self._ask(request, sampling, attempt)
        choices = self._choices(answer)[: len(request.samples)]
        if request.stop and not stop_here and any(_ambiguous(c, request.stop) for c in choices):
            self._stop_here = True
            return self._ask(request, sampling, attempt)
        usage = answer.get("usage") or {}
        alone = usage.get("completion_tokens") if len(choices) == 1 else None
        return [_completion(choice, request.stop, alone) for choice in choices]

    def _choices(self, answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Whole samples, by index, up to the first that is not one: the next call has the seeds from there on."""
        choices = answer.get("choices")
        if not isinstance(choices, list) or not all(isinstance(c, Mapping) for c in choices):
            raise KkwarmError(f"{self.server.url} answers with no list of choices", hint="is it OpenAI-compatible?")
        if any(not isinstance(c.get("text", 0), str | None) for c in choices):
            raise KkwarmError(
                f"{self.server.url} answers with choices that have no text",
                hint="does it have /completions, or chat only?",
            )
        if all(isinstance(c.get("index"), int) for c in choices):
            choices.sort(key=lambda c: int(c["index"]))
        return list(takewhile(lambda c: c.get("finish_reason") not in _BROKEN_OFF, choices))

    def _fitted(self, prompt: str, wanted: int) -> tuple[str | list[int], int]:
        """The prompt as it is sent, and how many tokens may follow it."""
        if self.tokenizer is None:
            return prompt, wanted
        (ids,) = token_ids(self.tokenizer, [prompt])
        return ids, wanted if self.context is None else min(wanted, self.context - len(ids))


def _completion(choice: Mapping[str, Any], stop: Sequence[str], alone: int | None) -> Completion:
    text = str(choice.get("text") or "")
    reason = choice.get("finish_reason")
    stopped = choice.get("stop_reason")
    if isinstance(stopped, str) and stopped and not text.endswith(stopped):
        text += stopped
    ids = choice.get("token_ids")
    tokens = tuple(ids) if isinstance(ids, list) and all(isinstance(t, int) for t in ids) else None
    cut = cut_at_stop(text, stop)
    if cut is not None:
        return Completion(cut, len(tokens) if tokens else alone, "stop", tokens)
    return Completion(text, len(tokens) if tokens is not None else alone, finish_reason(reason), tokens)


def _ambiguous(choice: Mapping[str, Any], stop: Sequence[str]) -> bool:
    """Whether a stop string may have been cut off: it ended by itself, shows none, and the server does not say why."""
    shown = cut_at_stop(str(choice.get("text") or ""), stop) is not None
    return choice.get("finish_reason") == "stop" and not shown and "stop_reason" not in choice
