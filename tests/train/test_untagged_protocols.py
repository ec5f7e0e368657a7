"""Distillation, warm-up, RLVR and evaluation by a protocol without tags: the answer is stated in free text."""

import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from test_distill_server import Handler

from kkwarm.plugins import registry
from kkwarm.train import DistillConfig, RlvrConfig, WarmupConfig, distill, rlvr, warmup
from kkwarm.train.traces import read_traces
from kkwarm.types import Completion
from kkwarm.verify import verify


class Untagged(Handler):
    """States the word that was asked for: right where the prompt's length is even."""

    def text(self, prompt: str) -> str:
        return f"the word is {prompt.split()[-1] if len(prompt) % 2 == 0 else 'say'}"


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Untagged)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()


@pytest.mark.slow
def test_the_whole_chain_reads_answers_from_free_text(url: str, tmp_path: Path, base: Path) -> None:
    config = DistillConfig(
        domain="toy", teacher="teacher", protocol="stated", n=24, verified_only=True, api="completions"
    )
    made = distill(config, tmp_path / "traces", base_url=url, progress=False)
    traces = read_traces(made.path)
    assert 0 < len(traces) < 24, "the filter reads the stated answer"
    assert all((t.reasoning, t.answer) == ("the word", t.question.split()[-1]) for t in traces)

    training = WarmupConfig(protocol="stated", learning_rate=1e-2, epochs=30, batch_size=8, threads=1)
    warmed = warmup(base, made.path, tmp_path / "warmed", training, progress=False)
    assert warmed.manifest.prompting["protocols"] == {"toy": "stated"}

    settings = RlvrConfig(
        domain="toy", protocol="stated", examples=16, steps=1, prompts_per_step=4, generations=4, threads=1,
        keep_rollouts=True,
    )  # fmt: skip
    run = rlvr(warmed.path, settings, tmp_path / "rlvr", progress=False)
    rows = [json.loads(line) for line in (run.path / "rollouts.jsonl").read_text().splitlines()]
    reg = registry()
    task = reg.task("toy")
    examples = {e.id: e for e in task.load()}
    pairs = [(examples[r["id"]], Completion(r["completion"], finish_reason=r["finish"])) for r in rows]
    verdicts = verify(reg.verifier("toy"), reg.protocol(task, "stated"), pairs)
    assert [v.status.value for v in verdicts] == [r["status"] for r in rows]
    assert "correct" in {r["status"] for r in rows} and not any("<" in r["completion"] for r in rows)
