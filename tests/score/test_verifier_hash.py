"""The hash of the code behind a verdict: what a verdict cannot depend on does not count, everything else does."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from kkwarm.protocols import BUILT_IN
from kkwarm.types import Verifier
from kkwarm.verify.source import syntax, verifier_provenance

SOURCE = '''
"""A verifier."""

from hashed_limits import LIMIT  # its own module


def check(example, response):
    """Whether it is near."""
    return abs(int(response.answer) - example.answer) <= LIMIT  # near is enough


class Kept:
    def __init__(self) -> None:
        self.name: str = "kept"
'''
SAME = {
    "a comment": SOURCE.replace("near is enough", "not far"),
    "no comment": SOURCE.replace("  # near is enough", ""),
    "a docstring": SOURCE.replace("Whether it is near.", "Whether it is far."),
    "no docstring": SOURCE.replace('    """Whether it is near."""\n', ""),
    "line breaks": SOURCE.replace(" - example.answer)", "\n        - example.answer\n    )"),
    "quotes": SOURCE.replace('"kept"', "'kept'"),
    "brackets": SOURCE.replace("return abs(", "return (abs(").replace("<= LIMIT", "<= LIMIT)"),
    "an explanation under a field": SOURCE + '        """What it is called."""\n',
}
OTHER = {
    "a comparison": SOURCE.replace("<=", "<"),
    "a name": SOURCE.replace("LIMIT", "OTHER"),
    "a string": SOURCE.replace('"kept"', '"Kept"'),
    "an attribute": SOURCE.replace("response.answer", "response.text"),
    "an order": SOURCE.replace("int(response.answer) - example.answer", "example.answer - int(response.answer)"),
    "a statement": SOURCE.replace("    return abs", "    print(1)\n    return abs"),
    "a default": SOURCE.replace("example, response", "example, response=None"),
}


@pytest.mark.parametrize("what", SAME)
def test_how_it_is_written_does_not_count(what: str) -> None:
    assert SAME[what] != SOURCE and syntax(SAME[what]) == syntax(SOURCE)


@pytest.mark.parametrize("what", OTHER)
def test_what_it_does_counts(what: str) -> None:
    assert syntax(OTHER[what]) != syntax(SOURCE)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "True"), ("1", "1.0"), ("'1'", "b'1'"), ("None", "..."), ("0.0", "-0.0"), ("[]", "()"), ("x", "'x'")],
)
def test_values_of_different_types_differ(one: str, other: str) -> None:
    assert syntax(f"y = {one}") != syntax(f"y = {other}")


def test_none_that_is_written_out_counts() -> None:
    assert syntax("def f(a=None): return None") != syntax("def f(a): return None")
    assert syntax("return None".join(["def f(): ", ""])) != syntax("def f(): return")
    assert syntax("f(*a, **b)") != syntax("f(a, b)") and syntax("{**a}") != syntax("{None: a}")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "hashed.py").write_text(SOURCE)
    (tmp_path / "hashed_limits.py").write_text("LIMIT = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("hashed", "hashed_limits"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("hashed")


def test_the_hash_of_a_verifier_follows(module: ModuleType) -> None:
    assert module.__file__ is not None
    path, verifier, protocol = Path(module.__file__), Verifier("hashed", module.check), BUILT_IN["paper"]
    first = verifier_provenance(verifier, protocol)
    path.write_text(SAME["a comment"])
    assert verifier_provenance(verifier, protocol) == first
    path.write_text(OTHER["a comparison"])
    assert verifier_provenance(verifier, protocol)["code"] != first["code"]
