"""The OpenAI-compatible backend against a small real HTTP server that misbehaves as servers do."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kkwarm.backends import open_backend
from kkwarm.backends.base import Request
from kkwarm.backends.openai import OpenAIBackend
from kkwarm.errors import KkwarmError
from kkwarm.types import Completion, Sampling

Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]
SAMPLING = Sampling(0.7, 0.9, 16)


class Server:
    """Answers POST by `answer(body, number of the call)`."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.models: list[dict[str, Any]] = [{"id": "tiny-model"}]
        self.answer: Callable[[dict[str, Any], int], Reply] = lambda body, _: (200, plain(body))
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.reply(200, {"data": outer.models})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.calls.append(body)
                self.reply(*outer.answer(body, len(outer.calls)))

            def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                if "Content-Length" not in (headers or {}):
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # the client waits no longer
                    self.wfile.write(data)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


def plain(body: dict[str, Any], n: int | None = None, **more: Any) -> dict[str, Any]:
    choices = [
        {"text": f" {body['prompt']} {body['seed']} {i}", "finish_reason": "length", "stop_reason": None} | more
        for i in range(n or body["n"])
    ]
    return {"choices": choices, "usage": {"completion_tokens": 7 * len(choices)}}


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def opened(server: Server, **options: Any) -> OpenAIBackend:
    return OpenAIBackend.connect("tiny-model", base_url=server.url, pause=0.001, **options)


def asked(backend: OpenAIBackend, *requests: Request) -> dict[tuple[str, int], Completion]:
    return {(r.key, i): c for r, i, c in backend.generate(requests, SAMPLING)}


def test_many_prompts_at_once(server: Server) -> None:
    got = asked(opened(server, concurrency=4), *[Request(f"k{i}", f"p{i}", (0, 1, 2)) for i in range(20)])
    assert len(got) == 60 and len(server.calls) == 20
    assert all(c.text.startswith(f" p{key[1:]} ") and c.finish_reason == "length" for (key, _), c in got.items())
    first = server.calls[0]
    assert (first["n"], first["temperature"], first["top_p"], first["max_tokens"]) == (3, 0.7, 0.9, 16)
    assert len({call["seed"] for call in server.calls}) == 20


def test_missing_choices_are_requested_again(server: Server) -> None:
    server.answer = lambda body, _: (200, plain(body, n=1))
    got = asked(opened(server), Request("k", "p", (0, 1, 2)))
    assert len(got) == 3 and len({c.text for c in got.values()}) == 3
    assert [call["n"] for call in server.calls] == [3, 2, 1]
    server.answer = lambda body, _: (200, {"choices": []})
    with pytest.raises(KkwarmError, match="no choices for k"):
        asked(opened(server, tries=3), Request("k", "p", (0,)))


@pytest.mark.parametrize(
    "trouble",
    [
        (429, {"error": {"message": "slow down"}}, {"Retry-After": "0.01"}),
        (500, b"oops"),
        (503, b""),
        (200, b'{"choices": [{"te'),
        (200, b'{"choices"', {"Content-Length": "900", "Connection": "close"}),
    ],
)
def test_temporary_failures_are_retried(server: Server, trouble: Reply) -> None:
    def answer(body: dict[str, Any], call: int) -> Reply:
        return trouble if call <= 2 else (200, plain(body))

    if "Content-Length" in (trouble[2] if len(trouble) > 2 else {}):
        # A cut stream: the connection closes before the length that was promised.
        def answer(body: dict[str, Any], call: int) -> Reply:
            return trouble if call <= 1 else (200, plain(body))

    server.answer = answer
    backend = opened(server)
    if len(trouble) > 2 and "Content-Length" in trouble[2]:
        import httpx

        backend.server.client.timeout = httpx.Timeout(1.0)
    assert len(asked(backend, Request("k", "p", (0, 1)))) == 2


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((401, {"error": {"message": "bad key"}}), r"refuses the key \(401: bad key\) \(set OPENAI_API_KEY\)"),
        ((404, {"error": {"message": "no such model"}}), "does not serve 'tiny-model'"),
        ((400, {"error": {"message": "context length is 8"}}), "context length is 8.*lower --max-tokens"),
        ((429, {"error": "busy"}), "failed 3 times: 429 busy.*run it again"),
        ((200, {"strange": 1}), "no list of choices"),
    ],
)
def test_permanent_failures_are_errors(server: Server, reply: Reply, says: str) -> None:
    server.answer = lambda body, _: reply
    with pytest.raises(KkwarmError, match=says):
        asked(opened(server, tries=3), Request("k", "p", (0,)))


def test_the_stop_string_is_kept_by_all_servers(server: Server) -> None:
    request = Request("k", "p", (0,), ("</answer>",))
    whole = "so </think> <answer> 4 </answer>"

    def strict(body: dict[str, Any], _: int) -> Reply:
        """As OpenAI's own: refuses what it does not know, and cuts the stop string off silently."""
        if "return_token_ids" in body:
            return 400, {"error": {"message": "Unrecognized request argument supplied: return_token_ids"}}
        text = whole.partition("</answer>")[0] if body.get("stop") else whole + " And more"
        return 200, {"choices": [{"text": text, "finish_reason": "stop"}]}

    def silent(body: dict[str, Any], _: int) -> Reply:
        """Ignores extensions: whether a stop string was cut off cannot be seen, so it is asked without one."""
        text = whole.partition("</answer>")[0] if body.get("stop") else whole + " And more"
        return 200, {"choices": [{"text": text, "finish_reason": "stop"}]}

    def telling(body: dict[str, Any], _: int) -> Reply:
        """Says which string it cut off."""
        text = whole.partition("</answer>")[0]
        return 200, {"choices": [{"text": text, "finish_reason": "stop", "stop_reason": "</answer>"}]}

    def vllm(body: dict[str, Any], _: int) -> Reply:
        assert body["include_stop_str_in_output"] and body["stop"] == ["</answer>"]
        choice = {"text": whole, "finish_reason": "stop", "stop_reason": "</answer>", "token_ids": [1, 2, 3]}
        return 200, {"choices": [choice]}

    for answer in (strict, silent, telling, vllm):
        server.answer = answer
        (completion,) = asked(opened(server), request).values()
        assert (completion.text, completion.finish_reason) == (whole, "stop"), answer.__name__
    assert completion.n_tokens == 3


def test_the_seed_of_a_sample_does_not_depend_on_the_call(server: Server) -> None:
    server.answer = lambda body, _: (200, plain(body))
    asked(opened(server), Request("k", "p", (0, 1, 2, 3)))
    asked(opened(server), Request("k", "p", (1, 3)))
    whole, *parts = sorted(server.calls, key=lambda call: (-call["n"], call["seed"]))
    assert (whole["n"], [p["n"] for p in parts]) == (4, [1, 1])
    assert [p["seed"] - whole["seed"] for p in parts] == [1, 3]


def test_greedy_samples_are_requested_once(server: Server) -> None:
    requests = [Request("k", "p", (0, 1, 2))]
    drawn = [(i, c.text) for _, i, c in opened(server).generate(requests, Sampling(0.0, 1.0, 16))]
    assert [call["n"] for call in server.calls] == [1]
    assert [i for i, _ in drawn] == [0, 1, 2] and len({text for _, text in drawn}) == 1


def test_samples_before_a_failure_are_kept(server: Server) -> None:
    def answer(body: dict[str, Any], _: int) -> Reply:
        return (401, {"error": {"message": "expired"}}) if body["prompt"] == "p3" else (200, plain(body))

    server.answer = answer
    got = []
    with pytest.raises(KkwarmError, match="expired"):
        for request, index, _ in opened(server, concurrency=1).generate(
            [Request(f"k{i}", f"p{i}", (0, 1)) for i in range(6)], SAMPLING
        ):
            got.append((request.key, index))
    assert {(f"k{i}", k) for i in range(3) for k in (0, 1)} <= set(got) and ("k3", 0) not in got


def test_retry_after_is_a_number_or_a_date() -> None:
    import time
    from email.utils import formatdate

    import httpx

    from kkwarm.backends.server import _retry_after

    def told(text: str) -> float:
        return _retry_after(httpx.Response(429, headers={"retry-after": text}))

    assert told("7") == 7 and told("soon") == 0 and told("1e9") == 600 and told("-3") == 0
    assert 20 < told(formatdate(time.time() + 30, usegmt=True)) <= 31


def test_a_server_that_does_not_sample_gives_a_warning(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.answer = lambda body, _: (200, {"choices": [{"text": "same", "finish_reason": "length"}] * body["n"]})
    requests = [Request(f"k{i}", f"p{i}", (0, 1)) for i in range(20)]
    asked(opened(server), *requests)
    assert [r.message for r in caplog.records if "does the server sample" in r.message]
    caplog.clear()
    server.answer = lambda body, _: (200, plain(body))
    asked(opened(server), *requests)
    assert not [r for r in caplog.records if "does the server sample" in r.message]


def test_no_server_no_address_no_model(server: Server) -> None:
    with pytest.raises(KkwarmError, match="no server responds at"):
        OpenAIBackend.connect("m", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(KkwarmError, match="--base-url"):
        open_backend("openai", "m")
    with pytest.raises(KkwarmError, match=r"unknown model at .*did you mean tiny-model"):
        open_backend("openai", "tiny-modell", base_url=server.url)


def test_unknown_backends_and_options() -> None:
    with pytest.raises(KkwarmError, match=r"unknown backend 'vlm'.*vllm"):
        open_backend("vlm", "m")
    with pytest.raises(KkwarmError, match="base_url belongs to openai"):
        open_backend("hf", "m", base_url="http://x")


def test_missing_vllm_is_an_error(tiny: Any) -> None:
    import importlib.util

    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed")
    with pytest.raises(KkwarmError, match="vLLM is not installed"):
        open_backend("vllm", str(tiny))


def test_replay_file(tmp_path: Any) -> None:
    file = tmp_path / "saved.jsonl"
    file.write_text('{"id": "a/1", "completion": ["x", "y"]}\n{"id": "b", "completion": "z"}\n')
    backend = open_backend("replay", str(file))
    requests = [Request("bench/a/1", "", (1,)), Request("b", "", (0,))]
    assert [c.text for _, _, c in backend.generate(requests, SAMPLING)] == ["y", "z"]
    with pytest.raises(KkwarmError, match="no completion 1 of b"):
        list(backend.generate([Request("b", "", (1,))], SAMPLING))
    file.write_text('{"id": 3}\n')
    with pytest.raises(KkwarmError, match="needs an `id`"):
        open_backend("replay", str(file))


def test_with_a_tokenizer_prompts_are_sent_as_tokens_and_fit_the_context(server: Server, tiny: Path) -> None:
    from kkwarm.backends.checkpoint import load_tokenizer

    server.models = [{"id": "tiny-model", "max_model_len": len("knight knave") + 5}]
    server.answer = lambda body, _: (200, plain(body))
    backend = opened(server)
    backend.tokenizer = load_tokenizer(tiny)
    ids = backend.tokenizer("knight knave")["input_ids"]
    got = asked(backend, Request("short", "knight knave", (0,)), Request("long", "knight " * 40, (0, 1)))
    (call,) = server.calls
    assert call["prompt"] == ids and call["max_tokens"] == len("knight knave") + 5 - len(ids) < SAMPLING.max_tokens
    assert got["long", 0] == got["long", 1] == Completion("", 0, "length", ())


def scores_of(model: Path) -> Callable[[dict[str, Any], int], Reply]:
    """Answers as vLLM's server does to `echo` with `logprobs`."""
    import torch

    from kkwarm.backends.checkpoint import load_model

    network = load_model(model, device="cpu")

    def answer(body: dict[str, Any], _: int) -> Reply:
        assert body["echo"] and body["logprobs"] == 1
        ids = torch.tensor([body["prompt"]])
        with torch.inference_mode():
            table = torch.log_softmax(network(input_ids=ids).logits[0, :-1].float(), -1)
        own = table.gather(1, ids[0, 1:, None])[:, 0].tolist()
        best = [{"chosen": value, "best": float(row.max())} for value, row in zip(own, table, strict=True)]
        new = {"top": -0.1}
        logprobs = {"token_logprobs": [None, *own, -0.1], "top_logprobs": [None, *best, new]}
        return 200, {"choices": [{"text": "", "logprobs": logprobs}]}

    return answer


def test_a_server_scores_given_texts(server: Server, tiny: Path) -> None:
    hf: Any = open_backend("hf", str(tiny), device="cpu", dtype="float32")
    texts = [([1 + i, 7, 9 + i % 3] * (1 + i % 4), [11, 20 + i][: 1 + i % 2]) for i in range(12)]
    scored = hf.likelihoods([([1, 7, 9], [token]) for token in range(len(hf.tokenizer))])
    texts.append(([1, 7, 9], [next(token for token, (_, greedy) in enumerate(scored) if greedy)]))
    expected = hf.likelihoods(texts)
    server.answer = scores_of(tiny)
    backend = opened(server, tokenizer=str(tiny), concurrency=4)
    for (value, greedy), (want, want_greedy) in zip(backend.likelihoods(texts), expected, strict=True):
        assert value == pytest.approx(want, abs=1e-4) and greedy == want_greedy
    server.calls.clear()
    backend.context = 9
    backend.likelihoods([(list(range(20)), [5, 6])])
    assert server.calls[0]["prompt"] == [*range(14, 20), 5, 6], "its first tokens are left out"
    with pytest.raises(KkwarmError, match=r"2 \+ 8 tokens; .* takes 8"):
        backend.likelihoods([([1, 2], [3] * 8)])
    server.answer = lambda body, _: (200, {"choices": [{"text": "", "logprobs": None}]})
    with pytest.raises(KkwarmError, match="returns no log-probabilities of a prompt"):
        backend.likelihoods(texts)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((307, b"", {"Location": "https://host/v1/completions"}), r"redirects elsewhere \(307\) \(--base-url https://host/v1\)"),
        ((404, {"detail": "Not Found"}), r"has no /completions \(404: Not Found\) \(this protocol sends text"),
        ((405, b"<html>no</html>"), r"answers 405: <html>no</html> \(is it an OpenAI-compatible server"),
        ((200, {"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]}), "choices that have no text"),
        ((200, {"error": {"message": "the model crashed"}}), "failed 3 times: the model crashed"),
        ((200, b"\xff\xfe no"), "failed 3 times: the answer is no JSON object, or was truncated"),
    ],
)  # fmt: skip
def test_invalid_answers(server: Server, reply: Reply, says: str) -> None:
    """Nothing of them is taken for a sample."""
    server.answer = lambda body, _: reply
    with pytest.raises(KkwarmError, match=says) as told:
        asked(opened(server, tries=3), Request("k", "p", (0,)))
    assert "\n" not in str(told.value)


def test_a_server_of_single_choices_is_called_for_each(server: Server) -> None:
    def answer(body: dict[str, Any], _: int) -> Reply:
        if body["n"] > 1:
            return 400, {"error": {"message": "Only one completion choice is allowed: n must be 1"}}
        return 200, plain(body)

    server.answer = answer
    got = asked(opened(server, concurrency=1), *[Request(f"k{i}", f"p{i}", (0, 1, 2)) for i in range(2)])
    assert len({c.text for c in got.values()}) == 6
    assert [call["n"] for call in server.calls] == [3, *[1] * 6]


def test_an_aborted_choice_is_no_sample(server: Server) -> None:
    """vLLM that is stopped; what comes after it has the seeds from there on, so that no seed serves twice."""

    def answer(body: dict[str, Any], call: int) -> Reply:
        found = plain(body)
        for at, choice in enumerate(found["choices"]):
            choice |= {"index": at, "text": f"seed {body['seed'] + at}"}
        if call == 1:
            found["choices"][1] |= {"finish_reason": "abort", "text": "half"}
        return 200, found | {"choices": found["choices"][::-1]}

    server.answer = answer
    got = asked(opened(server), Request("k", "p", (0, 1, 2)))
    first = server.calls[0]["seed"]
    assert [got["k", i].text for i in range(3)] == [f"seed {first + i}" for i in range(3)]


def test_a_server_that_never_answers_is_given_up(server: Server) -> None:
    """After two calls without an answer; and nobody waits for it where another call has failed, or at the end."""
    import time

    released = threading.Event()

    def answer(body: dict[str, Any], _: int) -> Reply:
        if body["prompt"] != "refused":
            released.wait(60)
        return 401, {"error": {"message": "expired"}}

    server.answer = answer
    try:
        with pytest.raises(KkwarmError, match=r"gave no answer within 1 s, twice .*--engine timeout"):
            asked(opened(server, timeout=1), Request("k", "p", (0,)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kkwarm.backends.openai._LINGER", 0.2)
            began = time.monotonic()
            with pytest.raises(KkwarmError, match="refuses the key"):
                asked(opened(server), Request("k", "p", (0,)), Request("no", "refused", (0,)))
            assert time.monotonic() - began < 10
        left = [thread for thread in threading.enumerate() if thread.name.startswith("openai-")]
        assert left and all(thread.daemon for thread in left)
    finally:
        released.set()


def test_the_fingerprint_does_not_depend_on_the_address(server: Server) -> None:
    server.models = [{"id": "tiny-model", "root": "/models/tiny"}]
    here = opened(server).fingerprint
    other = Server()
    other.models = [{"id": "tiny-model", "root": "/models/tiny"}]
    assert opened(other).fingerprint == here
    other.models = [{"id": "tiny-model", "root": "/models/other"}]
    assert opened(other).fingerprint != here
    other.http.shutdown()
    other.http.server_close()


@pytest.mark.parametrize("option", [{"concurrency": 0}, {"tries": "many"}, {"timeout": -1}])
def test_invalid_options(server: Server, option: dict[str, Any]) -> None:
    with pytest.raises(KkwarmError, match=f"{next(iter(option))} must be a number of at least 1"):
        opened(server, **option)
