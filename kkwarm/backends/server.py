"""A server that is asked over HTTP: what is tried again, for how long, and what each failure means to its user."""

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

__all__ = ["One", "Refused", "Server"]

log = logging.getLogger(__name__)
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_SAID = 30.0  # seconds between two words about waiting


class Refused(Exception):
    """The server does not know a parameter."""


class One(Exception):
    """The server draws one choice at a time."""


@dataclass(slots=True)
class Server:
    """An OpenAI-compatible server at `url`, asked for `model`.

    :param tries: attempts for each call, with growing pauses from `pause` seconds on, before giving up.
    :param timeout: seconds in which a call must be answered; after two that were not, the call has failed.
    :param extensions: parameters that not every server knows.
    :param given_up: set when another call has failed for good: no use waiting.
    """

    url: str
    model: str
    client: httpx.Client
    tries: int
    timeout: float
    pause: float
    extensions: Sequence[str]
    given_up: threading.Event = field(default_factory=threading.Event)
    listed: bool = field(default=False, init=False)  # among the server's models
    _said_at: float = field(default=float("-inf"), init=False)

    def describe(self) -> dict[str, Any]:
        """What its list of models says of ours; empty where it has no such list.

        :raises KkwarmError: nobody answers, the key is refused, or the model is not served.
        """
        try:
            reply = self.client.get("/models", timeout=min(self.timeout, 60.0))
        except httpx.HTTPError as err:
            raise KkwarmError(
                f"nobody answers at {self.url}: {type(err).__name__}: {err}", hint="is the server up?"
            ) from None
        if reply.status_code in (401, 403) or reply.is_redirect:
            raise self.failure(reply, {})
        try:
            told = {str(m["id"]): m for m in reply.json()["data"]} if reply.status_code == 200 else {}
        except (ValueError, KeyError, TypeError):
            told = {}
        if told and self.model not in told:  # a server without /models is asked all the same
            raise unknown_name(f"model at {self.url}", self.model, list(told))
        self.listed = bool(told)
        return dict(told.get(self.model, {}))

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        """One call, repeated with growing pauses while the server is busy, failing or cutting the answer short."""
        last, late = "", 0
        for attempt in range(self.tries):
            wait = self.patience(attempt)
            try:
                reply = self.client.post("/completions", json=body)
            except httpx.ReadTimeout:
                last, late = f"no answer within {self.timeout:g} s", late + 1
                if late == 2:
                    raise KkwarmError(
                        f"{self.url} gave {last}, twice",
                        hint="what came is kept: see the server's log; if it is only slow, --engine timeout=3600",
                    ) from None
            except httpx.HTTPError as err:
                last = f"{type(err).__name__}: {err}"
            else:
                if reply.status_code == 200:
                    answer = _document(reply)
                    if answer is not None and not answer.get("error"):
                        return answer
                    last = _said(reply) if answer else "the answer is no JSON object, or was cut short"
                elif reply.status_code in _AGAIN:
                    last = f"{reply.status_code} {_said(reply)}"
                    wait = max(wait, _retry_after(reply))
                else:
                    raise self.failure(reply, body)
            if attempt + 1 < self.tries:
                self._say(f"{last}; again in {wait:.0f} s", wait)
                if self.given_up.wait(wait):
                    break  # another call has failed for good
        raise KkwarmError(
            f"{self.url} failed {self.tries} times: {last}",
            hint="what came is kept: start again when the server is well; if it was busy, with --engine concurrency=4",
        )

    def patience(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt`, from 0 on; drawn, so that calls do not come back together."""
        longest: float = min(self.pause * 2**attempt, 60.0)
        return longest * random.uniform(0.5, 1.0)

    def _say(self, text: str, wait: float) -> None:
        """Says now and then why nothing seems to happen."""
        now = time.monotonic()
        if wait >= 5 and now - self._said_at > _SAID:
            self._said_at = now
            log.warning("%s: %s", self.url, text)

    def failure(self, reply: httpx.Response, body: Mapping[str, Any]) -> Exception:
        """What an answer other than 200 means, where asking again would not help."""
        said, status = _said(reply), reply.status_code
        if status in (400, 422):
            extended = [name for name in self.extensions if name in body]
            if extended and re.search("|".join(["unrecognized", "extra", *extended]), said, re.IGNORECASE):
                return Refused(said)
            if body.get("n", 1) > 1 and re.search(r"\bn\b|\bchoices?\b", said):
                return One(said)
            hint = "lower --max-tokens" if "context" in said or "max_tokens" in said else ""
            return KkwarmError(f"{self.url} refuses the request: {said}", hint=hint)
        if status in (401, 403):
            return KkwarmError(f"{self.url} refuses the key ({status}: {said})", hint="set OPENAI_API_KEY")
        if reply.is_redirect:
            target = reply.headers["location"].removesuffix("/models").removesuffix("/completions")
            return KkwarmError(f"{self.url} redirects elsewhere ({status})", hint=f"--base-url {target}")
        if status == 404 and self.listed and "model" not in said:
            return KkwarmError(f"{self.url} has no /completions (404: {said})", hint="does it have chat only?")
        if status == 404:
            hint = "see its /models; an address mostly ends in /v1"
            return KkwarmError(f"{self.url} does not serve {self.model!r} (404: {said})", hint=hint)
        return KkwarmError(f"{self.url} answers {status}: {said}", hint="is it an OpenAI-compatible server?")


def _document(reply: httpx.Response) -> dict[str, Any] | None:
    try:
        body = reply.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _said(reply: httpx.Response) -> str:
    body = _document(reply)
    found: Any = reply.text
    if body is not None:
        found = next((body[name] for name in ("error", "message", "detail") if name in body), body)
        found = found.get("message", found) if isinstance(found, dict) else found
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
