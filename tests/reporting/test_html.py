"""The page: everything escaped, nothing fetched, samples whole."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pages import HOSTILE, REASONING, make_runs

from kkwarm.analysis.build import build_report
from kkwarm.analysis.load import load
from kkwarm.protocols import PAPER, make_renderer
from kkwarm.reporting import samples
from kkwarm.reporting.html import write_html
from kkwarm.reporting.samples import _prompt_frame
from kkwarm.types import Example


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("html")
    paths = make_runs(folder)
    write_html(build_report(load(paths)), paths, folder / "out" / "report.html")
    return (folder / "out" / "report.html").read_text("utf-8")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        if tag in ("img", "iframe", "object", "base") or any(k.startswith("on") or k == "src" for k, _ in attrs):
            self.bad.append(tag)
        self.bad += [tag for k, v in attrs if k == "href" and not (v or "").startswith(("data:", "#"))]


def test_model_text_cannot_become_markup(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.bad == []
    assert tags.scripts == 5  # the header, columns, a block of samples, one of questions, and the page's own
    assert "<b>a</b>" not in page
    assert "<i>e</i>" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "innerHTML" not in page


def opened(page: str, kind: str) -> list[Any]:
    blocks = re.findall(rf'data-block="{kind}">([^<]*)</script>', page)
    return [json.loads(zlib.decompress(base64.b64decode(b))) for b in blocks]


def test_samples_are_there_as_written(page: str) -> None:
    rows = [row for block in opened(page, "samples") for row in block]
    assert len(rows) == 48
    for text, answer, reason, start, end in rows:
        assert HOSTILE in text
        assert answer == HOSTILE
        assert reason == f"{HOSTILE} because"
        units = text.encode("utf-16-le", "surrogatepass")
        if end:  # offsets are those of a browser's strings
            assert units[2 * start : 2 * end].decode("utf-16-le", "surrogatepass").startswith(REASONING)
    assert sum(1 for row in rows if row[4]) == 24  # the other domain's format is not known
    header = json.loads(re.search(r'id="header">(.*?)</script>', page)[1])  # type: ignore[index]
    assert header["baseline"] == [None, 0]
    assert (header["samples"], header["questions"], header["left_out"]) == (48, 24, 0)


def test_columns_are_aligned_and_whole(page: str) -> None:
    data = zlib.decompress(base64.b64decode(re.search(r'data-block="columns">([^<]*)<', page)[1]))  # type: ignore[index]
    header = json.loads(re.search(r'id="header">(.*?)</script>', page)[1])  # type: ignore[index]
    at, columns = 0, {}
    for name, size in header["columns"]:
        columns[name] = [int.from_bytes(data[i : i + size], "little") for i in range(at, at + 48 * size, size)]
        at += -(-48 * size // 4) * 4
    assert at == len(data)
    assert columns["tokens"][:3] == [7, 8, 9]
    assert columns["condition"] == [0] * 24 + [1] * 24
    assert columns["domain"] == ([0] * 12 + [1] * 12) * 2
    assert columns["question"] == list(range(24)) * 2


def test_prompts_are_shown_only_where_every_hash_agrees() -> None:
    render = make_renderer(PAPER)
    examples = [Example(f"q{i}", f"What is {i}?", i) for i in range(3)]
    hashes = [hashlib.sha256(render(e).encode()).hexdigest()[:16] for e in examples]
    by_id = {e.id: e for e in examples}
    sent = {e.id: h for e, h in zip(examples, hashes, strict=True)}
    around = _prompt_frame(PAPER, by_id, sent)
    assert around is not None
    assert render(replace(examples[0], question="X")) == f"{around[0]}X{around[1]}"
    assert _prompt_frame(PAPER, by_id, {**sent, "q0": "0" * 16}) is None
    assert _prompt_frame(PAPER, {}, sent) is None


def test_more_samples_than_a_page_holds_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MAX_SAMPLES", 10)
    paths = make_runs(tmp_path)
    packed = samples.pack(build_report(load(paths)), paths)
    assert (packed.header["samples"], packed.header["left_out"]) == (10, 38)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to read the page's script")
def test_the_script_is_whole(page: str, tmp_path: Path) -> None:
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    file = tmp_path / "page.js"
    file.write_text(script)
    done = subprocess.run(["node", "--check", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
