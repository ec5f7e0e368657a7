"""The analysis of a study, and how it is shown."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from kkwarm.report.markdown import markdown_text
from kkwarm.report.plot import plot
from kkwarm.report.terminal import render_text
from kkwarm.transfer.analyse import analyse
from kkwarm.transfer.material import Material

Make = Callable[..., Material]


def claim(document: dict, number: str) -> dict:
    return next(c for c in document["claims"] if c["id"] == number)


def test_the_document_is_the_contract(make: Make) -> None:
    document = json.loads(json.dumps(analyse(make())))
    cell = document["matrix"]["warmed"]["sums"]
    assert {"accuracy", "stderr", "n"} <= set(cell)
    assert cell["n"] == 1200
    assert cell["change"]["against"] == "base"
    assert cell["change"]["verdict"] == "gain"
    assert [c["id"] for c in document["claims"]] == ["i", "ii", "iii", "iv"]
    assert all({"id", "text", "estimate", "ci", "verdict", "holds"} <= set(c) for c in document["claims"])
    assert document["family"] == 9


def test_claims_that_hold(make: Make) -> None:
    document = analyse(make())
    assert [c["holds"] for c in document["claims"]] == [True, True, True, True]
    assert claim(document, "i")["domains"] == ["sums", "programs"]
    assert claim(document, "i")["estimate"] == pytest.approx(0.25, abs=0.05)
    assert claim(document, "ii")["domains"] == ["programs"]
    assert claim(document, "iii")["from_base"]["estimate"] == pytest.approx(0, abs=0.05)
    found = claim(document, "iv")["efficiency"]
    assert found["steps_warmed"] < found["steps_base"]


def test_a_claim_that_fails_is_printed_as_failed(make: Make) -> None:
    document = analyse(make(warmed_plus_RLVR=(0.3, 0.3, 0.3)))
    assert claim(document, "ii")["verdict"] == "loss"
    assert claim(document, "ii")["holds"] is False
    assert claim(document, "iii")["holds"] is False
    text = render_text(document, 100)
    assert text.count("FAILS") == 2
    assert "| ii After RLVR" in markdown_text(document)
    assert "FAILS" in markdown_text(document)


def test_no_difference_is_no_gain(make: Make) -> None:
    document = analyse(make(warmed=(0.4, 0.4, 0.4)))
    assert claim(document, "i")["holds"] is not True
    assert claim(document, "i")["verdict"] in ("tie", "underpowered")


def test_missing_conditions_leave_claims_open(make: Make) -> None:
    material = make(state="in progress")
    cells = {k: v for k, v in material.cells.items() if k[0] in ("base", "warmed")}
    document = analyse(dataclasses.replace(material, cells=cells, curves=()))
    assert claim(document, "i")["holds"] is True
    for number in ("ii", "iii", "iv"):
        assert claim(document, number)["verdict"] == "no data"
        assert claim(document, number)["holds"] is None
    text = render_text(document, 80)
    assert "IN PROGRESS (3 of 9 steps)" in text
    assert "no samples of programs yet" in " ".join(text.split())


def test_a_leak_marks_every_figure_that_it_touches(make: Make) -> None:
    material = dataclasses.replace(make(), leaks={("warmed", "sums"): 7})
    document = analyse(material)
    marked = {(c, d) for c, row in document["matrix"].items() for d, cell in row.items() if cell["leaked"]}
    assert marked == {("warmed", "sums")}
    changes = {
        (c, d)
        for c, row in document["matrix"].items()
        for d, cell in row.items()
        if cell["change"] and cell["change"]["leaked"]
    }
    assert changes == {("warmed", "sums")}
    assert {c["id"]: c["leaked"] for c in document["claims"]} == {"i": True, "ii": False, "iii": True, "iv": False}
    for text in (render_text(document, 80), markdown_text(document)):
        assert text.count("†") == 5  # the cell, its change, two claims, the note
    clean = analyse(make())
    assert "†" not in render_text(clean, 80) + markdown_text(clean)


def test_nothing_evaluated_yet(make: Make) -> None:
    document = analyse(dataclasses.replace(make(state="in progress"), cells={}, forced={}, curves=()))
    assert "Nothing is evaluated yet" in render_text(document, 80)


def test_what_cannot_be_paired_is_said(make: Make) -> None:
    material = make()
    other = dataclasses.replace(material.cells["warmed", "sums"], protocol={"version": 1, "temperature": 0.0})
    document = analyse(dataclasses.replace(material, cells={**material.cells, ("warmed", "sums"): other}))
    assert document["matrix"]["warmed"]["sums"]["change"] is None
    assert any("temperature" in p for p in document["problems"])
    assert "Not compared" in render_text(document, 100)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_it_fits(make: Make, width: int) -> None:
    text = render_text(analyse(make()), width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    for part in ("warmed + RLVR", "vs base + RLVR", "▲", "P(works", "holds", "step 30", "truncated", "Elicitation"):
        assert part in text
    assert "…" not in text  # nothing is cut off


def test_names_are_not_markup(make: Make) -> None:
    text = render_text(analyse(make(title="[bold]x[/] [/nothing]")), 100)
    assert "[bold]x[/] [/nothing]" in text


def test_a_plot_shows_both_series_without_colour() -> None:
    drawn = plot([("a", [1, 2, 3], [0.0, 0.5, 1.0]), ("b", [1, 2, 3], [1.0, 0.5, 0.0])], 60).plain
    assert "o" in drawn
    assert "*" in drawn
    assert "#" in drawn  # they cross
    flat = plot([("a", [1], [2.0])], 60).plain
    assert "o" in flat
