"""What code a verdict comes from, as hashes: kept with every run, and compared by `kkwarm verify`."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from kkwarm.types import Format, Verifier

__all__ = ["verifier_provenance", "syntax"]

# Registration and data decide no verdict; the data has a hash of its own.
_APART = ("kkwarm.plugins", "kkwarm.data", "kkwarm.store")
_WHOLE = "kkwarm.verify.sandbox"  # its inner part runs as files, not by import


HashOf = Literal["syntax", "text"]


def verifier_provenance(verifier: Verifier, fmt: Format, hash_of: HashOf = "syntax") -> dict[str, Any]:
    """``code``: a hash (16 hex digits) of the sources of the verifier, the format and the judge, with all of their own
    package and of kkwarm that they import; ``libraries``: versions of the others. Empty where the source is not a file.

    :param hash_of: what two sources must share. ``syntax``: comments, docstrings and formatting do not count; kept
        beside the hash under this name. ``text``: every byte, as runs hashed it that do not say.
    """
    parts = (verifier.check, verifier.precheck, verifier.check_batch)
    roots = {_home(part) for part in parts if part is not None}
    roots |= {type(fmt).__module__, "kkwarm.verify.judge", "kkwarm.formats"}
    files: dict[str, Path] = {}
    foreign: set[str] = set()
    try:
        _follow(roots, files, foreign)
    except OSError:  # such as code that was typed in, or run from a zip file
        return {}
    digest = hashlib.sha256()
    for name in sorted(files):
        source = files[name].read_bytes()
        content = syntax(source).encode("utf-8", "surrogatepass") if hash_of == "syntax" else source
        digest.update(f"{name}:".encode() + hashlib.sha256(content).digest())
    marked = {"hash_of": hash_of} if hash_of == "syntax" else {}
    return {"code": digest.hexdigest()[:16], **marked, "libraries": _versions(foreign)}


def syntax(source: bytes | str) -> str:
    """The syntax tree as text: equal for sources that differ only in comments, docstrings, layout, quotes and brackets.

    Not `ast.dump`, whose text depends on Python's version.
    """
    return _dumped(ast.parse(source))


def _dumped(value: object) -> str:
    if isinstance(value, list):
        return f"[{' '.join(_dumped(part) for part in value if not _inert(part))}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    # A constant None is a value; elsewhere None and [] are fields that are not used, or that other versions lack.
    kept = value._fields[:1] if isinstance(value, ast.Constant) else value._fields
    named = ((name, getattr(value, name, None)) for name in kept)
    parts = (f"{n}={_dumped(v)}" for n, v in named if isinstance(value, ast.Constant) or (v is not None and v != []))
    return f"{type(value).__name__}({' '.join(parts)})"


def _inert(node: object) -> bool:
    """A statement that does nothing: a docstring, or any other string alone, or ``pass``."""
    lone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return lone or isinstance(node, ast.Pass)


def _home(part: Any) -> str:
    """The module that a function or callable object comes from."""
    while isinstance(part, functools.partial):
        part = part.func
    return str(getattr(part, "__module__", None) or type(part).__module__)


def _follow(roots: Iterable[str], files: dict[str, Path], foreign: set[str]) -> None:
    """Source files of modules by name, with those of their own package and of kkwarm that they import.

    :raises OSError: a root has no source file.
    """
    roots = list(roots)
    own = {"kkwarm"} | {name.partition(".")[0] for name in roots}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in files or any(name == apart or name.startswith(f"{apart}.") for apart in _APART):
            continue
        path = _file(name)
        if path is None:
            if name in roots:
                raise FileNotFoundError(name)
            continue  # a name that is imported from a module, not a module
        files[name] = path
        if name == _WHOLE:
            for inner in sorted(path.parent.rglob("*.py")):
                files[f"{name}/{inner.relative_to(path.parent)}"] = inner
        for found in _imported(name, path):
            top = found.partition(".")[0]
            if top in own:
                waiting.append(found)
            elif top not in sys.stdlib_module_names:
                foreign.add(top)


def _file(name: str) -> Path | None:
    loaded = sys.modules.get(name)
    origin = getattr(loaded, "__file__", None)
    if loaded is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return None
        origin = spec.origin if spec is not None else None
    return Path(origin) if origin and origin.endswith(".py") and Path(origin).is_file() else None


def _imported(name: str, path: Path) -> Iterator[str]:
    """Modules that a module imports when it runs (what only a type checker reads is left out)."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    waiting: list[ast.AST] = [ast.parse(path.read_bytes())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.rsplit(".", node.level - 1)[0]
                base = f"{parent}.{base}" if base else parent
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _versions(tops: Iterable[str]) -> dict[str, str]:
    found = {}
    for top in sorted(tops):
        try:
            own = metadata.distribution(top)  # most distributions are named as what they hold
            found[own.metadata["Name"]] = own.version
        except metadata.PackageNotFoundError:
            found |= {name: metadata.version(name) for name in _distributions().get(top, ())}
    return found
