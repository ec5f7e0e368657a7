# ruff: noqa: E501  (a program a line reads better than a page of them)
"""MBPP+ on handmade rows in evalplus's format: types of inputs, special rules, splits, errors."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kkwarm_humaneval_plus import MBPP_DOMAIN as DOMAIN
from kkwarm_humaneval_plus import mbpp
from kkwarm_humaneval_plus.compare import outputs_equal
from kkwarm_humaneval_plus.mbpp import MBPP, ORACLES
from kkwarm_humaneval_plus.probes import PROBES as CODE_PROBES
from kkwarm_humaneval_plus.tasks import load_tasks
from kkwarm_humaneval_plus.verifier import check_mbpp, check_mbpp_batch

from kkwarm.cli import main
from kkwarm.errors import KkwarmError
from kkwarm.protocols import BUILT_IN
from kkwarm.types import Example, Response, Status, Target, Verdict
from kkwarm.verify import Judge
from kkwarm.verify.probes import ACCEPT_PROBES, PROBES, probe_verifier
from kkwarm.verify.sandbox import decode

from .mbpp_rows import ROWS, write


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unpinned: None) -> dict[str, Example]:
    write(tmp_path, ROWS)
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))
    monkeypatch.setattr(mbpp, "COUNT", len(ROWS))
    return {e.id: e for e in DOMAIN.load()}


def judged(example: Example, code: str) -> Verdict:
    return check_mbpp(example, Response(code, "", code, tagged=False))


def test_canonical_solutions_pass(examples: dict[str, Example]) -> None:
    golds = [(e, Response(g, "", g, tagged=False)) for e in examples.values() if (g := DOMAIN.gold(e))]  # type: ignore[misc]
    failed = {e.id: v.reason for (e, _), v in zip(golds, check_mbpp_batch(golds), strict=True) if not v.correct}
    assert len(golds) == len(ROWS) and failed == {}


def test_the_types_of_inputs_are_restored(examples: dict[str, Example]) -> None:
    inputs = {name: [decode(data) for data in task.inputs()] for name, task in load_tasks(MBPP).items()}
    assert inputs["Mbpp/2"][0] == [(3, 4, 5, 6), (5, 7, 4, 10)]
    assert inputs["Mbpp/115"] == [[[{}, {}, {}]], [[{1, 2}, {}]]]
    assert inputs["Mbpp/124"][1] == (2.0, 1j)
    assert inputs["Mbpp/791"] == [((1, 5, (4, 6), 10),), (((1,), ((2,),)),)]


RIGHT = {
    ("Mbpp/2", "a list, in another order, twice"): "def similar_elements(a, b): return sorted(set(a) & set(b)) * 2",
    ("Mbpp/164", "numbers count among their divisors"): "def s(n): return sum(d for d in range(1, n + 1) if n % d == 0)\ndef are_equivalent(a, b): return s(a) == s(b)",
    ("Mbpp/295", "1 has no proper divisor"): "def sum_div(n): return sum(d for d in range(1, n) if n % d == 0)",
    ("Mbpp/558", "digit by digit"): "def digit_distance_nums(a, b):\n    a, b = str(a), str(b)\n    w = max(len(a), len(b))\n    return sum(abs(int(x) - int(y)) for x, y in zip(a.zfill(w), b.zfill(w)))",
    ("Mbpp/581", "the pyramid's own height"): "import math\ndef surface_Area(b, h): return round(b * b + 2 * b * math.sqrt((b / 2) ** 2 + h * h))",
    ("Mbpp/737", "a bool"): "def check_str(s): return s[:1] in tuple('aeiouAEIOU')",
    ("Mbpp/737", "a letter or None"): "def check_str(s): return s[0] if s and s[0] in 'aeiouAEIOU' else None",
    ("Mbpp/124", "a float of other last digits"): "import math\ndef angle_complex(a, b): return math.atan2(b.imag, a + b.real) + 1e-9",
}  # fmt: skip
WRONG = {
    ("Mbpp/2", "one is missing"): "def similar_elements(a, b): return tuple(set(a) & set(b))[:1]",
    ("Mbpp/2", "no container"): "def similar_elements(a, b): return 5",
    ("Mbpp/164", "always true"): "def are_equivalent(a, b): return True",
    ("Mbpp/164", "no bool"): "def are_equivalent(a, b): return object",
    ("Mbpp/295", "always 0"): "def sum_div(n): return 0",
    ("Mbpp/558", "always 0"): "def digit_distance_nums(a, b): return 0",
    ("Mbpp/581", "no base"): "def surface_Area(b, h): return 2 * b * h",
    ("Mbpp/581", "no number"): "def surface_Area(b, h): return None",
    ("Mbpp/737", "always something"): "def check_str(s): return Ellipsis",
    ("Mbpp/737", "always None"): "def check_str(s): return None",
    ("Mbpp/737", "equals everything"): "class E:\n    def __eq__(s, o): return True\n    __class__ = bool\ndef check_str(s): return E()",
}  # fmt: skip


def test_special_rules(examples: dict[str, Example]) -> None:
    cases = [*((c, code, Status.CORRECT) for c, code in RIGHT.items()), *((c, code, Status.WRONG) for c, code in WRONG.items())]  # fmt: skip
    pairs = [(examples[name], Response(code, "", code, tagged=False)) for (name, _), code, _ in cases]
    for (case, _, status), verdict in zip(cases, check_mbpp_batch(pairs), strict=True):
        assert verdict.status is status, (case, verdict)


@pytest.mark.slow
def test_adversarial_probes_are_rejected_and_correct_code_is_accepted(examples: dict[str, Example]) -> None:
    protocol = BUILT_IN["paper"]
    golds = {name: DOMAIN.gold(e) for name, e in examples.items()}  # type: ignore[misc]
    targets = [Target(e, golds[n], [g for o, g in golds.items() if o != n], protocol) for n, e in examples.items()]
    with Judge() as judge:
        probes = (*PROBES, *ACCEPT_PROBES, *(a for a in CODE_PROBES if a.domain == "mbpp_plus"))
        failures, tried = probe_verifier(DOMAIN.verifier, protocol, targets, judge, probes)  # type: ignore[arg-type]
    assert failures == []
    assert tried["code that cheats"] >= 100 and tried["correct code in other forms"] >= 40


def test_reasons_name_the_function_of_the_task(examples: dict[str, Example]) -> None:
    verdict = judged(examples["Mbpp/737"], "def check_str(s): return None")
    assert verdict.reason == "base input 0, check_str('annie'): returned False"
    assert judged(examples["Mbpp/737"], "def check_string(s): return None").status is Status.UNPARSED


ODD = {
    "a NUL byte": "def check_str(s): return '\0'\0",
    "lone surrogates": "def check_str(s): return '\ud800'",
    "50 MB": "def check_str(s): return 1\n" + "#" * 50_000_000,
    "a coding line": "# -*- coding: utf-7 -*-\ndef check_str(s): return 1",
    "deep nesting": "def check_str(s): return " + "(" * 5000 + ")" * 5000,
}


def test_odd_code_gets_a_verdict_of_its_own(examples: dict[str, Example]) -> None:
    pairs = [(examples["Mbpp/737"], Response(code, "", code, tagged=False)) for code in ODD.values()]
    for case, verdict in zip(ODD, check_mbpp_batch(pairs), strict=True):
        assert verdict.status in (Status.WRONG, Status.UNPARSED), (case, verdict)
        assert verdict.reason.isprintable() and len(verdict.reason) < 400


def test_every_special_rule_of_evalplus_is_covered() -> None:
    oracle = pytest.importorskip("evalplus.eval._special_oracle")
    assert {name for name, rule in ORACLES.items() if rule == "set"} == set(oracle.MBPP_OUTPUT_SET_EQ_TASKS)
    assert set(mbpp._PRESENCE_ONLY) == set(oracle.MBPP_OUTPUT_NOT_NONE_TASKS)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(-100, 100))
def test_alternative_readings_agree_with_evalplus(a: int, b: int, wrong_by: int) -> None:
    oracle = pytest.importorskip("evalplus.eval._special_oracle")
    for rule, right in (("digit_distance", oracle._digit_distance_nums(a, b)), ("surface_area", oracle._surface_Area(a, b))):  # fmt: skip
        assert outputs_equal(rule, [a, b], right + wrong_by, -1, 0, exact=True) is (
            wrong_by == 0 or right + wrong_by == -1
        )


@given(st.lists(st.integers(0, 5)), st.lists(st.integers(0, 5)))
def test_sets_are_compared_as_sets(a: list[int], b: list[int]) -> None:
    assert outputs_equal("set", [], a, tuple(b), 0, exact=True) is (set(a) == set(b))


@pytest.mark.parametrize("result", [None, 3, [[1]], [{}], "abc", {1: 2}, float("nan")])
def test_results_that_are_not_sets_are_wrong(result: Any) -> None:
    assert not outputs_equal("set", [], result, (1,), 0, exact=True) or result == {1: 2}


def test_missing_data_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["check", "mbpp_plus"])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1 and "MbppPlus.jsonl.gz is missing" in err


def test_a_part_of_the_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, ROWS)
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))
    with pytest.raises(KkwarmError, match="has 10 tasks, not 378"):
        DOMAIN.load()


@pytest.mark.parametrize("damage", [{"task_id": "Mbpp/x"}, {"base_input": [3]}, {"plus_input": None}, {"task_id": 2}])
def test_damaged_rows_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: dict[str, Any]) -> None:
    write(tmp_path, [{**ROWS[0], **damage}])
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))
    with pytest.raises(KkwarmError, match=r"MbppPlus\.jsonl\.gz"):
        DOMAIN.load()


@pytest.mark.slow
def test_verdicts_agree_with_evalplus(examples: dict[str, Example]) -> None:
    """Except where evalplus accepts code that computes nothing, or that cheats."""
    evaluated = pytest.importorskip("evalplus.eval")
    data = pytest.importorskip("evalplus.data.mbpp")
    rows = {r["task_id"]: r for r in ROWS}
    for (name, case), code in {**RIGHT, **WRONG}.items():
        task = rows[name]
        inputs = data.mbpp_deserialize_inputs(name, task["base_input"]) + data.mbpp_deserialize_inputs(name, task["plus_input"])  # fmt: skip
        space: dict[str, Any] = {}
        exec(task["prompt"] + task["canonical_solution"], space)
        expected = [space[task["entry_point"]](*args) for args in inputs]
        if task["entry_point"] in mbpp._PRESENCE_ONLY:
            expected = [value is not None for value in expected]
        status, _ = evaluated.untrusted_check(
            "mbpp", code, inputs, task["entry_point"], expected, task["atol"], [1.0] * len(inputs), fast_check=True
        )
        accepted = (name, case) in RIGHT or (name, case) in {
            ("Mbpp/164", "always true"),
            ("Mbpp/164", "no bool"),
            ("Mbpp/295", "always 0"),
            ("Mbpp/737", "equals everything"),
        }
        assert (status == "pass") is accepted, (name, case, status)
