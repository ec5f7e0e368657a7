"""``PATH.toml``: tables of every kind become domains, and all problems are reported at once."""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kkwarm_bridges.answers import parse_number

from kkwarm.errors import KkwarmError
from kkwarm.plugins import Registry, registry
from kkwarm.testing import ScriptedModel, check_domain
from kkwarm.types import Completion, Status, Verdict
from kkwarm.verify import Judge, verify

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Peru": "Lima", "Cuba": "Havana"}
ROWS: list[dict[str, Any]] = [
    {"q": f"Capital of {c}?", "a": a, "area": "europe" if c in ("France", "Italy", "Spain") else "world"}
    for c, a in CAPITALS.items()
]


@pytest.fixture(scope="module", autouse=True)
def _clear_registry() -> Iterator[None]:
    """Other tests must not see the tables that were created here."""
    yield
    registry.cache_clear()


@pytest.fixture
def reg() -> Registry:
    from kkwarm_bridges import table

    table.load_examples.cache_clear()
    return registry()


def write_table(folder: Path, rows: list[dict[str, Any]], text: str, file: str = "rows.jsonl") -> str:
    """The TOML file's path, with the rows beside it."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif file.endswith(".json"):
        path.write_text(json.dumps({"version": 1, "data": rows}))
    elif file.endswith(".csv"):
        with open(path, "w", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    (folder / "domain.toml").write_text(text)
    return str(folder / "domain.toml")


def verify_answers(reg: Registry, name: str, question: str, *answers: str) -> list[Verdict]:
    benchmark = reg.benchmark(name)
    example = next(e for e in benchmark.load_all() if question in e.question)
    protocol = reg.protocol(benchmark)
    pairs = [(example, Completion(protocol.compose("so", a), finish_reason="stop")) for a in answers]
    return verify(reg.verifier(benchmark.verifier), protocol, pairs)


@pytest.mark.parametrize("file", ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet"])
def test_a_file_of_each_kind(file: str, reg: Registry, tmp_path: Path) -> None:
    name = write_table(
        tmp_path, ROWS, f'data = "{file}"\nquestion = "q"\nanswer = "a"\ntrain = 2\nfacet = "area"', file
    )
    with Judge() as judge:
        assert [f for f in check_domain(reg, name, judge) if not f.ok] == []
    assert len(list(reg.task(name).load())) == 2
    assert {e.meta["area"] for e in reg.benchmark(f"{name}:world").load()} == {"world"}
    right, same, other = verify_answers(reg, name, "France", "Paris", " “paris”. ", "Lyon")
    assert right.correct and same.correct and other.status is Status.WRONG


def test_a_pipe_is_no_table(reg: Registry, tmp_path: Path) -> None:
    name = write_table(tmp_path, ROWS, 'data = "rows.csv"\nquestion = "q"\nanswer = "a"', "rows.csv")
    (tmp_path / "rows.csv").unlink()
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(KkwarmError, match=r"rows\.csv is no regular file"):
        reg.benchmark(name).load()


def test_a_folder_with_a_file_for_each_split(reg: Registry, tmp_path: Path) -> None:
    name = write_table(tmp_path, ROWS[:4], 'data = "d"\nquestion = "q"\nanswer = "a"\ntrain = "train"', "d/test.jsonl")
    write_table(tmp_path, ROWS[3:], Path(name).read_text(), "d/train-00000-of-00001.parquet")
    assert [len(list(load())) for load in (reg.benchmark(name).load, reg.domain(name).load)] == [4, 7]
    trained = [e.question for e in reg.task(name).load()]
    assert trained == ["Capital of Peru?", "Capital of Cuba?"]  # the row that both splits have is not trained on


def test_a_folder_in_the_hubs_layout(reg: Registry, tmp_path: Path) -> None:
    text = 'data = "d"\nquestion = "q"\nanswer = "a"\ntrain = "train"'
    for at, file in enumerate(["test-00000-of-00002.jsonl", "test-00001-of-00002.parquet", "train.jsonl"]):
        name = write_table(tmp_path, ROWS[2 * at : 2 * at + 2], text, f"d/data/{file}")
    assert [e.question for e in reg.benchmark(name).load()] == [str(row["q"]) for row in ROWS[:4]]
    assert len(list(reg.task(name).load())) == 2
    other = write_table(tmp_path / "b", ROWS[:2], text.replace('train = "train"', 'config = "x"'), "d/x/test.csv")
    assert len(list(reg.benchmark(other).load())) == 2
    for file in ("d/x/test.csv", "d/x/test-more.csv"):
        other = write_table(tmp_path / "c", ROWS[:2], Path(other).read_text(), file)
    assert "several files of the split 'test' (there are: test-more.csv, test.csv)" in problems(reg, other)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("train = 6", "domain.toml: train = 6 leaves none of 6 rows for evaluation"),
        ('train = "train"', "rows.csv is one table and has no split 'train' (set train to a number of its rows)"),
        ('train = "test"', "train: is also the evaluation split"),
        ('data = "rows.xlsx"', "domain.toml: {folder}/rows.xlsx is missing"),
    ],
)
def test_splits_without_evaluation_rows_are_refused(train: str, message: str, reg: Registry, tmp_path: Path) -> None:
    data = "" if train.startswith("data") else 'data = "rows.csv"\n'
    name = write_table(tmp_path, ROWS, f'{data}question = "q"\nanswer = "a"\n{train}', "rows.csv")
    assert message.replace("{folder}", str(tmp_path)) in problems(reg, name)


def test_choices(reg: Registry, tmp_path: Path) -> None:
    rows = [{"q": f"What is {i}+1?", "o": [str(i), str(i + 1), "0.5"], "a": 1} for i in range(1, 7)]
    text = 'data = "rows.jsonl"\nquestion = "q"\nanswer = "a"\nchoices = "o"'
    name = write_table(tmp_path, rows, text)
    first = next(iter(reg.benchmark(name).load()))
    instruction = "Give only the letter of the correct option as the answer."
    assert first.question == f"What is 1+1?\nA. 1\nB. 2\nC. 0.5\n{instruction}"
    assert {e.answer for e in reg.benchmark(name).load()} == {"B"}
    letter, whole, other, two = verify_answers(reg, name, "What is 3+1?", "B", "B. 4", "A", "A or B")
    assert [v.status for v in (letter, whole, other, two)] == [
        Status.CORRECT,
        Status.CORRECT,
        Status.WRONG,
        Status.UNPARSED,
    ]


@pytest.mark.parametrize(
    ("keys", "question"),
    [
        ('prompt = "{options}\\n\\nWhich is {q}?"\ninstruction = ""', "A. p\nB. q\n\nWhich is 1?"),
        ('prompt = "Which is {q}?"\ninstruction = "A or B?"', "Which is 1?\nA. p\nB. q\nA or B?"),
        ('question = "q"\ninstruction = "Choose."', "1\nA. p\nB. q\nChoose."),
    ],
)
def test_the_place_of_the_options_and_the_instruction(keys: str, question: str, reg: Registry, tmp_path: Path) -> None:
    rows = [{"q": str(i), "options": ["p", "q"], "a": "A"} for i in range(1, 4)]
    name = write_table(tmp_path, rows, f'data = "rows.jsonl"\nanswer = "a"\nchoices = "options"\n{keys}')
    first = next(iter(reg.benchmark(name).load()))
    assert (first.question, first.meta["options"]) == (question, ["p", "q"])


def test_an_instruction_without_choices(reg: Registry, tmp_path: Path) -> None:
    text = 'data = "rows.jsonl"\nprompt = "{options}: {q}"\nanswer = "a"\ninstruction = "One word."'
    name = write_table(tmp_path, [{"q": "x?", "options": "y", "a": "z"}], text)  # `options` is a column like any other
    assert [e.question for e in reg.benchmark(name).load()] == ["y: x?\nOne word."]


@pytest.mark.parametrize(
    ("options", "choices", "message"),
    [
        (["one", "two ", "two"], "o", "two options have the same text: row 1"),
        (["one", "", "two"], "o", "an option is empty: row 1"),
        (["one", None], "o", "an option is empty: row 1"),
        (["one"], "o", "there are 1 options, not 2 to 10: row 1"),
        ("x", ["o", "p", "o"], "line 3, choices: has the column 'o' twice"),
        ("x", [], "line 3, choices: names no column"),
    ],
)
def test_choices_that_cannot_be_told_apart(
    options: object, choices: object, message: str, reg: Registry, tmp_path: Path
) -> None:
    rows = [{"question": "1?", "o": options, "p": "y", "answer": "A"}]
    name = write_table(tmp_path, rows, f'data = "rows.jsonl"\n\nchoices = {json.dumps(choices)}\nanswer_is = "letter"')
    assert message in problems(reg, name)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Dataset and a DatasetDict that were saved with `save_to_disk`."""
    import datasets

    folder = tmp_path_factory.mktemp("saved")
    names = datasets.Features({"question": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = [{"question": f"Is {i} even?", "label": 1 - i % 2} for i in range(8)]
    data = datasets.Dataset.from_list(rows, features=names)
    data.filter(lambda row: row["label"] == 1).save_to_disk(folder / "even")
    splits = {"train": data.select(range(5)), "held": data.select(range(5, 8))}
    datasets.DatasetDict(splits).save_to_disk(folder / "all")
    return folder


def test_saved_data_sets(saved: Path, reg: Registry) -> None:
    text = 'data = "{}"\nanswer = "label"\n{}'
    (saved / "a.toml").write_text(text.format("even", "train = 1"))
    (saved / "b.toml").write_text(text.format("all", 'test = "held"\ntrain = "train"'))
    (saved / "c.toml").write_text(text.format("all/train", ""))
    a, b, c = (str(saved / f"{name}.toml") for name in "abc")
    assert [len(list(reg.benchmark(name).load())) for name in (a, b, c)] == [3, 3, 5]
    assert [e.question for e in reg.domain(a).load()] == [f"Is {i} even?" for i in (0, 2, 4, 6)]
    assert [(e.id, e.answer) for e in reg.benchmark(b).load()] == [("held/0", "0"), ("held/1", "1"), ("held/2", "0")]
    assert len(list(reg.task(b).load())) == 5


@pytest.mark.parametrize(
    ("data", "keys", "message"),
    [
        ("all", "", "saved/all has no split 'test' (it has train, held)"),
        ("even", 'train = "train"', "even is one table and has no split 'train'"),
        ("files", "", "files has no split 'test' (it has train, dev)"),
        ("damaged", "", "damaged cannot be read ("),
        ("listed", "", "listed cannot be read (KeyError"),
        ("nothing", "", "nothing has no split 'test' (it has no table)"),
    ],
)
def test_missing_splits_are_reported_with_the_existing_ones(
    data: str, keys: str, message: str, saved: Path, reg: Registry, tmp_path: Path
) -> None:
    shutil.copytree(saved, root := tmp_path / "saved")
    for name in ("files/data/train-00000-of-00002.jsonl", "files/dev.csv", "damaged/state.json", "nothing/x.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{")
    (root / "listed").mkdir()
    (root / "listed" / "dataset_dict.json").write_text("{}")
    (root / "d.toml").write_text(f'data = "{data}"\nanswer = "label"\n{keys}')
    assert message in problems(reg, str(root / "d.toml"))


@pytest.mark.parametrize(
    ("named", "letters"), [('answer_is = "text"', "ABA"), ('answer_is = "index"', "BAB"), ("", "")]
)
def test_ambiguous_answers_need_answer_is(named: str, letters: str, reg: Registry, tmp_path: Path) -> None:
    rows = [{"question": f"{i}?", "o": ["1", "0"], "answer": a} for i, a in enumerate("101")]
    name = write_table(tmp_path, rows, f'data = "rows.jsonl"\nverifier = "choice"\nchoices = "o"\n{named}')
    if letters:
        assert "".join(e.answer for e in reg.domain(name).load()) == letters
    else:
        assert "can be read as text and as index" in problems(reg, name)


@pytest.mark.parametrize("answers", [["b", "A", "B"], ["two", "one", "two"], ["1", "0", "1"]])
def test_letters_texts_and_indices(answers: list[str], reg: Registry, tmp_path: Path) -> None:
    rows = [{"question": f"{i}?", "x": "one", "y": "two", "answer": a} for i, a in enumerate(answers)]
    name = write_table(tmp_path, rows, 'data = "rows.jsonl"\nverifier = "choice"\nchoices = ["x", "y"]')
    assert "".join(e.answer for e in reg.domain(name).load()) == "BAB"
    rows[1]["answer"] = "none"
    assert "column 'answer' names no option: row 2" in problems(
        reg, write_table(tmp_path / "b", rows, Path(name).read_text())
    )


def test_numbers_after_a_pattern(reg: Registry, tmp_path: Path) -> None:
    rows = [{"question": f"Add {i} to 1000.", "answer": f"It is #### no.\n#### {1000 + i:,}"} for i in range(1, 7)]
    text = 'data = "rows.jsonl"\nverifier = "number"\nanswer_pattern = "#### ([-0-9.,]+)"\ntolerance = 0.5'
    name = write_table(tmp_path, rows, text)
    answers = verify_answers(reg, name, "Add 1 to", "1001", "$1,001.00", "1001.4", "1002", "1001 or 1002", "many")
    assert [v.status.value for v in answers] == ["correct", "correct", "correct", "wrong", "unparsed", "unparsed"]


def test_any_registered_verifier(reg: Registry, tmp_path: Path) -> None:
    rows = [{"question": f"Halve {i}.", "answer": rf"\frac{{{i}}}{{2}}"} for i in (1, 3, 5)]
    name = write_table(tmp_path, rows, 'data = "rows.jsonl"\nverifier = "math"')
    assert [v.correct for v in verify_answers(reg, name, "Halve 3", "3/2", "1.5", "2/3")] == [True, True, False]


def test_prompt_rewards_and_sampling(reg: Registry, tmp_path: Path) -> None:
    text = """
data = "rows.jsonl"
question = "q"
answer = "a"
prompt = "In {area}. {q} Answer in {{one}} word."
[rewards]
wrong = -1
[sampling]
max_tokens = 9
"""
    name = write_table(tmp_path, ROWS, text)
    domain = reg.domain(name)
    assert next(iter(domain.load())).question == "In europe. Capital of France? Answer in {one} word."
    assert (domain.rewards.wrong, domain.rewards.correct, domain.sampling.max_tokens) == (-1.0, 2.0, 9)


def test_partial_credit_of_a_table(reg: Registry, tmp_path: Path) -> None:
    text = 'data = "rows.jsonl"\nquestion = "q"\nanswer = "a"\n[rewards]\npartial = "near"'
    domain = reg.domain(name := write_table(tmp_path, ROWS, text))
    example = next(iter(domain.load()))
    verdict = Verdict(Status.WRONG, metrics={"near": 0.5})
    reward = reg.reward_of(reg.benchmark(name))([(example, Completion("x"), verdict)])[0].total
    assert reward == (domain.rewards.wrong + domain.rewards.correct) / 2


def test_waivers_of_a_table(reg: Registry, tmp_path: Path) -> None:
    text = 'data = "rows.jsonl"\nquestion = "q"\nanswer = "a"\n[waivers]\nnegated = "a joke"\n"any domain: negated" = '
    domain = reg.domain(write_table(tmp_path, ROWS, text + '"a joke too"'))
    assert domain.waivers == {"negated": "a joke", "any domain: negated": "a joke too"}
    (tmp_path / "b").mkdir()
    found = problems(reg, write_table(tmp_path / "b", ROWS, text + '" "'))
    assert "line 6, waivers.any domain: negated: is empty: write why the table need not pass the probe" in found


def test_a_table_can_be_benchmarked(reg: Registry, tmp_path: Path) -> None:
    from kkwarm.evaluation import BenchConfig, bench

    name = write_table(tmp_path, ROWS, 'data = "rows.jsonl"\nquestion = "q"\nanswer = "a"\nfacet = "area"')
    model = ScriptedModel.from_replies(
        {c: f"so </think> <answer> {a} </answer>" for c, a in list(CAPITALS.items())[:3]}
    )
    run = bench("scripted", [name, f"{name}:europe"], tmp_path / "run", BenchConfig(), progress=False, backend=model)
    found = run.manifest.benchmarks
    assert found[name]["accuracy"] == 0.5
    assert found[f"{name}:europe"]["accuracy"] == 1.0


def problems(reg: Registry, name: str) -> str:
    with pytest.raises(KkwarmError) as caught:
        list(reg.domain(name).load())
    return str(caught.value)


def test_every_problem_of_the_file_is_named_with_its_line(reg: Registry, tmp_path: Path) -> None:
    text = """data = "rows.jsonl"
anser = "a"
verifier = "txt"
protocol = "thnk"
train = -1
choices = "o"
answer_pattern = "("
prompt = "{q.x}"
[rewards]
wrong = "much"
"""
    found = problems(reg, write_table(tmp_path, ROWS, text))
    for line, key in enumerate(
        ["anser", "verifier", "protocol", "train", "choices", "answer_pattern", "prompt", "", "rewards.wrong"], 2
    ):
        assert not key or f"line {line}, {key}: " in found, found
    assert "8 problems" in found and "did you mean answer?" in found and "did you mean text?" in found


@pytest.mark.parametrize(
    ("text", "rows", "message"),
    [
        ('data = "gone.csv"', ROWS, "gone.csv is missing"),
        ('data = "rows.jsonl"', ROWS, "has no column 'answer'; it has: q, a, area"),
        (
            'data = "rows.jsonl"\nquestion = "q"\nanswer = "a"',
            [*ROWS, {"q": "", "a": "x"}],
            "column 'q' is empty: row 7",
        ),
        (
            'data = "rows.jsonl"\nquestion = "q"\nanswer = "a"\nverifier = "number"',
            ROWS,
            "not a number: row 1, 2, 3, 4, 5 and",
        ),
        ('data = "rows.jsonl"\nquestion = "q"\nanswer = "a"\nid = "area"', ROWS, "column 'area' has 'europe' twice"),
        ('data = "rows.jsonl"', [], "has no rows"),
        ("data = 3", ROWS, "line 1, data: must be text"),
        ("question = ", ROWS, "not TOML"),
        ('question = "q"', ROWS, "data: is missing"),
    ],
)
def test_problems(text: str, rows: list[dict[str, Any]], message: str, reg: Registry, tmp_path: Path) -> None:
    assert message in problems(reg, write_table(tmp_path, rows, text))


def test_damaged_files_are_reported(reg: Registry, tmp_path: Path) -> None:
    name = write_table(tmp_path, ROWS, 'data = "rows.csv"\nquestion = "q"\nanswer = "a"', "rows.csv")
    with open(tmp_path / "rows.csv", "a") as out:
        out.write("too,many,fields,here\n")
    assert "rows.csv, line 8: the number of fields differs" in problems(reg, name)
    (tmp_path / "rows.csv").write_bytes(b"q,a,area\n\xff,x,y\n")
    assert "not UTF-8" in problems(reg, name)


def test_a_local_data_folder_replaces_the_hub(reg: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))
    text = 'data = "some/set"\nquestion = "q"\nanswer = "a"'
    name = write_table(tmp_path, ROWS, text, "some/set/test.jsonl")
    elsewhere = tmp_path / "elsewhere.toml"
    Path(name).rename(elsewhere)
    assert len(list(reg.domain(str(elsewhere)).load())) == len(ROWS)
    elsewhere.write_text(text.replace("some/set", "some/other"))
    assert "some/other is missing" in problems(reg, str(elsewhere.rename(tmp_path / "b.toml")))


@given(st.integers(-(10**12), 10**12), st.integers(0, 6))
def test_numbers_are_parsed(number: int, decimals: int) -> None:
    for text in (f"{number:,}", f"{number}", f"{number}." if number else "0", f"{number:,}.{'0' * (decimals + 1)}"):
        assert parse_number(text) == number


@given(st.text(max_size=20))
def test_parsing_a_number_never_fails(text: str) -> None:
    parse_number(text)


@pytest.mark.parametrize(
    "text", ["", "1,23", "1 2", "1/2", "one", "--1", "1e999", "٣", "１", "1,000,00", "0x1", "$", "1 or 2"]
)
def test_other_texts_are_not_numbers(text: str) -> None:
    assert parse_number(text) is None


PROTOCOLS = """
data = "rows.jsonl"
question = "q"
answer = "a"
train = 2
protocol = "stated"

[protocols.stated]
system = "Solve."
prompt = "Q: {question} A:"
answer = "#### {answer}"
shots = 1
stop = ["Q:"]
chat = false
sampling = { temperature = 0.0, max_tokens = 32 }
official = true
source = "a paper"

[protocols.tagged]
tags = true
"""


def test_a_table_brings_its_own_protocols(tmp_path: Path, reg: Registry) -> None:
    from kkwarm.protocols import make_renderer

    name = write_table(tmp_path, ROWS, PROTOCOLS)
    benchmark = reg.benchmark(name)
    protocol = reg.protocol(benchmark)
    assert protocol is reg.protocol(benchmark, "official")
    assert (protocol.name, protocol.source, protocol.stop) == ("stated", "a paper", ("Q:",))
    assert protocol.sampling is not None and protocol.sampling.temperature == 0
    example = next(iter(benchmark.load()))
    prompt = make_renderer(protocol, task=reg.task_of(benchmark))(example)
    assert prompt.startswith("Solve.\n\nQ: Capital of ")
    assert prompt.endswith(f"\n\nQ: {example.question} A:\n\n")  # as after each solved example
    assert prompt.count("####") == 1
    assert reg.protocol(benchmark, "tagged").prefix == "<think>"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("so\n#### Paris", Status.CORRECT),
        ("#### Rome\nno:\n#### Paris\nQ:", Status.CORRECT),
        ("#### Paris\n#### Rome", Status.WRONG),
        ("Paris", Status.UNPARSED),
        ("#### Paris or Rome", Status.WRONG),
    ],
)
def test_the_last_stated_answer_is_read(text: str, status: Status, tmp_path: Path, reg: Registry) -> None:
    benchmark = reg.benchmark(write_table(tmp_path, ROWS, PROTOCOLS))
    example = next(e for e in benchmark.load_all() if "France" in e.question)
    protocol = reg.protocol(benchmark)
    assert verify(reg.verifier_of(benchmark, protocol), protocol, [(example, Completion(text))])[0].status is status


def test_every_problem_of_a_protocol_section_is_reported(tmp_path: Path, reg: Registry) -> None:
    text = PROTOCOLS.replace("{answer}", "x").replace("{question}", "q").replace("protocols.tagged", "protocols.paper")
    text = text.replace("tags = true", 'official = true\nshots = -1\nanswr = "y"')
    with pytest.raises(KkwarmError) as refused:
        reg.benchmark(write_table(tmp_path, ROWS, text))
    message = str(refused.value)
    for part in ("must contain {answer} once", "must contain {question} once", "name is taken", "official already"):
        assert part in message, message
    assert "answr" in message and "shots" in message
