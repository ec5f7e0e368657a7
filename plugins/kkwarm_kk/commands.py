"""`kkwarm kk`: makes puzzles, solves them, and verifies answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import Whole, echo_json, json_option, out_console
from kkwarm.errors import KkwarmError

SHOWN = 10  # problems of a file that are listed


@click.group("kk", context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Make, solve and verify Knights & Knaves puzzles."""


@group.command()
@click.option("--people", type=Whole(2, 8), default=3, show_default=True, help="Number of people in a puzzle.")
@click.option("-n", "count", type=Whole(1), default=100, show_default=True, help="Number of puzzles.")
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Random seed.")
@click.option("--depth", type=Whole(1, 5), default=1, show_default=True, help="Nesting depth of statements.")
@click.option(
    "--width", type=Whole(2, 8), default=2, show_default=True, help="Maximum number of operands of `and` and `or`."
)
@click.option(
    "--split",
    type=click.Choice(["train", "test"]),
    default="train",
    show_default=True,
    help="Part of the puzzles, decided by content. Traces of the teachers contain no puzzle of `test`, and `train` "
    "contains no published test puzzle.",
)
@click.option(
    "--reasoning", is_flag=True, help="Add the reasoning of the teacher `symbolic`; without it, `reasoning` is null."
)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="JSON lines file to write.")
@json_option
def generate(
    people: int, count: int, seed: int, depth: int, width: int, split: Any, reasoning: bool, out: Path, as_json: bool
) -> None:
    """Make different puzzles, each with exactly one solution.

    No two are the same up to renaming and reordering of people. A line is a warm-up trace (`kkwarm warmup MODEL
    --traces FILE`) and a row of a table (`verifier = "kk"`; the columns are question, answer, people and id).
    """
    from kkwarm.files import write_file
    from kkwarm_kk.puzzle import Difficulty
    from kkwarm_kk.teachers import generate_rows

    if out.suffix not in (".jsonl", ""):
        raise KkwarmError(f"{out}: puzzles are written as JSON lines", hint=f"use {out.with_suffix('.jsonl')}")
    rows = generate_rows(count, seed, split, Difficulty(people, depth, width), reasoning)
    hidden = sys.stderr is None or not sys.stderr.isatty()
    with click.progressbar(rows, count, label=f"{people} people", file=sys.stderr, hidden=hidden) as shown:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in shown]
    write_file(out, lines, hint="free space, or use another -o")
    if as_json:
        echo_json({"file": str(out), "puzzles": count, "people": people, "seed": seed, "split": split})
    else:
        out_console().print(f"{count:,} puzzles of {people} people in {out}", markup=False, soft_wrap=True)


@group.command()
@click.argument("puzzle", required=False)
@json_option
@click.pass_context
def solve(ctx: click.Context, puzzle: str | None, as_json: bool) -> None:
    """Solve a puzzle.

    PUZZLE is a file, or the text itself (default: standard input), in the English of the published puzzles. Exits with
    1 unless there is exactly one solution.
    """
    from kkwarm_kk.data import make_answer
    from kkwarm_kk.english import render_answer
    from kkwarm_kk.puzzle import solve

    parsed, names = _parse(_read(puzzle))
    solutions = [make_answer(names, roles) for roles in solve(parsed)]
    if as_json:
        echo_json({"people": len(names), "unique": len(solutions) == 1, "solutions": solutions})
    else:
        if not solutions:
            click.echo("No solution: every assignment contradicts a statement.")
        if len(solutions) > 1:
            click.echo(f"{len(solutions)} solutions; the statements do not decide between them.\n")
        click.echo("\n\n".join(map(render_answer, solutions)), nl=bool(solutions))
    ctx.exit(0 if len(solutions) == 1 else 1)


@group.command()
@click.argument("puzzle", required=False)
@click.option("--answer", metavar="TEXT", help="Answer to verify, in any wording that the domain `kk` accepts.")
@json_option
@click.pass_context
def verify(ctx: click.Context, puzzle: str | None, answer: str | None, as_json: bool) -> None:
    """Verify an answer to a puzzle, or a file of them.

    With --answer, PUZZLE is as for `kkwarm kk solve`. Without it, PUZZLE is a JSON lines file with `question` and
    `answer` in each line, such as `kkwarm kk generate` and `kkwarm distill` write. Exits with 1 if an answer is not the
    only solution.
    """
    if answer is not None:
        verdict = _verdict(_read(puzzle), answer)
        if as_json:
            echo_json({"status": verdict.status, "answer": verdict.answer, "reason": verdict.reason})
        else:
            click.echo(f"{verdict.status}: {verdict.reason}")
        ctx.exit(0 if verdict.correct else 1)
    if puzzle is None:
        raise KkwarmError("neither an answer nor a file was given", hint="give --answer TEXT, or a .jsonl file")
    document = _verify_file(Path(puzzle))
    problems = document["problems"]
    if as_json:
        echo_json(document)
    else:
        total, different = document["puzzles"], document["different"]
        click.echo(f"{total - len(problems):,} of {total:,} answers are correct; {different:,} puzzles are different.")
        for row in problems[:SHOWN]:
            click.echo(f"line {row['line']}: {row['problem']}")
        if len(problems) > SHOWN:
            click.echo(f"and {len(problems) - SHOWN:,} more (--json lists all)")
    ctx.exit(1 if problems else 0)


def _verify_file(path: Path) -> dict[str, Any]:
    from kkwarm.data import read_numbered_jsonl
    from kkwarm_kk.data import identity

    problems: list[dict[str, Any]] = []
    different: set[str] = set()
    total = 0
    for number, row in read_numbered_jsonl(path):
        missing = [key for key in ("question", "answer") if not isinstance(row.get(key), str)]
        if missing:
            raise KkwarmError(f"{path}, line {number}: {missing[0]!r} is missing or is not text")
        total += 1
        different.add(identity(row["question"]))
        try:
            verdict = _verdict(row["question"], row["answer"])
        except KkwarmError as err:
            problems.append({"line": number, "problem": err.message})
            continue
        if not verdict.correct:
            problems.append({"line": number, "problem": f"{verdict.status}: {verdict.reason}"})
    if not total:
        raise KkwarmError(f"{path} has no lines")
    return {"file": str(path), "puzzles": total, "different": len(different), "problems": problems}


def _verdict(question: str, answer: str) -> Any:
    """The verdict of the domain's verifier; the puzzle itself must have exactly one solution."""
    from kkwarm.types import Example, Response
    from kkwarm_kk.data import make_answer
    from kkwarm_kk.puzzle import solution
    from kkwarm_kk.verifier import check

    puzzle, names = _parse(question)
    try:
        gold = make_answer(names, solution(puzzle))
    except ValueError as err:
        raise KkwarmError(str(err), hint="see `kkwarm kk solve`") from None
    return check(Example("", question, gold), Response(answer, "", answer))


def _parse(text: str) -> Any:
    from kkwarm_kk.data import find_puzzle
    from kkwarm_kk.english import ParseError

    try:
        return find_puzzle(text)
    except ParseError as err:
        hint = "puzzles are read in the English of the published ones, as `kkwarm domains kk` shows it"
        raise KkwarmError(f"the puzzle cannot be read: {err}", hint=hint) from None


def _read(puzzle: str | None) -> str:
    """The text of a puzzle: the argument, the file that it names, or standard input."""
    if puzzle is None:
        if sys.stdin is None or sys.stdin.isatty():
            raise KkwarmError("no puzzle was given", hint="give it as an argument or on standard input")
        return sys.stdin.read()
    if any(char.isspace() for char in puzzle.strip()):
        return puzzle
    try:
        return Path(puzzle).read_text("utf-8")
    except UnicodeDecodeError:
        raise KkwarmError(f"{puzzle}: not UTF-8") from None
