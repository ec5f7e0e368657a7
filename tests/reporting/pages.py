"""Chromium for tests of the report's page, and runs to make pages of."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kkwarm.store import Run
from kkwarm.types import Completion, Sample, Status, Verdict

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> $data <!-- & \u2028 \ud800 \U0001f600"
REASONING = "\U0001f600 <b>step</b> one"


def chromium() -> str | None:
    """The browser's file, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def make_runs(folder: Path) -> list[Path]:
    """Two bench runs of two domains that a plugin does not know; half of the questions of each flip."""
    paths = [folder / "<b>a</b>", folder / "b"]
    for number, path in enumerate(paths):
        with Run.open(path, kind="bench", config={"protocols": {"d": "paper"}}) as run:
            run.append(sample(d, i, number) for d in ("d", "<i>e</i>") for i in range(12))
            run.finish()
    return paths


def sample(domain: str, i: int, number: int) -> Sample:
    right = i % 4 < 2 if number else i % 2 == 0
    status = Status.CORRECT if right else Status.TRUNCATED if i == 3 else Status.WRONG
    text = f"{REASONING} {HOSTILE} {i}</think> <answer> {HOSTILE}"
    return Sample(domain, f"q{i}", 0, Completion(text, 7 + i), Verdict(status, HOSTILE, f"{HOSTILE} because"))


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium of playwright's; the caller has made sure that there is one."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            yield made
        finally:
            made.close()
