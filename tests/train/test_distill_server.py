"""A teacher behind an OpenAI-compatible server: its completions become traces, wrong ones are filtered on request."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kkwarm.train import DistillConfig, distill
from kkwarm.train.traces import read_traces


class Handler(BaseHTTPRequestHandler):
    """Works, and gives the word that was asked for: right where the prompt's length is even."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._reply({"data": [{"id": "teacher"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        choices = []
        for i, prompt in enumerate(prompts):
            choices += [{"index": i, "text": self.text(prompt), "finish_reason": "stop"}] * body.get("n", 1)
        self._reply({"choices": choices, "usage": {"completion_tokens": 8 * len(choices)}})

    def text(self, prompt: str) -> str:
        word = prompt.removesuffix(" <think>").split()[-1] if len(prompt) % 2 == 0 else "say"
        return f" the word is {word} </think> <answer> {word} </answer>"

    def _reply(self, document: object) -> None:
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()


def test_a_servers_completions_become_traces(url: str, tmp_path: Path) -> None:
    config = DistillConfig(domain="toy", teacher="teacher", n=10, samples=2)
    run = distill(config, tmp_path / "r", base_url=url, progress=False)
    traces = read_traces(tmp_path / "r")
    assert run.done
    assert len(traces) == len(list(run.samples())) == 20
    assert all(t.reasoning == f"the word is {t.answer}" for t in traces)
    assert len({t.id for t in traces}) == 20


def test_only_verified_ones(url: str, tmp_path: Path) -> None:
    run = distill(
        DistillConfig(domain="toy", teacher="teacher", n=10, verified_only=True),
        tmp_path / "r",
        base_url=url,
        progress=False,
    )
    traces = read_traces(tmp_path / "r")
    assert 0 < len(traces) < 10
    assert all(t.answer == t.question.split()[-1] for t in traces)
    assert sum(s.verdict.correct for s in run.samples()) == len(traces)
