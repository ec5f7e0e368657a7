# ruff: noqa: E501  (a program a line reads better than a page of them)
"""Verdicts on the real data: canonical solutions pass, forgeries do not, published outputs score as published."""

import textwrap
from collections import Counter
from pathlib import Path

import pytest
from kkwarm_humaneval_plus import DOMAIN
from kkwarm_humaneval_plus.probes import PROBES
from kkwarm_humaneval_plus.tasks import HUMANEVAL, load_tasks
from kkwarm_humaneval_plus.verifier import check, check_batch

from kkwarm.data import read_jsonl
from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry
from kkwarm.protocols import BUILT_IN
from kkwarm.types import Completion, Example, Response, Status, Target, Verdict
from kkwarm.verify import Judge, verify
from kkwarm.verify.probes import probe_verifier

QUICK = [f"HumanEval/{i}" for i in (0, 2, 4, 32, 38, 53, 55, 111)]


@pytest.fixture
def examples(shared_data: Path) -> dict[str, Example]:
    return {e.id: e for e in DOMAIN.load()}


def plain(text: str) -> Response:
    return Response(text, "", text, tagged=False)


def verdict(example: Example, text: str) -> Verdict:
    return check(example, plain(text))


def test_splits(examples: dict[str, Example]) -> None:
    assert len(examples) == 164
    assert Counter(e.split for e in examples.values()) == {"train": 50, "test": 114}
    assert all(e.question == load_tasks(HUMANEVAL)[e.id].prompt for e in examples.values())


def test_canonical_solutions_pass(examples: dict[str, Example]) -> None:
    judged = check_batch([(examples[i], plain(DOMAIN.gold(examples[i]))) for i in QUICK])  # type: ignore[misc]
    assert [v.status for v in judged] == [Status.CORRECT] * len(QUICK)
    assert all(v.metrics == {"base": 1.0, "plus": 1.0} for v in judged)


def test_through_the_paper_s_format(examples: dict[str, Example]) -> None:
    example = examples["HumanEval/53"]
    protocol = BUILT_IN["paper"]
    texts = {
        protocol.compose("add them", str(example.answer["solution"])): Status.CORRECT,
        protocol.compose("add them", "```python\ndef add(x, y):\n    return x + y\n```"): Status.CORRECT,
        protocol.compose("add them", "    return x + y"): Status.CORRECT,
        protocol.compose("add them", "    return x - y"): Status.WRONG,
        protocol.compose(f"```python\n{example.answer['solution']}```", "I would add them"): Status.UNPARSED,
        str(example.answer["solution"]): Status.MALFORMED,
    }
    judged = verify(DOMAIN.verifier, protocol, [(example, Completion(t)) for t in texts])  # type: ignore[arg-type]
    assert [v.status for v in judged] == list(texts.values())


def test_reasons_and_metrics(examples: dict[str, Example]) -> None:
    add = examples["HumanEval/53"]
    wrong = verdict(add, "def add(x, y):\n    return x - y")
    assert wrong.status is Status.WRONG and wrong.reason == "base input 0, add(0, 1): returned -1"
    assert wrong.metrics == {"base": 0.0, "plus": 0.0}
    raised = verdict(add, "def add(x, y):\n    raise ValueError('no')")
    assert raised.reason == "base input 0, add(0, 1): raised ValueError: no"
    unparsed = verdict(add, "just add them")
    assert unparsed.status is Status.UNPARSED and unparsed.metrics == {"base": 0.0, "plus": 0.0}
    broken = verdict(add, "def add(x, y):\n    return (x")
    assert broken.status is Status.WRONG and "SyntaxError" in broken.reason
    hung = verdict(add, "def add(x, y):\n    while True: pass")
    assert hung.status is Status.TIMEOUT and "base input 0" in hung.reason


def test_base_and_plus_are_reported_separately(examples: dict[str, Example]) -> None:
    example = examples["HumanEval/53"]
    only_small = "def add(x, y):\n    return x + y if 0 <= x <= 1000 and 0 <= y <= 1000 else None"
    judged = verdict(example, only_small)
    assert judged.status is Status.WRONG and judged.metrics == {"base": 1.0, "plus": 0.0}
    assert judged.reason.startswith("plus input ")
    hang_in_c = "def add(x, y):\n    return x + y if 0 <= x <= 1000 and 0 <= y <= 1000 else sum(range(10 ** 15))"
    judged = verdict(example, hang_in_c)
    assert judged.status is Status.TIMEOUT and judged.metrics == {"base": 1.0, "plus": 0.0}


FORGERIES = {
    "an object that equals everything": "class E:\n    def __eq__(s, o): return True\ndef add(x, y): return E()",
    "an int that equals everything": "class E(int):\n    def __eq__(s, o): return True\ndef add(x, y): return E()",
    "a float near everything": "class E(float):\n    def __sub__(s, o): return 0.0\n    __rsub__ = __sub__\ndef add(x, y): return E()",
    "the stack": "import sys\ndef add(x, y):\n    f = sys._getframe()\n    while f:\n        if 'expected' in f.f_locals: return f.f_locals['expected'][0]\n        f = f.f_back",
    "exit": "import os\ndef add(x, y): os._exit(0)",
    "not a number": "def add(x, y): return float('nan')",
    "infinity": "def add(x, y): return float('inf')",
    "an array": "import numpy\ndef add(x, y): return numpy.array([x + y] * 2)",
    "evalplus's names": "import sys\ndef add(x, y):\n    for m in list(sys.modules.values()):\n        for n in ('_SUCCESS', 'stat', 'PASS'): setattr(m, n, 0)\n    return 0",
    "canonical source": "def add(x, y):\n    import gc\n    for o in gc.get_objects():\n        if isinstance(o, dict) and 'canonical_solution' in o: return eval(o['canonical_solution'])",
}  # fmt: skip


@pytest.mark.parametrize("attack", FORGERIES, ids=str)
def test_forgeries_are_rejected(examples: dict[str, Example], attack: str) -> None:
    judged = verdict(examples["HumanEval/53"], FORGERIES[attack])
    assert judged.status is Status.WRONG and judged.metrics["base"] == 0.0, judged


def test_any_root_of_the_polynomial_is_accepted(examples: dict[str, Example]) -> None:
    assert verdict(examples["HumanEval/32"], DOMAIN.gold(examples["HumanEval/32"])).correct  # type: ignore[misc]
    zero = "def find_zero(xs): return 0.0"
    assert verdict(examples["HumanEval/32"], zero).status is Status.WRONG


def test_inputs_are_fresh_for_every_call(examples: dict[str, Example]) -> None:
    # HumanEval/0: sorting and emptying the argument must not change what other calls get
    code = textwrap.dedent("""
        def has_close_elements(numbers, threshold):
            numbers.sort()
            found = any(b - a < threshold for a, b in zip(numbers, numbers[1:]))
            numbers.clear()
            return found
    """)
    assert verdict(examples["HumanEval/0"], code).correct


def test_library_types_that_equal_built_in_ones(examples: dict[str, Example]) -> None:
    # histogram: a Counter equals the dict; numpy integers equal integers
    counter = "from collections import Counter\ndef histogram(test):\n    c = Counter(test.split())\n    m = max(c.values(), default=0)\n    return Counter({k: v for k, v in c.items() if v == m})"
    assert verdict(examples["HumanEval/111"], counter).correct
    pytest.importorskip("numpy")
    assert verdict(
        examples["HumanEval/53"], "import numpy\ndef add(x, y): return numpy.add(x, y, dtype=object)"
    ).correct


def test_equal_code_runs_once_and_verdicts_keep_their_order(examples: dict[str, Example]) -> None:
    good, bad = "def add(x, y): return x + y", "def add(x, y): return 0"
    pairs = [(examples["HumanEval/53"], plain(t)) for t in (good, bad, good, "nothing", bad)]
    judged = check_batch(pairs)
    assert [v.status.value for v in judged] == ["correct", "wrong", "correct", "unparsed", "wrong"]
    assert judged[0] is judged[2] and judged[1] is judged[4]


def test_an_unknown_id_is_a_usage_error(examples: dict[str, Example]) -> None:
    with pytest.raises(KkwarmError, match="HumanEval/999"):
        verdict(Example("HumanEval/999", "", {}), "def f(): pass")


def test_without_a_sandbox_code_is_refused(examples: dict[str, Example], monkeypatch: pytest.MonkeyPatch) -> None:
    from kkwarm.verify.sandbox import ALLOW_UNSANDBOXED, Level, Sandbox

    monkeypatch.delenv(ALLOW_UNSANDBOXED, raising=False)
    with pytest.raises(KkwarmError, match="refused"):
        Sandbox(level=Level.PROCESS)
    monkeypatch.setenv(ALLOW_UNSANDBOXED, "1")
    Sandbox(level=Level.PROCESS).close()


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08"], ids=["empty", "cut short"])
def test_damaged_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    file = tmp_path / "humaneval_plus" / "HumanEvalPlus.jsonl.gz"
    file.parent.mkdir()
    file.write_bytes(content)
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))
    with pytest.raises(KkwarmError, match=r"HumanEvalPlus\.jsonl\.gz"):
        load_tasks(HUMANEVAL)


def test_adversarial_probes_are_rejected_and_correct_code_is_accepted(examples: dict[str, Example]) -> None:
    protocol = BUILT_IN["paper"]
    targets = [Target(examples[i], DOMAIN.gold(examples[i]), [], protocol) for i in ("HumanEval/53", "HumanEval/32")]  # type: ignore[misc]
    with Judge() as judge:
        failures, tried = probe_verifier(DOMAIN.verifier, protocol, targets, judge, PROBES)  # type: ignore[arg-type]
    assert failures == []
    assert min(tried.values()) >= 8


@pytest.mark.slow
def test_all_canonical_solutions_pass(examples: dict[str, Example]) -> None:
    judged = check_batch([(e, plain(DOMAIN.gold(e))) for e in examples.values()])  # type: ignore[misc]
    failed = [(e.id, v.reason) for e, v in zip(examples.values(), judged, strict=True) if not v.correct]
    assert failed == []


@pytest.mark.slow
def test_published_outputs_score_as_published(examples: dict[str, Example], shared_data: Path) -> None:
    rows = list(read_jsonl(shared_data / "model_outputs/humaneval_plus/wizardcoder-15b-v1.0_greedy.jsonl.gz"))
    reader = registry().protocol(DOMAIN, "official").reader
    judged = check_batch([(examples[r["task_id"]], reader.split(Completion(r["completion"]))) for r in rows])
    assert len(judged) == 164
    assert sum(v.metrics["base"] for v in judged) == 98
    assert sum(v.metrics["plus"] for v in judged) == 88
    assert sum(v.correct for v in judged) == 88
