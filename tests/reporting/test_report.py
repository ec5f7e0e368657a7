"""The analysis of a study, and how it is shown."""

import dataclasses
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kkwarm.analysis.build import build_report
from kkwarm.analysis.study_data import StudyData
from kkwarm.errors import KkwarmError
from kkwarm.reporting.figures import Figure, Series, figures, ticks
from kkwarm.reporting.latex import latex_text
from kkwarm.reporting.markdown import markdown_text
from kkwarm.reporting.plot import plot
from kkwarm.reporting.png import write_png
from kkwarm.reporting.svg import figure_svg
from kkwarm.reporting.terminal import render_text
from kkwarm.schema.report import Claim, Contamination, Report, SampleEfficiency, parse_report
from kkwarm.types import ClaimSet

Make = Callable[..., StudyData]


def claim(document: Report, number: str) -> Claim:
    return next(c for c in document.claims if c.id == number)


def test_the_document_is_the_contract(make: Make) -> None:
    document = parse_report(build_report(make()).model_dump_json())
    assert document == build_report(make())
    cell = document.matrix["warmed"]["sums"]
    assert cell.n == 1200
    assert cell.change.baseline == "base"
    assert cell.change.verdict == "gain"
    assert [c.id for c in document.claims] == ["i", "ii", "iii", "iv"]
    assert document.comparisons == 9


def test_claims_that_hold(make: Make) -> None:
    document = build_report(make())
    assert [c.holds for c in document.claims] == [True, True, True, True]
    assert claim(document, "i").domains == ("sums", "programs")
    assert claim(document, "i").estimate == pytest.approx(25, abs=5)
    assert claim(document, "ii").domains == ("programs",)
    assert claim(document, "iii").from_base.estimate == pytest.approx(0, abs=5)
    found = claim(document, "iv").efficiency
    assert found.steps_warmed < found.steps_base


def test_a_claim_that_fails_is_printed_as_failed(make: Make) -> None:
    document = build_report(make(warmed_plus_RLVR=(0.3, 0.3, 0.3)))
    assert claim(document, "ii").verdict == "loss"
    assert claim(document, "ii").holds is False
    assert claim(document, "iii").holds is False
    text = render_text(document, 100)
    assert text.count("FAILS") == 2
    assert "| ii After RLVR" in markdown_text(document)
    assert "FAILS" in markdown_text(document)


def test_no_difference_is_no_gain(make: Make) -> None:
    document = build_report(make(warmed=(0.4, 0.4, 0.4)))
    assert claim(document, "i").holds is not True
    assert claim(document, "i").verdict in ("tie", "underpowered")


def of_size(material: StudyData, n: int, seeds: int = 3, apart: float = 0.0) -> StudyData:
    """The same with fewer questions and seeds, and trained seeds that many points apart in accuracy."""
    rng = np.random.default_rng(0)
    cells = {}
    for key, c in material.cells.items():
        shift = 0.0 if key[0] == "base" else apart * np.array([[-1.0], [0.0], [1.0]])
        scores = (rng.random((3, n)) < 0.5 + shift).astype(float)
        cells[key] = dataclasses.replace(
            c, ids=c.ids[:n], prompts=c.prompts[:n], seeds=c.seeds[:seeds], scores=scores[:seeds]
        )
    return dataclasses.replace(material, cells=cells, curves=())


@pytest.mark.parametrize(
    ("n", "seeds", "apart", "expected"),
    [
        (40, 3, 0.0, "questions per domain would decide most; more samples per question help too"),
        (1200, 3, 0.2, "seeds would decide most; more questions would hardly help"),
        (40, 1, 0.0, "questions per domain would decide most; more samples per question help too"),
    ],
)
def test_advice_names_what_would_decide(make: Make, n: int, seeds: int, apart: float, expected: str) -> None:
    document = build_report(of_size(make(), n, seeds, apart))
    advice = document.advice
    assert advice.endswith(expected) and " of 9 changes are underpowered" in advice
    assert advice in " ".join(render_text(document, 200).split())
    assert advice in markdown_text(document)
    left = [c.change for row in document.matrix.values() for c in row.values() if c.change]
    assert sum(c.verdict == "underpowered" for c in left) == int(advice.split()[0])


def test_there_is_no_advice_where_all_is_decided(make: Make) -> None:
    document = build_report(
        make(base=(0.1, 0.1, 0.1), base_plus_RLVR=(0.5, 0.5, 0.5), warmed_plus_RLVR=(0.9, 0.9, 0.9))
    )
    assert document.advice == "" and "underpowered;" not in render_text(document, 100)


def test_missing_conditions_leave_claims_open(make: Make) -> None:
    material = make(state="in progress")
    cells = {k: v for k, v in material.cells.items() if k[0] in ("base", "warmed")}
    document = build_report(dataclasses.replace(material, cells=cells, curves=()))
    assert claim(document, "i").holds is True
    for number in ("ii", "iii", "iv"):
        assert claim(document, number).verdict == "no data"
        assert claim(document, number).holds is None
    text = render_text(document, 80, full=True)
    assert "IN PROGRESS (3 of 9 steps)" in text
    assert "no samples of programs yet" in " ".join(text.split())


def test_contamination_marks_every_affected_figure(make: Make) -> None:
    material = dataclasses.replace(make(), contaminated={("warmed", "sums"): 7})
    document = build_report(material)
    marked = {(c, d) for c, row in document.matrix.items() for d, cell in row.items() if cell.contaminated}
    assert marked == {("warmed", "sums")}
    changes = {
        (c, d)
        for c, row in document.matrix.items()
        for d, cell in row.items()
        if cell.change and cell.change.contaminated
    }
    assert changes == {("warmed", "sums")}
    assert {c.id: c.contaminated for c in document.claims} == {"i": True, "ii": False, "iii": True, "iv": False}
    for text in (render_text(document, 80, full=True), markdown_text(document)):
        assert text.count("†") == 5  # the cell, its change, two claims, the note
    clean = build_report(make())
    assert "†" not in render_text(clean, 80, full=True) + markdown_text(clean)


def test_nothing_evaluated_yet(make: Make) -> None:
    document = build_report(dataclasses.replace(make(state="in progress"), cells={}, forced={}, curves=()))
    assert "Nothing is evaluated yet" in render_text(document, 80)


def test_unpaired_cells_are_reported(make: Make) -> None:
    material = make()
    other = dataclasses.replace(material.cells["warmed", "sums"], settings={"version": 1, "temperature": 0.0})
    document = build_report(dataclasses.replace(material, cells={**material.cells, ("warmed", "sums"): other}))
    assert document.matrix["warmed"]["sums"].change is None
    assert any("temperature" in p for p in document.problems)
    assert "Not compared" in render_text(document, 100)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_it_fits(make: Make, width: int) -> None:
    text = render_text(build_report(make()), width, full=True)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    for part in (
        "warmed + RLVR",
        "vs base + RLVR",
        "▲",
        "Reasoning rate",
        "holds",
        "step 30",
        "truncated",
        "Elicitation",
    ):
        assert part in text
    assert "…" not in text  # nothing is cut off


def test_names_are_not_markup(make: Make) -> None:
    text = render_text(build_report(make(title="[bold]x[/] [/nothing]")), 100)
    assert "[bold]x[/] [/nothing]" in text


def figure(*series: tuple[str, list[float], list[float]], marks: bool = False) -> Figure:
    made = tuple(Series(n, tuple(xs), tuple(ys), tuple(ys), tuple(ys)) for n, xs, ys in series)
    return Figure("key", "title", "examples", "percent", made, marks)


def test_a_plot_shows_both_series_without_colour() -> None:
    drawn = plot(figure(("a", [1, 2, 3], [0.0, 50.0, 100.0]), ("b", [1, 2, 3], [100.0, 50.0, 0.0])), 60).plain
    assert "o" in drawn
    assert "*" in drawn
    assert "#" in drawn  # they cross
    assert max(map(len, drawn.splitlines())) <= 60
    flat = plot(figure(("a", [1], [2.0])), 60).plain
    assert "o" in flat


def test_measured_points_are_named_on_the_axis() -> None:
    drawn = plot(figure(("a", [0, 10, 25, 50, 100], [1, 2, 30, 40, 50]), marks=True), 80).plain
    axis = drawn.splitlines()[-2].split()
    assert axis == ["0", "10", "25", "50", "examples", "100"]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 97), (39.2, 44.1), (0.001, 0.002), (0, 1e6)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 3 <= len(found) <= 11
    assert low - 1e-9 <= found[0] < found[-1] <= high + 1e-9
    assert all(len(f"{v:g}") <= 6 for v in found)


def with_efficiency(report: Report, **changed: object) -> Report:
    points = [
        {"examples": n, "condition": f"c {n}", "accuracy": n / 200, "ci": [0, 1], "by_seed": [n / 210, n / 190]}
        for n in (0, 10, 100)
    ]
    row = {"examples": 100, "level": 0.5, "base": 100.0, "warmed": 10.0, "saved": 90.0, "ci": [80.0, 95.0]}
    row |= {"reached": 1.0, "verdict": "saves", **changed}
    starts = {s: {"condition": s, "points": points} for s in ("base", "warmed")}
    entry = SampleEfficiency.model_validate({"on": "programs", **starts, "saved": [row]})
    return report.model_copy(update={"efficiency": (entry,)})


def test_examples_saved_are_shown(make: Make) -> None:
    text = render_text(with_efficiency(build_report(make())), 100, full=True)
    assert "Examples of programs saved by the warm-up" in text
    assert "+80 to +95" in text
    missing = with_efficiency(build_report(make()), warmed=None, saved=None, ci=[None, 3.0], verdict="undecided")
    assert render_text(missing, 100, full=True).count("not reached") == 3


def test_flips_and_lengths_are_shown(make: Make) -> None:
    document = build_report(make())
    change = document.matrix["warmed"]["sums"].change
    assert f"+{change.gained} -{change.lost}" in render_text(document, 80, full=True)
    assert change.gained > change.lost
    assert "12 / 40" in render_text(document, 160, full=True)


def test_latex_is_a_table_and_escapes(make: Make) -> None:
    document = build_report(make(title="50% of {x}_y & \\z ~ #1 $2^3$"))
    text = latex_text(document)
    assert r"50\% of \{x\}\_y \& \textbackslash{}z \textasciitilde{} \#1 \$2\textasciicircum{}3\$" in text
    body = [v for v in text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines() if "&" in v]
    assert len(body) == 4 + 3  # the base is compared with nothing
    assert all(line.count("&") == 3 and line.endswith(r"\\") for line in body)
    assert body[2].startswith(r"\enspace{\scriptsize vs base} & {\scriptsize$\uparrow\;{+")
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")


def test_png(make: Make, tmp_path: Path) -> None:
    document = with_efficiency(build_report(make(title="costs $5 and $6")))
    files = write_png(document, tmp_path / "figures")
    names = [f.name for f in files]
    assert names == ["matrix.png", "claims.png", "examples-programs.png", "steps-programs.png", "reward-programs.png"]
    (one,) = write_png(document, tmp_path / "all.png")
    for file in (*files, one):
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size > 5_000


def test_a_study_without_claims_has_its_curves(make: Make) -> None:
    drawn = figures(build_report(dataclasses.replace(make(), roles=())))
    assert [f.key for f in drawn] == ["steps-warmed-RLVR", "reward-warmed-RLVR"]
    assert [s.name for s in drawn[0].series] == ["base + RLVR", "warmed + RLVR"]
    alone = dataclasses.replace(make(), roles=(), curves=make().curves[:2])
    assert [[s.name for s in f.series] for f in figures(build_report(alone))] == [["base + RLVR"]] * 2


def test_a_curve_of_one_step_is_not_drawn(make: Make) -> None:
    def steps(n: int) -> Report:
        cut = [
            dataclasses.replace(c, **{f: getattr(c, f)[:n] for f in ("steps", "reward", "accuracy")})
            for c in make().curves
        ]
        return build_report(dataclasses.replace(make(), curves=tuple(cut)))

    assert figures(steps(1)) == [] and len(figures(steps(2))) == 2
    render_text(steps(1))
    assert all("<svg" in figure_svg(f) for f in figures(steps(2)))


def test_nothing_to_draw(make: Make, tmp_path: Path) -> None:
    with pytest.raises(KkwarmError, match="nothing is evaluated"):
        write_png(build_report(dataclasses.replace(make(), cells={}, forced={}, curves=())), tmp_path)


def test_png_without_matplotlib_names_the_extra(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(KkwarmError, match="kkwarm\\[plots\\]"):
        write_png(build_report(make()), tmp_path / "x.png")


def test_contamination_is_marked_in_every_view(make: Make) -> None:
    study = dataclasses.replace(make(), contaminated={("warmed", "sums"): 3})
    document = with_efficiency(build_report(study))
    other = Contamination(condition="c 10", domain="programs", questions=3)
    claims = tuple(c.model_copy(update={"contaminated": False}) for c in document.claims)
    document = document.model_copy(update={"contamination": (other,), "claims": claims})
    text = render_text(document, 100, full=True)
    assert text.count("†") == 4  # figure, change, the examples saved, and the explanation
    assert "† CONTAMINATED: c 10 was trained on 3 questions of programs" in text
    assert latex_text(document).count(r"\dag") == 3


def test_a_log_without_accuracy_gives_rewards_only(make: Make) -> None:
    material = make()
    curves = tuple(dataclasses.replace(c, accuracy=(math.nan,) * len(c.steps)) for c in material.curves)
    document = build_report(dataclasses.replace(material, curves=curves))
    assert document.curves[0].accuracy is None and "NaN" not in document.model_dump_json()
    assert [f.key for f in figures(document)] == ["reward-programs"]


def test_an_unknown_schema_version_is_one_clear_line(make: Make) -> None:
    text = build_report(make()).model_dump_json().replace('"schema_version":1', '"schema_version":7', 1)
    with pytest.raises(ValueError) as refused:
        parse_report(text)
    assert str(refused.value) == "schema version 7 is unknown; this kkwarm reads version 1"
    with pytest.raises(ValueError, match=r"^title: Field required"):
        parse_report("{}")


def test_claims_of_plugins_are_evaluated_and_a_failing_set_is_reported(make: Make) -> None:
    def fail(study: StudyData) -> list[Claim]:
        raise ZeroDivisionError("no questions")

    def evaluate(study: StudyData) -> list[Claim]:
        return [Claim(id="a", on="", text=study.title, domains=(), verdict="no data", holds=None, statement="later")]

    report = build_report(make(title="T"), [ClaimSet("bad", fail), ClaimSet("mine", evaluate)])
    assert [c.text for c in report.claims] == ["T"]
    assert report.problems == ("the claims 'bad' could not be evaluated: ZeroDivisionError: no questions",)
