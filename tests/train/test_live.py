"""The in-training evaluation's hold on trl's vLLM engine, where there is no vLLM: `tests/engines` has a real one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_task import ToyFormat

from kkwarm.backends.checkpoint import load_tokenizer
from kkwarm.backends.openai import OpenAIBackend
from kkwarm.plugins import registry
from kkwarm.train import RlvrConfig, distributed, vllm
from kkwarm.train.in_training_eval import load_eval_benchmarks, longest_eval_sequence


class Engine:
    """Keeps what is asked of trl's `VLLMGeneration`, and of the `LLM` in it."""

    mode, enable_sleep_mode, _llm_weights_sleeping = "colocate", False, False

    def __init__(self, size: int = 1) -> None:
        self.tensor_parallel_size = size
        self.asked: list[str] = []
        self.llm = self

    def sync_weights(self) -> None:
        self.asked.append("sync")
        self._llm_weights_sleeping = False

    def wake_up(self, tags: list[str]) -> None:
        self.asked.append(f"wake {tags[0]}")

    def reset_prefix_cache(self) -> None:
        self.asked.append("forget")

    def sleep(self, level: int) -> None:
        self.asked.append(f"sleep {level}")


def trainer(engine: Engine, step: int, loaded: int) -> Any:
    return SimpleNamespace(vllm_generation=engine, state=SimpleNamespace(global_step=step), _last_loaded_step=loaded)


def test_weights_are_those_of_the_step_and_random_numbers_are_put_back() -> None:
    import torch

    engine = Engine()
    held = trainer(engine, 3, 2)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    with vllm.live(None)(held) as found:
        assert (found.share, found.shares, found.tells) == (0, 1, True)
        assert found.backend is not None and found.backend.name == "vllm"
        torch.rand(7)
    assert engine.asked == ["sync", "forget"]
    assert held._last_loaded_step == 3, "trl need not give the weights again for the next rollouts"
    assert torch.equal(torch.random.get_rng_state(), before)
    with vllm.live(None)(held):
        pass
    assert engine.asked == ["sync", "forget", "forget"]


def test_a_sleeping_engine_is_woken_and_sleeps_again() -> None:
    engine = Engine()
    engine.enable_sleep_mode = engine._llm_weights_sleeping = True
    with vllm.live(None)(trainer(engine, 3, 3)):
        assert engine.asked == ["sync", "wake kv_cache"], "sleep of level 2 has discarded the weights"
    assert engine.asked[2:] == ["forget", "sleep 2"] and engine._llm_weights_sleeping


@pytest.mark.parametrize(("rank", "share"), [(0, (0, 2, True)), (1, (0, 2, False)), (3, (1, 2, False))])
def test_processes_that_share_an_engine_draw_the_same(
    rank: int, share: tuple[int, int, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "4")
    with vllm.live(None)(trainer(Engine(size=2), 1, 0)) as found:
        assert (found.share, found.shares, found.tells) == share


def test_of_a_server_one_process_asks_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        model, base_url = "m", "http://somewhere:8000"

    connected: list[tuple[str, str]] = []

    def connect(cls: Any, model: str, *, base_url: str) -> OpenAIBackend:
        connected.append((model, base_url))
        client = SimpleNamespace(close=lambda: connected.append(("", "")))
        return OpenAIBackend(model, base_url, SimpleNamespace(client=client))  # type: ignore[arg-type]

    monkeypatch.setattr(OpenAIBackend, "connect", classmethod(connect))
    engine = Engine()
    engine.mode, engine.vllm_client = "server", Client()  # type: ignore[attr-defined]
    with vllm.live("tokens")(trainer(engine, 1, 0)) as found:
        assert (found.share, found.shares) == (0, 1) and found.backend is not None
        assert found.backend.tokenizer == "tokens", "prompts go as tokens, as rollouts' do"
    assert engine.asked == ["sync"] and connected == [("m", "http://somewhere:8000/v1"), ("", "")]
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    with vllm.live("tokens")(trainer(engine, 2, 1)) as found:
        assert found.backend is None
    assert engine.asked == ["sync", "sync"], "giving the weights takes all processes"


def test_an_engine_has_room_for_what_is_watched(base: Path) -> None:
    config = RlvrConfig("toy", eval_on=("toy", "easy"), eval_questions=5, vllm="colocate")
    domains = load_eval_benchmarks(config)
    tokenizer = load_tokenizer(base)
    prompts = [ToyFormat().render(e.question) for w in domains for e in w.examples]
    width = longest_eval_sequence(domains, tokenizer)
    assert (
        width == max(len(tokenizer(p)["input_ids"]) for p in prompts) + registry().benchmark("toy").sampling.max_tokens
    )
    assert longest_eval_sequence([], tokenizer) == 0
    assert vllm.settings(config, ("</answer>",), width)["vllm_max_model_length"] == width
