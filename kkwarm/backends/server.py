"""The HTTP side of an OpenAI-compatible server: retries, and what each failure means for the user."""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from kkwarm.errors import KkwarmError, unknown_name
from kkwarm.json_text import parse_json
from kkwarm.redaction import redact

log = logging.getLogger(__name__)
_HTTP_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError)
_RETRIED_STATUSES = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_LOG_INTERVAL = 30.0  # seconds between two log messages about waiting


class UnsupportedParameter(Exception):
    """The server refuses a parameter that it does not support."""


class LimitRenamed(Exception):
    """The server takes ``max_completion_tokens``, not ``max_tokens``."""


class ParameterRefused(Exception):
    """The server refuses the parameter `name`, which can be left out."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class SingleChoiceOnly(Exception):
    """The server generates one choice per call."""


@dataclass(slots=True)
class Server:
    """An OpenAI-compatible server at `url` (without secrets, for messages) that serves `model`.

    :param tries: attempts for each call, with growing pauses of at first `pause` seconds.
    :param timeout: seconds in which a call must be answered; after two timeouts the call has failed.
    :param extensions: parameters that not every server supports.
    :param given_up: set when another call has failed for good, so that waiting is pointless.
    """

    url: str
    model: str
    client: httpx.Client
    tries: int
    timeout: float
    pause: float
    extensions: Sequence[str]
    given_up: threading.Event = field(default_factory=threading.Event)
    listed: bool = field(default=False, init=False)  # the model is in the server's list
    _logged_at: float = field(default=float("-inf"), init=False)

    def describe_model(self) -> dict[str, Any]:
        """The server's description of the model; empty if the server lists no models."""
        try:
            reply = self.client.get("/models", timeout=min(self.timeout, 60.0))
        except _HTTP_ERRORS as err:
            raise KkwarmError(
                f"no server responds at {self.url}: {type(err).__name__}: {redact(str(err))}",
                hint="is the server running?",
            ) from None
        if reply.status_code in (401, 403) or reply.is_redirect:
            raise self.to_exception(reply, {})
        listed = (_json_object(reply) or {}).get("data") if reply.status_code == 200 else None
        rows = listed if isinstance(listed, list) else []
        models = {row["id"]: row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)}
        if models and self.model not in models:  # a server without /models may serve it nevertheless
            raise unknown_name(f"model at {self.url}", self.model, list(models))
        self.listed = bool(models)
        return dict(models.get(self.model, {}))

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        """One call, repeated with growing pauses while the server is busy, fails or truncates its answer."""
        problem, timeouts = "", 0
        path = "/chat/completions" if "messages" in body else "/completions"
        for attempt in range(self.tries):
            wait = self.backoff(attempt)
            try:
                reply = self.client.post(path, json=body)
            except httpx.ReadTimeout:
                problem, timeouts = f"no answer within {self.timeout:g} s", timeouts + 1
                if timeouts == 2:
                    raise KkwarmError(
                        f"{self.url} gave {problem}, twice",
                        hint="finished samples are kept: see the server's log; if it is only slow, "
                        "--engine timeout=3600",
                    ) from None
            except _HTTP_ERRORS as err:
                problem = f"{type(err).__name__}: {redact(str(err))}"
            else:
                if reply.status_code == 200:
                    answer = _json_object(reply)
                    if answer is not None and not answer.get("error"):
                        return answer
                    problem = _error_text(reply) if answer else "the answer is no JSON object, or was truncated"
                elif reply.status_code in _RETRIED_STATUSES:
                    problem = f"{reply.status_code} {_error_text(reply)}"
                    wait = max(wait, _retry_after(reply))
                else:
                    raise self.to_exception(reply, body)
            if attempt + 1 < self.tries:
                self._log_waiting(f"{problem}; retrying in {wait:.0f} s", wait)
                if self.given_up.wait(wait):
                    break  # another call has failed for good
        raise KkwarmError(
            f"{self.url} failed {self.tries} times: {problem}",
            hint="finished samples are kept: run it again when the server works; if it was busy, with "
            "--engine concurrency=4",
        )

    def backoff(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt` (from 0); random, so that calls are not repeated together."""
        longest: float = min(self.pause * 2**attempt, 60.0)
        return longest * random.uniform(0.5, 1.0)

    def _log_waiting(self, text: str, wait: float) -> None:
        """Logs from time to time why nothing seems to happen."""
        now = time.monotonic()
        if wait >= 5 and now - self._logged_at > _LOG_INTERVAL:
            self._logged_at = now
            log.warning("%s: %s", self.url, text)

    def to_exception(self, reply: httpx.Response, body: Mapping[str, Any]) -> Exception:
        """The exception for an answer other than 200 that repeating the call would not change."""
        text, status = _error_text(reply), reply.status_code
        if (missing := _missing_endpoint(text, status, body)) is not None:
            return KkwarmError(f"{self.url} {missing[0]} ({status}: {text})", hint=missing[1])
        if status in (400, 422):
            if (change := _parameter_problem(text, body)) is not None:
                return change
            extensions = [name for name in self.extensions if name in body]
            if extensions and re.search("|".join(["unrecognized", "extra", *extensions]), text, re.IGNORECASE):
                return UnsupportedParameter(text)
            if body.get("n", 1) > 1 and re.search(r"\bn\b|\bchoices?\b", text):
                return SingleChoiceOnly(text)
            return KkwarmError(f"{self.url} refuses the request: {text}", hint=_refusal_hint(text, body))
        if status in (401, 403):
            return KkwarmError(f"{self.url} refuses the key ({status}: {text})", hint="set OPENAI_API_KEY")
        if reply.is_redirect:
            target = redact(reply.headers.get("location", "")[:200])
            target = target.removesuffix("/models").removesuffix("/completions").removesuffix("/chat")
            return KkwarmError(f"{self.url} redirects elsewhere ({status})", hint=f"--base-url {target}")
        if body and status == 404 and self.listed and "model" not in text:
            chat = "messages" in body
            endpoint, hint = ("/chat/completions", _NO_CHAT) if chat else ("/completions", _NO_TEXT)
            return KkwarmError(f"{self.url} has no {endpoint} (404: {text})", hint=hint)
        if status == 404:
            hint = "see its /models; most addresses end in /v1"
            return KkwarmError(f"{self.url} does not serve {self.model!r} (404: {text})", hint=hint)
        return KkwarmError(f"{self.url} answers {status}: {text}", hint="is it an OpenAI-compatible server?")


_NO_TEXT = "this protocol sends text: use --api chat, or a protocol that uses chat, such as --protocol plain"
_NO_CHAT = "use --api completions, or --chat off"
_REFUSAL = r"unsupported|not support|unrecognized|unknown|not permitted|not allowed|extra"


def _missing_endpoint(text: str, status: int, body: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is missing, and what to do, where a server says that it cannot take text, or cannot take messages."""
    if "prompt" in body and status in (400, 404, 405, 422) and re.search("chat/completions|chat model", text):
        return "supports chat only", _NO_TEXT
    if "messages" in body and status in (400, 404) and re.search("chat template", text, re.IGNORECASE):
        return "has no chat template", _NO_CHAT
    return None


def _parameter_problem(text: str, body: Mapping[str, Any]) -> Exception | None:
    """The exception for a parameter that has another name, or can be left out."""
    if "max_tokens" in body and "max_completion_tokens" in text:
        return LimitRenamed(text)
    for name in ("seed", "stop"):
        if name in body and re.search(rf"\b{name}\b", text) and re.search(_REFUSAL, text, re.IGNORECASE):
            return ParameterRefused(name)
    return None


def _refusal_hint(text: str, body: Mapping[str, Any]) -> str:
    """What a user can do about a refused request."""
    refused = re.search(_REFUSAL, text, re.IGNORECASE)
    if "continue_final_message" in body and (refused or "continue_final_message" in text):
        return "the protocol begins the model's answer, which this server cannot continue: use another --protocol"
    if "chat_template_kwargs" in body and (refused or "chat_template_kwargs" in text):
        return "leave out --chat-template-args"
    if "messages" in body and re.search("system (role|message|prompt)", text, re.IGNORECASE):
        return "leave the system prompt out with --system ''"
    for name in ("temperature", "top_p"):
        if name in text and refused:
            return f"this model has a fixed {name}: --temperature 1 --top-p 1"
    return "lower --max-tokens" if "context" in text or "max_tokens" in text else ""


def _json_object(reply: httpx.Response) -> dict[str, Any] | None:
    try:
        body = parse_json(reply.content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _error_text(reply: httpx.Response) -> str:
    body = _json_object(reply)
    text: Any = reply.text
    if body is not None:
        text = next((body[name] for name in ("error", "message", "detail") if name in body), body)
        text = text.get("message", text) if isinstance(text, dict) else text
    return redact(" ".join(str(text).split()))[:200]  # some servers repeat the key in their answer


def _retry_after(reply: httpx.Response) -> float:
    """Seconds to wait, by the server's header (a number or a date); at most ten minutes."""
    header = reply.headers.get("retry-after", "0")
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), 600.0) if seconds == seconds else 0.0  # NaN is a number, too
