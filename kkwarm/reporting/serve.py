"""Serves the page of runs on the loopback address. A run in progress is read again when its files change."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
from collections.abc import Sequence
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from kkwarm.analysis.build import build_report
from kkwarm.analysis.load import WITH_SAMPLES, load
from kkwarm.analysis.runs import find_runs
from kkwarm.errors import KkwarmError
from kkwarm.reporting.html import page_pieces, style
from kkwarm.reporting.labels import labels_text, with_interval
from kkwarm.schema.report import RunSummary

HOST = "127.0.0.1"
POLL = 3  # seconds between two looks for changes
_ROUTE = re.compile(r"/(run|page|state)/([0-9a-f]{12}|index)")
SHOWN = (*WITH_SAMPLES, "study")


class Pages:
    """The pages of the runs in folders. Only runs that were found there can be asked for, by a hash of their path."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self._lock = threading.Lock()
        self._built: dict[str, tuple[str, bytes]] = {}

    def runs(self) -> dict[str, RunSummary]:
        """The runs that have a page, by key."""
        found, _ = find_runs(self.folders)
        runs = sorted((r for r in found if r.kind in SHOWN), key=lambda r: r.created, reverse=True)
        return {hashlib.sha256(r.path.encode()).hexdigest()[:12]: r for r in runs}

    def state(self, key: str) -> str | None:
        """A text that changes when the page does; None where there is no such run."""
        runs = self.runs()
        if key == "index":
            stamps = [f"{k}:{r.state}:{_stamp(Path(r.path))}" for k, r in runs.items()]
        elif key in runs:
            stamps = [_stamp(Path(runs[key].path))]
        else:
            return None
        return hashlib.sha256("|".join(stamps).encode()).hexdigest()[:16]

    def page(self, key: str) -> bytes | None:
        """The page of a run; None where there is no such run. Where a run cannot be shown yet, it says why."""
        state = self.state(key)
        if state is None:
            return None
        with self._lock:  # one page is built at a time
            if self._built.get(key, ("", b""))[0] != state:
                text = self._index() if key == "index" else self._report(Path(self.runs()[key].path))
                self._built[key] = state, text.encode("utf-8", "replace")
            return self._built[key][1]

    def _report(self, path: Path) -> str:
        try:
            report = build_report(load([path]))
            return "".join(page_pieces(report, [path]))
        except KkwarmError as err:
            return _document(path.name, f"<h1>{escape(path.name)}</h1><p>{escape(str(err))}</p>")

    def _index(self) -> str:
        rows = []
        for key, run in self.runs().items():
            results = ", ".join(f"{b} {with_interval(a, run.ci.get(b))}" for b, a in run.accuracy.items())
            facts = (run.kind, run.state, run.created[:16].replace("T", " "), labels_text(run.labels), results)
            cells = "".join(f"<td>{escape(fact)}</td>" for fact in facts)
            link = f'<a href="/run/{key}" target="_top">{escape(run.path)}</a>'
            rows.append(f'<tr><th scope="row">{link}</th>{cells}</tr>')
        heads = "".join(f"<th>{h}</th>" for h in ("kind", "state", "created", "labels", "percent ± 95% interval"))
        body = "".join(rows)
        table = f'<table class="plain evals"><thead><tr><th>run</th>{heads}</tr></thead><tbody>{body}</tbody></table>'
        none = "<p>There is no run here yet.</p>"
        return _document("Runs", f"<h1>Runs</h1>{f'<div class=scroll>{table}</div>' if rows else none}")


def _stamp(path: Path) -> str:
    """Times and sizes of the files from which a run's page is made."""
    files = [path / "manifest.json", path / "samples.jsonl", *sorted(path.glob("steps/*/manifest.json"))]
    files += sorted(path.glob("steps/*/log.jsonl"))
    stamps = []
    for file in files:
        try:
            at = file.stat()
        except OSError:
            continue
        stamps.append(f"{at.st_mtime_ns}-{at.st_size}")
    return ",".join(stamps)


def _document(title: str, body: str) -> str:
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f'content="{policy}"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{style()}</style><main>{body}</main></html>"
    )


def _shell(key: str, nonce: str) -> str:
    """The page around a run's page. It looks for changes, and loads the run's page again where it was."""
    script = f"""
const frame = document.querySelector("iframe");
let known = null, at = 0;
frame.addEventListener("load", () => frame.contentWindow.scrollTo(0, at));
async function look() {{
  try {{
    const {{ state }} = await (await fetch("/state/{key}")).json();
    if (known !== null && state !== known) {{
      at = frame.contentWindow.scrollY;
      frame.contentWindow.location.reload();
    }}
    known = state;
  }} catch {{}}
  setTimeout(look, {POLL * 1000});
}}
look();"""
    back = '<a href="/">all runs</a>' if key != "index" else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>kkwarm view</title>'
        '<meta name="viewport" content="width=device-width"><style>:root { color-scheme: light dark } '
        "html, body { margin: 0; height: 100% } body { display: flex; flex-direction: column } "
        "a { font: 14px system-ui; padding: .3rem 1.5rem } iframe { flex: 1; border: 0 }</style>"
        f'{back}<iframe src="/page/{key}" title="report"></iframe><script nonce="{nonce}">{script}</script></html>'
    )


def make_server(pages: Pages, port: int) -> ThreadingHTTPServer:
    """A server on the loopback address; port 0 takes a free one.

    :raises KkwarmError: the port is in use.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, pages)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Prints nothing."""

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as err:
        hint = "use another --port, or 0 for a free one"
        raise KkwarmError(f"port {port} cannot be used: {err}", hint=hint) from None


def _answer(request: BaseHTTPRequestHandler, pages: Pages) -> None:
    host = request.headers.get("Host", "")
    port = request.server.server_port  # type: ignore[attr-defined]
    if host not in (f"{HOST}:{port}", f"localhost:{port}"):  # another site's name that leads here (DNS rebinding)
        _send(request, 403, b"wrong host", "text/plain")
        return
    path = request.path.partition("?")[0]
    match = _ROUTE.fullmatch("/run/index" if path == "/" else path)
    kind, key = match.groups() if match else ("", "")
    state = pages.state(key) if match else None
    if state is None:
        _send(request, 404, b"not found", "text/plain")
        return
    if kind == "state":
        _send(request, 200, json.dumps({"state": state}).encode(), "application/json")
        return
    if kind == "run":
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; connect-src 'self'; "
            "frame-src 'self'; frame-ancestors 'none'"
        )
        _send(request, 200, _shell(key, nonce).encode(), "text/html; charset=utf-8", policy)
        return
    page = pages.page(key)
    _send(request, 200, page or b"", "text/html; charset=utf-8", "frame-ancestors 'self'")


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, kind: str, policy: str = "") -> None:
    request.send_response(status)
    headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
    headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    headers |= {"Content-Security-Policy": policy} if policy else {}
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
