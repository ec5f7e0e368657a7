"""Every assertion of a worked puzzle is replayed by enumeration: first the steps, then the words."""

from __future__ import annotations

import random
import re
import statistics
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

import pytest
from kk_strategies import holds
from kkwarm_kk.answer import check
from kkwarm_kk.data import held_out, published_tests
from kkwarm_kk.english import NAMES, parse, say
from kkwarm_kk.isomorphism import canonical
from kkwarm_kk.prose import prose, sentences
from kkwarm_kk.puzzle import Difficulty, Puzzle, generate, solution
from kkwarm_kk.steps import Kind, Known, Step, draw_style, search
from kkwarm_kk.teacher import direct, symbolic

from kkwarm.types import Example, Response

CLOSED = (Kind.CLASH, Kind.PARADOX)
END = (Kind.ONLY, Kind.TRUST, Kind.VERIFY)


def worked(count: int, sizes: range = range(2, 9)) -> Iterator[tuple[Puzzle, list[Step], int]]:
    for people in sizes:
        hard = Difficulty(people, depth=2, width=3) if people == 4 else Difficulty(people)
        for i, puzzle in enumerate(islice(generate(hard, 7), count)):
            rng = random.Random(f"{people}:{i}")
            yield puzzle, search(puzzle, draw_style(people, rng), rng), i


def agreeing(known: Known) -> list[tuple[bool, ...]]:
    return [
        roles
        for roles in product((False, True), repeat=len(known))
        if all(v is None or v == r for v, r in zip(known, roles, strict=True))
    ]


def sound(puzzle: Puzzle, step: Step) -> bool:
    """Whether the step follows from what was known before it and (but for refutations) from one statement alone."""
    statement = puzzle.statements[step.speaker]
    roles_so_far = agreeing(step.known)
    said = [(roles, holds(statement, roles)) for roles in roles_so_far]
    role = step.known[step.speaker]
    match step.kind:
        case Kind.ASSUME | Kind.OTHERWISE:
            return step.known[step.person] is None
        case Kind.CONTENT:
            left = [roles for roles, true in said if true == role]
            return role is not None and bool(left) and all(r[step.person] == step.value for r in left)
        case Kind.SPEAKER:
            return step.speaker == step.person and all(
                roles[step.person] == step.value for roles, true in said if true == roles[step.person]
            )
        case Kind.CLASH:
            return role is not None and all(true != role for _, true in said)
        case Kind.PARADOX:
            return role is None and all(true != roles[step.speaker] for roles, true in said)
        case Kind.RECHECK:
            contrary = (*step.known[: step.person], not step.value, *step.known[step.person + 1 :])
            return step.known[step.person] == step.value and all(
                holds(statement, roles) != roles[step.speaker] for roles in agreeing(contrary)
            )
        case Kind.REFUTE:
            return not any(
                all(holds(s, roles) == roles[i] for i, s in enumerate(puzzle.statements))
                for roles in roles_so_far
                if roles[step.person] != step.value
            )
        case Kind.FOUND | Kind.ONLY | Kind.TRUST:
            return step.known == solution(puzzle)
        case Kind.VERIFY:
            return step.known == solution(puzzle) and all(true == role for _, true in said)


def test_every_step_is_sound() -> None:
    for puzzle, steps, _ in worked(15):
        for step in steps:
            assert sound(puzzle, step), (puzzle, step)


def test_steps_hang_together() -> None:
    """What is known at each step is what the steps before it gave, and assumptions open and close like brackets."""
    for puzzle, steps, _ in worked(15):
        frames: list[list[bool | None]] = [[None] * puzzle.people]
        found = False
        for before, step in zip([None, *steps], steps, strict=False):
            if step.kind in END:
                assert found
                continue
            if step.kind in (Kind.REFUTE, Kind.OTHERWISE):
                last = before.kind if before else None
                assert last in CLOSED if step.kind is Kind.REFUTE else last in (Kind.FOUND, Kind.REFUTE)
                frames = frames[: step.depth + 1]
            else:
                assert before is None or before.kind not in CLOSED
            assert step.depth == len(frames) - 1
            assert list(step.known) == frames[-1]
            if step.kind in (Kind.ASSUME, Kind.OTHERWISE):
                frames.append(list(step.known))
            if step.kind in (Kind.ASSUME, Kind.OTHERWISE, Kind.CONTENT, Kind.SPEAKER, Kind.REFUTE):
                frames[-1][step.person] = step.value
            found |= step.kind is Kind.FOUND
        kinds = [step.kind for step in steps]
        assert kinds.count(Kind.FOUND) == 1
        if Kind.ONLY in kinds:  # it is claimed that nothing else is possible: each assumption's other side was refuted
            opened = sum(k in (Kind.ASSUME, Kind.OTHERWISE) for k in kinds)
            solved = next(s for s in steps if s.kind is Kind.FOUND).depth
            assert kinds.count(Kind.REFUTE) == opened - solved


_ASSERTED = re.compile(r"([A-Z][a-z]+)(?:, who)? (?:is|must be|has to be) a (knight|knave)")


def test_the_words_say_what_the_steps_say() -> None:
    said_true = 0
    for puzzle, steps, i in worked(12):
        names = NAMES[i : i + puzzle.people]
        index = {name: p for p, name in enumerate(names)}
        for step, text in sentences(puzzle, names, steps, random.Random(i)):
            if step is None:
                continue
            for quoted in re.findall(r'"([^"]*)"', text):
                assert quoted == say(puzzle.statements[step.speaker], names), text
            allowed = {(p, v) for p, v in enumerate(step.known) if v is not None} | {(step.person, step.value)}
            plain = re.sub(r'"[^"]*"', "", text)
            asserted = [(index[name], what == "knight") for name, what in _ASSERTED.findall(plain)]
            assert set(asserted) <= allowed, (text, step)
            if step.kind in (Kind.CONTENT, Kind.SPEAKER, Kind.REFUTE, Kind.RECHECK):
                assert asserted[-1] == (step.person, step.value), text
            if step.kind in (Kind.CLASH, Kind.VERIFY, Kind.CONTENT):
                given = bool(step.known[step.speaker])
                true = not given if step.kind is Kind.CLASH else given
                assert set(re.findall(r"\b(true|false)\b", plain)) == {"true" if true else "false"}, text
                said_true += true
    assert said_true > 50


def test_the_facts_given_for_a_truth_value_settle_it() -> None:
    """ "... is false because Zoey is a knave": that and the speaker's own role are enough."""
    seen = 0
    for puzzle, steps, i in worked(12):
        names = NAMES[i : i + puzzle.people]
        for step, text in sentences(puzzle, names, steps, random.Random(i)):
            if step is None or step.kind is not Kind.VERIFY:
                continue
            facts = re.sub(r'"[^"]*"', "", text).partition(" because ")[2]
            known: list[bool | None] = [None] * puzzle.people
            for name, what in _ASSERTED.findall(facts):
                known[names.index(name)] = what == "knight"
            values = {holds(puzzle.statements[step.speaker], roles) for roles in agreeing(tuple(known))}
            assert values == {step.known[step.speaker]}, text
            seen += 1
    assert seen > 150


def test_traces_repeat_and_are_right() -> None:
    traces = list(symbolic(40, 3))
    assert traces == list(symbolic(40, 3))
    assert traces[:20] == list(symbolic(20, 3)), "asking for more gives the same ones first"
    assert [t.question for t in traces] != [t.question for t in symbolic(40, 4)]
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


def test_direct_asks_the_same_without_reasoning() -> None:
    for long, short in zip(symbolic(30, 5), direct(30, 5), strict=True):
        assert (long.question, long.answer) == (short.question, short.answer)
        assert short.reasoning is None


def test_traces_are_long_and_varied() -> None:
    traces = list(symbolic(200, 0))
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


def test_traces_keep_away_from_published_tests(shared_data: Path) -> None:
    published = published_tests()
    traces = list(direct(400, 11))
    assert all(t.meta["canonical"] not in published and not held_out(t.meta["canonical"]) for t in traces)
    assert {t.meta["apart_from"] for t in traces} == {"published and generated test puzzles"}


def test_traces_without_data_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))
    traces = list(symbolic(30, 0))
    assert not any(held_out(t.meta["canonical"]) for t in traces)
    assert all("generated test puzzles only" in t.meta["apart_from"] for t in traces)


def test_a_puzzle_without_exactly_one_solution_is_refused() -> None:
    from kkwarm_kk.puzzle import Is

    puzzle = Puzzle((Is(1, True), Is(0, True)))
    with pytest.raises(ValueError, match="2 solutions"):
        search(puzzle, draw_style(2, random.Random(0)), random.Random(0))


def test_published_puzzles_can_all_be_worked(shared_data: Path) -> None:
    from kkwarm_kk.data import load

    for i, example in enumerate(load()[::40]):
        puzzle, names = parse(example.question)
        rng = random.Random(i)
        steps = search(puzzle, draw_style(puzzle.people, rng), rng)
        assert all(sound(puzzle, step) for step in steps if step.kind is not Kind.REFUTE)
        assert prose(puzzle, names, steps, rng)
