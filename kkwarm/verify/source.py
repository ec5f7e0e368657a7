"""Hashes the code that decides verdicts. Every run records the hash, and `kkwarm verify` compares it."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from kkwarm.types import Protocol, RewardFunction, Verifier

# Registration and data do not decide verdicts; the data has its own hash.
_EXCLUDED = ("kkwarm.plugins", "kkwarm.data", "kkwarm.store")
_PLAIN = (str, bytes, int, float, type(None))
_SANDBOX = "kkwarm.verify.sandbox"  # some of its files run inside the sandbox and are not imported here


def verifier_provenance(verifier: Verifier, protocol: Protocol, reward: RewardFunction | None = None) -> dict[str, Any]:
    """Identifies a verifier, and the code of it, a protocol and a task's reward function.

    :returns: ``name`` of the verifier and, except where a source is not a file: ``code``: a hash (16 hex digits) of the
        sources of verifier, protocol, reward and judge, and of the modules that they import from their own packages and
        from kkwarm, and of the functions and plain values that are arguments of `functools.partial`. Comments,
        docstrings and formatting do not count.
        ``libraries``: the versions of all other packages that they import.
    """
    parts = [part for part in (verifier.check, verifier.precheck, verifier.check_batch, reward) if part is not None]
    roots = {_module_of(part) for part in parts}
    options = [option for part in parts for option in _options(part)]
    roots |= {module for o in options if callable(o) and not _is_standard(module := _module_of(o))}
    roots |= {type(protocol).__module__, "kkwarm.verify.judge", "kkwarm.protocols"}
    files: dict[str, Path] = {}
    libraries: set[str] = set()
    try:
        _follow_imports(roots, files, libraries)
    except OSError:  # code from an interactive session or a zip file
        return {"name": verifier.name}
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}:".encode() + _hash_syntax(files[name].read_bytes()))
    for option in options:
        digest.update(f"{_describe(option)};".encode("utf-8", "surrogatepass"))
    return {"name": verifier.name, "code": digest.hexdigest()[:16], "libraries": _versions(libraries)}


def syntax(source: bytes | str) -> str:
    """The syntax tree as text. Sources that differ only in comments, docstrings, layout, quotes and brackets are equal.

    `ast.dump` is not used, because its output depends on the version of Python.
    """
    return _dump(ast.parse(source))


@functools.cache
def _hash_syntax(source: bytes) -> bytes:
    return hashlib.sha256(syntax(source).encode("utf-8", "surrogatepass")).digest()


def _dump(value: object) -> str:
    if isinstance(value, list):
        return f"[{' '.join(_dump(part) for part in value if not _has_no_effect(part))}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    # The None of a constant is a value. Elsewhere None and [] are unused fields, which other versions may lack.
    names = value._fields[:1] if isinstance(value, ast.Constant) else value._fields
    fields = ((name, getattr(value, name, None)) for name in names)
    parts = (f"{n}={_dump(v)}" for n, v in fields if isinstance(value, ast.Constant) or (v is not None and v != []))
    return f"{type(value).__name__}({' '.join(parts)})"


def _has_no_effect(node: object) -> bool:
    """Whether a statement is a docstring, another string on its own, or ``pass``."""
    string = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return string or isinstance(node, ast.Pass)


def _module_of(part: Any) -> str:
    """The module that defines a function or callable object."""
    while isinstance(part, functools.partial):
        part = part.func
    return str(getattr(part, "__module__", None) or type(part).__module__)


def _options(part: Any) -> Iterator[Any]:
    """What a partial function passes on: functions, and plain values."""
    if isinstance(part, functools.partial):
        yield from (o for o in (*part.args, *part.keywords.values()) if callable(o) or isinstance(o, _PLAIN))
        yield from _options(part.func)


def _describe(option: Any) -> str:
    return repr(option) if isinstance(option, _PLAIN) else f"{_module_of(option)}.{getattr(option, '__qualname__', '')}"


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _follow_imports(roots: Iterable[str], files: dict[str, Path], libraries: set[str]) -> None:
    """Collects the source files of modules, and of what they import from kkwarm and from the roots' packages.

    :param libraries: receives the names of all other packages, except the standard library.
    :raises OSError: a root has no source file.
    """
    roots = list(roots)
    own = {"kkwarm"} | {name.partition(".")[0] for name in roots}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in files or any(name == prefix or name.startswith(f"{prefix}.") for prefix in _EXCLUDED):
            continue
        path = _source_file(name)
        if path is None:
            if name in roots:
                raise FileNotFoundError(name)
            continue  # an object imported from a module, not a module
        files[name] = path
        if name == _SANDBOX:
            for inner in sorted(path.parent.rglob("*.py")):
                files[f"{name}/{inner.relative_to(path.parent)}"] = inner
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for module in _imported_modules(path.read_bytes(), package):
            top = module.partition(".")[0]
            if top in own:
                waiting.append(module)
            elif not _is_standard(module):
                libraries.add(top)


def _source_file(name: str) -> Path | None:
    loaded = sys.modules.get(name)
    origin = getattr(loaded, "__file__", None)
    if loaded is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return None
        origin = spec.origin if spec is not None else None
    return Path(origin) if origin and origin.endswith(".py") and Path(origin).is_file() else None


@functools.cache
def _imported_modules(source: bytes, package: str) -> tuple[str, ...]:
    """Modules that a module of a package imports at run time; imports under ``TYPE_CHECKING`` are skipped."""
    found: dict[str, None] = {}
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.rsplit(".", node.level - 1)[0]
                base = f"{parent}.{base}" if base else parent
            found |= dict.fromkeys((base, *(f"{base}.{alias.name}" for alias in node.names)))
        elif isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case | ast.mod):  # expressions import nothing
            waiting += ast.iter_child_nodes(node)
    return tuple(found)


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _versions(tops: Iterable[str]) -> dict[str, str]:
    versions = {}
    for top in sorted(tops):
        try:
            own = metadata.distribution(top)  # most distributions have the name of their package
            versions[own.metadata["Name"]] = own.version
        except metadata.PackageNotFoundError:
            versions |= {name: metadata.version(name) for name in _distributions().get(top, ())}
    return versions
