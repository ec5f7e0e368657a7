"""The page: everything escaped, nothing fetched, samples whole."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kkwarm.report.html import write_html
from kkwarm.report.load import load
from kkwarm.store import Run
from kkwarm.transfer.analyse import analyse
from kkwarm.types import Completion, Sample, Status, Verdict

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> $data & \u2028 \U0001f600"


@pytest.fixture
def page(tmp_path: Path) -> str:
    paths = [tmp_path / "<b>a</b>", tmp_path / "b"]
    for number, path in enumerate(paths):
        with Run.open(path, kind="bench", config={}) as run:
            run.append(
                Sample(
                    "d", f"q{i}", 0, Completion(HOSTILE),
                    Verdict(Status.CORRECT if i % 2 == number else Status.WRONG, HOSTILE, HOSTILE),
                )
                for i in range(6)
            )  # fmt: skip
            run.finish()
    write_html(analyse(load(paths)), paths, tmp_path / "out" / "report.html")
    return (tmp_path / "out" / "report.html").read_text("utf-8")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        if tag in ("img", "iframe", "object", "base") or any(k.startswith("on") or k == "src" for k, _ in attrs):
            self.bad.append(tag)
        self.bad += [tag for k, v in attrs if k == "href" and not (v or "").startswith("data:")]


def test_model_text_cannot_become_markup(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.bad == []
    assert tags.scripts == 2  # the data and the page's own
    assert "<b>a</b>" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_samples_are_there_as_written(page: str) -> None:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert len(data["samples"]) == 12
    assert all(row[9] == HOSTILE for row in data["samples"])
    assert data["against"] == [None, 0]
    assert "innerHTML" not in page


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to read the page's script")
def test_the_script_is_whole(page: str, tmp_path: Path) -> None:
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    file = tmp_path / "page.js"
    file.write_text(script)
    done = subprocess.run(["node", "--check", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
