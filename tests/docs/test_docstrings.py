"""Every public name says what it is: names of the public modules without an underscore, and their public members."""

import dataclasses
import enum
import importlib
import inspect
import pkgutil
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

import kkwarm
from kkwarm import hookspecs

# What plugins may import, with everything below it, and what users of the library call.
PUBLIC = (
    "kkwarm",
    "kkwarm.types",
    "kkwarm.plugins",
    "kkwarm.hookspecs",
    "kkwarm.protocols",
    "kkwarm.data",
    "kkwarm.verify",
    "kkwarm.sandbox",
    "kkwarm.errors",
    "kkwarm.testing",
    "kkwarm.evaluation",
    "kkwarm.train",
    "kkwarm.store",
    "kkwarm.backends",
)
SCRIPTS = ("kkwarm.testing.subprocess_load",)  # run as processes, imported by nobody
PACKAGES = ("kkwarm.data", "kkwarm.schema", "kkwarm.verify", "kkwarm.testing")


def modules() -> list[str]:
    found = list(PUBLIC)
    for name in PACKAGES:
        package = importlib.import_module(name)
        for info in pkgutil.walk_packages(package.__path__, f"{name}."):
            if "inside" not in info.name and info.name not in SCRIPTS:
                found.append(info.name)
    return found


def names(module: types.ModuleType) -> list[str]:
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    own = {name: getattr(thing, "__module__", "") == module.__name__ for name, thing in vars(module).items()}
    return [name for name, defined in own.items() if defined and not name.startswith("_")]


def undocumented(module: types.ModuleType) -> Iterator[str]:
    if not module.__doc__:
        yield module.__name__
    for name in names(module):
        thing: Any = getattr(module, name)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            yield from missing(thing, f"{module.__name__}.{name}")


def missing(thing: Any, shown: str) -> Iterator[str]:
    written = thing.__doc__ or ""
    if dataclasses.is_dataclass(thing) and written.startswith(f"{thing.__name__}("):
        written = ""  # dataclasses write their signature where nobody wrote anything
    if not written.strip():
        yield shown
    if not inspect.isclass(thing) or issubclass(thing, enum.Enum):
        return
    for name, member in vars(thing).items():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if name.startswith("_") or not inspect.isfunction(function) or function.__module__ != thing.__module__:
            continue
        inherited = any(getattr(base, name, None) is not None for base in thing.__mro__[1:])
        if not function.__doc__ and not inherited and not implements(name):
            yield f"{shown}.{name}"


def implements(name: str) -> bool:
    """Whether a protocol of kkwarm documents the method of that name."""
    from kkwarm.backends import Backend
    from kkwarm.types import Protocol

    found = [vars(p).get(name) for p in (Protocol, Backend)]
    return any(m is not None and (m.fget if isinstance(m, property) else m).__doc__ for m in found)


@pytest.mark.parametrize("name", modules())
def test_every_public_name_is_documented(name: str) -> None:
    assert list(undocumented(importlib.import_module(name))) == []


@pytest.mark.parametrize("name", [m for m in PUBLIC if m not in ("kkwarm", "kkwarm.hookspecs")])
def test_every_public_module_says_what_is_public(name: str) -> None:
    module = importlib.import_module(name)
    listed = names(module)
    assert listed and not [n for n in listed if not hasattr(module, n)]


def test_hooks_say_what_they_take_and_give() -> None:
    for name in names(hookspecs):
        spec = getattr(hookspecs, name)
        for parameter in inspect.signature(spec).parameters:
            assert f":param {parameter}:" in (spec.__doc__ or ""), f"{name} does not say what {parameter} is"


def test_the_check_finds_what_is_not_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    made = types.ModuleType("made", "A module.")
    monkeypatch.setitem(sys.modules, "made", made)
    exec(
        "from dataclasses import dataclass\n__all__ = ['f', 'C', 'D', 'g']\ndef f(): pass\ndef g(): 'Said.'\n"
        "class C:\n 'Said.'\n def m(self): pass\n def _p(self): pass\n@dataclass\nclass D:\n x: int\n",
        made.__dict__,
    )
    assert list(undocumented(made)) == ["made.f", "made.C.m", "made.D"]
    assert kkwarm.__doc__
