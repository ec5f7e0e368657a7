"""Measures how long a report's HTML page takes to open, filter and search in headless Chromium.

    python benchmarks/speed/report_page.py --samples 50000 --repeats 5 --out report_page.json

The script writes two bench runs with `--samples` completions in total. Each has seeded text of realistic length
(about 250 words of reasoning from a vocabulary of 5,000, so that it compresses like text). Each repeat opens the
report in a new browser context. "open" ends when the list of all samples and the first sample are shown; "filter" is
a change of the status; "search" reads every text. These are wall seconds, so run it on an idle machine. "open_cpu" is
the CPU time of the page's process, which depends little on other work.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kkwarm.analysis.build import build_report
from kkwarm.analysis.load import load
from kkwarm.reporting.html import write_html
from kkwarm.store import Run, environment
from kkwarm.types import Completion, Sample, Status, Verdict

DOMAINS = ("math", "code", "puzzles", "choice")
WORDS = 250


def samples(count: int, seed: int) -> Iterator[Sample]:
    rng = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(5000)]
    for i in range(count):
        domain = DOMAINS[i % len(DOMAINS)]
        reasoning = " ".join(rng.choices(words, k=rng.randint(WORDS // 2, WORDS * 3 // 2)))
        answer = str(rng.randint(0, 999))
        status = rng.choices([Status.CORRECT, Status.WRONG, Status.UNPARSED, Status.TRUNCATED], [60, 34, 3, 3])[0]
        text = f" {reasoning} </think> <answer> {answer} </answer>"
        verdict = Verdict(status, answer, "" if status is Status.CORRECT else f"expected {rng.randint(0, 999)}")
        yield Sample(
            domain, f"{domain}/{i // 4 // len(DOMAINS)}", i // len(DOMAINS) % 4, Completion(text, 300), verdict
        )


def write_report(folder: Path, count: int) -> tuple[Path, float]:
    paths = [folder / "first", folder / "second"]
    for seed, path in enumerate(paths):
        with Run.open(path, kind="bench", config={"protocols": dict.fromkeys(DOMAINS, "paper")}) as run:
            run.append(samples(count // 2, seed))
            run.finish()
    report = build_report(load(paths))
    start = time.perf_counter()
    write_html(report, paths, folder / "report.html")
    return folder / "report.html", time.perf_counter() - start


def measure(file: Path, repeats: int, browser_file: str) -> dict[str, Any]:
    from playwright.sync_api import sync_playwright

    seconds: dict[str, list[float]] = {"open": [], "open_cpu": [], "filter": [], "search": []}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_file, args=["--no-sandbox"])
        for _ in range(repeats):
            context = browser.new_context()
            page = context.new_page()
            tools = context.new_cdp_session(page)
            tools.send("Performance.enable")
            began = time.perf_counter()
            page.goto(file.as_uri())
            page.wait_for_selector("body[data-ready]")
            page.wait_for_selector("#detail .badge")
            seconds["open"].append(time.perf_counter() - began)
            metrics = {m["name"]: m["value"] for m in tools.send("Performance.getMetrics")["metrics"]}
            seconds["open_cpu"].append(metrics["ProcessTime"])
            began = time.perf_counter()
            page.select_option("#status", label="truncated")
            page.wait_for_selector("#samples:not([aria-busy])")
            seconds["filter"].append(time.perf_counter() - began)
            page.click("#reset")
            began = time.perf_counter()
            page.fill("#text", "expected 77")
            page.wait_for_selector("#samples:not([aria-busy])", timeout=120_000)
            seconds["search"].append(time.perf_counter() - began)
            context.close()
        version = browser.version
        browser.close()
    rounded = {
        name: {"median": round(statistics.median(v), 3), "min": round(min(v), 3), "max": round(max(v), 3)}
        for name, v in seconds.items()
    }
    return {"seconds": rounded, "chromium": version}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    browser_file = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser_file is None:
        sys.exit("no Chromium is installed")
    with tempfile.TemporaryDirectory() as folder:
        file, write_seconds = write_report(Path(folder), options.samples)
        result = {
            "what": " ".join((__doc__ or "").split("\n\n")[2].split()),
            "samples": options.samples,
            "repeats": options.repeats,
            "page_mb": round(file.stat().st_size / 1e6, 1),
            "write_s": round(write_seconds, 2),
            **measure(file, options.repeats, browser_file),
            "load": [round(v, 2) for v in os.getloadavg()],
            "command": f"python {sys.argv[0]} --samples {options.samples} --repeats {options.repeats}",
            "environment": {key: value for key, value in environment().items() if key != "command"},
        }
    options.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    sys.stdout.write(json.dumps(result["seconds"]) + "\n")


if __name__ == "__main__":
    main()
