"""MATH-500, the pool, and real model outputs."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
from kkwarm_math.data import _pool, load
from kkwarm_math.verifier import check

from kkwarm.data import content_hash
from kkwarm.data.contamination import Item, find_overlaps
from kkwarm.plugins import registry
from kkwarm.types import Completion, Example, Response
from kkwarm.verify import Judge


def test_splits_are_complete_and_disjoint(shared_data: Path) -> None:
    examples = load()
    test, pool = ([e for e in examples if e.split == split] for split in ("test", "train"))
    assert (len(test), len(pool)) == (500, 4475)
    assert len({e.id for e in examples}) == 4975
    assert not {content_hash(e) for e in test} & {content_hash(e) for e in pool}
    assert test[0].id == "test/precalculus/807.json"
    assert all(e.id == f"train/{content_hash(e)}" for e in pool)
    assert {e.meta["level"] for e in test} == {1, 2, 3, 4, 5}
    assert len({e.meta["subject"] for e in pool}) == 7


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        (r"so $x = \boxed{\frac12}$. Or we note that $x = \boxed{0.5}$.", "0.5"),
        (r"so $x$ is $\boxed{3}$ or $\boxed{\frac{2}{5}}$.", None),
        (r"$x=\boxed{-2}$. In the second case $x=\boxed{2}$.", None),
    ],
)
def test_the_pool_leaves_out_solutions_with_boxes_of_several_values(solution: str, gold: str | None) -> None:
    row = {"problem": "Find all x.", "solution": solution, "level": "Level 2", "type": "Algebra"}
    assert [e.answer for e in _pool([row])] == ([] if gold is None else [gold])


@pytest.mark.slow
def test_the_split_passes_the_contamination_check(shared_data: Path) -> None:
    examples = load()
    trained, asked = ([Item("math", e.id, e.question) for e in examples if e.split == s] for s in ("train", "test"))
    assert not [(k.trained.id, k.evaluated.id) for k in find_overlaps(trained, asked)]


def test_every_gold_answer_is_correct_in_every_wrapping(shared_data: Path) -> None:
    for example in load():
        for form in ("{}", "${}$", "\\boxed{{{}}}", "The answer is ${}$.", "\\[\n{}\n\\]", "**{}**"):
            answer = form.format(example.answer)
            verdict = check(example, Response(answer, "", answer, True))
            assert verdict.correct, (form, example.answer)


def test_gold_answers_of_other_questions_are_wrong(shared_data: Path) -> None:
    test = [e for e in load() if e.split == "test"]
    numbers = [e for e in test if e.answer.lstrip("-").isdigit()]
    pairs = [(a, b) for a, b in pairwise(numbers) if a.answer != b.answer]
    assert len(pairs) > 200
    assert not [a.id for a, b in pairs if check(a, Response(b.answer, "", b.answer, True)).correct]


def test_real_outputs_score_as_published(shared_data: Path) -> None:
    pairs, published = [], []
    with gzip.open(shared_data / "model_outputs/math/qwen2.5-math_50x8.jsonl.gz", "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            for response, score in zip(row["responses"], row["published_score"], strict=True):
                pairs.append((Example(str(number), row["problem"], row["gold"]), Completion(response)))
                published.append(score)
    reg = registry()
    protocol = reg.protocol(reg.benchmark("math"), "official")
    with Judge(1) as judge:
        verdicts = judge.verify(reg.verifier_of(reg.benchmark("math"), protocol), protocol, pairs)
    assert len(verdicts) == 400
    assert [v.correct for v in verdicts] == published
