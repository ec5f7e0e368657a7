"""Servers that offer only /chat/completions: messages, reasoning, token counts, refused parameters, clear errors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_openai import Reply, Server

from kkwarm import plugins
from kkwarm.backends.base import Request
from kkwarm.backends.openai import OpenAIBackend
from kkwarm.errors import KkwarmError
from kkwarm.evaluation import bench
from kkwarm.schema.settings import BenchConfig, ConfigError, DistillConfig
from kkwarm.train.distillation import distill
from kkwarm.types import ChatPrompt, Completion, Message, Sampling, Status

SAMPLING = Sampling(0.7, 0.9, 16)
HELLO = ChatPrompt((Message("system", "Be brief."), Message("user", "Hello?")))


class ChatServer(Server):
    """Knows /chat/completions only, and remembers the paths and keys of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.message: dict[str, Any] = {"content": "The answer is 4.", "reasoning_content": "Is it 5? No."}
        self.paths: list[str] = []
        self.refused: dict[str, str] = {}  # parameter -> message of the refusal
        self.answer = self._answer
        handler = self.http.RequestHandlerClass
        post, outer = handler.do_POST, self  # type: ignore[attr-defined]

        def do_POST(handler: Any) -> None:
            outer.paths.append(handler.path)
            post(handler)

        handler.do_POST = do_POST  # type: ignore[attr-defined]

    def _answer(self, body: dict[str, Any], call: int) -> Reply:
        if self.paths[-1] != "/v1/chat/completions":
            return 404, {"error": {"message": "Not Found"}}
        for name, message in self.refused.items():
            if name in body:
                return 400, {"error": {"message": message}}
        choice = {"index": 0, "message": {"role": "assistant", **self.message}, "finish_reason": "stop"}
        usage = {"completion_tokens": 12, "completion_tokens_details": {"reasoning_tokens": 7}}
        return 200, {"choices": [choice], "usage": usage}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    made = ChatServer()
    yield made
    made.http.shutdown()
    made.http.server_close()


def opened(server: Server, **options: Any) -> OpenAIBackend:
    return OpenAIBackend.connect("tiny-model", base_url=server.url, pause=0.001, **options)


def asked(backend: OpenAIBackend, chat: ChatPrompt = HELLO, stop: tuple[str, ...] = ()) -> list[Completion]:
    return [c for _, _, c in backend.generate([Request("k", "", (0, 1), stop, chat=chat)], SAMPLING)]


def test_messages_go_out_and_reasoning_comes_back(server: ChatServer) -> None:
    done = asked(opened(server, concurrency=1))
    expected = Completion("The answer is 4.", 12, "stop", None, "Is it 5? No.", 7)
    assert done == [expected, expected]
    first = server.calls[0]
    assert first["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
    assert "prompt" not in first and "continue_final_message" not in first and first["n"] == 1
    assert len({call["seed"] for call in server.calls}) == 2  # one call for each sample, so that its tokens are counted


@pytest.mark.parametrize(
    "message",
    [
        {"content": "It is 4.", "reasoning": "Is it 5?"},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Is it 5?"}]}, {"text": "It is 4."}]},
    ],
)
def test_forms_of_reasoning(server: ChatServer, message: dict[str, Any]) -> None:
    server.message = message
    assert {(c.text, c.reasoning) for c in asked(opened(server))} == {("It is 4.", "Is it 5?")}


def test_the_beginning_of_an_answer_is_continued(server: ChatServer) -> None:
    asked(opened(server), ChatPrompt(HELLO.messages, "<think>", {"enable_thinking": False}))
    body = server.calls[0]
    assert body["messages"][-1] == {"role": "assistant", "content": "<think>"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


def test_parameters_that_a_server_lacks(server: ChatServer) -> None:
    server.refused = {
        "top_k": "Unrecognized request argument supplied: top_k",
        "max_tokens": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        "seed": "Unsupported parameter: 'seed'",
        "stop": "Unsupported parameter: 'stop' is not supported with this model.",
    }
    server.message = {"content": "4 END and more"}
    assert [c.text for c in asked(opened(server, concurrency=1), stop=("END",))] == ["4 END", "4 END"]
    assert server.calls[-1]["max_completion_tokens"] == 16
    assert not {"max_tokens", "seed", "stop", "top_k"} & server.calls[-1].keys()


@pytest.mark.parametrize(
    ("refused", "prompt", "hint"),
    [
        (
            {"continue_final_message": "Unrecognized request argument supplied: continue_final_message"},
            ChatPrompt(HELLO.messages, "<think>"),
            "the protocol begins the model's answer",
        ),
        ({"temperature": "'temperature' does not support 0.7, unsupported value"}, HELLO, "--temperature 1"),
        ({"messages": "System role not supported by the template"}, HELLO, "--system ''"),
        ({"messages": "default chat template is no longer allowed"}, HELLO, "--chat off"),
    ],
)
def test_refusals_say_what_to_do(server: ChatServer, refused: dict[str, str], prompt: ChatPrompt, hint: str) -> None:
    server.refused = refused
    with pytest.raises(KkwarmError) as caught:
        asked(opened(server), prompt)
    assert hint in caught.value.hint


def test_busy_servers_are_asked_again(server: ChatServer) -> None:
    server.answer = lambda body, call: (
        (429, {"error": "slow down"}, {"Retry-After": "0.01"}) if call < 3 else server._answer(body, call)
    )
    assert len(asked(opened(server, concurrency=1))) == 2 and len(server.calls) == 4


# -- bench and distill -------------------------------------------------------------------------------------------------


def config(server: Server, **values: Any) -> BenchConfig:
    return BenchConfig(backend="openai", base_url=server.url, limit=2, samples=2, max_tokens=16, **values)


def test_bench_on_a_chat_server(server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    run = bench("tiny-model", ["mini_mcq"], tmp_path / "r", config(server, protocol="plain"), progress=False)
    samples = list(run.samples())
    assert len(samples) == 4 and {s.completion.reasoning for s in samples} == {"Is it 5? No."}
    assert {(s.completion.n_tokens, s.completion.reasoning_tokens) for s in samples} == {(12, 7)}
    assert run.manifest.config["prompting"]["mini_mcq"] == {"chat": True, "api": "chat"}
    assert run.manifest.results["benchmarks"]["mini_mcq"]["reasoning_rate"] == 1.0
    assert set(server.paths) == {"/v1/chat/completions"}
    assert "sk-secret" not in (tmp_path / "r" / "manifest.json").read_text()

    from kkwarm.scoring.rescore import rescore
    from kkwarm.scoring.verify_run import verify_run

    assert not rescore(run, plugins.registry())[0].flips
    findings = {f.what: f.state.value for f in verify_run(run, plugins.registry())}
    assert findings["data: mini_mcq"] == findings["prompts: mini_mcq"] == "agrees"
    server.message = {"content": None, "reasoning_content": "Is it 5? The answer is (A)."}  # never an answer
    run = bench("tiny-model", ["mini_mcq"], tmp_path / "n", config(server, protocol="plain"), progress=False)
    assert {s.verdict.status for s in run.samples()} == {Status.MALFORMED}


def test_raw_text_needs_the_other_endpoint(server: ChatServer, tmp_path: Path) -> None:
    with pytest.raises(KkwarmError, match="has no /completions") as caught:
        bench("tiny-model", ["mini_mcq"], tmp_path / "r", config(server), progress=False)
    assert "--api chat" in caught.value.hint
    server.message = {"content": "<answer> A </answer>", "reasoning_content": "It is A. "}
    chat = config(server, api="chat", protocol="paper")
    run = bench("tiny-model", ["mini_mcq"], tmp_path / "r", chat, progress=False)
    assert {s.completion.text for s in run.samples()} == {"It is A. </think><answer> A </answer>"}
    assert server.calls[-1]["messages"][-1]["content"] == "<think>"
    assert not {Status.MALFORMED, Status.UNPARSED} & {s.verdict.status for s in run.samples()}


def test_contradictory_options() -> None:
    with pytest.raises(ConfigError, match="api is for backend openai"):
        BenchConfig(api="chat")
    from kkwarm.protocols import PAPER, PromptOptions, make_renderer

    with pytest.raises(KkwarmError, match="--api completions sends text"):
        make_renderer(PAPER, None, PromptOptions("on"), api="completions")
    with pytest.raises(KkwarmError, match="--api chat sends messages"):
        make_renderer(PAPER, None, PromptOptions("off"), api="chat")


def test_a_chat_server_is_a_teacher(server: ChatServer, tmp_path: Path) -> None:
    server.message = {"content": "The answer is A.", "reasoning_content": "It is A."}
    settings = DistillConfig(domain="mini_mcq", teacher="tiny-model", n=2, protocol="plain", max_tokens=16)
    distill(settings, tmp_path / "d", base_url=server.url, progress=False)
    rows = [json.loads(line) for line in (tmp_path / "d" / "traces.jsonl").read_text().splitlines()]
    assert len(rows) == 2 and {(r["reasoning"], r["answer"]) for r in rows} == {("It is A.", "The answer is A.")}
