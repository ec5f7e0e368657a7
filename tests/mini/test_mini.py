"""The miniature's generators, format, teachers and checkpoint."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import kkwarm_mini
import pytest
from kkwarm_mini import arithmetic, kk, programs, quiz
from kkwarm_mini.domains import DOMAINS, N_TEST, N_TRAIN
from kkwarm_mini.format import MINI
from kkwarm_mini.items import Item, bucket, stream
from kkwarm_mini.mixture import DRAWS, MIXTURE, SHOWN, documents
from kkwarm_mini.teachers import TEACHERS
from kkwarm_mini.vocab import VOCABULARY

from kkwarm.types import Completion, Domain, Format, Status, Verdict

BY_NAME = {d.name: d for d in DOMAINS}


def judge(domain: Domain, example, text: str) -> Verdict:
    return domain.verifier(example, MINI.split(Completion(text)))  # type: ignore[operator]


def some(name: str, n: int = 300) -> Iterator[Item]:
    rng = random.Random(f"tests {name}")
    return (DRAWS[name](rng) for _ in range(n))


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: d.name)
def test_examples_are_enough_fixed_and_gold_is_correct(domain: Domain) -> None:
    examples = list(domain.load())
    assert sum(e.split == "test" for e in examples) == N_TEST >= 400
    assert sum(e.split == "train" for e in examples) == N_TRAIN >= 100
    assert len({e.id for e in examples}) == len({e.question for e in examples}) == len(examples)
    assert domain.gold is not None
    for example in examples:
        assert judge(domain, example, MINI.compose(None, domain.gold(example))).correct
        assert judge(domain, example, MINI.compose("ok .", domain.gold(example))).correct


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: d.name)
def test_other_answers_are_not_correct(domain: Domain) -> None:
    examples = [e for e in domain.load() if e.split == "test"]
    for one, other in itertools.pairwise(examples):
        if sorted(one.answer.split()) != sorted(other.answer.split()):  # people may be named in any order
            assert not judge(domain, one, MINI.compose(None, other.answer)).correct
    for junk in ("", "ok", "Ann", "A B", "knight Ann"):
        assert judge(domain, examples[0], MINI.compose(None, junk)).status is Status.UNPARSED


@pytest.mark.parametrize("name", DRAWS)
def test_the_same_seed_gives_the_same_items(name: str) -> None:
    first, second, other = (stream(DRAWS[name], "pretrain", seed) for seed in ("a", "a", "b"))
    items = [next(first) for _ in range(20)]
    assert items == [next(second) for _ in range(20)] != [next(other) for _ in range(20)]


@pytest.mark.parametrize("name", DRAWS)
def test_each_content_has_one_use(name: str) -> None:
    uses: dict[str, set[str]] = {}
    for use in ("test", "valid", "train", "pretrain"):
        items = stream(DRAWS[name], use, "u")  # type: ignore[arg-type]
        uses[use] = {next(items).key for _ in range(150)}
    for one, other in itertools.combinations(uses, 2):
        assert not uses[one] & uses[other]


def test_no_test_question_is_in_pretraining_traces_or_train_examples() -> None:
    seen = {d.prompt for d in itertools.islice(documents("0 0 0"), 5000)}
    for teacher in TEACHERS:
        seen |= {MINI.render(t.question) for t in teacher.traces(300, 0)}
    for domain in DOMAINS:
        examples = list(domain.load())
        tested = {MINI.render(e.question) for e in examples if e.split == "test"}
        assert not tested & (seen | {MINI.render(e.question) for e in examples if e.split == "train"})


def test_puzzles_that_differ_in_names_or_order_share_their_key() -> None:
    rng = random.Random(5)
    for _ in range(50):
        n = rng.choice((3, 4))
        statements = [rng.choice(rng.choice(kk._all_statements(i, n))) for i in range(n)]
        place = rng.sample(range(n), n)
        moved: list[kk.Statement] = [("", ())] * n
        for i, (op, literals) in enumerate(statements):
            parts = [(place[j], k) for j, k in literals]
            moved[place[i]] = (op, tuple(parts[::-1]))
        assert kk.key(statements) == kk.key(moved)
        assert len(kk.solutions(statements)) == len(kk.solutions(moved))


def test_amounts_that_differ_in_names_or_order_share_their_key() -> None:
    keys: dict[str, set[str]] = {}
    rng = random.Random(6)
    for item in (arithmetic.draw(rng) for _ in range(20_000)):
        if item.level == 1:
            keys.setdefault(item.key, set()).add(item.question)
    assert any(len(questions) > 1 for questions in keys.values())


def read_puzzle(question: str) -> tuple[list[str], list[kk.Statement]]:
    said = [s.split() for s in question.removeprefix("puzzle ").removesuffix(" . who ?").split(" . ")]
    names = [words[0] for words in said]
    statements: list[kk.Statement] = []
    for words in said:
        parts = tuple((names.index(words[i]), words[i + 1] == "knight") for i in range(2, len(words), 3))
        statements.append((words[4] if len(words) > 4 else "", parts))
    return names, statements


def test_every_puzzle_has_one_solution_and_its_work_ends_there() -> None:
    for item in some("mini_kk"):
        names, statements = read_puzzle(item.question)
        found = []
        for kinds in itertools.product((False, True), repeat=len(names)):  # another solver than the generator's
            told = [({"and": all, "or": any, "": all}[op])(kinds[j] == k for j, k in parts) for op, parts in statements]
            if list(kinds) == told:
                found.append(" ".join(f"{n} {kk.KINDS[k]}" for n, k in zip(names, kinds, strict=True)))
        assert found == [item.answer]
        last_try = item.steps.split("assume")[-1]
        assert "clash" not in last_try
        assert all(f"{name} {kind}" in last_try for name, kind in zip(*[iter(item.answer.split())] * 2, strict=True))


def test_every_amount_and_every_list_is_what_its_question_says() -> None:
    for item in some("mini_math"):
        facts = {s.split()[0]: s.split()[2:] for s in item.question.removeprefix("problem ").split(" . ")[:-1]}

        def value(thing: str, facts: dict[str, list[str]] = facts) -> int:
            first, *rest = facts[thing]
            return int(first) if not rest else arithmetic.apply(value(first), rest[0], int(rest[1]))

        assert value(item.question.split()[-2]) == int(item.answer)
    for item in some("mini_code"):
        start, program = item.question.removeprefix("run [ ").removesuffix(" ?").split(" ] ")
        commands = [part.strip() for part in program.replace("L", "\nL").split("\n") if part]
        left = programs.execute([int(v) for v in start.split()], [c.split(" ", 1)[1] for c in commands])
        assert left == [int(v) for v in item.answer.split()]
    with pytest.raises(ValueError, match="unknown command"):
        programs.execute([1], ["explode"])


def test_every_option_is_where_the_facts_lead() -> None:
    for relation in quiz.RELATIONS:
        assert sorted(quiz.FACTS[relation].values()) == sorted(quiz.ANIMALS)
    for item in some("mini_mcq"):
        chain, listed = item.question.removeprefix("choose ").split(" ? ")
        *relations, animal = chain.split(" of ")
        for relation in reversed(relations):
            animal = quiz.FACTS[relation][animal]
        options = dict(zip(*[iter(listed.split())] * 2, strict=True))
        assert options[animal] == item.answer
        assert sorted(options.values()) == list(quiz.OPTIONS)


def test_format_splits_what_it_composes() -> None:
    assert isinstance(MINI, Format)
    for reasoning in (None, "assume Ann knight ."):
        response = MINI.split(Completion(MINI.compose(reasoning, "A"), finish_reason="stop"))
        assert (response.reasoning, response.answer, response.problem) == (reasoning or "", "A", "")
    cut = MINI.split(Completion("<think> a a a", finish_reason="length"))
    assert cut.truncated
    assert cut.answer is None
    assert cut.reasoning == "a a a"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "<answer> A",
        "A </answer>",
        "<think> a <answer> A </answer>",
        "<think> a </think> A",
        "<think> a </think> b <answer> A </answer>",
        "<answer> A </answer> <answer> B </answer>",
        "<answer> A </answer> B",
        "<think> a </think> <think> b </think> <answer> A </answer>",
        "<answer> <think> A </answer>",
    ],
)
def test_format_finds_what_is_broken(text: str) -> None:
    response = MINI.split(Completion(text, finish_reason="stop"))
    assert response.answer is None
    assert response.problem
    assert not response.truncated


def test_teachers_repeat_themselves_and_only_the_work_differs() -> None:
    by_name = {t.name: list(t.traces(20, 3)) for t in TEACHERS}
    for teacher in TEACHERS:
        assert list(teacher.traces(20, 3)) == by_name[teacher.name] != list(teacher.traces(20, 4))
    for symbolic, direct, shuffled in zip(by_name["symbolic"], by_name["direct"], by_name["shuffled"], strict=True):
        assert symbolic.question == direct.question == shuffled.question
        assert symbolic.answer == direct.answer == shuffled.answer
        assert direct.reasoning is None
        assert symbolic.reasoning
        assert shuffled.reasoning
        assert sorted(symbolic.reasoning.split()) == sorted(shuffled.reasoning.split())
        assert symbolic.reasoning != shuffled.reasoning
    assert {t.domain for t in by_name["worked"]} == {"mini_math"}


def test_the_first_word_is_shown_work_in_the_share_that_is_said() -> None:
    for share in MIXTURE.values():
        shown = share.worked * share.first_word_weight(True)
        assert shown / (shown + share.direct * share.first_word_weight(False)) == pytest.approx(SHOWN)


def test_vocabulary_covers_every_document() -> None:
    words = set(VOCABULARY)
    assert len(words) == len(VOCABULARY) <= 128
    for document in itertools.islice(documents("cover"), 3000):
        assert words.issuperset(f"{document.prompt} {document.completion}".split())


def test_work_fits_the_token_limit() -> None:
    for domain in DOMAINS:
        longest = max(len(MINI.compose(i.steps, i.answer).split()) for i in some(domain.name))
        assert longest + 1 <= domain.sampling.max_tokens


def test_bucket_is_pinned() -> None:
    uses = ["test", "pretrain", "pretrain", "pretrain", "pretrain", "pretrain"]
    assert [bucket(f"k{i}") for i in range(6)] == uses  # what the shipped base has seen depends on it


def test_the_base_loads_tokenizes_and_generates() -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    tokenizer = transformers.AutoTokenizer.from_pretrained(kkwarm_mini.BASE)
    model = transformers.AutoModelForCausalLM.from_pretrained(kkwarm_mini.BASE)
    assert sum(p.numel() for p in model.parameters()) >= 1_500_000
    assert sum(f.stat().st_size for f in kkwarm_mini.BASE.iterdir()) <= 16_000_000
    for document in itertools.islice(documents("tokens"), 300):
        text = document.prompt + document.completion
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True).split() == text.split()
    asked = [e for d in DOMAINS for e in list(d.load())[:20]]
    batch = tokenizer([MINI.render(e.question) for e in asked], return_tensors="pt", padding=True)
    with torch.no_grad():
        out = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=112)
    texts = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    whole = [MINI.split(Completion(text)) for text in texts]
    assert sum(r.answer is not None for r in whole) >= 0.8 * len(whole)
