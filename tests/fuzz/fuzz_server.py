"""An OpenAI-compatible server that answers with the files of a folder, which a fuzzer has damaged."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["ANSWERS", "FileServer"]

CHOICES: list[dict[str, Any]] = [
    {"index": i, "text": f" thinking </think> <answer> {i} </answer>", "finish_reason": "stop", "logprobs": None,
     "token_ids": [5, 6, 7], "stop_reason": None}
    for i in range(2)
]  # fmt: skip
USAGE = {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15}
# The files of the folder, by name: the answers to GET and POST, and the status and headers of the latter.
ANSWERS: dict[str, Any] = {
    "models.json": {"object": "list", "data": [{"id": "served", "root": "/models/served", "max_model_len": 4096}]},
    "completions.json": {"id": "cmpl-1", "object": "text_completion", "choices": CHOICES, "usage": USAGE},
    "error.json": {"error": {"message": "the server is busy", "type": "busy", "code": 503}},
    "head.json": {"status": 200, "models_status": 200, "headers": {"Retry-After": "0", "Location": "/v2/models"}},
}


class FileServer:
    """Serves the folder `folder` at `url`."""

    def __init__(self) -> None:
        self.folder = Path()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.answer("models.json", "models_status")

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer("completions.json", "status")

            def answer(self, name: str, key: str) -> None:
                head = read_head(outer.folder / "head.json")
                status = head.get(key)
                status = status if type(status) is int and 200 <= status < 600 else 200
                data = (outer.folder / (name if status == 200 else "error.json")).read_bytes()
                self.send_response(status)
                headers = head.get("headers")
                for header, value in headers.items() if isinstance(headers, dict) else ():
                    with contextlib.suppress(UnicodeEncodeError):
                        self.send_header(header, str(value)[:200].replace("\n", " ").replace("\r", " "))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(data)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


def read_head(path: Path) -> dict[str, Any]:
    """The damaged file's object; empty where it is none."""
    try:
        head = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return head if isinstance(head, dict) else {}
