"""The parity probe: finds agreement where there is, and a changed model where there is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from kkwarm.backends import parity
from kkwarm.backends.hf import HFBackend
from kkwarm.backends.parity import Variant, probe
from kkwarm.errors import KkwarmError


def test_ways_of_transformers_agree(tiny: Path) -> None:
    said: list[str] = []
    ways, limit = probe(str(tiny), max_tokens=12, device="cpu", say=said.append)
    assert [w.name for w in ways] == said[1:] and len(ways) == 3 and limit == 1e-3
    for way in ways:
        assert way.agrees and way.max_error is not None and way.max_error < 1e-4, way
        assert way.same_texts + len(way.divergences) == way.texts == 5


def test_logprobs_are_the_models(tiny: Path) -> None:
    backend = HFBackend.load(str(tiny), device="cpu")
    texts = [([5, 6, 7], [8, 9]), ([11], [12, 13, 14]), (list(range(3, 40)), [1])]
    for rows in (None, 1, 2):
        backend.batch_size = rows
        for (prompt, completion), told in zip(texts, backend.logprobs(texts), strict=True):
            with torch.inference_mode():
                table = torch.log_softmax(backend.model(torch.tensor([prompt + completion])).logits[0], -1)
            want = [float(table[len(prompt) - 1 + i, token]) for i, token in enumerate(completion)]
            assert told == pytest.approx(want, abs=1e-4)


def test_a_way_that_differs_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = HFBackend.load.__func__  # type: ignore[attr-defined]

    def skewed(cls: type[HFBackend], model: str, **options: object) -> HFBackend:
        backend = load(cls, model, **options)
        if options["attention"] == "sdpa":
            with torch.no_grad():
                backend.model.model.layers[0].mlp.down_proj.weight.mul_(3.0)
        return backend

    monkeypatch.setattr(HFBackend, "load", classmethod(skewed))
    ways, limit = probe(str(tiny), max_tokens=12, device="cpu")
    assert [w.agrees for w in ways] == [True, False, False]
    wrong = ways[1]
    assert wrong.max_error is not None and wrong.max_error > limit and wrong.same_texts < wrong.texts
    divergence = wrong.divergences[0]
    assert divergence.expected != divergence.got and divergence.margin is not None and divergence.margin >= 0


def test_what_cannot_run_is_noted(tiny: Path) -> None:
    ways, _ = probe(str(tiny), max_tokens=4, device="cpu", server=("http://127.0.0.1:9/v1", "m"))
    assert ways[-1].agrees is None and "nobody answers" in ways[-1].note
    with pytest.raises(KkwarmError):
        probe(str(tiny / "nowhere"))


def test_command(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kkwarm.cli.doctor import command

    done = CliRunner().invoke(command, ["--parity", str(tiny), "--json"])
    document = json.loads(done.stdout)
    assert done.exit_code == 0 and document["ok"] and document["tolerance"] == 1e-3
    assert {way["name"] for way in document["ways"]} >= {"hf eager, batched", "hf sdpa, batched"}
    apart = [Variant(**{**way, "agrees": False, "divergences": []}) for way in document["ways"]]
    monkeypatch.setattr(parity, "probe", lambda *_, **__: (apart, 1e-3))
    done = CliRunner().invoke(command, ["--parity", str(tiny)])
    assert done.exit_code == 1 and "differs" in done.stdout
