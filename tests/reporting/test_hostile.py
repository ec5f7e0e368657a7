"""Names, ids and texts that a model or another tool wrote: no view of a report obeys them."""

import io
import json
import re
import shutil
import subprocess
import xml.dom.minidom
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt
from pages import browser, chromium

from kkwarm.analysis.build import build_report
from kkwarm.analysis.load import load
from kkwarm.analysis.study_data import StudyData
from kkwarm.cli import cli
from kkwarm.reporting.html import write_html
from kkwarm.reporting.latex import latex_text
from kkwarm.reporting.markdown import markdown_text
from kkwarm.reporting.png import write_png
from kkwarm.reporting.sanitize import console, sanitize
from kkwarm.reporting.terminal import render_text, write_svg
from kkwarm.schema.report import Contamination, Report
from kkwarm.store import Run
from kkwarm.types import Completion, Sample, Status, Verdict

Make = Callable[..., StudyData]


def with_claim(report: Report) -> Report:
    """The report with a hostile text in its first claim."""
    first, *others = report.claims
    return report.model_copy(update={"claims": (first.model_copy(update={"text": NAME}), *others)})


NAME = "\x1b[2J\x1b]0;owned\x07\x9b31m<img src=x>|`*[l](javascript:a)*` \u202egnp\x00 \\input{x} $a_b$ &lt; \ud800"
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Two runs whose benchmark and ids are hostile; half of the questions flip."""
    made = [tmp_path / "a", tmp_path / "b"]
    for number, path in enumerate(made):
        with Run.open(path, kind="bench", config={}) as run:
            for i in range(8):
                status = Status.CORRECT if (i + number) % 2 else Status.WRONG
                run.append([Sample(NAME, f"{i} {NAME}", 0, Completion(NAME, 3), Verdict(status, NAME, NAME))])
            run.finish()
    return made


def test_sanitize_keeps_text_and_drops_controls() -> None:
    assert sanitize("a\tb\nc é 你 \U0001f600 ± ▲") == "a\tb\nc é 你 \U0001f600 ± ▲"
    assert sanitize("\x1b[31mred\r\x08\x7f\x85\u2067") == "[31mred"
    assert sanitize("\ud800") == "\ufffd"


def test_a_console_keeps_its_own_colours_only() -> None:
    out = io.StringIO()
    console(file=out, force_terminal=True, color_system="standard").print("\x1b[2Jx", style="red", markup=False)
    assert out.getvalue() == "\x1b[31m[2Jx\x1b[0m\n"


@pytest.mark.parametrize("options", [(), ("--markdown",), ("--latex",), ("--json",)])
def test_report_prints_no_command(paths: list[Path], options: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, ["report", *map(str, paths), *options])
    assert result.exit_code == 0, result.output
    assert "owned" in result.output
    assert not COMMANDS.search(result.output)


@pytest.mark.parametrize("options", [("--flips", "3"), ("--json",)])
def test_compare_prints_no_command(paths: list[Path], options: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, ["compare", *map(str, paths), *options])
    assert result.exit_code == 0, result.output
    assert not COMMANDS.search(result.output)
    if options == ("--json",):
        assert NAME.replace("\ud800", "\ufffd") in json.loads(result.output)["benchmarks"]


def test_pictures_are_well_formed(paths: list[Path], tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    document = build_report(load(paths))
    write_svg(document, tmp_path / "x.svg")
    xml.dom.minidom.parse(str(tmp_path / "x.svg"))
    write_png(document, tmp_path / "x.png")
    assert not [w for w in recwarn if "missing from font" in str(w.message)]


def test_markdown_is_rendered_as_text(make: Make) -> None:
    document = with_claim(build_report(make(title=NAME)))
    contamination = Contamination(condition=NAME, domain=NAME, questions=1)
    document = document.model_copy(update={"note": f"# {NAME}", "contamination": (contamination,)})
    html = MarkdownIt().enable("table").render(markdown_text(document))
    assert set(re.findall(r"<(\w+)", html)) <= {"p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    assert html.count("<tr>") == (1 + 4) + (1 + len(document.claims))
    assert "&lt;img src=x&gt;|`*[l](javascript:a)*`" in html
    assert "&amp;lt;" in html


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles_and_fits_one_of_two_columns(make: Make, tmp_path: Path) -> None:
    document = build_report(make(title=NAME.replace("\ud800", "")))
    domains = ("puzzles", "sums", "programs", "choice")
    matrix = {name: {**row, "choice": row["sums"]} for name, row in document.matrix.items()}
    document = document.model_copy(update={"domains": domains, "matrix": matrix})
    (tmp_path / "table.tex").write_text(latex_text(document), "utf-8")
    paper = r"\documentclass[twocolumn]{article}\usepackage{booktabs}\begin{document}\input{table.tex}\end{document}"
    (tmp_path / "paper.tex").write_text(paper, "utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-1500:]
    assert "Overfull" not in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="needs an installed Chromium")
def test_texts_that_are_no_text_are_shown(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright (in the extra `dev`)")
    texts = (None, 7, {"a": 1}, ["x"], "words")
    with Run.open(tmp_path / "run", kind="score", config={}) as run:
        for i, text in enumerate(texts):
            wrong = Verdict(Status.UNPARSED, None, "no text")
            run.append([Sample("d", f"q{i}", 0, Completion(text), wrong)])  # type: ignore[arg-type]
        run.finish()
    write_html(build_report(load([tmp_path / "run"])), [tmp_path / "run"], tmp_path / "x.html")
    said: list[str] = []
    with browser() as made:
        page = made.new_page()
        page.on("pageerror", lambda e: said.append(str(e)))
        page.goto((tmp_path / "x.html").as_uri())
        for i, seen in enumerate(("null", "7", '{"a": 1}', '["x"]', "words")):
            page.click(f"#row-{i}")
            page.wait_for_selector(f"#detail b:text-is('q{i}')")
            assert page.inner_text("#detail .side pre") == seen
        page.fill("#text", "words")
        page.wait_for_selector("#samples:not([aria-busy])")
        assert page.inner_text("#count").startswith("1 of 5")
    assert said == []


def test_a_claim_and_a_condition_are_plain_in_the_terminal(make: Make) -> None:
    document = with_claim(build_report(make(title=NAME)))
    assert not COMMANDS.search(render_text(document, 80, full=True))


def test_an_error_that_quotes_an_id_is_plain(paths: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    from kkwarm.cli import main

    with Run.open(paths[1].parent / "c", kind="bench", config={}) as run:
        run.append([Sample("other", "q", 0, Completion("x"), Verdict(Status.WRONG))])
        run.finish()
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(paths[0]), str(paths[1].parent / "c")])
    assert ended.value.code == 2
    err = capfd.readouterr().err
    assert "owned" in err and "share no benchmark" in err
    assert not COMMANDS.search(err)
