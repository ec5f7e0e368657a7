"""A real vLLM with the bundled base model: samples, log-probabilities, commands, RLVR, LoRA, and servers.

Run by `make test-vllm`, in an environment of its own; elsewhere these tests skip.
"""

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kkwarm.backends import open_backend
from kkwarm.backends.base import Request
from kkwarm.types import Completion, Sampling

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vLLM: make test-vllm"),
]
HERE = Path(__file__).parent
EXACT = 1e-4  # of log-probabilities in fp32


@pytest.fixture(scope="module")
def base() -> str:
    from kkwarm_mini import BASE

    return str(BASE)


@pytest.fixture(scope="module")
def engine(base: str) -> Iterator[Any]:
    backend = open_backend("vllm", base, enforce_eager=True)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    from kkwarm.plugins import registry

    benchmark = registry().benchmark("mini_code")
    protocol = registry().protocol(benchmark)
    return [Request(e.id, protocol.render(e.question), (0, 1, 2, 3), protocol.stop) for e in list(benchmark.load())[:6]]


def generate(backend: Any, requests: list[Request], sampling: Sampling) -> dict[tuple[str, int], Completion]:
    return {(r.key, i): c for r, i, c in backend.generate(requests, sampling)}


def texts_and_tokens(completions: dict[tuple[str, int], Completion]) -> dict[tuple[str, int], tuple[str, object]]:
    """Texts are stripped, because a server may begin them with a space."""
    return {key: (c.text.strip(), c.token_ids) for key, c in completions.items()}


def test_greedy_equals_transformers(engine: Any, base: str, requests: list[Request]) -> None:
    sampling = Sampling(0.0, 1.0, 64)
    assert generate(engine, requests, sampling) == generate(open_backend("hf", base, device="cpu"), requests, sampling)


def test_logprobs_equal_transformers(engine: Any, base: str, requests: list[Request]) -> None:
    from vllm_jobs import gold_completions, max_difference

    hf: Any = open_backend("hf", base, device="cpu")
    texts = gold_completions(hf.tokenizer)
    assert max_difference(engine.logprobs(texts), hf.logprobs(texts)) < EXACT


def test_likelihoods_equal_transformers(engine: Any, base: str) -> None:
    hf: Any = open_backend("hf", base, device="cpu")
    texts = [([5 + i, 7, 9], [11, 20 + i][: 1 + i % 2]) for i in range(6)]
    expected = hf.likelihoods(texts)
    for (value, greedy), (by_hf, greedy_by_hf) in zip(engine.likelihoods(texts), expected, strict=True):
        assert abs(value - by_hf) < EXACT and greedy == greedy_by_hf


def test_samples_vary_and_have_their_own_seeds(engine: Any, requests: list[Request]) -> None:
    sampling = Sampling(1.0, 1.0, 64, seed=5)
    completions = generate(engine, requests, sampling)
    assert len(completions) == 4 * len(requests)
    assert len({c.text for c in completions.values()}) > len(requests)
    assert generate(engine, requests, Sampling(1.0, 1.0, 64, seed=6)) != completions
    rest = [Request(requests[1].key, requests[1].prompt, (1, 3), requests[1].stop)]
    assert generate(engine, rest, sampling) == {(requests[1].key, i): completions[requests[1].key, i] for i in (1, 3)}


def test_more_prompts_than_a_step_takes(engine: Any, requests: list[Request]) -> None:
    """Seeds together with chunked prefill crashed the engine on a CPU."""
    many = [Request(f"{r.key}/{i}", r.prompt, (0, 1, 2, 3), r.stop) for r in requests for i in range(60)]
    assert len(generate(engine, many, Sampling(1.0, 1.0, 64))) == 4 * len(many)


def test_reports_finish_reasons_and_keeps_stop_strings(engine: Any, requests: list[Request]) -> None:
    stopped = generate(engine, requests, Sampling(0.0, 1.0, 64))
    assert all(c.finish_reason == "stop" and c.text.endswith("</answer>") for c in stopped.values())
    cut = generate(engine, requests, Sampling(0.0, 1.0, 2))
    assert all(c.finish_reason == "length" and c.n_tokens == 2 and len(c.token_ids or ()) == 2 for c in cut.values())
    too_long = Request("long", requests[0].prompt * 200, (0, 1))
    assert set(generate(engine, [too_long], Sampling(max_tokens=4)).values()) == {Completion("", 0, "length", ())}


def kkwarm(*arguments: str, ok: tuple[int, ...] = (0,)) -> Any:
    done = subprocess.run([sys.executable, "-m", "kkwarm", *arguments], capture_output=True, text=True)
    assert done.returncode in ok, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_bench_resumes(base: str, tmp_path: Path) -> None:
    command = ["bench", base, "--on", "mini_code,mini_math", "--samples", "2", "--limit", "8", "--backend", "vllm"]
    command += ["--engine", "enforce_eager=true", "--json"]
    first = kkwarm(*command, "-o", str(tmp_path / "a"))
    assert first["benchmarks"]["mini_code"]["samples"] == 16
    samples = tmp_path / "a" / "samples.jsonl"
    lines = samples.read_text().splitlines(keepends=True)
    samples.write_text("".join(lines[1::3]))  # lost samples are generated again, in other calls than before
    again = kkwarm(*command, "-o", str(tmp_path / "a"))
    assert sorted(samples.read_text().splitlines(keepends=True)) == sorted(lines)
    assert again["benchmarks"] == first["benchmarks"]


@pytest.mark.parametrize("option", ["tensor_parallel_size=2", "replicas=2"])
def test_several_processes_generate_what_one_generates(
    base: str, tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model over two processes, or two copies of it: here with gloo, on GPUs with NCCL."""
    if option.startswith("tensor"):
        monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING")
    command = ["bench", base, "--on", "mini_math", "--samples", "2", "--limit", "20", "--backend", "vllm", "--json"]
    command += ["--engine", "enforce_eager=true"]
    kkwarm(*command, "-o", str(tmp_path / "one"))
    kkwarm(*command, "--engine", option, "-o", str(tmp_path / "two"))
    one, two = (sorted((tmp_path / name / "samples.jsonl").read_text().splitlines()) for name in ("one", "two"))
    assert len(one) == 40 and one == two


def test_distill(base: str, tmp_path: Path) -> None:
    command = ["distill", "--domain", "mini_code", "--teacher", base, "-n", "8", "--samples", "2", "--backend", "vllm"]
    result = kkwarm(*command, "--engine", "enforce_eager=true", "--json", "-o", str(tmp_path / "traces"))
    assert 0 < result["traces"] <= 16


def run_job(name: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HERE / "vllm_jobs.py"), name, str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def colocated(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("colocate")
    return run_job("colocate", folder), folder / "run"


def test_colocated_rlvr_trains_and_syncs_its_weights(colocated: tuple[dict[str, Any], Path]) -> None:
    result, _ = colocated
    assert result["results"]["steps"] == 2 and result["rollouts"] == 32
    assert result["stopped_at"] and all(end.endswith("</answer>") for end in result["stopped_at"])
    assert result["from_trained"] < EXACT < result["from_base"]


def test_in_training_evaluation_uses_the_colocated_engine(
    colocated: tuple[dict[str, Any], Path], base: str, tmp_path: Path
) -> None:
    """With the weights of its step, as in the benchmark, and without an effect on later rollouts."""
    from kkwarm.plugins import registry
    from kkwarm.train import RlvrConfig
    from kkwarm.train.in_training_eval import load_eval_benchmarks

    result = run_job("in_training_eval", tmp_path)
    assert [row["step"] for row in result["evals"]] == [0, 1, 2]
    _, plain = colocated
    for name in ("checkpoint/model.safetensors", "rollouts.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (plain / name).read_bytes(), "evaluation changes nothing"
    config = RlvrConfig(domain="mini_code", eval_on=("mini_math", "mini_kk"), eval_questions=6)
    for model, expected in ((base, result["first"]), (str(tmp_path / "run"), result["last"])):
        alone = open_backend("vllm", model, enforce_eager=True)
        for w, before in zip(load_eval_benchmarks(config), expected, strict=True):
            s = registry().benchmark(w.benchmark.name).sampling
            requests = [
                Request(f"watch/{i}", w.protocol.render(e.question), (0,), w.protocol.stop)
                for i, e in enumerate(w.examples)
            ]
            again = generate(alone, requests, Sampling(s.temperature, s.top_p, s.max_tokens, 0))
            assert {key: [c.text, c.finish_reason, c.n_tokens] for (key, _), c in again.items()} == before
        alone.close()
    assert result["first"] != result["last"]
    best = result["results"]["best"]
    assert best["weights"] == ("best" if best["step"] else base)


def test_lora_adapter(tmp_path: Path) -> None:
    result = run_job("lora", tmp_path)
    assert result["adapter"] == result["merged"] != result["base"]


@contextlib.contextmanager
def served(command: list[str], log: Path) -> Iterator[str]:
    """The address of a server that `command` starts, with ``{port}`` in it filled in."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {k: v for k, v in os.environ.items() if k != "VLLM_ENABLE_V1_MULTIPROCESSING"}
    with log.open("wb") as out:
        process = subprocess.Popen([c.format(port=port) for c in command], stdout=out, stderr=out, env=env)
        try:
            deadline = time.monotonic() + 900
            while True:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the server did not start:\n{log.read_text()[-3000:]}")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def test_vllm_server(base: str, requests: list[Request], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", base, "--served-model-name"]
    command += ["mini", "--dtype", "float32", "--enforce-eager", "--port", "{port}", "--generation-config", "vllm"]
    with served(command, tmp_path / "log") as url:
        server = open_backend("openai", "mini", base_url=url)
        greedy = Sampling(0.0, 1.0, 64)
        assert texts_and_tokens(generate(server, requests, greedy)) == texts_and_tokens(
            generate(open_backend("hf", base, device="cpu"), requests, greedy)
        )
        completions = generate(server, requests, Sampling(1.0, 1.0, 64))
        part = generate(
            server, [Request(requests[2].key, requests[2].prompt, (3,), requests[2].stop)], Sampling(1.0, 1.0, 64)
        )
        assert part == {(requests[2].key, 3): completions[requests[2].key, 3]}
        bench = ["bench", "mini", "--backend", "openai", "--base-url", url, "--on", "mini_code", "--limit", "6"]
        result = kkwarm(*bench, "--samples", "2", "--json", "-o", str(tmp_path / "run"))
        assert result["benchmarks"]["mini_code"]["samples"] == 12
        probe = kkwarm("doctor", "--parity", base, "--base-url", url, "--served", "mini", "--json")
        by_name = {way["name"]: way for way in probe["ways"]}
        assert by_name["vllm"]["agrees"] and by_name[f"server {url}"]["agrees"], by_name
        assert by_name[f"server {url}"]["max_error"] < 1e-3


def test_transformers_server(base: str, requests: list[Request], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", base, "--port", "{port}"]
    with served([*command, "--device", "cpu", "--dtype", "float32"], tmp_path / "log") as url:
        server = open_backend("openai", base, base_url=url)
        greedy = Sampling(0.0, 1.0, 64)
        texts = {key: text for key, (text, _) in texts_and_tokens(generate(server, requests, greedy)).items()}
        ours = texts_and_tokens(generate(open_backend("hf", base, device="cpu"), requests, greedy))
        assert texts == {key: text for key, (text, _) in ours.items()}
