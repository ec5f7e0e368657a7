"""Cells from stored samples, and what must not be paired."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kkwarm.analysis.cells import evaluation_settings
from kkwarm.analysis.compare import compare
from kkwarm.analysis.load import load
from kkwarm.errors import KkwarmError
from kkwarm.schema.manifest import Manifest
from kkwarm.store import Run
from kkwarm.types import Completion, Sample, Status, Verdict


def stored(
    path: Path,
    right: Mapping[str, list[bool]],
    config: dict[str, Any] | None = None,
    prompt: str = "p",
    done: bool = True,
) -> Path:
    """A bench run whose question `id` has these samples."""
    with Run.open(path, kind="bench", config=config or {"temperature": 1.0}) as run:
        run.append(
            Sample("d", i, n, Completion("x"), Verdict(Status.CORRECT if r else Status.WRONG), f"{prompt}{i}")
            for i, rights in right.items()
            for n, r in enumerate(rights)
        )
        if done:
            run.finish()
    return path


def questions(n: int, right: int) -> dict[str, list[bool]]:
    return {f"q{i}": [i < right] for i in range(n)}


def test_compare_pairs_by_question(tmp_path: Path) -> None:
    a, b = stored(tmp_path / "a", questions(40, 10)), stored(tmp_path / "b", questions(40, 30))
    row = compare(a, b, common=False).benchmarks["d"]
    assert row.change.estimate == pytest.approx(50)
    assert (row.only_a, row.only_b) == (0, 20)
    assert row.change.verdict == "gain"
    assert row.change.test == "exact McNemar"


def test_order_of_storing_does_not_matter(tmp_path: Path) -> None:
    right = questions(30, 12)
    a, b = stored(tmp_path / "a", right), stored(tmp_path / "b", dict(reversed(right.items())))
    assert compare(a, b, common=False).benchmarks["d"].change.estimate == 0


def test_other_questions_are_refused_unless_common(tmp_path: Path) -> None:
    a, b = stored(tmp_path / "a", questions(40, 10)), stored(tmp_path / "b", questions(30, 10))
    with pytest.raises(KkwarmError, match="10 questions are in one only, of 40 and 30") as refused:
        compare(a, b, common=False)
    assert "--common" in refused.value.hint
    assert compare(a, b, common=True).benchmarks["d"].change.questions == 30


def test_other_settings_and_other_prompts_are_refused(tmp_path: Path) -> None:
    a = stored(tmp_path / "a", questions(9, 3))
    b = stored(tmp_path / "b", questions(9, 3), {"temperature": 0.0})
    c = stored(tmp_path / "c", questions(9, 3), prompt="other")
    with pytest.raises(KkwarmError, match=r"temperature \(1.0 and 0.0\)"):
        compare(a, b, common=True)
    with pytest.raises(KkwarmError, match="prompts of question"):
        compare(a, c, common=False)


def test_an_empty_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(KkwarmError, match="no samples"):
        load([stored(tmp_path / "a", {})])


def test_a_run_in_progress_is_reported_as_such(tmp_path: Path) -> None:
    a, b = stored(tmp_path / "a", questions(9, 3)), stored(tmp_path / "b", questions(9, 3), done=False)
    study = load([a, b])
    assert study.state == "in progress"
    assert study.cells["b", "d"].partial
    assert not study.cells["a", "d"].partial


def test_samples_of_one_question_do_not_count_as_questions(tmp_path: Path) -> None:
    many = stored(tmp_path / "a", {f"q{i}": [i % 2 == 0] * 4 for i in range(50)})
    one = stored(tmp_path / "b", {f"q{i}": [i % 2 == 0] for i in range(50)})
    cells = load([many]).cells["a", "d"], load([one]).cells["b", "d"]
    assert cells[0].scores.tolist() == cells[1].scores.tolist()


def test_the_protocol_is_that_of_each_benchmark(tmp_path: Path) -> None:
    def settings(temperature: float, seed: int) -> dict[str, Any]:
        of_d = {"temperature": temperature, "top_p": 1.0, "max_tokens": 9, "seed": seed}
        return {"samples": 1, "sampling": {"d": of_d, "other": {"temperature": seed}}, "protocols": {"d": "plain"}}

    a = stored(tmp_path / "a", questions(9, 3), settings(1.0, 0))
    b = stored(tmp_path / "b", questions(9, 3), settings(1.0, 1))  # another seed is no other protocol
    c = stored(tmp_path / "c", questions(9, 3), settings(0.7, 0))
    assert compare(a, b, common=False).benchmarks["d"].change.estimate == 0
    with pytest.raises(KkwarmError, match=r"temperature \(1.0 and 0.7\)"):
        compare(a, c, common=False)


def test_a_run_of_an_older_protocol_is_refused_and_said_how_to_mend(tmp_path: Path) -> None:
    a, b = stored(tmp_path / "a", questions(9, 3)), stored(tmp_path / "b", questions(9, 3))
    with Run.open(b, kind="bench", config={"temperature": 1.0}) as run:
        run.record(evaluation_version=0)
    with pytest.raises(KkwarmError, match=r"version \(1 and 0\)") as refused:
        compare(a, b, common=False)
    assert "bench the older checkpoint again" in refused.value.hint


def test_runs_without_a_common_benchmark_say_what_each_has(tmp_path: Path) -> None:
    a = stored(tmp_path / "a", questions(9, 3))
    with Run.open(tmp_path / "b", kind="bench", config={}) as run:
        run.append([Sample("e", "q0", 0, Completion("x"), Verdict(Status.CORRECT), "p")])
        run.finish()
    with pytest.raises(KkwarmError, match="share no benchmark: the first has d, the second e"):
        compare(a, tmp_path / "b", common=False)


def test_flips_are_named_and_the_verdict_is_a_sentence(tmp_path: Path) -> None:
    a, b = stored(tmp_path / "a", questions(40, 10)), stored(tmp_path / "b", questions(40, 13), done=False)
    document = compare(a, b, common=False)
    row = document.benchmarks["d"]
    assert row.flipped == {"a": (), "b": ("q10", "q11", "q12")}
    assert row.statement.startswith("underpowered: ")
    assert "Correct in B only: 3, in A only: 0 of 40 questions" in row.statement
    assert document.states == {"a": "done", "b": "in progress"}
    assert (row.settings_differences, row.stopped) == ((), {"a": None, "b": None})


@pytest.mark.parametrize("width", [80, 160])
def test_the_command_fits_and_says_what_is_in_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    from kkwarm.cli import main

    monkeypatch.setenv("COLUMNS", str(width))
    a, b = stored(tmp_path / "a", questions(40, 10)), stored(tmp_path / "b", questions(40, 30), done=False)
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(a), str(b), "--flips", "2"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert "IN PROGRESS" in out and "gain" in out
    assert "only B: q10, q11, and 18 more" in out
    assert "…" not in out
    with pytest.raises(SystemExit):
        main(["compare", str(a), str(b), "--json"])
    assert '"statement": "gain: B is 50.0 points ahead' in capsys.readouterr().out


def with_protocol(path: Path, protocol: str, right: int, **prompting: Any) -> Path:
    config = {"protocols": {"d": protocol}, "sampling": {"d": {"temperature": 0.7 if protocol == "paper" else 0.0}}}
    return stored(path, questions(40, right), config | {"prompting": {"d": prompting}}, prompt=protocol)


def test_other_protocols_are_compared_only_on_request(tmp_path: Path) -> None:
    a = with_protocol(tmp_path / "a", "paper", 10)
    b = with_protocol(tmp_path / "b", "boxed", 30, chat=True, shots=4)
    with pytest.raises(KkwarmError, match=r"protocol \(") as refused:
        compare(a, b)
    assert "--across-protocols" in refused.value.hint
    row = compare(a, b, across_protocols=True).benchmarks["d"]
    assert row.change.estimate == pytest.approx(50)
    assert (row.a.protocol, row.b.protocol) == ("paper", "boxed (chat, 4 shots)")
    assert "protocol paper and boxed" in row.settings_differences
    assert "temperature 0.7 and 0.0" in row.settings_differences
    assert "40 of 40 prompts differ" in row.settings_differences


@pytest.mark.parametrize(("protocol", "scorer"), [("logic-rl", "kkwarm"), ("paper", "kkwarm's kk_logic_rl")])
def test_a_protocols_own_verifier_is_no_other_scorer(protocol: str, scorer: str) -> None:
    config = {"protocols": {"kk": protocol}}
    manifest = Manifest(kind="bench", config=config, verifiers={"kk": {"name": "kk_logic_rl"}})
    assert evaluation_settings(manifest, "kk")["scorer"] == scorer


def test_across_protocols_excuses_no_other_difference(tmp_path: Path) -> None:
    """The number of samples, or sampling settings of the same protocol, are no part of a protocol."""
    a = stored(tmp_path / "a", questions(9, 3), {"protocols": {"d": "paper"}, "samples": 1})
    b = stored(tmp_path / "b", questions(9, 3), {"protocols": {"d": "boxed"}, "samples": 4})
    c = stored(tmp_path / "c", questions(9, 3), {"protocols": {"d": "paper"}, "samples": 1, "temperature": 0.5})
    for other in (b, c):
        with pytest.raises(KkwarmError, match="differ in") as refused:
            compare(a, other, across_protocols=True)
        assert "--across-protocols" not in refused.value.hint


def test_a_report_shows_protocols_side_by_side(tmp_path: Path) -> None:
    from kkwarm.analysis.build import build_report
    from kkwarm.reporting.html import write_html
    from kkwarm.reporting.latex import latex_text
    from kkwarm.reporting.markdown import markdown_text
    from kkwarm.reporting.terminal import render_text

    paths = [with_protocol(tmp_path / "a", "paper", 10), with_protocol(tmp_path / "b", "boxed", 30, chat=True)]
    for path, text in zip(paths, ("raw <think>", "<|user|> & co"), strict=True):
        run = Run.read(path)
        run.record(prompts={"d": {"id": "q0", "text": text}})
    report = build_report(load(paths))
    assert [p.model_dump() for p in report.prompts] == [
        {"domain": "d", "protocol": "paper", "conditions": ("a",), "id": "q0", "text": "raw <think>"},
        {"domain": "d", "protocol": "boxed (chat)", "conditions": ("b",), "id": "q0", "text": "<|user|> & co"},
    ]
    assert report.matrix["b"]["d"].change is None
    assert "--across-protocols" in report.problems[0]
    line = "d: 40 questions, 1 sample each; protocol paper, temperature 0.7 for a; protocol boxed (chat), "
    line += "temperature 0 for b"
    page = tmp_path / "page.html"
    write_html(report, paths, page)
    for view in (render_text(report, 200, full=True), markdown_text(report), latex_text(report), page.read_text()):
        assert line in view
    assert "<pre>&lt;|user|&gt; &amp; co</pre>" in page.read_text()
    crossed = build_report(load(paths, across_protocols=True))
    assert crossed.matrix["b"]["d"].change is not None
    assert "protocol paper and boxed" in render_text(crossed, 200, full=True)
