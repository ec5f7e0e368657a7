"""Counts the lines of three domains, written with kkwarm and with three other tools, for the tutorial's table.

    python benchmarks/domain_lines.py [--write]

The domains are in benchmarks/domains, by tool. Counted are the lines that are neither blank nor a comment. The data
files are the same for all, and are not counted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOMAINS = ROOT / "benchmarks" / "domains"
PAGE = ROOT / "docs" / "pages" / "tutorial.md"
BEGIN, END = "<!-- lines of three domains: python benchmarks/domain_lines.py --write -->", "<!-- end of lines -->"
TOOLS = {"kkwarm": "kkwarm", "verifiers": "verifiers", "inspect": "Inspect", "lm_eval": "lm-eval"}
NAMES = {
    "choices": "choices from a table",
    "programs": "programs, with the share of passed tests",
    "molar_masses": "molar masses, with partial credit",
}


def lines(tool: str, name: str) -> int:
    """The number of lines of all files of one domain."""
    files = [path for path in (DOMAINS / tool).iterdir() if path.stem.removeprefix("kkwarm_") == name]
    if not files:
        raise SystemExit(f"{DOMAINS / tool} has no domain {name}")
    texts = [line.strip() for path in files for line in path.read_text("utf-8").splitlines()]
    return sum(bool(line) and not line.startswith("#") for line in texts)


def table() -> str:
    """The table as Markdown."""
    head = f"| domain | {' | '.join(TOOLS.values())} |\n|---|{'---:|' * len(TOOLS)}"
    rows = [f"| {text} | {' | '.join(str(lines(tool, name)) for tool in TOOLS)} |" for name, text in NAMES.items()]
    return "\n".join([head, *rows])


def insert_table(page: str) -> str:
    """The page with the current table."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the table into docs/pages/tutorial.md")
    if parser.parse_args().write:
        PAGE.write_text(insert_table(PAGE.read_text("utf-8")), encoding="utf-8")
    print(table())  # noqa: T201


if __name__ == "__main__":
    main()
