"""Writes the reference sections of the pages from docstrings and signatures: ``python docs/reference.py``.

A page has a section between ``<!-- reference: kkwarm.api.score -->`` and ``<!-- end of reference -->``. Names of members
may follow the name of a class; a module stands for all its public names. The text is plain Markdown, so that it can be
read on GitHub too. After a hook, the code of the first built-in plugin that implements it is shown.
"""

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

PAGES = Path(__file__).parent / "pages"
MARK = re.compile(r"(<!-- reference: ([\w.]+)([\w ]*) -->\n).*?(<!-- end of reference -->)", re.S)
PLUGINS = ("kkwarm_kk", "kkwarm_math", "kkwarm_humaneval_plus", "kkwarm_bridges")
WIDTH = 96


def render(page: Path) -> str:
    """The page with its reference sections written anew."""
    return MARK.sub(lambda m: f"{m[1]}\n{section(m[2], m[3].split())}\n\n{m[4]}", page.read_text("utf-8"))


def section(path: str, members: list[str]) -> str:
    """The reference of an object, or of each public name of a module."""
    parent, _, name = path.rpartition(".")
    thing = getattr(importlib.import_module(parent), name)
    if inspect.ismodule(thing):
        return "\n\n".join(describe(getattr(thing, name), name, []) for name in public_names(thing))
    text = describe(thing, name, members)
    return f"{text}\n\n{example(name)}" if name.startswith("kkwarm_") else text


def public_names(module: Any) -> list[str]:
    """The documented classes and functions that a module defines, in the order of the file."""
    tree = ast.parse(inspect.getsource(module))
    names = [n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name[0] != "_"]
    listed = getattr(module, "__all__", names)
    return [name for name in names if name in listed and getattr(module, name).__doc__]


def describe(thing: Any, name: str, members: list[str]) -> str:
    """A heading, the signature or the fields, and the docstring."""
    if not inspect.isclass(thing):
        return f"### {name}\n\n{code(signature(thing, name))}\n\n{docstring(thing)}"
    fields, notes = read_fields(thing)
    bases = [b.__name__ for b in thing.__bases__ if is_documented(b)]
    head = f"class {name}({', '.join(bases)})" if bases else f"class {name}"
    parts = [f"### {name}", code("\n".join([f"{head}:", *fields]) if fields else head), docstring(thing), notes]
    for member in members or own_methods(thing):
        value = inspect.getattr_static(thing, member)
        if isinstance(value, property):
            parts.append(f"**`{member}`**: {docstring(value)}")
        else:
            value = getattr(thing, member)
            parts.append(f"**`{name}.{member}`**\n\n{code(signature(value, member))}\n\n{docstring(value)}")
    return "\n\n".join(part for part in parts if part)


def is_documented(base: type) -> bool:
    """Whether a base class is shown: an exception, or a public class of kkwarm."""
    return issubclass(base, BaseException) or (base.__module__.startswith("kkwarm.") and base.__name__[0] != "_")


def code(text: str) -> str:
    return f"```python\n{text}\n```"


def signature(function: Any, name: str) -> str:
    """In one line, or one line for each parameter."""
    found = inspect.signature(function)
    parameters = [p for p in found.parameters.values() if p.name not in ("self", "cls")]
    texts, kinds = [*map(declare, parameters)], [p.kind for p in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        texts.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    returns = "" if found.return_annotation is found.empty else f" -> {annotation(found.return_annotation)}"
    line = f"{name}({', '.join(texts)}){returns}"
    return line if len(line) <= WIDTH else f"{name}(\n" + "".join(f"    {t},\n" for t in texts) + f"){returns}"


def declare(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    kind = "" if parameter.annotation is parameter.empty else f": {annotation(parameter.annotation)}"
    equals = " = " if kind else "="
    default = "" if parameter.default is parameter.empty else f"{equals}{parameter.default!r}"
    return f"{stars}{parameter.name}{kind}{default}"


def annotation(kind: Any) -> str:
    return inspect.formatannotation(kind) if not isinstance(kind, str) else kind


def read_fields(cls: type) -> tuple[list[str], str]:
    """The lines that declare a class's fields, and the notes below them as a list."""
    source = textwrap.dedent(inspect.getsource(cls))
    lines, body = source.splitlines(), ast.parse(source).body[0].body  # type: ignore[attr-defined]
    fields: list[str] = []
    notes: list[str] = []
    for node, after in zip(body, [*body[1:], None], strict=True):
        target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
        if not isinstance(target, ast.Name) or target.id.startswith("_") or target.id == "model_config":
            continue
        fields += lines[node.lineno - 1 : node.end_lineno]
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            notes.append(f"- `{target.id}`: {' '.join(str(after.value.value).split())}")
    return fields, "\n".join(notes)


def own_methods(cls: type) -> list[str]:
    """The public methods and properties that a class defines and documents."""
    kinds = (property, classmethod, staticmethod)
    return [
        name
        for name, value in vars(cls).items()
        if name[0] != "_" and (inspect.isfunction(value) or isinstance(value, kinds)) and getattr(value, "__doc__", "")
    ]


def docstring(thing: Any) -> str:
    """The description, and its ``:param:`` fields as a list."""
    text, *fields = re.split(r"^:(?=(?:param|returns|raises)\b)", inspect.getdoc(thing) or "", flags=re.M)
    items = []
    for field in fields:
        kind, _, rest = field.partition(" " if not field.startswith("returns") else ":")
        name, _, meaning = rest.partition(":") if kind != "returns" else ("", "", rest)
        meaning = " ".join(meaning.split())
        label = {"param": f"`{name}`: ", "raises": f"Raises `{name}`: ", "returns": "Returns "}[kind]
        items.append(f"- {label}{meaning}")
    text = re.sub(r"``(.+?)``", r"`\1`", text.strip())
    items = [re.sub(r"``(.+?)``", r"`\1`", item) for item in items]
    return "\n\n".join(part for part in (text, "\n".join(items)) if part)


def example(hook: str) -> str:
    """The source of one implementation of a hook, with the file that it is from."""
    module = next(m for m in map(importlib.import_module, PLUGINS) if hasattr(m, hook))
    source = inspect.getsource(getattr(module, hook))
    return f'```python title="plugins/{module.__name__}/__init__.py"\n{source}```'


if __name__ == "__main__":
    for path in PAGES.glob("*.md"):
        if (text := render(path)) != path.read_text("utf-8"):
            path.write_text(text, "utf-8")
