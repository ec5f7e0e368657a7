"""Options of commands, generated from the settings models of `kkwarm.schema.settings`."""

from __future__ import annotations

import functools
import json
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import rich_click
from click import Context, Parameter, ParamType, get_current_context, option
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from kkwarm.cli.console import complete_domains
from kkwarm.errors import KkwarmError
from kkwarm.schema.settings import Settings, describe_default, extra_of
from kkwarm.schema.settings import configure as configure_settings

S = TypeVar("S", bound=Settings)
Function = Callable[..., Any]
Others = Mapping[str, Sequence[str]]


def settings_command(model: type[Settings], *, panels: Others, first: Sequence[str] = ()) -> Callable[[Function], Any]:
    """Makes a command whose options are the fields of `model`, in panels. The function gets those that the user gave,
    as the mapping `given`.

    :param panels: the command's other options by panel, in the order of the panels.
    :param first: fields that come before the others in their panel.
    """
    names = sorted(model.model_fields, key=lambda name: first.index(name) if name in first else len(first))

    def decorate(function: Function) -> Any:
        @functools.wraps(function)
        def callback(**values: Any) -> Any:
            others = {name: value for name, value in values.items() if name not in model.model_fields}
            return function(given=given_settings(model, get_current_context()), **others)

        result: Any = callback
        for name in reversed(names):
            result = _option(model, name)(result)
        result = rich_click.command(cls=rich_click.RichCommand)(result)
        required = {p.opts[-1] for p in result.params if p.required}
        required |= {option_name(model, name) for name in names if model.model_fields[name].is_required()}
        for panel, others in panels.items():
            own = [_shown_name(model, name) for name in names if extra_of(model.model_fields[name])["panel"] == panel]
            listed = sorted((*own, *others), key=lambda o: o not in required)
            result.add_panel(rich_click.RichOptionPanel(panel, options=listed))
        return result

    return decorate


def given_settings(model: type[Settings], context: Context) -> dict[str, Any]:
    """The settings of a command that the user gave; those with default values are left out."""
    return {
        name: _join(context.params[name])
        for name in model.model_fields
        if context.params[name] is not None and context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }


def configure(model: type[S], given: Mapping[str, Any], preset: str | None = None) -> S:
    """As `kkwarm.schema.settings.configure`; messages name the command and its options."""
    where, name_of = str(get_current_context().info_name), functools.partial(option_name, model)
    return configure_settings(model, given, where=where, preset=preset, name_of=name_of)


def option_name(model: type[Settings], name: str) -> str:
    """The option of a setting, such as ``--learning-rate``."""
    return extra_of(model.model_fields[name])["option"] or "--" + name.replace("_", "-")


def _shown_name(model: type[Settings], name: str) -> str:
    """The option as help lists it: ``--no-NAME`` for a switch that is on by default."""
    flag = option_name(model, name)
    return f"--no-{flag[2:]}" if model.model_fields[name].default is True else flag


def parse_pairs(pairs: Sequence[str], option: str) -> dict[str, Any]:
    """``KEY=VALUE`` pairs as a mapping; a value is JSON where it can be parsed as such, otherwise text."""
    results: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise KkwarmError(f"{option} {pair}: not KEY=VALUE")
        try:
            results[key.strip().replace("-", "_")] = json.loads(value.strip())
        except ValueError:
            constants = {"True": True, "False": False, "None": None}
            results[key.strip().replace("-", "_")] = constants.get(value, value)
    return results


class _Value(ParamType):  # type: ignore[type-arg]  # not generic before click 8.3
    """Parses the text of one value. Only the settings model checks it, so that all bad values are reported at once."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.choices = tuple(map(str, typing.get_args(kind))) if typing.get_origin(kind) is Literal else ()
        self.name = {int: "integer", float: "number"}.get(kind, "text")

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> Any:
        if self.kind is int and isinstance(value, str):
            try:
                return int(value)
            except ValueError:
                return value
        if self.kind is float and isinstance(value, str) and _is_number(value):
            return float(value)
        if self.kind is tuple and isinstance(value, str):
            return tuple(part for name in value.split(",") if (part := name.strip()))
        if self.kind is dict and isinstance(value, str):
            return parse_pairs([value], param.opts[-1] if param else "")
        return value

    def shell_complete(self, ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
        if param.name in ("domain", "eval_on", "decontaminate_against"):
            return [CompletionItem(name) for name in complete_domains(ctx, param, incomplete)]
        return [CompletionItem(c) for c in self.choices if c.startswith(incomplete)]


def _option(model: type[Settings], name: str) -> Callable[[Function], Function]:
    """The click option of one setting."""
    field = model.model_fields[name]
    extra, kind, flag = extra_of(field), _kind(field.annotation), option_name(model, name)
    value = _Value(kind)
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if kind is bool and default:
        return option(f"--no-{flag[2:]}", name, is_flag=True, flag_value=False, default=True, help=extra["off"])
    if kind is bool:
        return option(flag, name, is_flag=True, help=field.description)
    choices = f" Choices: {', '.join(value.choices)}." if value.choices else ""
    shown = describe_default(field)
    settings: dict[str, Any] = {"help": f"{field.description}{choices}" + (f" [{shown}]" if shown else "")}
    settings["metavar"] = extra["metavar"] or ("NAME" if value.choices else None)
    if isinstance(kind, tuple):
        return option(flag, name, nargs=len(kind), type=float, default=default, **settings)
    return option(flag, name, type=value, multiple=kind in (tuple, dict), default=default or None, **settings)


def _kind(annotation: Any) -> Any:
    """int, float, bool, str, a Literal, `tuple` (a list of names), `dict`, or the types of a fixed-length list."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return _kind(next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        return tuple if Ellipsis in arguments else tuple(_kind(a) for a in arguments)
    return dict if origin is not None and origin is not Literal else annotation


def _join(value: Any) -> Any:
    """The values of an option that can be given several times, as one list or mapping."""
    if isinstance(value, tuple) and value and all(isinstance(v, tuple) for v in value):
        return tuple(part for v in value for part in v)
    if isinstance(value, tuple) and value and all(isinstance(v, dict) for v in value):
        return {key: inner for v in value for key, inner in v.items()}
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or bool(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", str(value)))
