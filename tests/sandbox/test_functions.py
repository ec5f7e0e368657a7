"""`function_verifier`: functions that run on test cases in the sandbox."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kkwarm.errors import KkwarmError
from kkwarm.protocols import BUILT_IN
from kkwarm.types import Completion, Example, Status, Verdict
from kkwarm.verify import function_verifier, verify
from kkwarm.verify.functions import extract_code, results_equal
from kkwarm.verify.sandbox import ALLOW_UNSANDBOXED

AREA = Example("area", "Write area(a, b).", {"entry": "area", "cases": [[[3, 4], 12], [[0, 9], 0]]})


@pytest.fixture(autouse=True)
def _any_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """This code is ours: it may run where there are no namespaces."""
    monkeypatch.setenv(ALLOW_UNSANDBOXED, "1")


def verdicts_on(*answers: str, example: Example = AREA) -> list[Verdict]:
    protocol = BUILT_IN["paper"]
    pairs = [(example, Completion(protocol.compose("so", a), finish_reason="stop")) for a in answers]
    return verify(function_verifier("area", seconds=1.0), protocol, pairs)


def test_verdicts_and_their_reasons() -> None:
    right, fenced, wrong, raised, other, broken = verdicts_on(
        "def area(a, b):\n    return a * b",
        "Here it is:\n```python\ndef area(a, b):\n    return a * b\n```\nDone.",
        "def area(a, b):\n    return a + b",
        "def area(a, b):\n    return a / b",
        "def region(a, b):\n    return a * b",
        "def area(a, b) return a * b",
    )
    assert right.correct and fenced.correct
    assert (wrong.status, wrong.reason) == (Status.WRONG, "area(3, 4): returned 7")
    assert raised.reason == "area(3, 4): returned 0.75"
    assert (other.status, broken.status) == (Status.UNPARSED, Status.WRONG)
    assert broken.reason.startswith("does not run: SyntaxError")


def test_functions_that_do_not_end() -> None:
    spun, slept = verdicts_on("def area(a, b):\n    while True: pass", "import time\ndef area(a, b): time.sleep(60)")
    assert spun.status is slept.status is Status.TIMEOUT
    assert spun.reason == "area(3, 4): did not end: limit of 1 s of CPU time" and "slept" in slept.reason


@pytest.mark.parametrize(
    "code",
    [
        "class E(int):\n    def __eq__(s, o): return True\n    __hash__ = int.__hash__\ndef area(a, b): return E(1)",
        "class Any:\n    def __eq__(s, o): return True\ndef area(a, b): return Any()",
        "import os\ndef area(a, b):\n    os._exit(0)",
        "import sys\ndef area(a, b):\n    sys.exit(0)",
        "def area(a, b):\n    print('V' * 99)",
        "def area(a, b):\n    return True",
        "import gc\ndef area(a, b):\n    return [o for o in gc.get_objects() if o == 12][0]",
    ],
)
def test_forgeries(code: str) -> None:
    assert not verdicts_on(code)[0].correct


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("import enum\nclass A(enum.IntEnum):\n    X = 12\ndef area(a, b): return A.X", 12),
        ("from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\ndef area(a, b): return P(a * b)", [12]),
        ("class D(dict): pass\ndef area(a, b): return D(x=a * b)", {"x": 12}),
    ],
)
def test_classes_that_inherit_equality_are_built_in_data(code: str, result: Any) -> None:
    example = Example("area", "?", {"entry": "area", "cases": [[[3, 4], result]]})
    assert verdicts_on(code, example=example)[0].correct


@pytest.mark.parametrize(
    "answer", [{"entry": "area"}, {"entry": "area", "cases": []}, {"cases": [[[1], 1]]}, [1], None]
)
def test_an_answer_of_another_shape_is_named(answer: Any) -> None:
    with pytest.raises(KkwarmError, match="the answer of area has no test cases"):
        verdicts_on("def area(): pass", example=Example("area", "?", answer))


def test_the_last_block_that_defines_it_counts() -> None:
    text = "```\ndef f(): return 1\n```\n```\ndef f(): return 2\n```\n```\nf()\n```"
    assert extract_code(text, "f") == "def f(): return 2\n"
    assert extract_code("f()", "f") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_a_value_equals_itself(value: Any) -> None:
    assert results_equal(value, value)
    assert results_equal(tuple(value), value) if isinstance(value, list) else True
    assert not results_equal([value], value)


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        (True, 1),
        (1, True),
        (0, False),
        ("1", 1),
        (None, 0),
        ([], {}),
        (10**400, 0.5),
        ({1: 2}, {"1": 2}),
        (12.0000001, 12),
    ],
)
def test_different_values(result: Any, wanted: Any) -> None:
    assert not results_equal(result, wanted)
