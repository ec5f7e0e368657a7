"""Draws the picture of the README, the report of the kept study: python docs/report_picture.py"""

from __future__ import annotations

from pathlib import Path

from kkwarm.reporting.terminal import write_svg
from kkwarm.schema.report import parse_report

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pages" / "images" / "report.svg"

if __name__ == "__main__":
    write_svg(parse_report((ROOT / "benchmarks" / "results" / "mini_study.json").read_bytes()), PICTURE)
