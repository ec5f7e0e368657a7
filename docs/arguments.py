"""Writes kkwarm/schema/arguments.py, the keyword arguments of the Python functions, from the settings models:
``python docs/arguments.py``.
"""

import collections.abc
import inspect
import types
import typing
from pathlib import Path
from typing import Any

from kkwarm.schema.settings import PAPER_DISTILL, BenchConfig, DistillConfig, RlvrConfig, Settings, WarmupConfig

TARGET = Path(__file__).parents[1] / "kkwarm" / "schema" / "arguments.py"
MODELS: dict[str, type[Settings]] = {
    "distill": DistillConfig,
    "warmup": WarmupConfig,
    "rlvr": RlvrConfig,
    "bench": BenchConfig,
}
HEAD = '''"""Types of the keyword arguments of `kkwarm.distill`, `warmup`, `rlvr` and `bench`, for type checkers.

Written by docs/arguments.py from the definitions in `kkwarm.schema.settings`. Do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

'''


def render() -> str:
    """The module's source: a class for each command, which extends those of the settings that commands share."""
    parts = [HEAD.rstrip("\n") + "\n"]
    shared = dict.fromkeys(base for model in MODELS.values() for base in reversed(model.__mro__) if is_shared(base))
    for model in (*shared, *MODELS.values()):
        bases = [class_name(base) for base in model.__bases__ if base is not Settings] or ["TypedDict"]
        lines = [f"class {class_name(model)}({', '.join(bases)}, total=False):"]
        lines.append(f'    """{inspect.getdoc(model)}"""\n')
        for name in model.__annotations__:
            if any(name in base.model_fields for base in model.__mro__[1:] if issubclass(base, Settings)):
                continue  # inherited, with another default
            field = model.model_fields[name]
            kind = describe(field.annotation)
            needed = field.is_required() and name not in PAPER_DISTILL  # a preset may give those
            lines.append(f"    {name}: {f'Required[{kind}]' if needed else kind}")
        parts.append("\n\n" + "\n".join(lines) + "\n")
    return "".join(parts)


def is_shared(model: type) -> bool:
    return issubclass(model, Settings) and model is not Settings and model not in MODELS.values()


def class_name(model: type) -> str:
    return model.__name__.removesuffix("Config") + "Arguments"


def describe(kind: Any) -> str:
    """The type of an argument: a setting's type without its bounds. A list of names may be any sequence."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return describe(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(describe(a) for a in arguments))
    if origin is typing.Literal:
        return "Literal[" + ", ".join(f'"{a}"' if isinstance(a, str) else repr(a) for a in arguments) + "]"
    if origin is tuple and Ellipsis in arguments:
        return f"Sequence[{describe(arguments[0])}]"
    if origin is tuple:
        return f"tuple[{', '.join(map(describe, arguments))}]"
    if origin is collections.abc.Mapping:
        return f"Mapping[{', '.join(map(describe, arguments))}]"
    return {type(None): "None", Any: "Any"}.get(kind) or kind.__name__


if __name__ == "__main__":
    TARGET.write_text(render(), "utf-8")
