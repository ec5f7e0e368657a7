"""The miniature's generators, format, teachers and checkpoint."""

import itertools
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import kkwarm_mini
import pytest
from kkwarm_mini import generators, kk
from kkwarm_mini.domains import DOMAINS, N_TEST, N_TRAIN, TEACHERS
from kkwarm_mini.generators import GENERATORS
from kkwarm_mini.items import Item, assign_bucket, generate_items
from kkwarm_mini.protocol import MINI, make_prompt

from kkwarm.types import Completion, Domain, Status, Verdict

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "studies"))
from mini_documents import MIXTURE, REASONING_RATE, VOCABULARY, generate_documents

BY_NAME = {d.name: d for d in DOMAINS}


def verify(domain: Domain, example, text: str) -> Verdict:
    return domain.verifier(example, MINI.split(Completion(text)))  # type: ignore[operator]


def sample_items(name: str, n: int = 300) -> Iterator[Item]:
    rng = random.Random(f"tests {name}")
    return (GENERATORS[name](rng) for _ in range(n))


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: d.name)
def test_examples_have_unique_ids_and_the_gold_answer_is_correct(domain: Domain) -> None:
    examples = list(domain.load())
    assert sum(e.split == "test" for e in examples) == N_TEST >= 400
    assert sum(e.split == "train" for e in examples) == N_TRAIN >= 100
    assert len({e.id for e in examples}) == len({e.question for e in examples}) == len(examples)
    assert domain.gold is not None
    for example in examples:
        assert verify(domain, example, MINI.compose(None, domain.gold(example))).correct
        assert verify(domain, example, MINI.compose("ok .", domain.gold(example))).correct


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: d.name)
def test_other_answers_are_rejected(domain: Domain) -> None:
    examples = [e for e in domain.load() if e.split == "test"]
    for one, other in itertools.pairwise(examples):
        if sorted(one.answer.split()) != sorted(other.answer.split()):  # people may be named in any order
            assert not verify(domain, one, MINI.compose(None, other.answer)).correct
    for junk in ("", "ok", "Ann", "A B", "knight Ann"):
        assert verify(domain, examples[0], MINI.compose(None, junk)).status is Status.UNPARSED


@pytest.mark.parametrize("name", GENERATORS)
def test_the_same_seed_gives_the_same_items(name: str) -> None:
    first, second, other = (generate_items(GENERATORS[name], "pretrain", seed) for seed in ("a", "a", "b"))
    items = [next(first) for _ in range(20)]
    assert items == [next(second) for _ in range(20)] != [next(other) for _ in range(20)]


@pytest.mark.parametrize("name", GENERATORS)
def test_each_content_is_in_one_bucket(name: str) -> None:
    buckets: dict[str, set[str]] = {}
    for bucket in ("test", "valid", "train", "pretrain"):
        items = generate_items(GENERATORS[name], bucket, "u")  # type: ignore[arg-type]
        buckets[bucket] = {next(items).key for _ in range(150)}
    for one, other in itertools.combinations(buckets, 2):
        assert not buckets[one] & buckets[other]


def test_no_test_question_is_in_pretraining_traces_or_train_examples() -> None:
    seen = {d.prompt for d in itertools.islice(generate_documents("0 0 0"), 5000)}
    for teacher in TEACHERS:
        seen |= {make_prompt(t.question) for t in teacher.traces(300, 0)}
    for domain in DOMAINS:
        examples = list(domain.load())
        tested = {make_prompt(e.question) for e in examples if e.split == "test"}
        assert not tested & (seen | {make_prompt(e.question) for e in examples if e.split == "train"})


def test_puzzles_that_differ_in_names_or_order_share_their_key() -> None:
    rng = random.Random(5)
    for _ in range(50):
        n = rng.choice((3, 4))
        statements = [rng.choice(rng.choice(kk._all_statements(i, n))) for i in range(n)]
        place = rng.sample(range(n), n)
        reordered: list[kk.Statement] = [("", ())] * n
        for i, (op, literals) in enumerate(statements):
            parts = [(place[j], k) for j, k in literals]
            reordered[place[i]] = (op, tuple(parts[::-1]))
        assert kk.content_key(statements) == kk.content_key(reordered)
        assert len(kk.solve(statements)) == len(kk.solve(reordered))


def test_amounts_that_differ_in_names_or_order_share_their_key() -> None:
    keys: dict[str, set[str]] = {}
    rng = random.Random(6)
    for item in (generators.generate_math(rng) for _ in range(20_000)):
        if item.level == 1:
            keys.setdefault(item.key, set()).add(item.question)
    assert any(len(questions) > 1 for questions in keys.values())


def read_puzzle(question: str) -> tuple[list[str], list[kk.Statement]]:
    sentences = [s.split() for s in question.removeprefix("puzzle ").removesuffix(" . who ?").split(" . ")]
    names = [words[0] for words in sentences]
    statements: list[kk.Statement] = []
    for words in sentences:
        parts = tuple((names.index(words[i]), words[i + 1] == "knight") for i in range(2, len(words), 3))
        statements.append((words[4] if len(words) > 4 else "", parts))
    return names, statements


def test_every_puzzle_has_one_solution_and_its_steps_reach_it() -> None:
    for item in sample_items("mini_kk"):
        names, statements = read_puzzle(item.question)
        solutions = []
        for kinds in itertools.product((False, True), repeat=len(names)):  # another solver than the generator's
            truth_values = [
                ({"and": all, "or": any, "": all}[op])(kinds[j] == k for j, k in parts) for op, parts in statements
            ]
            if list(kinds) == truth_values:
                solutions.append(" ".join(f"{n} {kk.KINDS[k]}" for n, k in zip(names, kinds, strict=True)))
        assert solutions == [item.answer]
        last_try = item.steps.split("assume")[-1]
        assert "clash" not in last_try
        assert all(f"{name} {kind}" in last_try for name, kind in zip(*[iter(item.answer.split())] * 2, strict=True))


def test_answers_of_math_and_code_follow_from_their_questions() -> None:
    for item in sample_items("mini_math"):
        facts = {s.split()[0]: s.split()[2:] for s in item.question.removeprefix("problem ").split(" . ")[:-1]}

        def value(thing: str, facts: dict[str, list[str]] = facts) -> int:
            first, *rest = facts[thing]
            return int(first) if not rest else generators.apply_operator(value(first), rest[0], int(rest[1]))

        assert value(item.question.split()[-2]) == int(item.answer)
    for item in sample_items("mini_code"):
        start, program = item.question.removeprefix("run [ ").removesuffix(" ?").split(" ] ")
        commands = [part.strip() for part in program.replace("L", "\nL").split("\n") if part]
        left = generators.run_program([int(v) for v in start.split()], [c.split(" ", 1)[1] for c in commands])
        assert left == [int(v) for v in item.answer.split()]
    with pytest.raises(ValueError, match="unknown command"):
        generators.run_program([1], ["explode"])


def test_the_correct_option_follows_from_the_facts() -> None:
    for relation in generators.RELATIONS:
        assert sorted(generators.FACTS[relation].values()) == sorted(generators.ANIMALS)
    for item in sample_items("mini_mcq"):
        chain, listed = item.question.removeprefix("choose ").split(" ? ")
        *relations, animal = chain.split(" of ")
        for relation in reversed(relations):
            animal = generators.FACTS[relation][animal]
        options = dict(zip(*[iter(listed.split())] * 2, strict=True))
        assert options[animal] == item.answer
        assert sorted(options.values()) == list(generators.OPTIONS)


def test_format_splits_what_it_composes() -> None:
    for reasoning in (None, "assume Ann knight ."):
        response = MINI.split(Completion(MINI.compose(reasoning, "A"), finish_reason="stop"))
        assert (response.reasoning, response.answer, response.problem) == (reasoning or "", "A", "")
    cut = MINI.split(Completion("<think> a a a", finish_reason="length"))
    assert cut.truncated
    assert cut.answer is None
    assert cut.reasoning == ""  # it never closed


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
def test_format_detects_malformed_completions(text: str) -> None:
    response = MINI.split(Completion(text, finish_reason="stop"))
    assert response.answer is None
    assert response.problem
    assert not response.truncated


def test_teachers_are_deterministic_and_differ_in_reasoning_only() -> None:
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


def test_the_first_word_weight_gives_the_reasoning_rate() -> None:
    for share in MIXTURE.values():
        with_reasoning = share.reasoned * share.first_word_weight(True)
        assert with_reasoning / (with_reasoning + share.direct * share.first_word_weight(False)) == pytest.approx(
            REASONING_RATE
        )


def test_vocabulary_covers_every_document() -> None:
    words = set(VOCABULARY)
    assert len(words) == len(VOCABULARY) <= 128
    for document in itertools.islice(generate_documents("cover"), 3000):
        assert words.issuperset(f"{document.prompt} {document.completion}".split())


def test_completions_fit_the_token_limit() -> None:
    for domain in DOMAINS:
        longest = max(len(MINI.compose(i.steps, i.answer).split()) for i in sample_items(domain.name))
        assert longest + 1 <= domain.sampling.max_tokens


def test_buckets_are_pinned() -> None:
    buckets = ["test", "pretrain", "pretrain", "pretrain", "pretrain", "pretrain"]
    assert [assign_bucket(f"k{i}") for i in range(6)] == buckets  # the shipped base was pretrained on this split


def test_the_base_loads_tokenizes_and_generates() -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    tokenizer = transformers.AutoTokenizer.from_pretrained(kkwarm_mini.BASE)
    model = transformers.AutoModelForCausalLM.from_pretrained(kkwarm_mini.BASE)
    assert sum(p.numel() for p in model.parameters()) >= 1_500_000
    assert sum(f.stat().st_size for f in kkwarm_mini.BASE.iterdir()) <= 16_000_000
    for document in itertools.islice(generate_documents("tokens"), 300):
        text = document.prompt + document.completion
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True).split() == text.split()
    examples = [e for d in DOMAINS for e in list(d.load())[:20]]
    batch = tokenizer([make_prompt(e.question) for e in examples], return_tensors="pt", padding=True)
    with torch.no_grad():
        out = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=112)
    texts = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    responses = [MINI.split(Completion(text)) for text in texts]
    assert sum(r.answer is not None for r in responses) >= 0.8 * len(responses)
