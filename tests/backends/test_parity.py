"""The parity check finds that variants agree, and that a changed model differs."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from kkwarm.backends import parity
from kkwarm.backends.hf import HFBackend
from kkwarm.backends.parity import Variant, compare_variants
from kkwarm.errors import KkwarmError


def test_variants_of_transformers_agree(tiny: Path) -> None:
    names: list[str] = []
    variants, tolerance = compare_variants(str(tiny), max_tokens=12, device="cpu", on_start=names.append)
    assert [v.name for v in variants] == names[1:] and len(variants) == 3 and tolerance == 1e-3
    for variant in variants:
        assert variant.agrees and variant.max_error is not None and variant.max_error < 1e-4, variant
        assert variant.same_texts + len(variant.divergences) == variant.texts == 5


def test_logprobs_are_the_models(tiny: Path) -> None:
    backend = HFBackend.load(str(tiny), device="cpu")
    texts = [([5, 6, 7], [8, 9]), ([11], [12, 13, 14]), (list(range(3, 40)), [1])]
    for rows in (None, 1, 2):
        backend.batch_size = rows
        for (prompt, completion), logprobs in zip(texts, backend.logprobs(texts), strict=True):
            with torch.inference_mode():
                table = torch.log_softmax(backend.model(torch.tensor([prompt + completion])).logits[0], -1)
            want = [float(table[len(prompt) - 1 + i, token]) for i, token in enumerate(completion)]
            assert logprobs == pytest.approx(want, abs=1e-4)


def test_a_variant_that_differs_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = HFBackend.load.__func__  # type: ignore[attr-defined]

    def skewed(cls: type[HFBackend], model: str, **options: object) -> HFBackend:
        backend = load(cls, model, **options)
        if options["attention"] == "sdpa":
            with torch.no_grad():
                backend.model.model.layers[0].mlp.down_proj.weight.mul_(3.0)
        return backend

    monkeypatch.setattr(HFBackend, "load", classmethod(skewed))
    variants, tolerance = compare_variants(str(tiny), max_tokens=12, device="cpu")
    assert [v.agrees for v in variants] == [True, False, False]
    wrong = variants[1]
    assert wrong.max_error is not None and wrong.max_error > tolerance and wrong.same_texts < wrong.texts
    divergence = wrong.divergences[0]
    assert divergence.expected != divergence.actual and divergence.margin is not None and divergence.margin >= 0


def test_a_variant_that_cannot_run_has_a_note(tiny: Path) -> None:
    variants, _ = compare_variants(str(tiny), max_tokens=4, device="cpu", server=("http://127.0.0.1:9/v1", "m"))
    assert variants[-1].agrees is None and "no server responds" in variants[-1].note
    with pytest.raises(KkwarmError):
        compare_variants(str(tiny / "nowhere"))


@pytest.mark.slow
def test_command(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kkwarm.cli.doctor import command

    done = CliRunner().invoke(command, ["--parity", str(tiny), "--json"])
    document = json.loads(done.stdout)
    assert done.exit_code == 0 and document["ok"] and document["tolerance"] == 1e-3
    assert {variant["name"] for variant in document["variants"]} >= {"hf eager, batched", "hf sdpa, batched"}
    apart = [Variant(**{**variant, "agrees": False, "divergences": []}) for variant in document["variants"]]
    monkeypatch.setattr(parity, "compare_variants", lambda *_, **__: (apart, 1e-3))
    done = CliRunner().invoke(command, ["--parity", str(tiny)])
    assert done.exit_code == 1 and "differs" in done.stdout
