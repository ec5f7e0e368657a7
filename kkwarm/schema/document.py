"""Reads TOML and YAML files into pydantic models. All problems of a file are reported at once, with line numbers."""

from __future__ import annotations

import collections.abc
import difflib
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from kkwarm.errors import KkwarmError, shorten

M = TypeVar("M", bound=BaseModel)
Location = tuple[str | int, ...]


class ConfigError(KkwarmError):
    """All problems of one file, command or settings object, one line each."""

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        if len(problems) == 1:
            super().__init__(f"{where}: {problems[0]}")
        else:
            super().__init__(f"{where}: {len(problems)} problems\n" + "\n".join(f"  {p}" for p in problems))


def key_path(location: Location) -> str:
    """A location as it is written in messages, such as ``conditions[0].name``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


@dataclass(slots=True)
class Problems:
    """Collects the problems of one file or command.

    :param lines: the line number of each key, where known.
    :param label: formats a location for messages.
    """

    where: str
    lines: Mapping[Location, int] = field(default_factory=dict)
    label: Callable[[Location], str] = key_path
    _entries: list[tuple[float, str]] = field(default_factory=list)

    def add(self, location: Location, text: str) -> None:
        """Adds a problem of the key at `location`."""
        prefixes = (location[:n] for n in range(len(location), 0, -1))
        line = next((self.lines[prefix] for prefix in prefixes if prefix in self.lines), None)
        label = self.label(location)
        start = ", ".join(filter(None, (f"line {line}" if line else "", label)))
        self._entries.append((line or math.inf, f"{start}: {text}" if start else text))

    @property
    def messages(self) -> list[str]:
        """The problems, in the order of the file."""
        return [text for _, text in sorted(self._entries, key=lambda entry: entry[0])]

    def raise_any(self) -> None:
        """:raises ConfigError: there is at least one problem."""
        if self._entries:
            raise ConfigError(self.where, self.messages)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its data, its name for messages, and the line of each key."""

    data: dict[str, Any]
    where: str
    lines: Mapping[Location, int] = field(default_factory=dict)

    def problems(self) -> Problems:
        """An empty collection of problems that knows this file's name and lines."""
        return Problems(self.where, self.lines)


# -- reading -----------------------------------------------------------------------------------------------------------


def read(path: Path | str, overrides: Iterable[str] = ()) -> Document:
    """Reads a TOML file (or YAML, by its suffix) and applies overrides of the form ``key.key=value``."""
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as err:
        raise KkwarmError(f"{path}: not UTF-8 ({err.reason})", hint="save the file as UTF-8") from None
    except OSError as err:
        raise KkwarmError(f"{path} cannot be read: {err.strerror or err}") from None
    if path.suffix in {".yaml", ".yml"}:
        data, lines = _parse_yaml(path, text)
    else:
        try:
            data, lines = tomllib.loads(text), _toml_lines(text)
        except ValueError as err:  # a TOMLDecodeError, or a number of more digits than Python reads
            raise KkwarmError(f"{path}: not TOML: {err}") from None
        except RecursionError:
            raise KkwarmError(f"{path}: nested too deeply") from None
    for item in overrides:
        data = override(data, item)
    return Document(data, str(path), lines)


def override(data: Mapping[str, Any], item: str) -> dict[str, Any]:
    """Returns a copy of `data` with one ``key.key=value`` set. The value is parsed as TOML, otherwise taken as text.

    :raises KkwarmError: `item` has no ``=``, or its key leads through a value that is neither a table nor a list.
    """
    key, equals, raw = item.partition("=")
    if not equals or not key.strip():
        raise KkwarmError(f"{item!r} is not a setting", hint="write --set key=value, such as --set evaluate.limit=20")
    try:
        value: Any = tomllib.loads(f"v = {raw}")["v"]
    except (ValueError, RecursionError):
        value = raw
    result = _copy(data)
    target: Any = result
    *parents, last = key.strip().split(".")
    for part in parents:
        target = _descend(target, part, item)
    if isinstance(target, list):
        target[_list_index(target, last, item)] = value
    elif isinstance(target, dict):
        target[last] = value
    else:
        raise KkwarmError(f"--set {item}: {'.'.join(parents)} is {describe_value(target)}, not a table")
    return typing.cast(dict[str, Any], result)


def _descend(target: Any, part: str, item: str) -> Any:
    if isinstance(target, dict):
        return target.setdefault(part, {})
    if isinstance(target, list):
        return target[_list_index(target, part, item)]
    raise KkwarmError(f"--set {item}: {part!r} is inside {describe_value(target)}, not a table")


def _list_index(target: list[Any], part: str, item: str) -> int:
    """Position in a list, given as a number or as the `name` of one of its tables."""
    names = [t.get("name") if isinstance(t, dict) else None for t in target]
    if part in names:
        return names.index(part)
    if part.isdecimal() and int(part) < len(target):
        return int(part)
    raise KkwarmError(f"--set {item}: the list has no entry {part!r}", hint=f"its {len(target)} entries count from 0")


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copy(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_copy(v) for v in value]
    return value


def _toml_lines(text: str) -> dict[Location, int]:
    """Line of each key, from a scan of headers and ``key =`` lines (multi-line strings may mislead it)."""
    lines: dict[Location, int] = {}
    table: Location = ()
    counts: dict[Location, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?$", line):
            table = _table_location(_split_key(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
        elif key := re.match(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""", line):
            lines.setdefault((*table, *_split_key(key[1])), number)
    return lines


def _table_location(keys: Sequence[str], counts: Mapping[Location, int]) -> Location:
    """A header's location. Inside a header, the name of an array of tables stands for its last table."""
    location: Location = ()
    for i, key in enumerate(keys):
        location = (*location, key)
        if location in counts and i < len(keys) - 1:
            location = (*location, counts[location])
    return location


def _split_key(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in re.findall(r"""[\w-]+|"[^"]*"|'[^']*'""", dotted)]


def _parse_yaml(path: Path, text: str) -> tuple[dict[str, Any], dict[Location, int]]:
    import yaml

    try:
        data = yaml.safe_load(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as err:
        raise KkwarmError(f"{path}: not YAML: {' '.join(str(err).split())}") from None
    except RecursionError:
        raise KkwarmError(f"{path}: nested too deeply") from None
    if not isinstance(data, dict):
        raise KkwarmError(f"{path}: {describe_value(data)}, not a table of settings")
    lines: dict[Location, int] = {}

    def walk(node: Any, location: Location) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                lines[*location, str(key.value)] = key.start_mark.line + 1
                walk(value, (*location, str(key.value)))
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                lines[*location, i] = value.start_mark.line + 1
                walk(value, (*location, i))

    try:
        walk(root, ())
    except RecursionError:
        raise KkwarmError(f"{path}: an alias contains itself") from None
    return data, lines


# -- validation --------------------------------------------------------------------------------------------------------


def validate(model: type[M], data: Mapping[str, Any], problems: Problems) -> M | None:
    """`data` as an instance of `model`, or None where `problems` now has further messages. Keys may be written with
    hyphens.
    """
    try:
        return model.model_validate(_underscored(data, model))
    except ValidationError as err:
        for location, message in explain(model, data, err):
            problems.add(location, message)
        return None


def _underscored(value: Any, kind: Any) -> Any:
    """The table with hyphens in the keys of `kind` replaced by underscores, at every level that is a model."""
    fields = _fields(kind)
    if not fields or not isinstance(value, Mapping):
        return value
    names = {key: name if (name := str(key).replace("-", "_")) in fields else str(key) for key in value}
    return {names[key]: _underscored(inner, fields.get(names[key])) for key, inner in value.items()}


def explain(model: type[BaseModel], data: Any, error: ValidationError) -> list[tuple[Location, str]]:
    """Location and plain message of each problem, one for each location, in the order of the file."""
    results: dict[Location, str] = {}
    for e in error.errors(include_url=False):
        location = _location(data, e["loc"])
        message = _message(model, location, e)
        if location in results and results[location] != message:  # a union reports each of its types
            message = f"must be {describe_types(_annotation(model, location))}, not {describe_value(e['input'])}"
        results[location] = message
    return list(results.items())


def _location(data: Any, parts: Sequence[str | int]) -> Location:
    """pydantic's location without the names of union members: only keys of the data, and a last one that is missing."""
    location: Location = ()
    for i, part in enumerate(parts):
        if isinstance(data, Mapping):
            keys = [k for k in data if k == part or str(k).replace("-", "_") == part]
            if keys:
                location, data = (*location, keys[0]), data[keys[0]]
            elif i == len(parts) - 1:
                location = (*location, part)
        elif isinstance(data, list | tuple) and isinstance(part, int):
            location = (*location, part)
            data = data[part] if part < len(data) else None
    return location


def _message(model: type[BaseModel], location: Location, error: Any) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(model, location)
    if kind in ("missing", "union_tag_not_found"):
        return "is missing" if kind == "missing" else f"{context['discriminator'].strip(chr(39))} is missing"
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    if kind in ("greater_than", "greater_than_equal"):
        bound = f"at least {context['ge']:g}" if "ge" in context else f"more than {context['gt']:g}"
        return f"{shorten(value)} is too small; {bound}"
    if kind in ("less_than", "less_than_equal"):
        bound = f"at most {context['le']}" if "le" in context else f"less than {context['lt']}"
        return f"{shorten(value)} is too large; {bound}"
    if kind in ("literal_error", "union_tag_invalid"):
        expected = context.get("expected") or context["expected_tags"]
        options = re.findall(r"'([^']*)'", expected)
        value = context.get("tag", value)
        near = difflib.get_close_matches(str(value), options, n=1)
        return f"{value!r} is not one of {', '.join(options)}" + (f"; did you mean {near[0]}?" if near else "")
    if kind in ("too_short", "too_long") and "actual_length" in context:
        bound = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return f"needs {bound} entries"
    return f"must be {describe_types(_annotation(model, location))}, not {describe_value(value)}"


def _unknown_key(model: type[BaseModel], location: Location) -> str:
    names = sorted(_fields(_annotation(model, location[:-1])))
    near = difflib.get_close_matches(str(location[-1]).replace("-", "_"), names, n=1)
    return "unknown key; " + (f"did you mean {near[0]}?" if near else f"known keys: {', '.join(names)}")


def _annotation(model: type[BaseModel], location: Location) -> Any:
    """The type that the models give for a location; None where they give none."""
    kind: Any = model
    for part in location:
        fields = _fields(kind)
        if fields and isinstance(part, str):
            kind = fields.get(part.replace("-", "_"))
            continue
        arguments = [a for a in typing.get_args(kind) if a is not Ellipsis and a is not type(None)]
        kind = arguments[-1] if arguments else None
    return kind


def _fields(kind: Any) -> dict[str, Any]:
    """Name and type of each field of a model or dataclass, also inside ``Annotated`` and unions; otherwise empty."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: info.annotation for name, info in kind.model_fields.items()}
    if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
        return typing.get_type_hints(kind)
    if typing.get_origin(kind) in (typing.Annotated, typing.Union, types.UnionType):
        return {name: hint for a in typing.get_args(kind) for name, hint in _fields(a).items()}
    return {}


def describe_types(kind: Any) -> str:
    """An annotation in plain words: ``a whole number``, ``a list``."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return describe_types(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe_types(a) for a in arguments if a is not type(None)))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (tuple, list):
        fixed = arguments and Ellipsis not in arguments and origin is tuple
        return f"a list of {len(arguments)}" if fixed else "a list"
    if _fields(kind) or origin in (dict, collections.abc.Mapping):
        return "a table"
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}
    return names.get(kind, "another kind of value")


def describe_value(raw: Any) -> str:
    """A value for a message: shorten if it is long, and only its kind if it is a table or list."""
    if isinstance(raw, bool | int | float | str):
        return shorten(raw)
    return {dict: "a table", list: "a list", tuple: "a list", type(None): "nothing"}.get(type(raw), type(raw).__name__)
