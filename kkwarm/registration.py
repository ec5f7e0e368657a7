"""Whether what a plugin hands in can be used: the hooks that its module marks, and what they return.

Everything that is wrong is said in the author's words (hook, name, field) when plugins are loaded, not where it would
fail first.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any

from kkwarm import hookspecs
from kkwarm.types import Benchmark, Domain, Format, Rewards, Sampling, Task, Teacher, Verifier

__all__ = ["REGISTRATIONS", "find_hook_problems", "missing_reference", "validate_item", "validate_items"]

# Hook, what it registers, and of what type that is (a format is whatever has the methods).
REGISTRATIONS: tuple[tuple[str, str, type[Any]], ...] = (
    ("kkwarm_formats", "format", Format),
    ("kkwarm_verifiers", "verifier", Verifier),
    ("kkwarm_domains", "domain", Domain),
    ("kkwarm_tasks", "task", Task),
    ("kkwarm_benchmarks", "benchmark", Benchmark),
    ("kkwarm_teachers", "teacher", Teacher),
)
_HOOKS = tuple(name for name in dir(hookspecs) if name.startswith("kkwarm_"))
# What the functions in the fields of a domain, task, benchmark, verifier or teacher are called with.
_TAKES: Mapping[str, tuple[str, ...]] = {
    "load": (),
    "load_all": (),
    "gold": ("example",),
    "identity": ("question",),
    "check": ("example", "response"),
    "precheck": ("example", "response"),
    "check_batch": ("pairs",),
    "traces": ("n", "seed"),
}
_TYPES: Mapping[str, type | UnionType] = {
    "str": str,
    "str | None": str,
    "float": int | float,
    "Rewards": Rewards,
    "Sampling": Sampling,
}
_FORMAT_TYPES = {"stop": tuple, "chat": bool, "force": str}


def find_hook_problems(module: object) -> list[str]:
    """What is wrong with the hooks of a plugin's module: misspelt, not marked, or none at all."""
    faults = []
    implemented = False
    for name in dir(module):
        value = getattr(module, name, None)
        marked = getattr(value, "kkwarm_impl", None)
        hook = (marked or {}).get("specname") or name
        if marked is None and (not name.startswith("kkwarm_") or not callable(value) or hasattr(value, "kkwarm_spec")):
            continue
        if hook not in _HOOKS:
            near = difflib.get_close_matches(hook, _HOOKS, n=1)
            mend = f"did you mean {near[0]}?" if near else "see the hook reference"
            faults.append(f"hook {hook!r} does not exist; {mend}")
        elif marked is None:
            faults.append(f"hook {hook} is not marked: put @hookimpl, from kkwarm.plugins, above it")
        implemented = True
    return faults if implemented else ["it implements no hook; most plugins need kkwarm_domains alone"]


def validate_items(hook: str, kind: str, cls: type[Any], returned: Any) -> list[Any]:
    """What a registration hook returned, as a list of usable objects.

    :raises TypeError, ValueError: something else, or an object with a field of the wrong kind.
    """
    if isinstance(returned, cls):
        raise TypeError(f"it returned one {cls.__name__}; return a list: [{kind}]")
    if isinstance(returned, str) or not isinstance(returned, Iterable):
        raise TypeError(f"it returned {_named(returned)}; return a list of {cls.__name__} objects")
    items = list(returned)
    for item in items:
        validate_item(hook, kind, cls, item)
    return items


def validate_item(hook: str, kind: str, cls: type[Any], item: Any) -> None:
    """That an object is of the class, has a name, and fields of the right kinds.

    :raises TypeError, ValueError: it is not, or has not.
    """
    if not isinstance(item, cls):
        wanted = f"{cls.__name__} objects"
        if cls is Format:
            wanted = "objects with name, stop, chat, force, render, compose and split"
        raise TypeError(f"{hook} must return {wanted}, got {_named(item)}")
    if not isinstance(item.name, str) or not item.name:
        raise ValueError(f"{hook}: a {kind} has no name")
    if fault := _fault(item) if dataclasses.is_dataclass(cls) else _format_fault(item):
        raise TypeError(f"{kind} {item.name!r}: {fault}")


def missing_reference(item: Domain | Task | Benchmark, verifiers: Iterable[str], formats: Iterable[str]) -> str:
    """The verifier or format that a domain, task or benchmark names and nobody registers; empty: there is none."""
    named = [("format", item.format, formats)]
    if isinstance(item, Benchmark):
        named.append(("format", item.saved_format, formats))
    if not isinstance(item, Domain):
        named.append(("verifier", item.verifier, verifiers))
    for kind, name, known in named:
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=1)
            return f"nobody registers the {kind} {name!r}" + (f"; did you mean {near[0]}?" if near else "")
    return ""


def _fault(item: Any) -> str:
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if value is None and field.default is None:
            continue
        if isinstance(value, Verifier):
            fault = _fault(value)
        elif field.type == "Verifier | Check":
            fault = _no_function_of(value, _TAKES["check"])
        elif field.name in _TAKES:
            fault = _no_function_of(value, _TAKES[field.name])
        else:
            wanted = _TYPES.get(str(field.type))
            fault = "" if wanted is None or isinstance(value, wanted) else f"must be {field.type}, got {_named(value)}"
        if fault:
            return f"{field.name} {fault}"
        if field.name == "tolerance" and not (value >= 0 and math.isfinite(value)):
            return f"tolerance must be a finite number from 0 on, got {value}"
        if isinstance(value, Rewards) and (fault := _no_number(value)):
            return f"{field.name}.{fault}"
    return ""


def _format_fault(fmt: Format) -> str:
    for name, wanted in _FORMAT_TYPES.items():
        if not isinstance(value := getattr(fmt, name), wanted):
            return f"{name} must be {wanted.__name__}, got {_named(value)}"
    return ""


def _no_function_of(value: Any, arguments: tuple[str, ...]) -> str:
    wanted = f"must be a function of ({', '.join(arguments)})"
    if not callable(value):
        return f"{wanted}, got {_named(value)}"
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # some built-in functions have none to look at
        return ""
    try:
        signature.bind(*arguments)
    except TypeError:
        return f"{wanted}, got one of {signature}"
    return ""


def _no_number(rewards: Rewards) -> str:
    for field in dataclasses.fields(rewards):
        value = getattr(rewards, field.name)
        if not isinstance(value, int | float) and not (value is None and field.default is None):
            return f"{field.name} must be a number, got {_named(value)}"
    return ""


def _named(value: object) -> str:
    return "None" if value is None else type(value).__name__
