"""Damages files as people, crashes and other tools do: wrong types, huge numbers, bad encodings, missing parts."""

import contextlib
import copy
import json
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["mutate_bytes", "mutate_file", "mutate_json", "mutate_lines"]

# Text that `json.dumps` cannot write: it replaces these strings in the dumped text.
_RAW = {
    "@deep@": "[" * 900 + "]" * 900,
    "@deeper@": '{"a":' * 60_000 + "1" + "}" * 60_000,
    "@digits@": "9" * 5_000,
    "@overflow@": "1e999",
    "@repeated@": '{"a": 1, "a": 2}',
}
NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, -7, 2**31, 2**32, 2**53, 2**63, 2**64, 10**30, 10**400, -(10**400)),
    *(0.0, -0.0, 0.5, -0.5, 1.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", "x", "0", "-1", "nan", "inf", "1e999", "\ud800", "\x00", "\x1b[2J", "é", "\u2028", "a" * 3_000, "a\nb"),
    *("/", "..", "../..", "/etc/passwd", "/dev/zero", ".", "~nosuchuser", "lm_eval:x", "kk:99", "mini_math", "correct"),
    *([], [None], [[]], [0], ["x"], [1, "x", None], {}, {"": None}, {"a": {"b": []}}, {"name": 3}),
    *_RAW,
)
Place = tuple[Any, ...]


def mutate_file(rng: random.Random, name: str, content: bytes) -> bytes:
    """`content` with one to three faults, by the kind of file: JSON, JSON lines, otherwise text."""
    mutate = {".jsonl": mutate_lines, ".json": mutate_json}.get(Path(name).suffix, mutate_text)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        try:
            content = (mutate_bytes if rng.random() < 0.15 else mutate)(rng, content)
        except RecursionError:  # an earlier fault nested the document too deeply for this program, too
            return content
    return content


def mutate_bytes(rng: random.Random, content: bytes) -> bytes:
    """Truncates, overwrites, repeats, inserts or removes bytes."""
    at = rng.randrange(len(content) + 1)
    end = min(len(content), at + rng.choice((1, 2, 10, 200)))
    choices: tuple[Callable[[], bytes], ...] = (
        lambda: content[:at],
        lambda: content[at:],
        lambda: content[:at] + content[end:],
        lambda: content[:at] + content[at:end] * 3 + content[end:],
        lambda: content[:at] + rng.choice((b"\xff", b"\x00", b"\xed\xa0\x80", b"\n", b"\r", b'"', b"{", b"\\ud800"))
        + content[end:],
        lambda: content[:at] + bytes(rng.randrange(256) for _ in range(8)) + content[at:],
        lambda: b"",
        lambda: content.decode("utf-8", "replace").encode("utf-16"),
        lambda: b"\xef\xbb\xbf" + content,
    )  # fmt: skip
    return rng.choice(choices)()


def mutate_json(rng: random.Random, content: bytes) -> bytes:
    """Changes one place of a JSON document; bytes where it cannot be parsed."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return mutate_bytes(rng, content)
    return dump(rng, mutate_tree(rng, document)).encode("utf-8", "surrogatepass")


def mutate_lines(rng: random.Random, content: bytes) -> bytes:
    """Changes, repeats, swaps or removes lines of a JSON-lines file. Lines with a checksum get the right one."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return b"{}\n"
    at = rng.randrange(len(lines))
    kind = rng.random()
    if kind < 0.7:
        lines[at] = _mutate_line(rng, lines[at])
    elif kind < 0.78:
        lines.insert(at, lines[rng.randrange(len(lines))])
    elif kind < 0.84:
        del lines[at]
    elif kind < 0.9:
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif kind < 0.95:
        lines.insert(at, rng.choice((b"\n", b"{}\n", b"[]\n", b"null\n", b"7\n", b'"x"\n', b"\xff\n")))
    else:
        lines = [_mutate_line(rng, line) for line in lines]
    return b"".join(lines)


def _mutate_line(rng: random.Random, line: bytes) -> bytes:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return mutate_bytes(rng, line)
    if not (isinstance(row, dict) and set(row) == {"crc", "sample"}) or rng.random() < 0.05:
        return dump(rng, mutate_tree(rng, row)).encode("utf-8", "surrogatepass") + b"\n"
    body = mutate_tree(rng, row["sample"])
    text = dump(None, body)
    with contextlib.suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), ensure_ascii=True, separators=(",", ":"))
    return f'{{"crc":{zlib.crc32(text.encode())},"sample":{text}}}\n'.encode()


def mutate_tree(rng: random.Random, document: Any) -> Any:
    """A copy of the document in which one value is replaced, removed, renamed, repeated or copied elsewhere."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    if not places or rng.random() < 0.02:
        return rng.choice(NASTY)
    # Shallow places are few but decide most, so each depth has the same chance.
    depth = rng.choice(sorted({len(p) for p in places}))
    path = rng.choice([p for p in places if len(p) == depth])
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    key, kind = path[-1], rng.random()
    if kind < 0.62:
        parent[key] = copy.deepcopy(rng.choice(NASTY))
    elif kind < 0.75:
        del parent[key]
    elif kind < 0.82:
        other = rng.choice(places)
        value: Any = document
        for part in other:
            value = value[part]
        parent[key] = copy.deepcopy(value)
    elif kind < 0.88 and isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
        parent[key] = rng.choice((-parent[key], parent[key] * 10**9, str(parent[key]), parent[key] + 0.25))
    elif isinstance(parent, dict):
        name = rng.choice(("", "x", str(key).upper(), "\ud800", "/etc/passwd.toml", f"{key} "))
        parent[name] = parent.pop(key) if kind < 0.94 else copy.deepcopy(rng.choice(NASTY))
    else:
        parent.insert(key, copy.deepcopy(rng.choice((parent[key], *NASTY))))
    return document


def _places(value: Any, path: Place = ()) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def dump(rng: random.Random | None, document: Any) -> str:
    """The document as JSON, with the parts that `json.dumps` cannot write."""
    text = json.dumps(document, ensure_ascii=rng is None or rng.random() < 0.5, separators=(",", ":"))
    for mark, raw in _RAW.items():
        text = text.replace(f'"{mark}":', '"deep":').replace(f'"{mark}"', raw)
    return text


_TOKENS = (
    *("nan", "inf", "-inf", "-1", "0", "1e999", "9" * 5_000, "0x10", "1979-05-27", "07:32:00", "true", '""', '"x"'),
    *("[]", "[[]]", "{}", "{a = 1}", "[" * 2_000 + "]" * 2_000, '"\\ud800"', '"\\u0000"', "'''", '"""', "=", "#"),
    *("[a]\n", "[[a]]\n", "a.b.c = 1\n", "&a [*a]", "!!python/object:os.system x", "? x", "- ", ": ", "\t", "%", "@"),
    *("mini_math", '"/etc/passwd"', '"lm_eval:x"', "10" + "0" * 400, "é", "\ud800", "\x00"),
)


def mutate_text(rng: random.Random, content: bytes) -> bytes:
    """Replaces, removes, repeats or moves a value or line of a text such as TOML, YAML or CSV."""
    lines = content.decode("utf-8", "replace").split("\n")
    at = rng.randrange(len(lines))
    kind = rng.random()
    if kind < 0.6:
        key, separator, value = lines[at].partition(rng.choice((" = ", " = ", ": ", ",")))
        token = rng.choice(_TOKENS)
        lines[at] = f"{key}{separator}{token}" if separator and rng.random() < 0.8 else f"{token}{value}"
    elif kind < 0.7:
        del lines[at]
    elif kind < 0.8:
        lines.insert(at, lines[rng.randrange(len(lines))])
    elif kind < 0.9:
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines.insert(at, rng.choice(_TOKENS))
    return "\n".join(lines).encode("utf-8", "surrogatepass")
