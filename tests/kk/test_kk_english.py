"""Rendering and parsing of the published English, and the published data."""

import random
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from kk_strategies import puzzles
from kkwarm_kk import data
from kkwarm_kk.data import generate_examples, gold, identity, is_held_out, load
from kkwarm_kk.english import NAMES, ParseError, parse, render
from kkwarm_kk.isomorphism import canonical, canonical_wording
from kkwarm_kk.puzzle import Difficulty, Puzzle, generate, solution

from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry

QUIZ = (
    "A very special island is inhabited only by knights and knaves. Knights always tell the truth, and knaves always "
    'lie. You meet 2 inhabitants: Zoey, and Jack. Zoey said, "Jack is a knave." {jack} So who is a knight and who is a '
    "knave?"
)


@settings(max_examples=100, deadline=None)
@given(puzzles())
def test_rendered_puzzles_parse_back(puzzle: Puzzle) -> None:
    names = NAMES[10 : 10 + puzzle.people]
    read, found = parse(render(puzzle, names, random.Random(0)))
    assert found == names
    again, _ = parse(render(read, names, random.Random(1)))
    assert again == read
    assert canonical(read) == canonical(puzzle)


def test_published_grammar_parses_back_exactly() -> None:
    for people in range(2, 9):
        for i, puzzle in enumerate(islice(generate(Difficulty(people), 5), 30)):
            rng = random.Random(i)
            names = tuple(rng.sample(NAMES, people))
            assert parse(render(puzzle, names, rng)) == (puzzle, names)


@pytest.mark.parametrize(
    ("jack", "message"),
    [
        ("", "only 1 of 2"),
        ('"Zoey is a knight" - Mia.', "Mia speaks but"),
        ("Jack said that Mia is a knight.", "Mia is mentioned"),
        ("Jack said that Zoey is a pirate.", "cannot read"),
        ("Jack said that Zoey is a knight and Zoey is a knave or Jack is a knight.", "unexpected 'or'"),
        ("Jack said that If Zoey is a knight.", "expected 'then'"),
        ("Jack said that Zoey is a knight. Jack said that Zoey is a knight.", "speaks twice"),
        ("Jack whistles.", "cannot read a statement"),
        ("Jack said that " + "(" * 50 + "Zoey is a knight" + ")" * 50 + ".", "deeper"),
        ("Jack said that " + "it is not the case that " * 3000 + "Zoey is a knight.", "deeper"),
    ],
)
def test_parse_errors_name_the_place(jack: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse(QUIZ.format(jack=jack))


def test_published_puzzles_all_parse_and_have_their_stored_solution(shared_data: Path) -> None:
    from pyarrow import parquet

    wording: dict[str, set[str]] = {"train": set(), "test": set()}
    count = 0
    tests: list[tuple[int, str]] = []
    for people in range(3, 8):
        for split in ("train", "test"):
            path = shared_data / f"kk/logic-rl/{people}ppl/{split}.parquet"
            for row in parquet.read_table(path, columns=["quiz", "names", "solution"]).to_pylist():
                puzzle, names = parse(row["quiz"])
                assert list(names) == row["names"]
                assert list(solution(puzzle)) == row["solution"]
                name = canonical_wording(puzzle)
                wording[split].add(name)
                if split == "test":
                    tests.append((people, name))
                count += 1
    shared = [people for people, name in tests if name in wording["train"]]
    assert count == 5000
    assert shared == [3] * 5, "test puzzles that are a training puzzle with other names, as the data's README states"


@pytest.mark.slow
def test_load_drops_training_puzzles_isomorphic_to_a_test_puzzle(shared_data: Path) -> None:
    examples = load()
    test = [e for e in examples if e.split == "test"]
    train = [e for e in examples if e.split == "train"]
    assert len(test) == 500
    assert 4300 < len(train) < 4500
    names = {canonical(parse(e.question)[0]) for e in test}
    assert names.isdisjoint(canonical(parse(e.question)[0]) for e in train)
    first = next(e for e in test if e.id == "logic-rl/3ppl/test/0")
    assert first.meta["people"] == 3
    assert gold(first) == "(1) Amelia is a knight\n(2) Penelope is a knight\n(3) Evelyn is a knave"


def test_the_hub_is_read_where_no_folder_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations are train and test, splits 3ppl to 7ppl; a training puzzle like a test puzzle is dropped."""
    requests = []

    def rows(repo: str, split: str, config: str, revision: str) -> list[dict[str, object]]:
        requests.append((repo, split, config))
        assert revision == data.REVISION
        people = int(split[0])
        puzzle = next(generate(Difficulty(people), people))
        names = NAMES[:people] if config == "test" else NAMES[people : 2 * people]
        return [{"quiz": render(puzzle, names, random.Random(1)), "names": names, "solution": solution(puzzle)}]

    monkeypatch.delenv("KKWARM_DATA", raising=False)
    monkeypatch.setattr(data, "hub_rows", rows)
    data._load.cache_clear()
    try:
        examples = load()
    finally:
        data._load.cache_clear()
    assert requests[:2] == [(data.REPO, "3ppl", "train"), (data.REPO, "3ppl", "test")]
    assert [e.id for e in examples] == [f"knights-and-knaves/{n}ppl/test/0" for n in range(3, 8)]


def test_errors_name_missing_or_damaged_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow
    from pyarrow import parquet

    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))
    with pytest.raises(KkwarmError, match=r"3ppl.train\.parquet is missing"):
        load()
    folder = tmp_path / "kk/logic-rl/3ppl"
    folder.mkdir(parents=True)
    (folder / "train.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(KkwarmError, match=r"train\.parquet cannot be read"):
        load()
    quiz = QUIZ.format(jack='"Zoey is a knave" - Jack.')
    rows = {"quiz": [quiz], "names": [["Zoey", "Jack"]], "solution": [[True, False]]}
    parquet.write_table(pyarrow.table(rows), folder / "train.parquet")
    with pytest.raises(KkwarmError, match="logic-rl/3ppl/train/0: the puzzle has 2 solutions"):
        load()


def test_generated_test_and_training_examples_are_disjoint() -> None:
    test = list(generate_examples(60, seed=1, split="test", difficulty=Difficulty(4)))
    train = list(generate_examples(60, seed=1, split="train", difficulty=Difficulty(4)))
    assert len({e.id for e in test + train}) == 120
    assert all(is_held_out(e.meta["canonical"]) for e in test)
    assert {e.meta["canonical"] for e in test}.isdisjoint(e.meta["canonical"] for e in train)
    for example in test:
        puzzle, names = parse(example.question)
        assert example.answer == {n: "knight" if k else "knave" for n, k in zip(names, solution(puzzle), strict=True)}
    with pytest.raises(KkwarmError, match="only 2 different test puzzles"):
        list(generate_examples(5000, difficulty=Difficulty(2)))


def test_generated_puzzles_are_a_task_and_a_benchmark_of_their_own() -> None:
    task, benchmark = registry().task("kk_generated"), registry().benchmark("kk_generated")
    train, test = list(task.load()), list(benchmark.load())
    assert (len(train), len(test)) == (800, 400)
    assert task.verifier == benchmark.verifier == "kk" and "kk_generated" not in registry().domains
    assert {e.meta["people"] for e in registry().benchmark("kk_generated:8").load()} == {8}
    assert {identity(e.question) for e in train}.isdisjoint(identity(e.question) for e in test)


def test_no_generated_puzzle_of_the_benchmark_is_published(shared_data: Path) -> None:
    published = {e.meta["canonical"] for e in load()}
    generated = [*registry().task("kk_generated").load(), *registry().benchmark("kk_generated").load()]
    assert published.isdisjoint(e.meta["canonical"] for e in generated)
