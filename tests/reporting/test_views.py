"""Views of stored runs: figures that agree everywhere, runs that were stopped early, commands that list runs."""

import csv
import http.client
import io
import json
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kkwarm.analysis.build import build_report
from kkwarm.analysis.compare import compare, compare_all
from kkwarm.analysis.load import load
from kkwarm.analysis.metrics import summarize
from kkwarm.analysis.runs import rank
from kkwarm.cli import cli
from kkwarm.errors import KkwarmError
from kkwarm.importers.lm_eval import _groups, _name_groups
from kkwarm.importers.records import Answer, TaskResults
from kkwarm.reporting.html import page_pieces
from kkwarm.reporting.labels import break_name, short_names, with_interval
from kkwarm.reporting.latex import latex_text
from kkwarm.reporting.markdown import markdown_text
from kkwarm.reporting.sanitize import console
from kkwarm.reporting.serve import Pages, make_server
from kkwarm.reporting.terminal import SECTIONS, render_text
from kkwarm.schema.report import parse_report
from kkwarm.store import Run
from kkwarm.types import Completion, Sample, Status, Verdict

ROOT = Path(__file__).parents[2]
PROMPT = {"id": "q0", "text": "the prompt of q0"}


def stored(
    path: Path,
    right: Mapping[str, list[bool]],
    *,
    benchmark: str = "d",
    seed: int = 0,
    labels: Mapping[str, str] | None = None,
    prompt: Mapping[str, str] = PROMPT,
    stopped: Mapping[str, Any] | None = None,
    meta: Mapping[str, Mapping[str, Any]] | None = None,
    done: bool = True,
) -> Path:
    """A bench run whose question `id` has these samples."""
    with Run.open(path, kind="bench", config={"seed": seed, "samples": 1}) as run:
        samples = [
            Sample(
                *(benchmark, i, n, Completion("x", 7, "stop"), Verdict(Status.CORRECT if r else Status.WRONG)),
                prompt_hash=i,
                meta=(meta or {}).get(i, {}),
            )
            for i, rights in right.items()
            for n, r in enumerate(rights)
        ]
        run.append(samples)
        run.record(labels=dict(labels or {}), prompts={benchmark: dict(prompt)}, model={"name": "m", "checkpoint": "m"})
        run.record(generation={"tokens": 7 * len(samples), "seconds": 3.0, "tokens_known": True})
        if stopped is not None:
            run.record(stopped={benchmark: dict(stopped)})
        if done:
            run.finish(results={"benchmarks": {benchmark: summarize(samples)}, "model": "m", "run": str(path)})
    return path


def questions(n: int, right: int) -> dict[str, list[bool]]:
    return {f"q{i}": [i < right] for i in range(n)}


def decided(baseline: Path, **changed: Any) -> dict[str, Any]:
    record = {"rule": "decided", "baseline": "base", "baseline_hash": Run.read(baseline).manifest.config_hash}
    record |= {"margin": 20.0, "questions": 30, "of": 60, "generations_saved": 30, "verdict": "tie", "p": 0.7}
    record |= {"value": -3.3, "low": -21.0, "high": 14.3, "tie_low": -18.0, "tie_high": 11.3, "level": 0.001}
    return record | changed


# -- runs that were stopped early --------------------------------------------------------------------------------------


def test_a_run_that_was_stopped_is_compared_on_its_questions_with_its_margin(tmp_path: Path) -> None:
    base = stored(tmp_path / "base", questions(60, 20))
    after = stored(tmp_path / "after", questions(30, 19), stopped=decided(base), seed=1)
    row = compare(base, after).benchmarks["d"]
    assert row.a.n == row.b.n == row.change.questions == 30
    assert (row.a.accuracy, row.b.accuracy) == (pytest.approx(20 / 30), pytest.approx(19 / 30))
    assert row.a.samples == 30 == sum(row.a.status.values())
    assert (row.change.verdict, row.change.margin, row.change.p_holm) == ("tie", 20.0, None)
    assert row.statement.startswith("tie: the difference is smaller than 20 points (90% interval -18.0 to +11.3)")
    back = compare(after, base).benchmarks["d"].change
    assert (back.verdict, back.ci, back.ci_90) == ("tie", (-14.3, 21.0), (-11.3, 18.0))
    assert compare(base, after, margin=20.0).benchmarks["d"].change.margin == 20.0
    with pytest.raises(KkwarmError, match="by a test with an equivalence margin of 20 points, not 5"):
        compare(base, after, margin=5.0)


def test_a_loss_seen_from_the_other_run_is_a_gain(tmp_path: Path) -> None:
    base = stored(tmp_path / "base", questions(60, 50))
    after = stored(tmp_path / "after", questions(30, 3), stopped=decided(base, verdict="loss"), seed=1)
    assert compare(base, after).benchmarks["d"].change.verdict == "loss"
    assert compare(after, base).benchmarks["d"].change.verdict == "gain"


def test_the_report_shows_a_run_that_was_stopped(tmp_path: Path) -> None:
    base = stored(tmp_path / "base", questions(60, 20))
    after = stored(tmp_path / "after", questions(30, 19), stopped=decided(base), seed=1)
    report = build_report(load([base, after]))
    change = report.matrix["after"]["d"].change
    assert change is not None and (change.verdict, change.margin, change.questions) == ("tie", 20.0, 30)
    assert not report.problems and report.advice == ""
    assert "after on d was stopped early by a test against base after 30 of 60 questions" in render_text(report, 100)
    with pytest.raises(KkwarmError, match="margin of 20 points, not 5"):
        load([base, after], margin=5.0)


# -- the same figures everywhere ---------------------------------------------------------------------------------------


def test_an_interval_is_given_for_0_of_20_and_covers_its_farther_end() -> None:
    figures = summarize([Sample("d", str(i), 0, Completion("x"), Verdict(Status.WRONG)) for i in range(20)])
    low, high = figures["ci"]["pass@1"]
    assert low == 0 and 0.1 < high < 0.25
    assert with_interval(0.0, (low, high)) == f"0.0 ±{100 * high:.1f}"
    assert (
        with_interval(0.31249999999999994, None)
        == with_interval(0.3125, None)
        == with_interval(0.31250000000000006, None)
    )


def test_bench_score_compare_report_and_page_agree_to_the_last_digit(tmp_path: Path) -> None:
    from kkwarm.reporting.results import print_figures

    base, other = stored(tmp_path / "base", questions(37, 11)), stored(tmp_path / "other", questions(37, 20), seed=1)
    report = build_report(load([base, other]))
    expected = with_interval(report.matrix["other"]["d"].accuracy, report.matrix["other"]["d"].ci)
    assert expected.startswith("54.1 ±")
    out = console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_figures(Run.read(other).manifest.results, out)
    assert expected in out.export_text()
    assert expected in render_text(report, 100) and expected in render_text(report, 80)
    page = "".join(page_pieces(report, [base, other]))
    accuracy, half = expected.split(" ")
    assert f'<b>{accuracy}</b> <span class="half">{half}' in page
    printed = CliRunner().invoke(cli, ["compare", str(base), str(other)]).output
    assert expected in printed


def test_a_prompt_is_shown_only_where_it_was_sent(tmp_path: Path) -> None:
    sent = stored(tmp_path / "sent", questions(20, 5))
    not_sent = stored(tmp_path / "not_sent", {f"q{i}": [False] for i in range(1, 20)}, seed=1)
    report = build_report(load([sent, not_sent]))
    assert [(p.id, p.conditions) for p in report.prompts] == [("q0", ("sent",))]
    alone = build_report(load([not_sent]))
    assert alone.prompts == () and "the prompt of q0" not in "".join(page_pieces(alone, [not_sent]))


def test_seeds_and_labels_are_those_of_the_run(tmp_path: Path) -> None:
    base = stored(tmp_path / "base", questions(20, 5), seed=3)
    other = stored(tmp_path / "other", questions(20, 9), seed=4, labels={"phase": "two"})
    report = build_report(load([base, other]))
    assert [report.matrix[c]["d"].seeds for c in ("base", "other")] == [(3,), (4,)]
    page = "".join(page_pieces(report, [base, other]))
    assert "seeds 3, 4" in page and "phase=two" in page and '"seeds":[3,4]' in page
    assert "Labels: other: phase=two" in render_text(report, 100)
    assert compare(base, other).labels == {"a": {}, "b": {"phase": "two"}}


def test_the_label_condition_is_the_name_of_a_run(tmp_path: Path) -> None:
    from kkwarm.cli.bench import show

    a = stored(tmp_path / "a", questions(20, 5), labels={"condition": "base"})
    b = stored(tmp_path / "b", questions(20, 9), labels={"condition": "warmed", "seed": "1"}, seed=1)
    c = stored(tmp_path / "c", questions(20, 9), labels={"condition": "warmed"}, seed=2)
    report = build_report(load([a, b]))
    assert list(report.matrix) == ["base", "warmed"] and report.title == "base / warmed"
    text, page = render_text(report, 100), "".join(page_pieces(report, [a, b]))
    assert "Labels: warmed: seed=1" in text and "condition=base" not in text + page
    assert f"A  base  {a}" in invoke("compare", a, b).output
    assert "warmed" in invoke("leaderboard", a, b).output
    assert list(build_report(load([a, b, c])).matrix) == ["base", "warmed (b)", "warmed (c)"]
    out = console(width=100, record=True, file=io.StringIO())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("kkwarm.cli.bench.out_console", lambda: out)
        show(Run.read(b).manifest.results | {"labels": {"condition": "warmed"}})
    assert out.export_text().startswith("warmed (m)")


def test_a_report_says_what_was_measured_and_from_which_checkpoint(tmp_path: Path) -> None:
    a, b = stored(tmp_path / "a", questions(20, 5)), stored(tmp_path / "b", questions(18, 9), seed=1)
    report = build_report(load([a, b]))
    page = "".join(page_pieces(report, [a, b]))
    for view in (" ".join(render_text(report, 80).split()), page, markdown_text(report), latex_text(report)):
        assert "d: 1 sample each; 20 questions for a; 18 questions for b" in view
        assert "Checkpoints: a = m; b = m" in view


def test_tasks_of_a_group_are_imported_by_its_name() -> None:
    document = {"group_subtasks": {"all": ["part"], "part": ["x", "y"], "alone": []}}
    assert _groups(document) == {"all": ["x", "y"]}
    tasks = [TaskResults(t, f"lm_eval:{t}", [Answer("0", (), ())], {"samples": 1}) for t in ("x", "y", "alone")]
    named = _name_groups(tasks, {"x": "all", "y": "all"})
    assert [(t.name, t.answers[0].id) for t in named] == [
        *(("lm_eval:all", "x/0"), ("lm_eval:all", "y/0"), ("lm_eval:alone", "0"))
    ]
    different = [*tasks[:1], TaskResults("y", "lm_eval:y", [Answer("0", (), ())], {"samples": 2})]
    assert [t.name for t in _name_groups(different, {"x": "all", "y": "all"})] == ["lm_eval:x", "lm_eval:y"]


# -- the whole report --------------------------------------------------------------------------------------------------


def test_facets_pass_at_k_lengths_and_cost_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kkwarm.analysis.cells._facet_names", lambda benchmark: ("level", "subject"))
    right = {f"q{i}": [i % 3 == 0, i % 2 == 0, False, i < 9] for i in range(24)}
    meta = {f"q{i}": {"level": i % 3 + 9, "subject": "ab"[i % 2]} for i in range(24)}
    path = stored(tmp_path / "r", right, meta=meta)
    report = build_report(load([path]))
    cell = report.matrix["r"]["d"]
    assert list(cell.pass_at) == ["pass@2", "pass@4"]
    figures = Run.read(path).manifest.benchmarks["d"]
    assert cell.pass_at["pass@4"].value == pytest.approx(figures["pass@4"])
    assert cell.pass_at["pass@4"].ci == pytest.approx(figures["ci"]["pass@4"])
    assert list(cell.facets["level"]) == ["9", "10", "11"] and {f.n for f in cell.facets["level"].values()} == {8}
    assert list(cell.facets["subject"]) == ["a", "b"]
    text, page = render_text(report, 100, full=True), "".join(page_pieces(report, [path]))
    for part in (
        "by level",
        "by subject",
        "10 (n = 8)",
        "pass@4",
        "7 / 7",
        "672",
        "GPU" if report.cost[0].gpu_hours else "3 s",
    ):
        assert part in text
    assert "Accuracy on d by level" in page and "pass@4" in page and "672" in page
    pass_at = with_interval(cell.pass_at["pass@4"].value, cell.pass_at["pass@4"].ci)
    level = with_interval(cell.facets["level"]["10"].value, cell.facets["level"]["10"].ci)
    markdown, latex = markdown_text(report), latex_text(report)
    assert f"| r | {pass_at} |" in markdown and f" | {level} | " in markdown and "672" in markdown
    assert "| | 9 (n = 8) | 10 (n = 8) |" in markdown and "10 (n = 8)" in latex
    for figure in (pass_at, level):
        main, _, half = figure.partition(" ±")
        assert rf"{main}\,{{\tiny$\pm${half}}}" in latex
    assert parse_report(report.model_dump_json()) == report


@pytest.fixture(scope="module")
def kept() -> Any:
    return parse_report((ROOT / "benchmarks/results/mini_study.json").read_bytes())


def test_the_default_view_of_the_kept_study_is_one_screen(kept: Any) -> None:
    text = render_text(kept, 100)
    assert len(text.splitlines()) <= 45 and max(map(len, text.splitlines())) <= 100
    for claim in kept.claims:
        assert claim.text in " ".join(text.split())
    assert all(
        part in text
        for part in ("warmed + RLVR x3", "▲ +61.4", "█", "tokens generated", "300 questions, 1 sample each")
    )
    full = render_text(kept, 80, full=True)
    assert max(map(len, full.splitlines())) <= 80
    assert all(render_text(kept, 80, sections=[name]) for name in SECTIONS)


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_no_word_of_a_name_is_broken(kept: Any, width: int) -> None:
    words = {word for line in render_text(kept, width).splitlines() for word in line.split()}
    assert {"mini_kk", "mini_math", "mini_code", "mini_mcq"} <= words


def test_the_picture_in_the_readme_is_that_of_the_kept_study(kept: Any) -> None:
    from kkwarm.reporting.terminal import svg_text

    picture = (ROOT / "docs/pages/images/report.svg").read_text("utf-8")
    assert picture == svg_text(kept), "run python docs/report_picture.py"
    assert "docs/pages/images/report.svg" in (ROOT / "README.md").read_text("utf-8")


def test_long_names_break_after_punctuation() -> None:
    assert break_name("lm_eval:hendrycks_math_algebra", 18).split("\n") == ["lm_eval:hendrycks_", "math_algebra"]
    assert break_name("mini_kk", 18) == "mini_kk"
    assert break_name("next_number.toml", 12).split("\n") == ["next_number.", "toml"]


def test_tables_are_named_by_their_file_in_every_view(tmp_path: Path) -> None:
    report = parse_report((ROOT / "benchmarks/results/smollm2_study.json").read_text("utf-8"))
    folder = "benchmarks/studies/smollm2-135m/"
    assert [d for d in report.domains if folder in d], "the kept study has tables"
    for text in (render_text(report, full=True), markdown_text(report), latex_text(report)):
        assert folder not in text
        assert re.search(r"After RLVR on\s+next_number\.toml|next\\_number\.toml", text)
    run = stored(tmp_path / "run", questions(5, 2), benchmark=folder + "plural.toml")
    page = "".join(page_pieces(build_report(load([run])), [run]))
    assert folder not in page and 'data-domain="plural.toml"' in page and '"domains":["plural.toml"]' in page


def test_tables_with_equal_file_names_keep_their_paths() -> None:
    assert short_names(["a/t.toml", "b/t.toml", "b/u.toml", "mini_kk"]) == {
        "a/t.toml": "a/t.toml", "b/t.toml": "b/t.toml", "b/u.toml": "u.toml", "mini_kk": "mini_kk"
    }  # fmt: skip


# -- several runs ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for number, (name, right) in enumerate({"weak": 20, "good": 90, "better": 94}.items()):
        stored(folder / name, questions(120, right), seed=number, labels={"size": name})
    stored(folder / "other", questions(30, 9), benchmark="e", seed=9)
    stored(folder / "now", questions(30, 9), seed=10, done=False)
    return folder


def invoke(*args: object) -> Any:
    result = CliRunner().invoke(cli, [str(a) for a in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_several_runs_are_compared_with_the_first(runs: Path) -> None:
    both = compare_all([runs / "weak", runs / "good", runs / "better"])
    assert [c.benchmarks["d"].change.verdict for c in both.comparisons] == ["gain", "gain"]
    alone = compare(runs / "weak", runs / "better").benchmarks["d"].change
    together = both.comparisons[1].benchmarks["d"].change
    assert together.p == alone.p == alone.p_holm and together.p_holm == pytest.approx(2 * alone.p)
    document = json.loads(invoke("compare", runs / "weak", runs / "good", runs / "better", "--json").stdout)
    assert len(document["comparisons"]) == 2
    assert "benchmarks" in json.loads(invoke("compare", runs / "weak", runs / "good", "--json").stdout)


def test_a_leaderboard_groups_what_cannot_be_distinguished(runs: Path) -> None:
    board = rank([runs / "weak", runs / "good", runs / "better"])
    assert [(r.name, r.groups, r.best_rank, r.worst_rank) for r in board.runs] == [
        *(("better", "A", 1, 2), ("good", "A", 1, 2), ("weak", "B", 3, 3))
    ]
    assert board.pairs == 3
    text = invoke("leaderboard", runs, "--on", "d").output
    assert "1-2" in text and "size=better" in text
    with pytest.raises(KkwarmError, match="no benchmark is in all"):
        rank([runs / "weak", runs / "other"])


def test_runs_are_listed_filtered_and_sorted(runs: Path, tmp_path: Path) -> None:
    def names(*options: str) -> list[str]:
        return [Path(r["path"]).name for r in json.loads(invoke("runs", runs, "--json", *options).stdout)["runs"]]

    assert set(names()) == {"weak", "good", "better", "other", "now"}
    assert names("--on", "d", "--sort", "accuracy") == ["better", "good", "weak"]
    assert names("--label", "size=good") == ["good"] and names("--state", "interrupted") == []
    assert names("--state", "running") + names("--on", "e") == ["now", "other"]
    assert len(names("--limit", "2")) == 2 and names("--kind", "study") == []
    assert "54.1" not in invoke("runs", runs).output and "78.3 ±" in invoke("runs", runs).output
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "manifest.json").write_text("{")
    assert len(json.loads(invoke("runs", tmp_path, "--json").stdout)["problems"]) == 1


def test_tables_are_written(runs: Path, tmp_path: Path) -> None:
    import pyarrow.parquet

    invoke("runs", runs, "--csv", tmp_path / "r.csv")
    with (tmp_path / "r.csv").open() as lines:
        rows = {Path(row["run"]).name: row for row in csv.DictReader(lines)}
    assert float(rows["better"]["accuracy"]) == pytest.approx(94 / 120) and rows["now"]["accuracy"] == ""
    two = runs / "weak", runs / "good"
    for command in ("compare", "leaderboard", "report"):
        invoke(command, *two, "--parquet", tmp_path / f"{command}.parquet")
        assert pyarrow.parquet.read_table(tmp_path / f"{command}.parquet").num_rows >= 1


# -- kkwarm view -------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    stored(tmp_path / "runs" / "one", questions(20, 5))
    (tmp_path / "secret").write_text("secret")
    with make_server(Pages([tmp_path / "runs"]), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def get(server: Any, path: str, host: str | None = None, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    response = connection.getresponse()
    return response.status, response.read().decode()


def test_pages_are_served_and_follow_a_run(server: Any, tmp_path: Path) -> None:
    assert server.server_address[0] == "127.0.0.1"
    status, index = get(server, "/page/index")
    key = index.partition('href="/run/')[2][:12]
    assert status == 200 and get(server, f"/run/{key}")[0] == 200 and get(server, "/")[0] == 200
    before = get(server, f"/state/{key}")[1]
    assert "25.0" in get(server, f"/page/{key}")[1]
    run = Run.read(tmp_path / "runs" / "one")
    run.append([Sample("d", f"q{i}", 0, Completion("x"), Verdict(Status.CORRECT), f"q{i}") for i in range(20, 40)])
    run.close()
    assert get(server, f"/state/{key}")[1] != before
    assert "62.5" in get(server, f"/page/{key}")[1]


def test_only_runs_of_the_folder_are_served_and_only_to_this_host(server: Any) -> None:
    assert get(server, "/", host="evil.example")[0] == 403
    assert get(server, "/", host=f"localhost:{server.server_port}")[0] == 200
    for path in (
        "/../secret",
        "/page/../../secret",
        "/page/%2e%2e%2fsecret",
        "/page/000000000000",
        "/secret",
        "/run/x",
    ):
        assert get(server, path)[0] == 404
    assert get(server, "/", method="POST")[0] == 501


def test_a_run_that_is_being_written_has_a_page_that_says_so(tmp_path: Path) -> None:
    with Run.open(tmp_path / "new", kind="bench", config={"seed": 0}):
        pages = Pages([tmp_path])
        (key,) = pages.runs()
        assert b"no samples" in (pages.page(key) or b"")
        with (tmp_path / "new" / "samples.jsonl").open("wb") as out:
            out.write(b'{"crc":1,"sam')  # a line that is being written
        assert b"no samples" in (pages.page(key) or b"")
    (tmp_path / "new" / "manifest.json").write_text('{"schema_version": 1')
    assert pages.runs() == {} and pages.page(key) is None
