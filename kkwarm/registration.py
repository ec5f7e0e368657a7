"""Validates what plugins register: the hooks that a module marks, and the objects that they return.

Problems are reported when plugins are loaded, by the names that the author knows (hook, name, field).
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Any

from kkwarm import hookspecs
from kkwarm.types import Benchmark, ClaimSet, Domain, Protocol, Reader, Rewards, Sampling, Task, Teacher, Verifier

# (hook, kind of object, its class)
REGISTRATIONS: tuple[tuple[str, str, type[Any]], ...] = (
    ("kkwarm_protocols", "protocol", Protocol),
    ("kkwarm_verifiers", "verifier", Verifier),
    ("kkwarm_domains", "domain", Domain),
    ("kkwarm_tasks", "task", Task),
    ("kkwarm_benchmarks", "benchmark", Benchmark),
    ("kkwarm_teachers", "teacher", Teacher),
    ("kkwarm_claims", "claim", ClaimSet),
)
_HOOKS = tuple(name for name in dir(hookspecs) if name.startswith("kkwarm_"))
# The parameters of each field that holds a function.
_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "load": (),
    "load_all": (),
    "gold": ("example",),
    "identity": ("question",),
    "check": ("example", "response"),
    "precheck": ("example", "response"),
    "check_batch": ("pairs",),
    "traces": ("n", "seed"),
    "evaluate": ("study",),
    "generate": ("target", "rng"),
    "question": ("example",),
    "text": ("messages",),
    "shot_examples": ("example",),
    "solution": ("example",),
    "reward": ("verdict", "example"),
}
_FURTHER_PARAMETERS: Mapping[str, tuple[str, ...]] = {"reward": ("completion",)}  # that the function may have
_FIELD_TYPES: Mapping[str, type | UnionType] = {
    "str": str,
    "str | None": str,
    "float": int | float,
    "bool": bool,
    "int": int,
    "str | Callable[[Example], str]": str | Callable,
    "tuple[str, ...]": tuple,
    "Protocol | None": Protocol,
    "Reader": Reader,
    "Rewards": Rewards,
    "Sampling": Sampling,
    "Sampling | None": Sampling,
}


def find_hook_problems(module: object) -> list[str]:
    """Hooks of a plugin's module that are misspelt or not marked, or the lack of any hook."""
    problems = []
    implemented = False
    for name in dir(module):
        value = getattr(module, name, None)
        mark = getattr(value, "kkwarm_impl", None)
        hook = (mark or {}).get("specname") or name
        if mark is None and (not name.startswith("kkwarm_") or not callable(value) or hasattr(value, "kkwarm_spec")):
            continue
        if hook not in _HOOKS:
            similar = difflib.get_close_matches(hook, _HOOKS, n=1)
            advice = f"did you mean {similar[0]}?" if similar else "see the hook reference"
            problems.append(f"hook {hook!r} does not exist; {advice}")
        elif mark is None:
            problems.append(f"hook {hook} is not marked: put @hookimpl, from kkwarm.plugins, above it")
        implemented = True
    return problems if implemented else ["it implements no hook; most plugins need only kkwarm_domains"]


def validate_items(hook: str, kind: str, cls: type[Any], returned: Any) -> list[Any]:
    """The objects that a registration hook returned, as a list."""
    if isinstance(returned, cls):
        raise TypeError(f"it returned one {cls.__name__}; return a list: [{kind}]")
    if isinstance(returned, str) or not isinstance(returned, Iterable):
        raise TypeError(f"it returned {_type_name(returned)}; return a list of {cls.__name__} objects")
    items = list(returned)
    for item in items:
        validate_item(hook, kind, cls, item)
    return items


def validate_item(hook: str, kind: str, cls: type[Any], item: Any) -> None:
    """Checks the class, the name and the field types of one object."""
    if not isinstance(item, cls):
        raise TypeError(f"{hook} must return {cls.__name__} objects, got {_type_name(item)}")
    if not isinstance(item.name, str) or not item.name:
        raise ValueError(f"{hook}: a {kind} has no name")
    if problem := _field_problem(item):
        raise TypeError(f"{kind} {item.name!r}: {problem}")


def missing_reference(item: Domain | Task | Benchmark, verifiers: Iterable[str], protocols: Iterable[str]) -> str:
    """Describes a verifier or protocol that a domain, task or benchmark names but nobody registers; else empty."""
    references = [("protocol", item.protocol, protocols)]
    if not isinstance(item, Domain):
        references.append(("verifier", item.verifier, verifiers))
    for kind, name, registered in references:
        if name not in registered:
            similar = difflib.get_close_matches(name, list(registered), n=1)
            return f"no plugin registers the {kind} {name!r}" + (f"; did you mean {similar[0]}?" if similar else "")
    return ""


def _field_problem(item: Any) -> str:
    """The first problem of a dataclass's fields; empty where there is none."""
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if value is None and field.default is None:
            continue
        if isinstance(value, Verifier):
            problem = _field_problem(value)
        elif field.type == "Verifier | Check":
            problem = _function_problem(value, _PARAMETERS["check"])
        elif field.name == "waivers":
            problem = _waivers_problem(value)
        elif field.name == "protocols":
            problem = _protocols_problem(value)
        elif field.name in _PARAMETERS:
            problem = _function_problem(value, _PARAMETERS[field.name], _FURTHER_PARAMETERS.get(field.name, ()))
        else:
            expected = _FIELD_TYPES.get(str(field.type))
            valid = expected is None or isinstance(value, expected)
            problem = "" if valid else f"must be {field.type}, got {_type_name(value)}"
        if problem:
            return f"{field.name} {problem}"
        if field.name == "tolerance" and not (value >= 0 and math.isfinite(value)):
            return f"tolerance must be a finite number, 0 or more, got {value}"
        if isinstance(value, Rewards) and (problem := _rewards_problem(value)):
            return f"{field.name}.{problem}"
    if isinstance(item, Domain | Task) and item.reward is not None and item.rewards.partial:
        return "reward and rewards.partial exclude each other"
    return ""


def _protocols_problem(value: Any) -> str:
    if not isinstance(value, list | tuple) or not all(isinstance(p, Protocol) for p in value):
        return "must be a list of Protocol objects"
    return next((f"has {p.name!r}, whose {problem}" for p in value if (problem := _field_problem(p))), "")


def _waivers_problem(value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"must be a dict of probe names and reasons, got {_type_name(value)}"
    without = next((n for n, why in value.items() if not isinstance(why, str) or not why.strip()), None)
    return "" if without is None else f"has no reason for {without!r}; write why the domain need not pass the probe"


def _function_problem(value: Any, parameters: tuple[str, ...], further: tuple[str, ...] = ()) -> str:
    expected = f"must be a function of ({', '.join(parameters)})"
    expected += f" or ({', '.join((*parameters, *further))})" if further else ""
    if not callable(value):
        return f"{expected}, got {_type_name(value)}"
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # some built-in functions have no signature
        return ""
    for given in (parameters, (*parameters, *further)):
        with contextlib.suppress(TypeError):
            signature.bind(*given)
            return ""
    return f"{expected}, got one of {signature}"


def _rewards_problem(rewards: Rewards) -> str:
    for field in dataclasses.fields(rewards):
        value = getattr(rewards, field.name)
        if field.name == "partial":
            if not isinstance(value, str):
                return f"partial must be the name of a metric, got {_type_name(value)}"
        elif not isinstance(value, int | float) and not (value is None and field.default is None):
            return f"{field.name} must be a number, got {_type_name(value)}"
    return ""


def _type_name(value: object) -> str:
    return "None" if value is None else type(value).__name__
