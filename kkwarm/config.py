"""Typed configuration: TOML or YAML and overrides, into frozen dataclasses. All problems are reported at once.

A field's limits stand in its metadata (``field(metadata={"min": 0, "max": 1})``); a `__post_init__` that raises
ValueError is reported as a problem of its table.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from kkwarm.errors import KkwarmError, shorten

__all__ = ["ConfigError", "Document", "Problems", "build", "override", "read"]

T = TypeVar("T")
Place = tuple[str | int, ...]


class ConfigError(KkwarmError):
    """Every problem of one configuration, a line for each."""

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{where}: {count}\n" + "\n".join(f"  {p}" for p in problems))


@dataclass(slots=True)
class Problems:
    """Collects what is wrong with one configuration. `lines` maps places to line numbers in the file, where known."""

    where: str
    lines: Mapping[Place, int] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)

    def add(self, place: Place, text: str) -> None:
        """Notes a problem of the key at `place`, with its line where that is known."""
        at = next((self.lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.lines), None)
        shown = _shown(place)
        prefix = ", ".join(filter(None, (f"line {at}" if at else "", shown)))
        self.found.append(f"{prefix}: {text}" if prefix else text)

    def end(self) -> None:
        """:raises ConfigError: there is any problem."""
        if self.found:
            raise ConfigError(self.where, self.found)


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration file as read: its data, its name for messages, and the line of each key."""

    data: dict[str, Any]
    where: str
    lines: Mapping[Place, int] = field(default_factory=dict)


# -- reading -----------------------------------------------------------------------------------------------------------


def read(path: Path | str, overrides: Iterable[str] = ()) -> Document:
    """The file (TOML, or YAML by its suffix), with overrides ``key.key=value`` applied.

    :raises KkwarmError: it cannot be read, is not TOML or YAML, or an override does not apply.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as err:
        raise KkwarmError(f"{path}: not UTF-8 ({err.reason})", hint="save the file as UTF-8") from None
    except OSError as err:
        raise KkwarmError(f"{path} cannot be read: {err.strerror or err}") from None
    if path.suffix in {".yaml", ".yml"}:
        data, lines = _yaml(path, text)
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
    """`data` with one ``key.key=value`` set; the value is read as TOML, else taken as text. `data` is not changed.

    :raises KkwarmError: `item` has no ``=``, or its key leads through something that is no table or list.
    """
    key, equals, raw = item.partition("=")
    if not equals or not key.strip():
        raise KkwarmError(f"{item!r} is no setting", hint="write --set key=value, such as --set evaluate.limit=20")
    try:
        value: Any = tomllib.loads(f"v = {raw}")["v"]
    except (ValueError, RecursionError):
        value = raw
    result = _copied(data)
    target: Any = result
    *parents, last = key.strip().split(".")
    for part in parents:
        target = _step(target, part, item)
    if isinstance(target, list):
        target[_index(target, last, item)] = value
    elif isinstance(target, dict):
        target[last] = value
    else:
        raise KkwarmError(f"--set {item}: {'.'.join(parents)} is {_kind(target)}, not a table")
    return typing.cast(dict[str, Any], result)


def _step(target: Any, part: str, item: str) -> Any:
    if isinstance(target, dict):
        return target.setdefault(part, {})
    if isinstance(target, list):
        return target[_index(target, part, item)]
    raise KkwarmError(f"--set {item}: {part!r} is inside {_kind(target)}, not a table")


def _index(target: list[Any], part: str, item: str) -> int:
    """The place in a list: a number, or the `name` of one of its tables."""
    names = [t.get("name") if isinstance(t, dict) else None for t in target]
    if part in names:
        return names.index(part)
    if part.isdecimal() and int(part) < len(target):
        return int(part)
    raise KkwarmError(f"--set {item}: the list has no {part!r}", hint=f"it has {len(target)} entries, from 0")


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copied(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_copied(v) for v in value]
    return value


def _toml_lines(text: str) -> dict[Place, int]:
    """Line of each key, as far as a scan of headers and ``key =`` lines tells (multi-line strings may mislead it)."""
    lines: dict[Place, int] = {}
    table: Place = ()
    counts: dict[Place, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?$", line):
            table = _resolved(_keys(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
        elif key := re.match(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""", line):
            lines.setdefault((*table, *_keys(key[1])), number)
    return lines


def _resolved(keys: Sequence[str], counts: Mapping[Place, int]) -> Place:
    """A header's place: a part that names an array of tables means its last one, unless it ends the header."""
    place: Place = ()
    for i, key in enumerate(keys):
        place = (*place, key)
        if place in counts and i < len(keys) - 1:
            place = (*place, counts[place])
    return place


def _keys(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in re.findall(r"""[\w-]+|"[^"]*"|'[^']*'""", dotted)]


def _yaml(path: Path, text: str) -> tuple[dict[str, Any], dict[Place, int]]:
    import yaml

    try:
        data = yaml.safe_load(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as err:
        raise KkwarmError(f"{path}: not YAML: {' '.join(str(err).split())}") from None
    except RecursionError:
        raise KkwarmError(f"{path}: nested too deeply") from None
    if not isinstance(data, dict):
        raise KkwarmError(f"{path}: {_kind(data)}, not a table of settings")
    lines: dict[Place, int] = {}

    def walk(node: Any, place: Place) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                lines[*place, str(key.value)] = key.start_mark.line + 1
                walk(value, (*place, str(key.value)))
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                lines[*place, i] = value.start_mark.line + 1
                walk(value, (*place, i))

    try:
        walk(root, ())
    except RecursionError:
        raise KkwarmError(f"{path}: an alias holds itself") from None
    return data, lines


# -- building ----------------------------------------------------------------------------------------------------------


def build(
    cls: type[T], data: Mapping[str, Any], where: str, *, place: Place = (), problems: Problems | None = None
) -> T:
    """An instance of the dataclass `cls` from `data`.

    :param where: name of the file or command, for messages.
    :param place: where `data` stands in it.
    :param problems: collects problems of several builds; without it, this build raises its own.
    :raises ConfigError: unknown keys (near names offered), wrong types, values out of range, missing keys: all at once.
    """
    mine = problems or Problems(where)
    before = len(mine.found)
    values = _values(cls, data, place, mine)
    made: Any = None
    if len(mine.found) == before:
        try:
            made = cls(**values)
        except (ValueError, KkwarmError) as err:
            mine.add(place, str(err))
    if problems is None:
        mine.end()
    return typing.cast(T, made)


def _values(cls: Any, data: Mapping[str, Any], place: Place, problems: Problems) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    values: dict[str, Any] = {}
    for key, raw in data.items():
        name = str(key).replace("-", "_")
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            known = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(fields))}"
            problems.add((*place, key), f"unknown key; {known}")
            continue
        count = len(problems.found)
        value = _convert(hints[name], raw, (*place, key), problems)
        if len(problems.found) == count:
            values[name] = value
            _in_range(fields[name].metadata, value, (*place, key), problems)
    for name, f in fields.items():
        needed = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if needed and name not in {str(k).replace("-", "_") for k in data}:
            problems.add((*place, name), "is missing")
    return values


def _in_range(limits: Mapping[str, Any], value: Any, place: Place, problems: Problems) -> None:
    if value is None or not isinstance(value, int | float):
        return
    if "min" in limits and value < limits["min"]:
        problems.add(place, f"{shorten(value)} is too small; at least {limits['min']}")
    if "max" in limits and value > limits["max"]:
        problems.add(place, f"{shorten(value)} is too large; at most {limits['max']}")


def _convert(hint: Any, raw: Any, place: Place, problems: Problems) -> Any:
    """`raw` as the type `hint`; a problem is added where it is none."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return raw
    if origin in (Union, types.UnionType):
        return _convert_union(hint, raw, place, problems)
    if origin is Literal:
        options = typing.get_args(hint)
        if raw not in options:
            near = difflib.get_close_matches(str(raw), [str(o) for o in options], n=1)
            tail = f"; did you mean {near[0]}?" if near else ""
            problems.add(place, f"{raw!r} is not one of {', '.join(map(str, options))}{tail}")
        return raw
    if dataclasses.is_dataclass(hint):
        if isinstance(raw, Mapping):
            return build(typing.cast(type, hint), raw, problems.where, place=place, problems=problems)
        return _wrong("a table", raw, place, problems)
    if origin in (tuple, list, Sequence) or hint in (tuple, list):
        return _convert_list(hint, origin or hint, raw, place, problems)
    if origin in (dict, Mapping) or hint in (dict, Mapping):
        if not isinstance(raw, Mapping):
            return _wrong("a table", raw, place, problems)
        inner = (typing.get_args(hint) or (str, Any))[1]
        return {str(k): _convert(inner, v, (*place, str(k)), problems) for k, v in raw.items()}
    return _convert_plain(hint, raw, place, problems)


def _convert_union(hint: Any, raw: Any, place: Place, problems: Problems) -> Any:
    options = typing.get_args(hint)
    if raw is None and type(None) in options:
        return None
    tries = [o for o in options if o is not type(None)]
    first: list[str] = []
    for option in tries:
        trial = Problems(problems.where, problems.lines)
        value = _convert(option, raw, place, trial)
        if not trial.found:
            return value
        first = first or trial.found
    if len(tries) == 1:
        problems.found.extend(first)
    else:
        _wrong(" or ".join(_named(o) for o in tries), raw, place, problems)
    return raw


def _convert_list(hint: Any, kind: Any, raw: Any, place: Place, problems: Problems) -> Any:
    if not isinstance(raw, list | tuple):
        return _wrong("a list", raw, place, problems)
    wanted = typing.get_args(hint)
    if kind is tuple and wanted and Ellipsis not in wanted and len(raw) != len(wanted):
        return _wrong(f"a list of {len(wanted)}", raw, place, problems)
    inner = next((a for a in wanted if a is not Ellipsis), Any)
    items = [_convert(inner, item, (*place, i), problems) for i, item in enumerate(raw)]
    return items if kind is list else tuple(items)


def _convert_plain(hint: Any, raw: Any, place: Place, problems: Problems) -> Any:
    if hint is float and isinstance(raw, int | float) and not isinstance(raw, bool):
        finite = abs(raw) <= sys.float_info.max
        return float(raw) if finite else _wrong("a finite number", raw, place, problems)
    if hint is float and isinstance(raw, str) and re.fullmatch(r"[+-]?\d+(\.\d+)?[eE][+-]?\d+", raw):
        return float(raw)  # YAML 1.1 reads 1e-6 as text
    if hint is int and isinstance(raw, int) and not isinstance(raw, bool):
        return raw if abs(raw) < 2**63 else _wrong("a whole number of 64 bits", raw, place, problems)
    if hint is bool and isinstance(raw, bool):
        return raw
    if hint is str and isinstance(raw, str):
        return raw
    if hint is Path and isinstance(raw, str | Path):
        return Path(raw)
    if isinstance(hint, type) and hint not in (int, float, bool, str, Path) and isinstance(raw, hint):
        return raw
    return _wrong(_named(hint), raw, place, problems)


def _wrong(wanted: str, raw: Any, place: Place, problems: Problems) -> Any:
    problems.add(place, f"must be {wanted}, not {_kind(raw)}")
    return raw


def _named(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    return names.get(hint) or str(getattr(hint, "__name__", hint))


def _kind(raw: Any) -> str:
    if isinstance(raw, bool | int | float | str):
        return shorten(raw)
    return {dict: "a table", list: "a list", type(None): "nothing"}.get(type(raw), type(raw).__name__)


def _shown(place: Place) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text
