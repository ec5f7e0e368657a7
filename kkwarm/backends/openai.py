"""Generates with an OpenAI-compatible server, by its endpoint for text or for chat.

All samples of a text prompt are one call. Each sample of a conversation is a call of its own, because servers count the
tokens of a call, not of a choice, and many of them give one choice only.
"""

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
from multiprocessing.pool import ThreadPool
from typing import Any, Self

import httpx

from kkwarm.backends.base import Likelihood, Request
from kkwarm.backends.checkpoint import load_tokenizer
from kkwarm.backends.sampling import contiguous_runs, engine_seed
from kkwarm.backends.server import LimitRenamed, ParameterRefused, Server, SingleChoiceOnly, UnsupportedParameter
from kkwarm.backends.text import cut_at_stop, parse_finish_reason, token_ids
from kkwarm.errors import KkwarmError, shorten
from kkwarm.redaction import redact, remember_secret
from kkwarm.types import ChatPrompt, Completion, Sampling

log = logging.getLogger(__name__)
# vLLM's parameters. The first keeps the stop string in the text, the second lets tokens be counted for each choice; the
# others, whose values `_extensions` replaces, override the checkpoint's own generation settings.
_EXTENSIONS: dict[str, Any] = {
    "include_stop_str_in_output": True,
    "return_token_ids": True,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
}

_EQUAL_LIMIT = 8  # questions whose samples are all equal, before a warning
_SEED_STEP = 7_919  # between the seeds of two attempts: more than a question has samples
_LINGER = 60.0  # seconds to wait for pending calls after another has failed for good
_ABORTED = ("abort", "error")  # vLLM's finish reasons of incomplete choices, when it is stopped

_Call = tuple[Request, tuple[int, ...]]  # some samples of a request
_Answer = tuple[_Call, list[Completion]] | Exception | None


@dataclass(slots=True)
class OpenAIBackend:
    """A served model. Sampling is the server's: equal calls give equal samples only if the server guarantees it.

    :param concurrency: concurrent calls.
    :param tokenizer: the model's, if known: prompts are then sent as tokens, and completions limited to the context.
    :param context: tokens of the server's context, if known.
    """

    checkpoint: str
    fingerprint: str
    server: Server
    concurrency: int = 16
    tokenizer: Any = None
    context: int | None = None
    name: str = "openai"
    tokens: int = 0
    _use_extensions: bool = field(default=True, init=False)
    _cut_locally: bool = field(default=False, init=False)  # send no stop strings, and cut the text here
    _refused: set[str] = field(default_factory=set, init=False)  # parameters that are left out: seed, stop
    _limit_name: str = field(default="max_tokens", init=False)
    _single_choice: bool = field(default=False, init=False)  # one choice per call
    _equal_questions: int | None = field(default=0, init=False)  # with equal samples; None once samples differed

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
        tokenizer: str | None = None,
    ) -> Self:
        """Connects to a server and checks that it serves the model.

        :param api_key: None: ``OPENAI_API_KEY``. For `tries`, `timeout` and `pause`, see `Server`.
        :param tokenizer: a checkpoint whose tokenizer the served model has. Scoring given texts needs it.
        """
        url = (base_url or os.environ.get("OPENAI_BASE_URL") or "").rstrip("/")
        if not url.startswith(("http://", "https://")):
            value = f", not {shorten(url)}" if url else ""
            raise KkwarmError(
                f"--backend openai needs the server's address{value}", hint="--base-url http://HOST:PORT/v1"
            )
        for name, number in (("concurrency", concurrency), ("tries", tries), ("timeout", timeout)):
            valid_type = isinstance(number, int) or (name == "timeout" and isinstance(number, float))
            if not valid_type or isinstance(number, bool) or not 1 <= number < math.inf:
                raise KkwarmError(f"{name} must be a number of at least 1, not {number!r}")
        key = (api_key or os.environ.get("OPENAI_API_KEY") or "none").strip()
        remember_secret(key)
        if not key.isascii() or not key.isprintable():
            raise KkwarmError("the API key has characters that no key has", hint="set OPENAI_API_KEY again")
        url, client_options = _read_url(url)
        client = httpx.Client(
            **client_options,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10)),
            limits=httpx.Limits(max_connections=concurrency),
        )
        server = Server(url, model, client, tries, timeout, pause, tuple(_EXTENSIONS))
        description = server.describe_model()
        root, length = description.get("root"), description.get("max_model_len")  # vLLM's
        # vLLM's `root` identifies the model even if a requeued job finds its server at another address.
        fingerprint = hashlib.sha256(f"{root or url} {model}".encode("utf-8", "backslashreplace")).hexdigest()[:16]
        context = length if type(length) is int and 0 < length < 2**31 else None
        loaded = None if tokenizer is None else load_tokenizer(tokenizer)
        return cls(model, fingerprint, server, concurrency, loaded, context)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        """Yields the samples of a call when it is answered.

        :raises KkwarmError: a call failed for good; samples of calls that were pending are yielded first.
        """
        calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        for request in requests:
            single = request.chat is not None and sampling.temperature > 0
            for run in [(i,) for i in request.samples] if single else contiguous_runs(request.samples):
                calls.put((request, run))
        answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self.server.given_up.clear()
        threads = min(self.concurrency, calls.qsize())
        for number in range(threads):  # daemons: one that waits for an answer must not keep the process alive
            arguments = (calls, answers, sampling)
            threading.Thread(target=self._work, args=arguments, daemon=True, name=f"openai-{number}").start()
        failure: Exception | None = None
        try:
            while threads:
                try:
                    answer = answers.get(timeout=None if failure is None else _LINGER)
                except queue.Empty:
                    break
                if answer is None:
                    threads -= 1
                elif isinstance(answer, Exception):
                    failure = failure or answer
                    self.server.given_up.set()
                else:
                    (request, run), completions = answer
                    self._check_variation(completions, sampling)
                    for index, completion in zip(run, completions, strict=True):
                        self.tokens += completion.n_tokens or 0
                        yield request, index, completion
        finally:
            self.server.given_up.set()
            with contextlib.suppress(queue.Empty):  # threads that still wait for an answer then find no further call
                while True:
                    calls.get_nowait()
        if failure is not None:
            raise failure

    def _work(self, calls: queue.SimpleQueue[_Call], answers: queue.SimpleQueue[_Answer], sampling: Sampling) -> None:
        """Makes calls until none is left or one has failed for good; then puts None into the answers."""
        try:
            while not self.server.given_up.is_set():
                request, run = call = calls.get_nowait()
                answers.put((call, self._complete(replace(request, samples=run), sampling)))
        except queue.Empty:
            pass
        except Exception as err:  # raised by the thread that reads the answers
            answers.put(err)
        finally:
            answers.put(None)

    def _check_variation(self, completions: Sequence[Completion], sampling: Sampling) -> None:
        """Warns if the samples of many questions are all equal."""
        if self._equal_questions is None or sampling.temperature <= 0 or len(completions) < 2:
            return
        if len({c.text for c in completions}) > 1:
            self._equal_questions = None
            return
        self._equal_questions += 1
        if self._equal_questions == _EQUAL_LIMIT:
            log.warning(
                "%s: the samples of each of %d questions are equal: does the server sample?",
                self.server.url,
                _EQUAL_LIMIT,
            )

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """See `kkwarm.backends.base.LogprobBackend`. Needs `echo`, which vLLM's server supports, OpenAI's does not."""
        return [[value for value, _ in self._score(prompt, completion)] for prompt, completion in texts]

    def likelihoods(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Likelihood]:
        """See `kkwarm.backends.base.LikelihoodBackend`. Needs `echo`, as `logprobs` does."""
        longest = 2**31 if self.context is None else self.context - 1  # the server always generates a token
        cut = []
        for context, continuation in texts:
            if not context or not 0 < len(continuation) < longest:
                tokens = f"{len(context)} + {len(continuation)} tokens"
                raise KkwarmError(
                    f"a text to score has {tokens}; {self.server.url} takes {longest}",
                    hint="use --backend hf, or a server with a longer context",
                )
            cut.append((context[max(0, len(context) + len(continuation) - longest) :], continuation))
        self.server.given_up.clear()
        with ThreadPool(max(1, min(self.concurrency, len(cut)))) as pool:  # its threads are daemons
            try:
                rows = list(pool.imap(lambda text: self._score(*text), cut))
            finally:
                self.server.given_up.set()
        return [(sum(value for value, _ in row), all(value >= best for value, best in row)) for row in rows]

    def _score(self, prompt: Sequence[int], completion: Sequence[int]) -> list[tuple[float, float]]:
        """For each token of the completion, its log-probability and that of the most likely token."""
        body = {
            "model": self.checkpoint,
            "prompt": [*prompt, *completion],
            "max_tokens": 1,
            "temperature": 0,
            "echo": True,
            "logprobs": 1,
        }
        answer = self.server.post(body)
        own = slice(len(prompt), len(prompt) + len(completion))
        try:
            logprobs = answer["choices"][0]["logprobs"]
            values = [float(value) for value in logprobs["token_logprobs"][own]]
            best = [max(map(float, row.values())) for row in logprobs["top_logprobs"][own]]
            if len(values) != len(completion) or len(best) != len(values) or not all(map(math.isfinite, values)):
                raise ValueError
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError):
            raise KkwarmError(
                f"{self.server.url} returns no log-probabilities of a prompt", hint="vLLM's and SGLang's servers do"
            ) from None
        return list(zip(values, best, strict=True))

    def close(self) -> None:
        self.server.client.close()

    # -- one request -------------------------------------------------------------------------------------------------

    def _complete(self, request: Request, sampling: Sampling) -> list[Completion]:
        """All samples of a request; a server that returns fewer choices is called again."""
        count = len(request.samples)
        if sampling.temperature <= 0 and count > 1:  # they are equal, and vLLM refuses several greedy samples
            return self._complete(replace(request, samples=request.samples[:1]), sampling) * count
        completions: list[Completion] = []
        empty_answers = 0
        while len(completions) < count:
            rest = replace(request, samples=request.samples[len(completions) :])
            if empty_answers and self.server.given_up.wait(self.server.backoff(empty_answers)):
                break  # another call has failed for good
            new = self._call(rest, sampling, attempt=empty_answers)
            empty_answers = 0 if new else empty_answers + 1
            if empty_answers >= self.server.tries:
                raise KkwarmError(
                    f"{self.server.url} returned no choices for {request.key}, {empty_answers} times",
                    hint="see the server's log; finished samples are kept",
                )
            completions += new
        if len(completions) < count:
            raise KkwarmError(f"{self.server.url}: {request.key} was given up")
        return completions

    def _call(self, request: Request, sampling: Sampling, attempt: int) -> list[Completion]:
        max_tokens = request.limit(sampling)
        if request.chat is not None:
            content: dict[str, Any] = request_chat(request.chat)
        else:
            prompt, max_tokens = self._fit_context(request.prompt, max_tokens)
            content = {"prompt": prompt}
        if max_tokens <= 0:
            return [Completion("", 0, "length", ())] * len(request.samples)
        body: dict[str, Any] = content | {
            "model": self.checkpoint,
            "n": 1 if self._single_choice else len(request.samples),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            self._limit_name: max_tokens,
            "seed": engine_seed(sampling.seed, request.key, request.samples[0]) + _SEED_STEP * attempt,
        }
        cut_locally, use_extensions = self._cut_locally, self._use_extensions
        if request.stop and not cut_locally:
            body["stop"] = list(request.stop)[:4]
        body = {name: value for name, value in body.items() if name not in self._refused}
        try:
            answer = self.server.post(body | (_extensions(sampling) if use_extensions else {}))
        except LimitRenamed:
            self._limit_name = "max_completion_tokens"
            return self._call(request, sampling, attempt)
        except ParameterRefused as err:
            self._refused.add(err.name)
            self._cut_locally = self._cut_locally or err.name == "stop"
            return self._call(request, sampling, attempt)
        except UnsupportedParameter:
            if (sampling.top_k, sampling.min_p, sampling.repetition_penalty) != (0, 0.0, 1.0):
                message = f"{self.server.url} does not support top_k, min_p and repetition_penalty"
                raise KkwarmError(message, hint="leave them out, or use another server") from None
            # Without the extensions, a server removes the stop string silently: cut the text here instead.
            self._use_extensions, self._cut_locally = False, True
            return self._call(request, sampling, attempt)
        except SingleChoiceOnly:
            self._single_choice = True
            return self._call(request, sampling, attempt)
        if request.chat is not None and isinstance(answer.get("choices"), list):
            answer = {**answer, "choices": [flatten_choice(choice) for choice in answer["choices"]]}
        choices = self._read_choices(answer)[: len(request.samples)]
        if request.stop and not cut_locally and any(_may_lack_stop(c, request.stop) for c in choices):
            self._cut_locally = True
            return self._call(request, sampling, attempt)
        usage = answer.get("usage")
        n_tokens = usage.get("completion_tokens") if isinstance(usage, Mapping) and len(choices) == 1 else None
        if type(n_tokens) is not int or not 0 <= n_tokens < 2**31:
            n_tokens = None
        completions = [_make_completion(choice, request.stop, n_tokens) for choice in choices]
        reasoning = flatten_usage(usage) if n_tokens is not None else None
        return [replace(c, reasoning_tokens=reasoning) if c.reasoning else c for c in completions]

    def _read_choices(self, answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The choices by index, up to the first incomplete one: the next call continues with its seed."""
        choices = answer.get("choices")
        if not isinstance(choices, list) or not all(isinstance(c, Mapping) for c in choices):
            raise KkwarmError(f"{self.server.url} answers with no list of choices", hint="is it OpenAI-compatible?")
        if any(not isinstance(c.get("text", 0), str | None) for c in choices):
            raise KkwarmError(
                f"{self.server.url} answers with choices that have no text",
                hint="does it support /completions, or chat only?",
            )
        if all(type(c.get("index")) is int for c in choices):
            choices.sort(key=lambda c: int(c["index"]))
        return list(takewhile(lambda c: c.get("finish_reason") not in _ABORTED, choices))

    def _fit_context(self, prompt: str, max_tokens: int) -> tuple[str | list[int], int]:
        """The prompt as it is sent, and the number of tokens that may follow it."""
        if self.tokenizer is None:
            return prompt, max_tokens
        (ids,) = token_ids(self.tokenizer, [prompt])
        return ids, max_tokens if self.context is None else min(max_tokens, self.context - len(ids))


def _extensions(sampling: Sampling) -> dict[str, Any]:
    """vLLM's parameters, with those of the sampling."""
    values = {"min_p": sampling.min_p, "repetition_penalty": sampling.repetition_penalty}
    return _EXTENSIONS | values | {"top_k": sampling.top_k or -1}


def _read_url(text: str) -> tuple[str, dict[str, Any]]:
    """The address for messages, without secrets, and httpx's options for it. Parameters of the address, such as a key,
    are sent with every call.
    """
    try:
        url = httpx.URL(text)
        if not url.host:
            raise ValueError("it names no host")
    except (httpx.InvalidURL, ValueError, TypeError) as err:
        raise KkwarmError(f"{redact(shorten(text))} is no address of a server: {err}") from None
    for secret in (url.password, *url.params.values()):
        remember_secret(secret)
    base = url.copy_with(query=None)
    return redact(str(url)), {"base_url": base, "params": url.params}


def _make_completion(choice: Mapping[str, Any], stop: Sequence[str], n_tokens: int | None) -> Completion:
    """:param n_tokens: the call's token count, if it has one choice; a choice's token ids take precedence."""
    text = str(choice.get("text") or "")
    stopped_by = choice.get("stop_reason")
    if isinstance(stopped_by, str) and stopped_by and not text.endswith(stopped_by):
        text += stopped_by
    ids = choice.get("token_ids")
    tokens = tuple(ids) if isinstance(ids, list) and all(type(t) is int for t in ids) else None
    cut = cut_at_stop(text, stop)
    if cut is not None:
        return Completion(cut, len(tokens) if tokens else n_tokens, "stop", tokens, choice.get("reasoning"))
    reason = parse_finish_reason(choice.get("finish_reason"))
    n = len(tokens) if tokens is not None else n_tokens
    return Completion(text, n, reason, tokens, choice.get("reasoning"))


def _may_lack_stop(choice: Mapping[str, Any], stop: Sequence[str]) -> bool:
    """Whether the server may have removed a stop string: the text stopped without one, and no reason is given."""
    has_stop = cut_at_stop(str(choice.get("text") or ""), stop) is not None
    return choice.get("finish_reason") == "stop" and not has_stop and "stop_reason" not in choice


def request_chat(prompt: ChatPrompt) -> dict[str, Any]:
    """The parameters that carry a conversation. Those that continue the model's turn are vLLM's and SGLang's."""
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
    body: dict[str, Any] = {"messages": messages}
    if prompt.template_args:
        body["chat_template_kwargs"] = dict(prompt.template_args)
    if prompt.prefix:
        messages.append({"role": "assistant", "content": prompt.prefix})
        body |= {"add_generation_prompt": False, "continue_final_message": True}
    return body


def flatten_choice(choice: Any) -> Any:
    """A choice of a chat as one of a completion: ``text``, and ``reasoning`` where the server has separated it.

    A choice without a message is returned unchanged.
    """
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        return choice
    text, thought = _read_content(message.get("content"))
    for name in ("reasoning_content", "reasoning"):  # vLLM's, DeepSeek's; OpenRouter's, Ollama's
        if isinstance(value := message.get(name), str) and value:
            thought = value
            break
    rest = {name: value for name, value in choice.items() if name != "message"}
    return {**rest, "text": text} | ({"reasoning": thought} if thought else {})


def _read_content(content: Any) -> tuple[Any, str]:
    """Text and reasoning of a message's content, which is a text or (Mistral) a list of parts."""
    if not isinstance(content, list):
        return content, ""
    text, thought = "", ""
    for part in content:
        if isinstance(part, Mapping) and part.get("type") == "thinking":
            inner = part.get("thinking")
            thought += inner if isinstance(inner, str) else str(_read_content(inner)[0] or "")
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            text += part["text"]
    return text, thought


def flatten_usage(usage: Any) -> int | None:
    """The number of tokens of the reasoning, where the server counts them."""
    details = usage.get("completion_tokens_details") if isinstance(usage, Mapping) else None
    tokens = details.get("reasoning_tokens") if isinstance(details, Mapping) else None
    return tokens if type(tokens) is int and 0 <= tokens < 2**31 else None
