"""Thinking budgets, budget curves, and the checkpoint's own sampling settings."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kkwarm.analysis.budget import budget_curve
from kkwarm.backends.base import Request
from kkwarm.cli.report import command as report
from kkwarm.errors import KkwarmError
from kkwarm.evaluation import bench
from kkwarm.evaluation.engine import prepare
from kkwarm.evaluation.thinking_budget import ThinkingBudget
from kkwarm.protocols.reasoning import FAMILIES
from kkwarm.schema.settings import BenchConfig, ConfigError
from kkwarm.testing.checkpoint import tiny_checkpoint
from kkwarm.types import Completion, Sample, Sampling, Status, Verdict

TEMPLATE = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{% endfor %}[assistant]"


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint with a chat template for reasoning, and with sampling settings of its own."""
    folder = tiny_checkpoint(tmp_path_factory.mktemp("chat") / "model")
    (folder / "chat_template.jinja").write_text(TEMPLATE + "<think>\n")
    own = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_new_tokens": 7}
    (folder / "generation_config.json").write_text(json.dumps(own))
    return folder


def config(**values: Any) -> BenchConfig:
    return BenchConfig(**{"device": "cpu", "limit": 2, "max_tokens": 200, "protocol": "plain", **values})


class Letters:
    """A backend whose model writes one token for each letter of `text`, which does not depend on the prompt."""

    name, checkpoint, fingerprint = "hf", "letters", ""

    def __init__(self, reasoning: str, answer: str) -> None:
        self.reasoning, self.answer, self.requests = reasoning, answer, list[Request]()

    @staticmethod
    def tokenizer(text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        for r in requests:
            self.requests.append(r)
            whole = self.answer if "</think>" in r.prompt or r.key.endswith("/answer") else self.reasoning
            text = whole[: r.limit(sampling)]
            for stop in r.stop:
                if stop in text:
                    text = text[: text.index(stop) + len(stop)]
            ended = text != whole[: r.limit(sampling)] or len(text) == len(whole)
            for i in r.samples:
                yield r, i, Completion(text, len(text), "stop" if ended else "length")

    def close(self) -> None:
        pass


def run_budget(backend: Letters, budget: int, limit: int, prompt: str = "Why?<think>\n") -> list[Completion]:
    limited = ThinkingBudget(backend, budget, {"q": (FAMILIES[0], "...</think>")})  # type: ignore[arg-type]
    return [c for _, _, c in limited.generate([Request("q", prompt, (0, 1), ("END",))], Sampling(max_tokens=limit))]


def test_reasoning_beyond_the_budget_is_closed() -> None:
    backend = Letters("x" * 100, "It is 4.")
    done = run_budget(backend, 10, 50)
    assert done == [Completion("x" * 10 + "...</think>It is 4.", 10 + 11 + 8, "stop")] * 2
    first, *answers = backend.requests
    assert first.limit(Sampling()) == 10 and first.stop == ("END", "</think>")
    assert [r.limit(Sampling()) for r in answers] == [50 - 21] * 2 and answers[0].stop == ("END",)
    assert answers[0].prompt == "Why?<think>\n" + "x" * 10 + "...</think>"


def test_reasoning_within_the_budget_is_kept() -> None:
    assert run_budget(Letters("ab</think>cd", "It is 4."), 20, 50) == [Completion("ab</think>It is 4.", 18, "stop")] * 2


def test_completions_without_reasoning_are_not_closed() -> None:
    assert run_budget(Letters("Four.", ""), 20, 50, "Why?") == [Completion("Four.", 5, "stop")] * 2
    assert run_budget(Letters("Four. " * 9, " So 4."), 6, 50, "Why?") == [Completion("Four.  So 4.", 12, "stop")] * 2


def test_an_answer_gets_the_rest_of_the_limit() -> None:
    assert (
        run_budget(Letters("x" * 100, "y" * 100), 10, 25)
        == [Completion("x" * 10 + "...</think>" + "y" * 4, 25, "length")] * 2
    )
    assert run_budget(Letters("x" * 100, "y"), 10, 15) == [Completion("x" * 10, 10, "length")] * 2


def test_bench_with_a_thinking_budget(chat_model: Path, tmp_path: Path) -> None:
    run = bench(str(chat_model), ["mini_mcq"], tmp_path / "r", config(thinking_budget=8), progress=False)
    assert run.manifest.config["thinking_budget"] == 8
    for sample in run.samples():
        assert "Considering the limited time" in (sample.completion.reasoning or "")
        assert (sample.completion.n_tokens or 0) <= 200
    paper = config(thinking_budget=8, max_tokens=64, protocol="paper")
    run = bench(str(chat_model), ["mini_mcq"], tmp_path / "p", paper, progress=False)
    assert all("</think> <answer>" in s.completion.text for s in run.samples())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"thinking_budget": 200}, "leaves no token for an answer: mini_mcq has 200"),
        ({"thinking_budget": 10**6}, "the context of .* has"),
        ({"thinking_budget": 8, "think_tags": "none"}, "has no reasoning delimiters"),
    ],
)
def test_budgets_that_cannot_work(chat_model: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(KkwarmError, match=message):
        prepare(str(chat_model), ["mini_mcq"], None, config(**values))


def test_budgets_of_other_backends() -> None:
    with pytest.raises(ConfigError, match="thinking_budget is for backend hf"):
        config(thinking_budget=8, backend="vllm")


# -- the checkpoint's own sampling settings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected", "source"),
    [
        ({}, (0.6, 0.95, 20), "checkpoint"),
        ({"temperature": 0.1}, (0.1, 0.95, 20), "checkpoint"),
        ({"generation_config": "none"}, (1.0, 1.0, 0), None),
        ({"generation_config": "paper"}, (0.7, 0.95, 0), "paper"),
        ({"protocol": "paper"}, (1.0, 1.0, 0), None),
        ({"chat": "off"}, (1.0, 1.0, 0), None),
    ],
)
def test_whose_sampling_settings_apply(
    chat_model: Path, values: dict[str, Any], expected: tuple[float, float, int], source: str | None
) -> None:
    prepared = prepare(str(chat_model), ["mini_mcq"], None, config(**values))
    used = prepared.settings["sampling"]["mini_mcq"]
    assert (used["temperature"], used["top_p"], used["top_k"]) == expected and used["max_tokens"] == 200
    assert prepared.settings.get("sampling_source", {}).get("mini_mcq") == source


# -- the budget curve --------------------------------------------------------------------------------------------------


def sample(id_: str, tokens: int | None, status: Status = Status.CORRECT, finish: Any = "stop") -> Sample:
    return Sample("toy", id_, 0, Completion("4", tokens, finish), Verdict(status))


def test_longer_completions_count_as_cut() -> None:
    samples = [sample("a", 10), sample("b", 40), sample("c", 30, Status.WRONG), sample("d", 100, finish="length")]
    curve = budget_curve(samples)
    assert [p["max_tokens"] for p in curve] == [16, 32, 64, 100]
    assert [p["accuracy"] for p in curve] == [0.25, 0.25, 0.5, 0.75]
    assert [p["finished"] for p in curve] == [0.25, 0.5, 0.75, 0.75]
    assert curve[-1]["stderr"] == pytest.approx(0.25)
    with pytest.raises(KkwarmError, match="not all completions have a number of tokens"):
        budget_curve([sample("a", None)])


def test_the_report_prints_the_curve(chat_model: Path, tmp_path: Path) -> None:
    bench(str(chat_model), ["mini_mcq"], tmp_path / "r", config(max_tokens=20), progress=False)
    shown = CliRunner().invoke(report, [str(tmp_path / "r"), "--budget-curve"])
    assert shown.exit_code == 0 and "token limit" in shown.output
    data = json.loads(CliRunner().invoke(report, [str(tmp_path / "r"), "--budget-curve", "--json"]).output)
    (points,) = data["budget_curves"][str(tmp_path / "r")].values()
    assert points[-1]["accuracy"] == 0.0 and points[-1]["max_tokens"] <= 20
    assert CliRunner().invoke(report, ["--budget-curve"]).exception is not None
