"""In-training evaluation with trl's vLLM engine, replaced by a fake; `tests/engines` uses a real one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_task import prompt_of

from kkwarm.backends.checkpoint import load_tokenizer
from kkwarm.backends.openai import OpenAIBackend
from kkwarm.plugins import registry
from kkwarm.train import RlvrConfig, distributed, vllm
from kkwarm.train.in_training_eval import load_eval_benchmarks, longest_eval_sequence


class Engine:
    """Records the calls of trl's `VLLMGeneration`, and of the `LLM` in it."""

    mode, enable_sleep_mode, _llm_weights_sleeping = "colocate", False, False

    def __init__(self, size: int = 1) -> None:
        self.tensor_parallel_size = size
        self.calls: list[str] = []
        self.llm = self

    def sync_weights(self) -> None:
        self.calls.append("sync")
        self._llm_weights_sleeping = False

    def wake_up(self, tags: list[str]) -> None:
        self.calls.append(f"wake {tags[0]}")

    def reset_prefix_cache(self) -> None:
        self.calls.append("forget")

    def sleep(self, level: int) -> None:
        self.calls.append(f"sleep {level}")


def trainer(engine: Engine, step: int, loaded: int) -> Any:
    return SimpleNamespace(vllm_generation=engine, state=SimpleNamespace(global_step=step), _last_loaded_step=loaded)


def test_syncs_weights_and_restores_the_random_state() -> None:
    import torch

    engine = Engine()
    live = trainer(engine, 3, 2)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    with vllm.policy_engine(None)(live) as eval_engine:
        assert (eval_engine.share, eval_engine.shares, eval_engine.reports) == (0, 1, True)
        assert eval_engine.backend is not None and eval_engine.backend.name == "vllm"
        torch.rand(7)
    assert engine.calls == ["sync", "forget"]
    assert live._last_loaded_step == 3, "trl need not give the weights again for the next rollouts"
    assert torch.equal(torch.random.get_rng_state(), before)
    with vllm.policy_engine(None)(live):
        pass
    assert engine.calls == ["sync", "forget", "forget"]


def test_wakes_a_sleeping_engine_and_puts_it_to_sleep_again() -> None:
    engine = Engine()
    engine.enable_sleep_mode = engine._llm_weights_sleeping = True
    with vllm.policy_engine(None)(trainer(engine, 3, 3)):
        assert engine.calls == ["sync", "wake kv_cache"], "sleep of level 2 has discarded the weights"
    assert engine.calls[2:] == ["forget", "sleep 2"] and engine._llm_weights_sleeping


@pytest.mark.parametrize(("rank", "share"), [(0, (0, 2, True)), (1, (0, 2, False)), (3, (1, 2, False))])
def test_processes_that_share_an_engine_share_questions(
    rank: int, share: tuple[int, int, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "4")
    with vllm.policy_engine(None)(trainer(Engine(size=2), 1, 0)) as eval_engine:
        assert (eval_engine.share, eval_engine.shares, eval_engine.reports) == share


def test_one_process_queries_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
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
    with vllm.policy_engine("tokens")(trainer(engine, 1, 0)) as eval_engine:
        assert (eval_engine.share, eval_engine.shares) == (0, 1) and eval_engine.backend is not None
        assert eval_engine.backend.tokenizer == "tokens", "prompts are sent as tokens, as in rollouts"
    assert engine.calls == ["sync"] and connected == [("m", "http://somewhere:8000/v1"), ("", "")]
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    with vllm.policy_engine("tokens")(trainer(engine, 2, 1)) as eval_engine:
        assert eval_engine.backend is None
    assert engine.calls == ["sync", "sync"], "all processes sync the weights"


def test_an_engine_is_long_enough_for_evaluation_prompts(base: Path) -> None:
    config = RlvrConfig(domain="toy", eval_on=("toy", "easy"), eval_questions=5, vllm="colocate")
    domains = load_eval_benchmarks(config)
    tokenizer = load_tokenizer(base)
    prompts = [prompt_of(e.question) for w in domains for e in w.examples]
    width = longest_eval_sequence(domains, tokenizer)
    assert (
        width == max(len(tokenizer(p)["input_ids"]) for p in prompts) + registry().benchmark("toy").sampling.max_tokens
    )
    assert longest_eval_sequence([], tokenizer) == 0
    assert vllm.vllm_arguments(config, ("</answer>",), width)["vllm_max_model_length"] == width
