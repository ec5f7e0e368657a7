"""Pictures of a study's page for the documentation, taken in headless Chromium.

python benchmarks/screenshots.py runs/mini-a1bdd7da --out docs/pages/images
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from kkwarm.analysis.build import build_report
from kkwarm.analysis.load import load
from kkwarm.reporting.html import write_html


def take(browser: Any, file: Path, out: Path) -> None:
    page = opened(browser, file, "light", 1400, 1010)
    save(page.screenshot(), out / "page-light.png")
    page = opened(browser, file, "dark", 1400, 900)
    page.locator("#flips [data-change=gained]").nth(1).click()  # what the first change gained on the second domain
    page.wait_for_selector("#samples:not([aria-busy])")
    page.wait_for_timeout(1000)  # scrolling there is smooth
    save(page.screenshot(), out / "page-samples-dark.png")


def opened(browser: Any, file: Path, scheme: str, width: int, height: int) -> Any:
    page = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height}).new_page()
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-ready]")
    return page


def save(png: bytes, path: Path) -> None:
    """With 256 colours: a third of the size, and no difference to see on a page of flat areas."""
    from PIL import Image

    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("no Chromium is installed")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        file = Path(folder) / "report.html"
        write_html(build_report(load([options.study])), [options.study], file)
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        take(browser, file, options.out)
        browser.close()


if __name__ == "__main__":
    main()
