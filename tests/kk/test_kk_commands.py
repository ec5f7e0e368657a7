"""`kkwarm kk generate`, `solve` and `verify`, as a user calls them."""

import io
import json
from pathlib import Path

import pytest

from kkwarm.cli import main
from kkwarm.plugins import registry
from kkwarm.train.traces import read_traces

HEAD = (
    "A very special island is inhabited only by knights and knaves. Knights always tell the truth, and knaves always "
    "lie. You meet 2 inhabitants: Zoey, and Oliver. "
)
END = " So who is a knight and who is a knave?"
UNIQUE = f"{HEAD}Zoey said that Oliver is a knave. Oliver said that Zoey is a knight and Oliver is a knight.{END}"
SEVERAL = f"{HEAD}Zoey said that Oliver is a knight. Oliver said that Zoey is a knight.{END}"
NONE = f"{HEAD}Zoey said that Zoey is a knave. Oliver said that Zoey is a knight.{END}"


@pytest.fixture(autouse=True)
def _no_published_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))  # without the published puzzles, and without the hub


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as done:
        main(["kk", *args])
    out, err = capsys.readouterr()
    return done.value.code, out, err


def test_generated_puzzles_are_different_traces_and_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "puzzles.jsonl"
    options = ["generate", "--people", "3", "-n", "40", "--seed", "5", "-o", str(file)]
    code, out, _ = run(capsys, *options, "--json")
    assert code == 0
    assert json.loads(out) == {"file": str(file), "puzzles": 40, "people": 3, "seed": 5, "split": "train"}
    first = file.read_bytes()
    assert run(capsys, *options)[0] == 0 and file.read_bytes() == first
    traces = read_traces(file)
    assert len({t.meta["canonical"] for t in traces}) == 40
    assert {(t.domain, t.reasoning, t.meta["people"]) for t in traces} == {("kk", None, 3)}
    code, out, _ = run(capsys, "verify", str(file), "--json")
    assert (code, json.loads(out)) == (0, {"file": str(file), "puzzles": 40, "different": 40, "problems": []})

    (tmp_path / "kk.toml").write_text(
        'data = "puzzles.jsonl"\nverifier = "kk"\ntrain = 10\nfacet = "people"\nid = "id"'
    )
    name = str(tmp_path / "kk.toml")
    assert len(list(registry().task(name).load())) == 10
    assert len(list(registry().benchmark(f"{name}:3").load())) == 30
    with pytest.raises(SystemExit) as done:
        main(["try", name, f"x </think> <answer> {next(iter(registry().benchmark(name).load())).answer} </answer>"])
    assert done.value.code == 0 and "correct" in capsys.readouterr().out
    registry.cache_clear()


def test_generated_puzzles_have_reasoning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["generate", "-n", "3", "--depth", "2", "--split", "test", "--reasoning"]
    assert run(capsys, *options, "-o", str(tmp_path / "p.jsonl"))[0] == 0
    assert all("knight" in (t.reasoning or "") for t in read_traces(tmp_path / "p.jsonl"))


def test_too_few_different_puzzles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.jsonl"
    code, _, err = run(capsys, "generate", "--people", "2", "-n", "900", "--split", "test", "-o", str(file))
    assert code == 2 and not file.exists()
    assert "different test puzzles of 2 people (depth 1, width 2), not 900 (request fewer" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["generate", "--people", "9", "-o", "p.jsonl"], "9 is not in the range 2<=x<=8"),
        (["generate", "-o", "p.csv"], "p.csv: puzzles are written as JSON lines (use p.jsonl)"),
        (["generate"], "Missing option '-o'"),
        (["solve", "gone.txt"], "gone.txt: No such file"),
        (["solve", "Who is a knight?"], "the puzzle cannot be read: "),
        (["verify"], "neither an answer nor a file was given (give --answer TEXT"),
        (["verify", SEVERAL, "--answer", "x"], "the puzzle has 2 solutions, not exactly one"),
        (["verify", "gone.jsonl"], "gone.jsonl: No such file"),
    ],
)
def test_bad_input_ends_in_one_line(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *args)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("puzzle", "code", "lines"),
    [
        (UNIQUE, 0, ["(1) Zoey is a knight", "(2) Oliver is a knave"]),
        (f"Solve this.\n{UNIQUE} Think first.", 0, ["(1) Zoey is a knight", "(2) Oliver is a knave"]),
        (SEVERAL, 1, ["2 solutions; the statements do not decide between them."]),
        (NONE, 1, ["No solution: every assignment contradicts a statement."]),
    ],
)
def test_solve(
    puzzle: str,
    code: int,
    lines: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "p.txt").write_text(puzzle)
    for args in (["solve", puzzle], ["solve", str(tmp_path / "p.txt")]):
        found, out, _ = run(capsys, *args)
        assert (found, out.splitlines()[: len(lines)]) == (code, lines)
    monkeypatch.setattr("sys.stdin", io.StringIO(puzzle))
    found, out, _ = run(capsys, "solve", "--json")
    document = json.loads(out)
    assert (found, document["unique"]) == (code, code == 0)
    assert len(document["solutions"]) == {UNIQUE: 1, SEVERAL: 2, NONE: 0}.get(puzzle, 1)


def test_verify_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "verify", UNIQUE, "--answer", "Knights: Zoey. Knaves: Oliver.")[:2] == (
        0,
        "correct: Every role is correct.\n",
    )
    code, out, _ = run(capsys, "verify", UNIQUE, "--answer", "Zoey and Oliver are knights", "--json")
    assert (code, json.loads(out)["status"]) == (1, "wrong")


def test_verify_lists_the_lines_with_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = {"question": UNIQUE, "answer": "(1) Zoey is a knight\n(2) Oliver is a knave"}
    rows = [good, good, {**good, "answer": "Zoey is a knave"}, {**good, "question": SEVERAL}, {**good, "question": "?"}]
    file = tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = run(capsys, "verify", str(file))
    assert code == 1
    assert out.splitlines() == [
        "2 of 5 answers are correct; 3 puzzles are different.",
        "line 3: wrong: The answer says nothing about Oliver.",
        "line 4: the puzzle has 2 solutions, not exactly one",
        "line 5: the puzzle cannot be read: the text does not begin as a published Knights & Knaves puzzle does",
    ]
    file.write_text('{"question": "x"}\n')
    assert "p.jsonl, line 1: 'answer' is missing" in run(capsys, "verify", str(file))[2]
