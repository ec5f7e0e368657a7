"""`ScriptedModel` works as a backend."""

import json
from pathlib import Path

import pytest

from kkwarm.backends import Backend, Request
from kkwarm.cli import main
from kkwarm.protocols import PAPER, PromptOptions, make_renderer
from kkwarm.testing import ScriptedModel
from kkwarm.types import Completion, Example, Sampling

REQUESTS = [Request("a", "Capital of France?", (0, 1)), Request("b", "Capital of Peru?", (0,))]


def texts(model: ScriptedModel) -> list[str]:
    return [c.text for _, _, c in model.generate(REQUESTS, Sampling())]


def test_it_is_a_backend() -> None:
    model: Backend = ScriptedModel(lambda prompt, index: f"{prompt[-6:]}{index}")
    assert [(r.key, i, c) for r, i, c in model.generate(REQUESTS, Sampling())] == [
        ("a", 0, Completion("rance?0", 1, "stop")),
        ("a", 1, Completion("rance?1", 1, "stop")),
        ("b", 0, Completion(" Peru?0", 1, "stop")),
    ]


def test_replies_by_turn_and_by_prompt() -> None:
    turns = ScriptedModel.from_replies(["one", "two"])
    assert texts(turns) == ["one", "two", "one"]
    assert turns.prompts == ["Capital of France?"] * 2 + ["Capital of Peru?"]
    assert texts(ScriptedModel.from_replies({"Peru": "Lima"}, default="?")) == ["?", "?", "Lima"]


def test_a_completion_is_returned_unchanged() -> None:
    cut = Completion("so it", 2, "length")
    assert [c for _, _, c in ScriptedModel(lambda *_: cut).generate(REQUESTS[1:], Sampling())] == [cut]


def test_it_renders_chat_prompts() -> None:
    tokenizer = ScriptedModel.from_replies([""]).tokenizer
    prompt = make_renderer(PAPER, tokenizer, PromptOptions("on"))(Example("1", "Why?", ""))
    assert "user: Why?" in prompt and prompt.endswith("<think>")


def test_check_shows_a_prompt_and_measurements(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(1, 9)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "sums.toml").write_text('data = "rows.jsonl"\nverifier = "number"\ntrain = 2\n')
    with pytest.raises(SystemExit) as ended:
        main(["check", str(tmp_path / "sums.toml"), "--examples", "2", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0, document
    assert "User: What is" in document["prompt"]
    notes = {r["rule"]: r["note"] for r in document["rules"]}
    assert notes["verdicts are fast"].endswith("ms per verdict")
