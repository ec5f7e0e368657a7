"""The page in headless Chromium: it opens from a file, filters, shows samples as written, and asks for nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import HOSTILE, REASONING, browser, chromium, make_runs

from kkwarm.analysis.build import build_report
from kkwarm.analysis.load import load
from kkwarm.reporting.html import write_html

pytest.importorskip("playwright", reason="needs playwright (in the extra `dev`)")
pytestmark = pytest.mark.skipif(chromium() is None, reason="needs an installed Chromium")


# Texts whose contrast with what lies behind them is below WCAG's 4.5.
FAINT = """() => {
  const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (colour, under) => {
    for (const fill of [`rgb(${under})`, colour]) { pixel.fillStyle = fill; pixel.fillRect(0, 0, 1, 1); }
    return [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const unseen = !element.offsetParent || element.closest("script, option, svg");
    if (unseen || !texts.currentNode.textContent.trim()) continue;
    const chain = [];
    for (let e = element; e; e = e.parentElement) chain.unshift(getComputedStyle(e));
    const under = chain.reduce((u, style) => over(style.backgroundColor, u), [255, 255, 255]);
    const opacity = chain.reduce((product, style) => product * style.opacity, 1);
    const ink = over(getComputedStyle(element).color, under).map((v, i) => v * opacity + under[i] * (1 - opacity));
    const [low, high] = [light(ink), light(under)].sort((a, b) => a - b);
    if ((high + 0.05) / (low + 0.05) < 4.5) found.push(texts.currentNode.textContent.trim());
  }
  return found;
}"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Any]:
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    paths = make_runs(folder)
    write_html(build_report(load(paths)), paths, folder / "report.html")
    return folder / "report.html"


class Opened:
    """A page with what it complained of and what it asked for."""

    def __init__(self, shared: Any, file: Path, **settings: Any) -> None:
        self.page = shared.new_context(**settings).new_page()
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.said.append(m.text))
        self.page.on("pageerror", lambda e: self.said.append(str(e)))
        self.page.on("dialog", lambda d: self.said.append(f"dialog {d.message}"))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("body[data-ready]")

    def count(self) -> int:
        self.page.wait_for_selector("#samples:not([aria-busy])")
        return int(self.page.inner_text("#count").split()[0])

    def choose(self, name: str, label: str) -> int:
        self.page.select_option(f"#{name}", label=label)
        return self.count()


@pytest.fixture
def opened(shared: Any, file: Path) -> Iterator[Opened]:
    made = Opened(shared, file)
    yield made
    assert made.said == []
    assert made.requests == [file.as_uri()]  # the file itself, and nothing else from anywhere
    made.page.context.close()


def test_filters(opened: Opened) -> None:
    assert opened.count() == 48
    assert opened.choose("condition", "b") == 24
    assert opened.choose("domain", "<i>e</i>") == 12
    assert opened.choose("status", "truncated") == 1
    assert opened.choose("status", "all statuses") == 12
    assert opened.choose("change", "flipped") == 6  # q1 q5 q9 gained, q2 q6 q10 lost
    assert opened.choose("change", "correct here only") == 3
    assert "✓" in opened.page.inner_text(".row >> nth=0")
    assert opened.choose("change", "correct in the other only") == 3
    opened.page.click("#reset")
    assert opened.count() == 48
    assert opened.choose("versus", "beside b") == 48
    assert opened.choose("change", "flipped") == 12  # now the first run's samples, against the second


def test_search(opened: Opened) -> None:
    opened.page.fill("#text", "Q11")
    assert opened.count() == 4
    opened.page.fill("#text", "FOUR")
    assert opened.count() == 0
    opened.page.fill("#text", "(no such text")
    assert opened.count() == 0
    assert opened.page.locator(".empty").count() == 1
    opened.page.fill("#text", "<B>STEP</b>")
    assert opened.count() == 48


def test_a_sample_is_shown_as_written(opened: Opened) -> None:
    opened.choose("condition", "b")
    opened.page.click(".row >> nth=3")
    opened.page.wait_for_selector("#detail .badge.s-truncated")
    sides = opened.page.locator("#detail .side")
    assert sides.count() == 2  # this one, and the same question in the run it is compared with
    shown = opened.page.evaluate("[...document.querySelectorAll('.side pre')].map(e => e.textContent)")
    assert shown[0] == f"{REASONING} {HOSTILE} 3"
    assert HOSTILE in shown[2]
    assert "because" in opened.page.inner_text("#detail .reason >> nth=0")
    assert opened.page.locator("#detail b, #detail img, #detail script").count() == 1  # the question's id is bold
    assert opened.page.locator("#detail .attempts button").count() == 2


def test_cells_and_flips_open_their_samples(opened: Opened) -> None:
    opened.page.click("#matrix td[data-condition=b] >> nth=1")
    assert opened.count() == 12
    opened.page.click("#flips [data-change=gained] >> nth=0")
    assert opened.count() == int(opened.page.inner_text("#flips [data-change=gained] >> nth=0").lstrip("+"))


def test_keys_move_through_the_list(opened: Opened) -> None:
    opened.page.focus("#list")
    for _ in range(30):
        opened.page.keyboard.press("ArrowDown")
    opened.page.wait_for_selector(".row[aria-selected=true]")
    assert opened.page.evaluate("document.getElementById('list').scrollTop") > 0


def test_home_end_and_an_empty_list(opened: Opened) -> None:
    opened.page.focus("#matrix td[data-condition=b] >> nth=0")
    opened.page.keyboard.press("Enter")  # opens the cell's samples, and goes on in their list
    assert opened.page.evaluate("document.activeElement.id") == "list"
    for key, row in (("End", "row-11"), ("Home", "row-0")):
        opened.page.keyboard.press(key)
        opened.page.wait_for_selector(f"#{row}[aria-selected=true]")
    opened.page.fill("#text", "nobody wrote this")
    opened.page.wait_for_selector("#list .empty")
    opened.page.focus("#list")
    opened.page.keyboard.press("ArrowDown")
    assert opened.page.inner_text("#detail") == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(shared: Any, file: Path, scheme: str) -> None:
    opened = Opened(shared, file, color_scheme=scheme)
    assert opened.page.evaluate(FAINT) == []


def test_light_and_dark(shared: Any, file: Path) -> None:
    def paper(opened: Opened) -> str:
        return str(opened.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light, dark = (Opened(shared, file, color_scheme=scheme) for scheme in ("light", "dark"))
    assert paper(light) == "rgb(253, 253, 252)"
    assert paper(dark) == "rgb(19, 23, 27)"
    light.page.click("#theme")
    assert paper(light) == paper(dark)
    light.page.click("#theme")
    assert paper(light) == "rgb(253, 253, 252)"


def test_it_fits_a_telephone(shared: Any, file: Path) -> None:
    opened = Opened(shared, file, viewport={"width": 400, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 400
