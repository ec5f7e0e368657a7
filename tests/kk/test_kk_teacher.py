"""Checks every assertion of a reasoning text by enumeration: first the steps, then the text."""

import random
import re
import statistics
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

import pytest
from kk_strategies import holds
from kkwarm_kk.data import is_held_out, published_test_names
from kkwarm_kk.english import NAMES, parse, render_statement
from kkwarm_kk.isomorphism import canonical
from kkwarm_kk.puzzle import Difficulty, Puzzle, generate, solution
from kkwarm_kk.reasoning_text import render_reasoning, render_steps
from kkwarm_kk.search import PartialAssignment, Step, StepKind, sample_style, search
from kkwarm_kk.teachers import direct_traces, symbolic_traces
from kkwarm_kk.verifier import check

from kkwarm.types import Example, Response

CLOSED = (StepKind.CLASH, StepKind.PARADOX)
END = (StepKind.ONLY, StepKind.TRUST, StepKind.VERIFY)


def solve_puzzles(count: int, sizes: range = range(2, 9)) -> Iterator[tuple[Puzzle, list[Step], int]]:
    for people in sizes:
        hard = Difficulty(people, depth=2, width=3) if people == 4 else Difficulty(people)
        for i, puzzle in enumerate(islice(generate(hard, 7), count)):
            rng = random.Random(f"{people}:{i}")
            yield puzzle, search(puzzle, sample_style(people, rng), rng), i


def matching_roles(known: PartialAssignment) -> list[tuple[bool, ...]]:
    return [
        roles
        for roles in product((False, True), repeat=len(known))
        if all(v is None or v == r for v, r in zip(known, roles, strict=True))
    ]


def is_sound(puzzle: Puzzle, step: Step) -> bool:
    """Whether the step follows from what was known before it and (but for refutations) from one statement alone."""
    statement = puzzle.statements[step.speaker]
    roles_so_far = matching_roles(step.assignment)
    truths = [(roles, holds(statement, roles)) for roles in roles_so_far]
    role_name = step.assignment[step.speaker]
    match step.kind:
        case StepKind.ASSUME | StepKind.OTHERWISE:
            return step.assignment[step.person] is None
        case StepKind.CONTENT:
            left = [roles for roles, true in truths if true == role_name]
            return role_name is not None and bool(left) and all(r[step.person] == step.value for r in left)
        case StepKind.SPEAKER:
            return step.speaker == step.person and all(
                roles[step.person] == step.value for roles, true in truths if true == roles[step.person]
            )
        case StepKind.CLASH:
            return role_name is not None and all(true != role_name for _, true in truths)
        case StepKind.PARADOX:
            return role_name is None and all(true != roles[step.speaker] for roles, true in truths)
        case StepKind.RECHECK:
            contrary = (*step.assignment[: step.person], not step.value, *step.assignment[step.person + 1 :])
            return step.assignment[step.person] == step.value and all(
                holds(statement, roles) != roles[step.speaker] for roles in matching_roles(contrary)
            )
        case StepKind.REFUTE:
            return not any(
                all(holds(s, roles) == roles[i] for i, s in enumerate(puzzle.statements))
                for roles in roles_so_far
                if roles[step.person] != step.value
            )
        case StepKind.SOLVED | StepKind.ONLY | StepKind.TRUST:
            return step.assignment == solution(puzzle)
        case StepKind.VERIFY:
            return step.assignment == solution(puzzle) and all(true == role_name for _, true in truths)


def test_every_step_is_sound() -> None:
    for puzzle, steps, _ in solve_puzzles(15):
        for step in steps:
            assert is_sound(puzzle, step), (puzzle, step)


def test_steps_are_consistent_with_the_steps_before() -> None:
    """The roles known at each step follow from the steps before it, and assumptions open and close like brackets."""
    for puzzle, steps, _ in solve_puzzles(15):
        frames: list[list[bool | None]] = [[None] * puzzle.people]
        found = False
        for before, step in zip([None, *steps], steps, strict=False):
            if step.kind in END:
                assert found
                continue
            if step.kind in (StepKind.REFUTE, StepKind.OTHERWISE):
                last = before.kind if before else None
                assert last in CLOSED if step.kind is StepKind.REFUTE else last in (StepKind.SOLVED, StepKind.REFUTE)
                frames = frames[: step.depth + 1]
            else:
                assert before is None or before.kind not in CLOSED
            assert step.depth == len(frames) - 1
            assert list(step.assignment) == frames[-1]
            if step.kind in (StepKind.ASSUME, StepKind.OTHERWISE):
                frames.append(list(step.assignment))
            if step.kind in (StepKind.ASSUME, StepKind.OTHERWISE, StepKind.CONTENT, StepKind.SPEAKER, StepKind.REFUTE):
                frames[-1][step.person] = step.value
            found |= step.kind is StepKind.SOLVED
        kinds = [step.kind for step in steps]
        assert kinds.count(StepKind.SOLVED) == 1
        if (
            StepKind.ONLY in kinds
        ):  # it is claimed that nothing else is possible: each assumption's other side was refuted
            opened = sum(k in (StepKind.ASSUME, StepKind.OTHERWISE) for k in kinds)
            solved = next(s for s in steps if s.kind is StepKind.SOLVED).depth
            assert kinds.count(StepKind.REFUTE) == opened - solved


_ASSERTED = re.compile(r"([A-Z][a-z]+)(?:, who)? (?:is|must be|has to be) a (knight|knave)")


def test_the_text_asserts_what_the_steps_conclude() -> None:
    n_true = 0
    for puzzle, steps, i in solve_puzzles(12):
        names = NAMES[i : i + puzzle.people]
        index = {name: p for p, name in enumerate(names)}
        for step, text in render_steps(puzzle, names, steps, random.Random(i)):
            if step is None:
                continue
            for quoted in re.findall(r'"([^"]*)"', text):
                assert quoted == render_statement(puzzle.statements[step.speaker], names), text
            allowed = {(p, v) for p, v in enumerate(step.assignment) if v is not None} | {(step.person, step.value)}
            plain = re.sub(r'"[^"]*"', "", text)
            asserted = [(index[name], what == "knight") for name, what in _ASSERTED.findall(plain)]
            assert set(asserted) <= allowed, (text, step)
            if step.kind in (StepKind.CONTENT, StepKind.SPEAKER, StepKind.REFUTE, StepKind.RECHECK):
                assert asserted[-1] == (step.person, step.value), text
            if step.kind in (StepKind.CLASH, StepKind.VERIFY, StepKind.CONTENT):
                given = bool(step.assignment[step.speaker])
                true = not given if step.kind is StepKind.CLASH else given
                assert set(re.findall(r"\b(true|false)\b", plain)) == {"true" if true else "false"}, text
                n_true += true
    assert n_true > 50


def test_the_facts_given_for_a_truth_value_are_sufficient() -> None:
    """ "... is false because Zoey is a knave": that and the speaker's own role are enough."""
    seen = 0
    for puzzle, steps, i in solve_puzzles(12):
        names = NAMES[i : i + puzzle.people]
        for step, text in render_steps(puzzle, names, steps, random.Random(i)):
            if step is None or step.kind is not StepKind.VERIFY:
                continue
            facts = re.sub(r'"[^"]*"', "", text).partition(" because ")[2]
            known: list[bool | None] = [None] * puzzle.people
            for name, what in _ASSERTED.findall(facts):
                known[names.index(name)] = what == "knight"
            values = {holds(puzzle.statements[step.speaker], roles) for roles in matching_roles(tuple(known))}
            assert values == {step.assignment[step.speaker]}, text
            seen += 1
    assert seen > 150


def test_traces_are_deterministic_and_correct() -> None:
    traces = list(symbolic_traces(40, 3))
    assert traces == list(symbolic_traces(40, 3))
    assert traces[:20] == list(symbolic_traces(20, 3)), "asking for more gives the same ones first"
    assert [t.question for t in traces] != [t.question for t in symbolic_traces(40, 4)]
    assert len({t.id for t in traces}) == len({t.question for t in traces}) == 40
    for trace in traces:
        puzzle, names = parse(trace.question)
        answer = {n: "knight" if k else "knave" for n, k in zip(names, solution(puzzle), strict=True)}
        example = Example("x", trace.question, answer)
        assert check(example, Response("", "", trace.answer)).correct
        assert trace.reasoning is not None
        text = f"{trace.reasoning}\n\n{trace.answer}"
        assert check(example, Response(text, "", text, tagged=False)).correct, "free text with the answer at its end"
        assert trace.meta["people"] == len(names)
        assert trace.meta["canonical"] == canonical(puzzle)
        assert "{" not in trace.reasoning and "  " not in trace.reasoning


def test_direct_traces_have_the_same_questions_without_reasoning() -> None:
    for long, short in zip(symbolic_traces(30, 5), direct_traces(30, 5), strict=True):
        assert (long.question, long.answer) == (short.question, short.answer)
        assert short.reasoning is None


def test_traces_are_long_and_varied() -> None:
    traces = list(symbolic_traces(200, 0))
    words: dict[int, list[int]] = {}
    for trace in traces:
        assert trace.reasoning is not None
        words.setdefault(trace.meta["people"], []).append(len(trace.reasoning.split()))
    means = [statistics.fmean(words[people]) for people in sorted(words)]
    assert sorted(words) == [3, 4, 5, 6, 7]
    assert means == sorted(means) and means[0] > 200 and means[-1] > 450, means
    openings = {trace.reasoning[:40] for trace in traces if trace.reasoning}
    assert len(openings) > 30
    text = " ".join(trace.reasoning or "" for trace in traces)
    for word in ("Wait", "double-check", "Suppose", "assume", "ontradiction", "Let me verify", "back up"):
        assert word in text, word


def test_traces_contain_no_published_test_puzzle(shared_data: Path) -> None:
    published = published_test_names()
    traces = list(direct_traces(400, 11))
    assert all(t.meta["canonical"] not in published and not is_held_out(t.meta["canonical"]) for t in traces)
    assert {t.meta["decontaminated_against"] for t in traces} == {"published and generated test puzzles"}


def test_traces_without_data_record_the_missing_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))
    traces = list(symbolic_traces(30, 0))
    assert not any(is_held_out(t.meta["canonical"]) for t in traces)
    assert all("generated test puzzles only" in t.meta["decontaminated_against"] for t in traces)


def test_a_puzzle_without_exactly_one_solution_is_refused() -> None:
    from kkwarm_kk.puzzle import Is

    puzzle = Puzzle((Is(1, True), Is(0, True)))
    with pytest.raises(ValueError, match="2 solutions"):
        search(puzzle, sample_style(2, random.Random(0)), random.Random(0))


def test_all_published_puzzles_can_be_solved_step_by_step(shared_data: Path) -> None:
    from kkwarm_kk.data import load

    for i, example in enumerate(load()[::40]):
        puzzle, names = parse(example.question)
        rng = random.Random(i)
        steps = search(puzzle, sample_style(puzzle.people, rng), rng)
        assert all(is_sound(puzzle, step) for step in steps if step.kind is not StepKind.REFUTE)
        assert render_reasoning(puzzle, names, steps, rng)
