"""Extracts code from a response: a fenced block, a complete solution, a body that continues it, code in prose.

Markdown is parsed as CommonMark by markdown-it-py. A line that belongs to the program is never dropped: code that does
not parse is returned unchanged, so that Python's own error becomes the reason of the verdict.
"""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

__all__ = ["MAX_CHARS", "extract_code", "extract_program"]

MAX_CHARS = 100_000
_FENCE = re.compile(r"```|~~~")
_INLINE_FENCE = re.compile(
    r"^(?P<prose>[^\n`~]*[^\W\d_][^\n`~]*)[ \t]+(?P<fence>(?:```+|~~~+)[ \t]*[A-Za-z0-9_+-]*)[ \t]*$", re.MULTILINE
)
_FENCE_LINE = re.compile(r"^[ \t]{0,3}(?:```|~~~).*$", re.MULTILINE)
_OPENING_FENCE = re.compile(r"^[ \t]*(?:```+|~~~+)[ \t]*\w.*\n", re.MULTILINE)
_CLOSED_ON_LAST_LINE = re.compile(r"(?<=\S)(?:```+|~~~+)[ \t]*(?=\n|\Z)")
# Tags in the place of a fence. CodeLlama writes [PYTHON] [/PYTHON], the prompts of MBPP [BEGIN] [DONE].
_TAGS = re.compile(
    r"^[ \t]*(?:<(?P<tag>code|python|pre|solution)>(?P<a>.*?)</(?P=tag)>"
    r"|\[(?:PYTHON|BEGIN)\](?P<b>.*?)\[(?:/PYTHON|DONE)\])",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
# A fence in a list whose lines are not indented, which CommonMark ends at its first line.
_LOOSE_FENCE = re.compile(r"^[ \t]+```[^\n`]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)
_LANGUAGE_LINE = re.compile(r"^(?:python|python3|py)[ \t]*\n(?=(?:from|import|def|class|@|#|\n))", re.MULTILINE)
_PYTHON = ("", "python", "py", "pypy")
_MAX_FENCES = 20  # tries to find the end of a block with fences in its strings
# A line of code that no sentence is.
_LIKE_CODE = re.compile(
    r"^(?:import \w+|from \w+ import\b|def \w+\(|class \w+[(:]|print ?\(|\w+ ?= ?\S|(?:for|while|if|with|try)\b.*:$)",
    re.MULTILINE,
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff]")
# Sentences, list items, headings and tags: a statement of Python has no two names beside each other.
_PROSE = re.compile(
    r"[A-Za-z][A-Za-z',-]*(?:[ \t]+[A-Za-z][A-Za-z',-]*){2,}|[A-Z][a-z]*(?:[ \t]+[a-z]+)?[.!?:]\s*\Z"
    r"|[(*_]*(?!None|True|False)[A-Z][\w'\u2019`*-]*[:;!]?[ \t]+(?!(?:and|else|for|if|in|is|not|or)\b)[`\"(*_]*[A-Za-z]"
    r"|(?:[*+\u2022>-]|\d+[.)])[ \t]+\S|[`|\u0080-\U0010ffff]|\*\*|~~~|[-*=]{3,}\s*\Z|</?[A-Za-z|_]+>\s*\Z"
)


def extract_code(text: str, entry: str, *, prompt: str = "", allow_prose: bool = True) -> str | None:
    """The program that defines `entry`, or None if there is none or the text is longer than `MAX_CHARS`.

    :param prompt: the code that the response continues. It completes a body, and provides the names that it imports.
    :param allow_prose: allow text around code that is not fenced. Off inside answer tags.
    """
    text = _clean(text)
    if not text:
        return None
    blocks = [code for _, code in _blocks(text)]
    if not any(entry in block for block in blocks):
        blocks += [found[1] for found in _LOOSE_FENCE.finditer(text)]
    named = re.compile(rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{re.escape(entry)}\b", re.MULTILINE)
    blocks = [textwrap.dedent(block) if named.search(block) else block for block in blocks]
    for imported in (False, True):  # a block that only imports the function is a test of it, unless there is no other
        for i in range(len(blocks) - 1, -1, -1):
            if _defines(blocks[i], entry, imported=imported):
                return _with_context(_with_helpers(blocks, i), prompt, entry)
    if not blocks and _defines(text, entry, imported=True):
        return _with_context(text, prompt, entry)
    parts = [*reversed(blocks), *_unfenced(text)]
    for part in parts:
        code = None
        if not named.search(part):
            code = _complete_prompt(part, prompt, entry) if prompt else None
        elif allow_prose and part not in blocks and (code := _code_in_prose(part, entry, named)) is not None:
            code = _with_context(code, prompt, entry)
        if code is not None:
            return code
    return next((part for part in parts if named.search(part) and not _CONTROL.search(part)), None)


def extract_program(text: str, *, tagged: bool = True) -> str | None:
    """The program of a response: its last fenced block that is a program, or all of it. None if there is none, or the
    text is longer than `MAX_CHARS`.

    A program parses, and calls something. One that defines every name that it uses, perhaps by the definitions of other
    blocks, is preferred, since the others are usually examples of how to use it. So is one that does more than define.
    Blocks of another language than Python do not count.

    :param tagged: tags delimit the answer. A text without a fence then counts even if it does not parse.
    """
    text = _clean(text)
    blocks = [(language, code) for language, code in _blocks(text) if language in _PYTHON]
    codes = [code for _, code in blocks]
    programs = [_with_helpers(codes, i) for i, code in enumerate(codes) if _calls_something(code)]
    if programs:
        complete = [code for code in programs if _is_complete(code)]
        return next((code for code in reversed(complete) if not _only_defines(code)), [*programs, *complete][-1])
    if _FENCE.search(text):
        code = next((code for language, code in reversed(blocks) if language), "")
    else:
        code = text if _calls_something(text) or (tagged and _LIKE_CODE.search(text)) else ""
    return code if code and not _CONTROL.search(code) else None


def _clean(text: str) -> str:
    """The text with one kind of line ends; empty if it is longer than `MAX_CHARS`."""
    text = text.replace("\r\r\n", "\n").replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    if len(text) > MAX_CHARS or not text.strip():
        return ""
    return _LANGUAGE_LINE.sub("", text, count=1)


@lru_cache(maxsize=1)
def _markdown() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").disable("html_block")  # it would end at an empty line only, and hide fences


# -- Markdown -----------------------------------------------------------------------------------------------------


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """The language (in lower case, empty where none is named) and the content of each block between fences, or where
    there is no fence, between tags, in order.
    """
    if not _FENCE.search(text):
        yield from (("", found["a"] or found["b"] or "") for found in _TAGS.finditer(text))
        return
    if parse_code(text) is not None:  # the fences are in strings and comments
        return
    text = _INLINE_FENCE.sub(lambda m: f"{m['prose']}\n\n{m['fence']}", text)
    lines, used, tries = text.split("\n"), 0, _MAX_FENCES
    for token in _markdown().parse(text):
        if token.type != "fence" or not token.content.strip() or token.map[0] < used:
            continue
        info, content = token.info.strip(), token.content.removeprefix("\ufeff")
        # An opening fence without a closing one reaches to the end: the closing one stands behind the last line.
        last = content.rstrip()
        if (
            _FENCE.search(last)
            and (closed := _CLOSED_ON_LAST_LINE.search(last)) is not None
            and closed.end() == len(last)
        ):
            content = last[: closed.start()] + "\n"
        first, used = token.map
        found = re.match(r"\W*([a-z]*)", info.lower())
        language = found[1] if found is not None else ""
        if parse_code(content) is None:
            # Either an opening fence inside it shows that its own was not closed, or a fence in a string has ended it.
            if parse_code(inner := _OPENING_FENCE.split(content)[-1]) is not None:
                content = inner
            elif language in _PYTHON and language:
                ends = (i for i in range(used, len(lines)) if lines[i].strip() == token.markup)
                for end in islice(ends, tries):
                    tries -= 1
                    if parse_code(longer := "\n".join([*lines[first + 1 : end], ""])) is not None:
                        used, content = end + 1, longer
                        break
        code = next((code for code in (info, info.partition(" ")[2]) if _begins_with_statement(code, content)), None)
        yield "" if code == info else language, content if code is None else f"{code}\n{content}"


def _begins_with_statement(code: str, rest: str) -> bool:
    """Whether what stands on the line of a fence is the beginning of the code, and no name of a language or file."""
    tree = parse_code(f"{code}\n{rest}") if code else None
    return tree is not None and bool(tree.body) and not isinstance(tree.body[0], ast.Expr | ast.AnnAssign)


def _unfenced(text: str) -> Iterator[str]:
    """The parts of the text outside fences, the last one first, and what stands behind a fence that is not closed."""
    closed = None if _FENCE_LINE.search(text) else _CLOSED_ON_LAST_LINE.search(text)
    parts = _FENCE_LINE.split(text if closed is None else text[: closed.start()])
    outside = [*parts[::2], *parts[len(parts) - 1 + len(parts) % 2 :]]
    yield from (part for part in reversed(outside) if part.strip())


# -- complete programs -----------------------------------------------------------------------------------------------


def _with_helpers(blocks: Sequence[str], at: int) -> str:
    """A block, after the definitions of other blocks that it uses and lacks."""
    missing = _missing_names(blocks[at])
    before: list[str] = []
    for i in range(len(blocks) - 1, -1, -1):  # a definition uses what stands above it
        if i == at or not missing or not _only_defines(blocks[i]):
            continue
        tree = parse_code(blocks[i])
        if tree is not None and missing & {name for n in tree.body for name in _bound(n)}:
            before.insert(0, blocks[i])
            missing |= _missing_names(blocks[i])
    return "\n".join([*before, blocks[at]])


_DEFINITIONS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
)


def _with_context(code: str, prompt: str, entry: str) -> str:
    """The program with the imports and functions of the prompt that it uses and lacks."""
    tree, program = parse_code(prompt + "\n    pass\n"), parse_code(code)
    if tree is None or program is None:
        return code
    given = [n for n in tree.body if isinstance(n, _DEFINITIONS) and entry not in _bound(n)]
    needed: set[int] = set()
    missing = _missing_names(code)
    for i in range(len(given) - 1, -1, -1):  # a function uses what stands above it
        if missing & set(_bound(given[i])):
            needed.add(i)
            missing |= _missing_names(ast.unparse(given[i]))
    if not needed:
        return code
    future = [n for n in program.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    at = (future[-1].end_lineno or 0) if future else 0
    rows = code.split("\n")
    return "\n".join([*rows[:at], *(ast.unparse(given[i]) for i in sorted(needed)), *rows[at:]])


def _missing_names(code: str) -> set[str]:
    tree = parse_code(code)
    if tree is None:
        return set()
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    given = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    given |= {
        a.arg for n in ast.walk(tree) if isinstance(n, ast.arguments) for a in (*n.posonlyargs, *n.args, *n.kwonlyargs)
    }
    given |= {name for n in ast.walk(tree) if isinstance(n, ast.stmt) for name in _bound(n)}
    given |= {
        n.name for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and n.name
    }
    return used - given - set(dir(builtins))


def _is_complete(code: str) -> bool:
    """Whether a program defines every name that it uses, or imports all names of a module."""
    return not _missing_names(code) or re.search(r"^[ \t]*from .* import \*", code, re.MULTILINE) is not None


def _bound(node: ast.stmt) -> Iterator[str]:
    """The names that a statement binds at its own level."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.With):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if target is not None:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)


def _defines(code: str, entry: str, *, imported: bool) -> bool:
    tree = parse_code(code) if entry in code or not code.isascii() else None
    return tree is not None and any(_binds(node, entry, imported) for node in tree.body)


def _binds(node: ast.stmt, name: str, imported: bool) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return imported and name in _bound(node)
    if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
        return any(_binds(child, name, imported) for child in (*node.body, *getattr(node, "orelse", ())))
    if isinstance(node, ast.FunctionDef) and node.name == name:
        return not _is_stub(node)
    if isinstance(node, ast.Assign) and name in _names_used_now(node.value):
        return False
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.NamedExpr):
        return node.value.target.id == name
    return name in _bound(node)


def _names_used_now(node: ast.AST) -> Iterator[str]:
    """The names that an expression reads, but for those in functions that it makes."""
    if isinstance(node, ast.Name):
        yield node.id
    elif not isinstance(node, ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _names_used_now(child)


def _only_defines(code: str) -> bool:
    tree = parse_code(code)
    return tree is not None and all(
        isinstance(n, _DEFINITIONS) or (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
        for n in tree.body
    )


def _calls_something(code: str) -> bool:
    tree = parse_code(code)
    return tree is not None and any(isinstance(node, ast.Call) for node in ast.walk(tree))


def _is_stub(node: ast.FunctionDef) -> bool:
    """Whether a function has no body but a docstring and ``...`` or ``pass``."""
    return all(
        isinstance(n, ast.Pass) or (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)) for n in node.body
    )


def parse_code(code: str) -> ast.Module | None:
    """The syntax tree, or None where the code does not parse or has a control character."""
    if _CONTROL.search(code):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


# -- bodies, and code between sentences ---------------------------------------------------------------------------


def _complete_prompt(body: str, prompt: str, entry: str) -> str | None:
    """The prompt with the body that continues it, as it is, or indented where the response has none.

    What follows the body on the first level (examples, prose) is no part of it.
    """
    lines = body.strip("\n").split("\n")
    start = prompt + ("" if prompt.endswith("\n") else "\n")
    shifted = [("    " if lines[0][:1] not in " \t" else "") + lines[0], *lines[1:]]  # formats strip the first line
    outside = next((i for i, line in enumerate(shifted) if line.strip() and line[0] not in " \t#"), None)
    candidates = [shifted] if outside is None else [shifted, shifted[:outside]]
    if lines[0][:1] not in " \t":
        candidates.insert(0, textwrap.indent("\n".join(lines), "    ").split("\n"))
    for candidate in candidates:
        code = start + "\n".join(candidate) + "\n"
        if _has_body(code, entry):
            return code
    return None


def _has_body(code: str, entry: str) -> bool:
    """Whether the function has statements that end it, other than those of functions inside it."""
    tree = parse_code(code)
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == entry] if tree else []
    pending: list[ast.AST] = list(functions[-1].body) if functions else []
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Return | ast.Raise | ast.Pass | ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            pending.extend(ast.iter_child_nodes(node))
    return False


def _code_in_prose(text: str, entry: str, named: re.Pattern[str]) -> str | None:
    """The statements around the definition of `entry`, up to the first sentence before and behind them. None where they
    do not parse, and where all of the text is a program, in which the definition is nested or in a string.
    """
    if parse_code(text) is not None:
        return None
    lines = text.split("\n")
    at = next(i for i, line in enumerate(lines) if named.match(line))
    margin = len(lines[at]) - len(lines[at].lstrip())
    lines = [line[margin:] if not line[:margin].strip() else line for line in lines]
    starts = [i for i, line in enumerate(lines) if line.strip() and line[0] not in " \t)]}"]
    end = next((i for i in starts if i > at and _is_prose(lines[i])), len(lines))
    prose = {i for i in starts if i < at and _is_prose(lines[i])}
    whole = "\n".join(
        line for i, line in enumerate(lines[:end]) if i not in prose
    )  # a helper may stand above a sentence
    last = "\n".join(lines[max(prose, default=-1) + 1 : end])
    return next((code for code in (whole, last) if _defines(code, entry, imported=False)), None)


def _is_prose(line: str) -> bool:
    """Whether a line on the first level is a sentence, a part of Markdown or a tag, and no statement."""
    return (
        _PROSE.match(line) is not None
        and parse_code(line) is None
        and not re.match(
            r"(?:def|class)[ \t]+\w+[ \t]*[:(]"
            r"|(?:if|for|while|with|try|async|from|import|return|assert|print)\b.*[:(=]",
            line,
        )
    )
