"""Files with settings: all problems are reported at once, each with its location and line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, model_validator

from kkwarm.errors import KkwarmError
from kkwarm.schema.document import ConfigError, Document, override, read, validate
from kkwarm.schema.settings import Count, Number, Settings


class Inner(Settings):
    learning_rate: Annotated[Number, Field(ge=0)] = 1e-3
    n: Count | None = None
    kind: Literal["sft", "grpo"] = "sft"
    betas: tuple[Number, Number] = (0.9, 0.999)

    @model_validator(mode="after")
    def _check(self) -> Inner:
        if self.n == 13:
            raise ValueError("n must not be 13")
        return self


class Outer(Settings):
    name: str
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()


def problems_of(model: type[BaseModel], document: Document) -> list[str]:
    problems = document.problems()
    validate(model, document.data, problems)
    return problems.messages


def test_values_are_converted_to_their_types() -> None:
    values = {"name": "x", "inner": {"learning_rate": 1, "betas": [0.5, 1]}, "many": [{"n": 3}]}
    loaded = validate(Outer, values, Document(values, "here").problems())
    assert loaded == Outer(name="x", inner=Inner(learning_rate=1.0, betas=(0.5, 1.0)), many=(Inner(n=3),))
    assert loaded is not None and isinstance(loaded.inner.learning_rate, float)


def test_all_problems_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text('nam = "x"\n[inner]\nlearning-rate = -1\nn = true\n\n[[many]]\nkind = "grop"\n[[many]]\nn = 13\n')
    document = read(file)
    problems = document.problems()
    validate(Outer, document.data, problems)
    with pytest.raises(ConfigError) as error:
        problems.raise_any()
    assert error.value.problems == (
        "line 1, nam: unknown key; did you mean name?",
        "line 3, inner.learning-rate: -1 is too small; at least 0",
        "line 4, inner.n: must be a whole number, not True",
        "line 7, many[0].kind: 'grop' is not one of sft, grpo; did you mean grpo?",
        "line 8, many[1]: n must not be 13",
        "name: is missing",
    )
    assert str(error.value).startswith(f"{file}: 6 problems\n")


def test_yaml_has_lines_too(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("name: x\ninner:\n  learning_rate: 1e-6\n  m: 3\n")
    (problem,) = problems_of(Outer, read(file))
    assert problem.startswith("line 4, inner.m: unknown key; ")
    assert Inner(learning_rate="1e-6").learning_rate == 1e-6


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
        ("a.yaml", "x: &a [*a]", "an alias contains itself"),
        ("a.toml", "x = " + "9" * 5000, "not TOML: Exceeds the limit"),
    ],
)
def test_files_that_no_parser_survives(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(KkwarmError, match=says):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("n", 10**400, "too large; at most"),
        ("learning_rate", 10**400, "a finite number, not 1000.*401 characters"),
        ("learning_rate", float("nan"), "a finite number, not nan"),
        ("learning_rate", True, "a finite number, not 'True'"),
        ("n", 3.0, "a whole number, not 3.0"),
        ("n", "3", "a whole number, not '3'"),
        ("betas", 3, "a list of 2, not 3"),
        ("betas", [1.0], "is missing"),
    ],
)
def test_values_of_another_kind(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Inner(**{key: value})
