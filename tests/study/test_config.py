"""Configuration: everything that is wrong, at once, each with its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from kkwarm.config import ConfigError, Problems, build, override, read
from kkwarm.errors import KkwarmError


@dataclass(frozen=True)
class Inner:
    learning_rate: float = field(default=1e-3, metadata={"min": 0})
    n: int | None = None
    kind: Literal["sft", "grpo"] = "sft"
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        if self.n == 13:
            raise ValueError("n must not be 13")


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()


def test_types_are_kept() -> None:
    made = build(Outer, {"name": "x", "inner": {"learning_rate": 1, "betas": [0.5, 1]}, "many": [{"n": 3}]}, "here")
    assert made == Outer("x", Inner(learning_rate=1.0, betas=(0.5, 1.0)), (Inner(n=3),))
    assert isinstance(made.inner.learning_rate, float)


def test_all_problems_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text('nam = "x"\n[inner]\nlearning_rate = -1\nn = true\n\n[[many]]\nkind = "grop"\n[[many]]\nn = 13\n')
    document = read(file)
    problems = Problems(document.where, document.lines)
    build(Outer, document.data, document.where, problems=problems)
    with pytest.raises(ConfigError) as wrong:
        problems.end()
    assert wrong.value.problems == (
        "line 1, nam: unknown key; did you mean name?",
        "line 3, inner.learning_rate: -1.0 is too small; at least 0",
        "line 4, inner.n: must be a whole number, not True",
        "line 7, many[0].kind: 'grop' is not one of sft, grpo; did you mean grpo?",
        "line 8, many[1]: n must not be 13",
        "name: is missing",
    )
    assert str(wrong.value).startswith(f"{file}: 6 problems\n")


def test_yaml_has_lines_too(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("name: x\ninner:\n  learning_rate: 1e-6\n  m: 3\n")
    document = read(file)
    problems = Problems(document.where, document.lines)
    build(Outer, document.data, document.where, problems=problems)
    assert problems.found == ["line 4, inner.m: unknown key; did you mean n?"] or "line 4, inner.m" in problems.found[0]
    assert build(Inner, {"learning_rate": "1e-6"}, "x").learning_rate == 1e-6


def test_overrides_change_a_copy() -> None:
    data = {"a": {"b": 1}, "list": [{"name": "first", "n": 1}]}
    assert override(data, "a.b=2")["a"]["b"] == 2
    assert override(data, "list.first.n=7")["list"][0]["n"] == 7
    assert override(data, "list.0.n=[1, 2]")["list"][0]["n"] == [1, 2]
    assert override(data, "a.model=some/thing")["a"]["model"] == "some/thing"
    assert data == {"a": {"b": 1}, "list": [{"name": "first", "n": 1}]}


@pytest.mark.parametrize("item", ["no-equals", "=3", "a.b.c=1", "list.7.n=1"])
def test_bad_overrides_are_refused(item: str) -> None:
    with pytest.raises(KkwarmError):
        override({"a": {"b": 1}, "list": []}, item)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("a = \n")
    with pytest.raises(KkwarmError, match=r"bad\.toml: not TOML"):
        read(bad)
    bad.write_bytes(b"a = '\xff'")
    with pytest.raises(KkwarmError, match="not UTF-8"):
        read(bad)
    with pytest.raises(KkwarmError, match="cannot be read"):
        read(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.toml", "x = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a.yaml", "x: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a.yaml", "x: &a [*a]", "an alias holds itself"),
        ("a.toml", "x = " + "9" * 5000, "not TOML: Exceeds the limit"),
    ],
)
def test_files_that_no_parser_survives(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(KkwarmError, match=says):
        read(tmp_path / name)


@dataclass(frozen=True)
class _Numbers:
    whole: int = 1
    real: float = 1.0
    two: tuple[float, float] = (0.0, 1.0)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("whole", 10**400, "a whole number of 64 bits"),
        ("real", 10**400, "a finite number, not 1000.*401 characters"),
        ("two", [], "a list of 2"),
    ],
)
def test_numbers_beyond_the_machine(key: str, value: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build(_Numbers, {key: value}, "here")
