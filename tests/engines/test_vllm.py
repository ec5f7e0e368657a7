"""A real vLLM on the shipped base: draws, log-probabilities, commands, RLVR, LoRA, and as a server.

Run by `make test-vllm`, in an environment of its own; elsewhere these tests skip.
"""

from __future__ import annotations

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
    made = open_backend("vllm", base, enforce_eager=True)
    yield made
    made.close()


@pytest.fixture(scope="module")
def asked() -> list[Request]:
    from kkwarm.plugins import registry

    benchmark = registry().benchmark("mini_code")
    fmt = registry().format(benchmark.format)
    return [Request(e.id, fmt.render(e.question), (0, 1, 2, 3), fmt.stop) for e in list(benchmark.load())[:6]]


def drawn(backend: Any, requests: list[Request], sampling: Sampling) -> dict[tuple[str, int], Completion]:
    return {(r.key, i): c for r, i, c in backend.generate(requests, sampling)}


def told(drawn: dict[tuple[str, int], Completion]) -> dict[tuple[str, int], tuple[str, object]]:
    """Texts without the space that a server may put in front, and tokens."""
    return {key: (c.text.strip(), c.token_ids) for key, c in drawn.items()}


def test_greedy_equals_transformers(engine: Any, base: str, asked: list[Request]) -> None:
    sampling = Sampling(0.0, 1.0, 64)
    assert drawn(engine, asked, sampling) == drawn(open_backend("hf", base, device="cpu"), asked, sampling)


def test_logprobs_equal_transformers(engine: Any, base: str, asked: list[Request]) -> None:
    from scenes import pairs, worst

    hf: Any = open_backend("hf", base, device="cpu")
    texts = pairs(hf.tokenizer)
    assert worst(engine.logprobs(texts), hf.logprobs(texts)) < EXACT


def test_samples_vary_and_have_seeds_of_their_own(engine: Any, asked: list[Request]) -> None:
    sampling = Sampling(1.0, 1.0, 64, seed=5)
    whole = drawn(engine, asked, sampling)
    assert len(whole) == 4 * len(asked)
    assert len({c.text for c in whole.values()}) > len(asked)
    assert drawn(engine, asked, Sampling(1.0, 1.0, 64, seed=6)) != whole
    rest = [Request(asked[1].key, asked[1].prompt, (1, 3), asked[1].stop)]
    assert drawn(engine, rest, sampling) == {(asked[1].key, i): whole[asked[1].key, i] for i in (1, 3)}


def test_more_prompts_than_a_step_takes(engine: Any, asked: list[Request]) -> None:
    """Seeds and prompts in parts do not go together on a CPU: the engine died of it."""
    many = [Request(f"{r.key}/{i}", r.prompt, (0, 1, 2, 3), r.stop) for r in asked for i in range(60)]
    assert len(drawn(engine, many, Sampling(1.0, 1.0, 64))) == 4 * len(many)


def test_ends_are_told_and_stop_strings_kept(engine: Any, asked: list[Request]) -> None:
    stopped = drawn(engine, asked, Sampling(0.0, 1.0, 64))
    assert all(c.finish_reason == "stop" and c.text.endswith("</answer>") for c in stopped.values())
    cut = drawn(engine, asked, Sampling(0.0, 1.0, 2))
    assert all(c.finish_reason == "length" and c.n_tokens == 2 and len(c.token_ids or ()) == 2 for c in cut.values())
    too_long = Request("long", asked[0].prompt * 200, (0, 1))
    assert set(drawn(engine, [too_long], Sampling(max_tokens=4)).values()) == {Completion("", 0, "length", ())}


def kkwarm(*arguments: str, ok: tuple[int, ...] = (0,)) -> Any:
    done = subprocess.run([sys.executable, "-m", "kkwarm", *arguments], capture_output=True, text=True)
    assert done.returncode in ok, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_bench_and_its_resumption(base: str, tmp_path: Path) -> None:
    command = ["bench", base, "--on", "mini_code,mini_math", "--samples", "2", "--limit", "8", "--backend", "vllm"]
    command += ["--engine", "enforce_eager=true", "--json"]
    first = kkwarm(*command, "-o", str(tmp_path / "a"))
    assert first["benchmarks"]["mini_code"]["samples"] == 16
    samples = tmp_path / "a" / "samples.jsonl"
    lines = samples.read_text().splitlines(keepends=True)
    samples.write_text("".join(lines[1::3]))  # what was lost is drawn again, in other calls than before
    again = kkwarm(*command, "-o", str(tmp_path / "a"))
    assert sorted(samples.read_text().splitlines(keepends=True)) == sorted(lines)
    assert again["benchmarks"] == first["benchmarks"]


@pytest.mark.parametrize("option", ["tensor_parallel_size=2", "replicas=2"])
def test_several_processes_draw_what_one_does(
    base: str, tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model over two processes, or two copies of it: here by gloo, on GPUs by NCCL."""
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
    found = kkwarm(*command, "--engine", "enforce_eager=true", "--json", "-o", str(tmp_path / "traces"))
    assert 0 < found["traces"] <= 16


def scene(name: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(HERE / "scenes.py"), name, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def colocated(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("colocate")
    return scene("colocate", folder), folder / "run"


def test_colocated_rlvr_trains_and_syncs_its_weights(colocated: tuple[dict[str, Any], Path]) -> None:
    found, _ = colocated
    assert found["results"]["steps"] == 2 and found["rollouts"] == 32
    assert found["stopped_at"] and all(end.endswith("</answer>") for end in found["stopped_at"])
    assert found["from_trained"] < EXACT < found["from_base"]


def test_flights_are_drawn_by_the_colocated_engine(
    colocated: tuple[dict[str, Any], Path], base: str, tmp_path: Path
) -> None:
    """Of the weights of their step, as the benchmark draws, and without a trace in the rollouts that follow."""
    from kkwarm.plugins import registry
    from kkwarm.train import RlvrConfig
    from kkwarm.train.in_training_eval import load_eval_benchmarks

    found = scene("watched", tmp_path)
    assert [row["step"] for row in found["evals"]] == [0, 1, 2]
    _, plain = colocated
    for name in ("checkpoint/model.safetensors", "rollouts.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (plain / name).read_bytes(), "watching changes nothing"
    config = RlvrConfig(domain="mini_code", eval_on=("mini_math", "mini_kk"), eval_questions=6)
    for model, drew in ((base, found["first"]), (str(tmp_path / "run"), found["last"])):
        alone = open_backend("vllm", model, enforce_eager=True)
        for w, before in zip(load_eval_benchmarks(config), drew, strict=True):
            s = registry().benchmark(w.benchmark.name).sampling
            asked = [
                Request(f"watch/{i}", w.format.render(e.question), (0,), w.format.stop)
                for i, e in enumerate(w.examples)
            ]
            again = drawn(alone, asked, Sampling(s.temperature, s.top_p, s.max_tokens, 0))
            assert {key: [c.text, c.finish_reason, c.n_tokens] for (key, _), c in again.items()} == before
        alone.close()
    assert found["first"] != found["last"]
    best = found["results"]["best"]
    assert best["weights"] == ("best" if best["step"] else base)


def test_lora_adapter(tmp_path: Path) -> None:
    found = scene("lora", tmp_path)
    assert found["adapter"] == found["merged"] != found["base"]


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
            until = time.monotonic() + 900
            while True:
                if process.poll() is not None or time.monotonic() > until:
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


def test_vllms_server(base: str, asked: list[Request], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", base, "--served-model-name"]
    command += ["mini", "--dtype", "float32", "--enforce-eager", "--port", "{port}", "--generation-config", "vllm"]
    with served(command, tmp_path / "log") as url:
        server = open_backend("openai", "mini", base_url=url)
        greedy = Sampling(0.0, 1.0, 64)
        assert told(drawn(server, asked, greedy)) == told(drawn(open_backend("hf", base, device="cpu"), asked, greedy))
        whole = drawn(server, asked, Sampling(1.0, 1.0, 64))
        part = drawn(server, [Request(asked[2].key, asked[2].prompt, (3,), asked[2].stop)], Sampling(1.0, 1.0, 64))
        assert part == {(asked[2].key, 3): whole[asked[2].key, 3]}
        bench = ["bench", "mini", "--backend", "openai", "--base-url", url, "--on", "mini_code", "--limit", "6"]
        found = kkwarm(*bench, "--samples", "2", "--json", "-o", str(tmp_path / "run"))
        assert found["benchmarks"]["mini_code"]["samples"] == 12
        probe = kkwarm("doctor", "--parity", base, "--base-url", url, "--served", "mini", "--json")
        by_name = {way["name"]: way for way in probe["ways"]}
        assert by_name["vllm"]["agrees"] and by_name[f"server {url}"]["agrees"], by_name
        assert by_name[f"server {url}"]["max_error"] < 1e-3


def test_transformers_server(base: str, asked: list[Request], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", base, "--port", "{port}"]
    with served([*command, "--device", "cpu", "--dtype", "float32"], tmp_path / "log") as url:
        server = open_backend("openai", base, base_url=url)
        greedy = Sampling(0.0, 1.0, 64)
        texts = {key: text for key, (text, _) in told(drawn(server, asked, greedy)).items()}
        ours = told(drawn(open_backend("hf", base, device="cpu"), asked, greedy))
        assert texts == {key: text for key, (text, _) in ours.items()}
