"""What training trained_report of itself, and what another tool measured otherwise, in every view of the report."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kkwarm.analysis.build import build_report
from kkwarm.analysis.load import load
from kkwarm.analysis.study_data import StudyData
from kkwarm.analysis.training import Training
from kkwarm.reporting.html import _page
from kkwarm.reporting.labels import alarm_lines, evals_text
from kkwarm.reporting.latex import latex_text
from kkwarm.reporting.markdown import markdown_text
from kkwarm.reporting.samples import Packed
from kkwarm.reporting.terminal import render_text
from kkwarm.schema.report import Report
from kkwarm.store import Run
from kkwarm.types import Completion, Sample, Status, Verdict

FORGOT = {
    "kind": "forgetting",
    "step": 8,
    "domain": "sums",
    "text": "sums fell by 20% (standard error 4%) since step 0",
}
SILENT = {"kind": "no signal", "step": 12, "text": "90% of the groups gave no signal in the last 10 steps"}
EVALS = {0: {"sums": 0.5, "programs": 0.2}, 8: {"sums": 0.3, "programs": 0.4}}


def page(document: Report) -> str:
    header = {"samples": 0, "left_out": 0}
    return "".join(_page(document, Packed(header, "", [], [])))


@pytest.fixture
def trained_report(make: Callable[..., StudyData]) -> Report:
    rows = ("warmed + RLVR",)
    training = (
        Training("rlvr", "rlvr", 0, rows, (FORGOT, SILENT), EVALS),
        Training("rlvr", "rlvr", 1, rows, (SILENT,), {0: {"sums": 0.7, "programs": 0.2}, 8: EVALS[8]}),
        Training("warm<b>", "warmup", 0, ("warmed", *rows), (FORGOT,), {}),
    )
    return build_report(replace(make(), training=training))


def test_alarms_are_listed_once_for_all_seeds(trained_report: Report) -> None:
    assert alarm_lines(trained_report) == [
        f"warmed + RLVR (rlvr), seed 0, step 8: forgetting: {FORGOT['text']}",
        f"warmed + RLVR (rlvr), seed 0, step 12: no signal: {SILENT['text']}; seed 1 too",
        f"warmed (warm<b>), seed 0, step 8: forgetting: {FORGOT['text']}",
    ]


def test_every_view_says_first_that_nothing_was_learned(make: Callable[..., StudyData]) -> None:
    """Before any figure, in words, and in the JSON document."""
    nothing = {"kind": "nothing learned", "step": 12, "text": "the reward never varied within a group"}
    training = Training("rlvr", "rlvr", 1, ("base + RLVR",), (SILENT, nothing), {}, signal=False)
    document = build_report(replace(make(), training=(training,)))
    line = "base + RLVR (rlvr), seed 1, step 12: nothing learned: the reward never varied within a group"
    for view in (render_text(document, 160, full=True), markdown_text(document), page(document)):
        assert 0 < view.index(line) < view.index("warmed")
        assert SILENT["text"] not in view, "it follows from the other"
    assert document.model_dump(mode="json")["training"][0]["signal"] is False


def test_every_view_says_where_nothing_was_measured(make: Callable[..., StudyData]) -> None:
    study = make()
    cells = {
        key: replace(cell, status={"malformed": cell.samples}) if key[0] == "base" else cell
        for key, cell in study.cells.items()
    }
    document = build_report(replace(study, cells=cells))
    assert len(document.unusable) == 1 and document.unusable[0].startswith("base on ")
    for view in (render_text(document, 160, full=True), markdown_text(document), page(document)):
        assert "completions are malformed, so nothing was measured" in view


def test_in_training_evals_are_means_over_seeds(trained_report: Report) -> None:
    assert evals_text(trained_report) == (
        ["sums", "programs"],
        [("warmed + RLVR (rlvr), step 0 to 8", ["60 → 30", "20 → 40"])],
    )
    (evals,) = trained_report.in_training_evals
    assert evals.seeds == 2
    assert evals.accuracy["sums"] == pytest.approx((0.6, 0.3)) and evals.accuracy["programs"] == pytest.approx(
        (0.2, 0.4)
    )


def test_every_view_shows_them(trained_report: Report) -> None:
    for view in (render_text(trained_report, 160, full=True), markdown_text(trained_report), page(trained_report)):
        assert "no signal in the last 10 steps; seed 1 too" in view
        assert "60 → 30" in view and "20 → 40" in view
    assert "warm<b>" not in page(trained_report) and "warm&lt;b&gt;" in page(trained_report)


def test_views_are_empty_without_alarms_and_evaluations(make: Callable[..., StudyData]) -> None:
    document = build_report(make())
    assert document.training == () and document.settings_differences == ()
    for view in (render_text(document, 160, full=True), markdown_text(document), page(document), latex_text(document)):
        assert (
            "Alarms" not in view
            and "In-training evaluations: percent" not in view
            and "Measured differently" not in view
        )


def test_the_runs_that_made_benched_checkpoints_are_asked(tmp_path: Path) -> None:
    maker = tmp_path / "trained"
    with Run.open(maker, kind="rlvr", config={"seed": 3}) as run:
        run.record(alarms=[SILENT])
        run.finish(products={"checkpoint": "0123456789abcdef"})
    rows = [{"step": s, "accuracy": a} for s, a in EVALS.items()]
    (maker / "evals.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 9, "acc')
    with Run.open(tmp_path / "bench", kind="bench", config={}, inputs={"checkpoint": "0123456789abcdef"}) as run:
        run.record(model={"name": "trained", "checkpoint": str(maker / "checkpoint")})
        run.append([Sample("sums", "q", 0, Completion("x"), Verdict(Status.WRONG))])
        run.finish()
    (one,) = load([tmp_path / "bench"]).training
    assert (one.stage, one.kind, one.seed, one.conditions) == ("trained", "rlvr", 3, ("bench",))
    assert one.evals == EVALS and [dict(a) for a in one.alarms] == [SILENT]


def test_another_tools_protocol_is_listed_once(make: Callable[..., StudyData]) -> None:
    material = make()
    cells = {
        key: replace(c, external=True, settings={"version": 1, "temperature": 0.2}) if key[0] == "warmed" else c
        for key, c in material.cells.items()
    }
    document = build_report(replace(material, cells=cells))
    assert document.problems == ()
    assert [(d.condition, d.baseline) for d in document.settings_differences] == [("warmed", "base")]
    said = "warmed and base on puzzles, sums, programs: temperature unknown and 0.2"
    for view in (render_text(document, 160, full=True), markdown_text(document), page(document), latex_text(document)):
        assert view.count(said) == 1
