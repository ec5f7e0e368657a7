"""Extracts code from a response: a fenced block, a complete solution, a continuation of the prompt, or code in prose.

Every step is linear in the number of lines (evalplus's `sanitize` parses every span of lines). Code that names the
function but does not parse is returned unchanged, so that Python's own error becomes the reason of the verdict.
"""

from __future__ import annotations

import ast
import re
import warnings

__all__ = ["MAX_CHARS", "extract_code"]

MAX_CHARS = 100_000
_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_STARTS = re.compile(r"(?:from|import|def|class|async|@)\b|@|[A-Za-z_]\w*\s*(?::[^=\n]+)?=[^=]")
_DROPPED_LINES = 40


def extract_code(text: str, prompt: str, entry: str, *, allow_prose: bool = True) -> str | None:
    """The code that defines `entry`, or None if there is none or the text is longer than `MAX_CHARS`.

    :param allow_prose: allow text around code that is not fenced. Off inside answer tags.
    """
    if len(text) > MAX_CHARS or not text.strip():
        return None
    text = text.replace("\r\n", "\n")
    blocks = [m.group(1) for m in _FENCE.finditer(text)] if "```" in text else []
    for block in reversed(blocks):  # models revise their code: take the last block that defines the function
        if _defines(block, entry):
            return block
    if not blocks and _defines(text, entry):
        return text
    definition = re.compile(rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{re.escape(entry)}\b", re.MULTILINE)
    for part in [*reversed(blocks), *([] if blocks else [text])]:
        if not definition.search(part):
            code = _complete_prompt(part, prompt)
        else:
            code = _code_in_prose(part, entry, definition) if allow_prose else None
        if code is not None:
            return code
    return next((part for part in [*reversed(blocks), text] if definition.search(part)), None)


def _complete_prompt(body: str, prompt: str) -> str | None:
    """The prompt with the body that continues it. Examples or prose after the body are removed if necessary."""
    lines = body.strip("\n").split("\n")
    if not lines[0].startswith((" ", "\t")):
        lines[0] = "    " + lines[0]  # formats strip the answer, including the first line's indentation
    body_end = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith((" ", "\t", "#"))), None)
    for end in [len(lines)] if body_end is None else [len(lines), body_end]:
        code = prompt + ("" if prompt.endswith("\n") else "\n") + "\n".join(lines[:end]) + "\n"
        if parse_code(code) is not None and re.search(r"\b(?:return|yield|raise|pass)\b", "\n".join(lines[:end])):
            return code
    return None


def _code_in_prose(text: str, entry: str, definition: re.Pattern[str]) -> str | None:
    """The lines of code around the definition of `entry`."""
    lines = text.split("\n")
    def_line = next(i for i, line in enumerate(lines) if definition.match(line))
    indent = len(lines[def_line]) - len(lines[def_line].lstrip())
    lines = [line[indent:] if not line[:indent].strip() else line for line in lines]
    start = def_line
    for i in range(def_line - 1, -1, -1):
        if _STARTS.match(lines[i]):
            start = i
        elif lines[i].strip() and not lines[i].startswith((" ", "\t", "#", ")", "]", "}")):
            break
    end = def_line + 1
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " \t#)]}" or _STARTS.match(lines[end])):
        end += 1
    for stop in range(end, max(def_line, end - _DROPPED_LINES), -1):
        code = "\n".join(lines[start:stop])
        if _defines(code, entry):
            return code
    return None


def _defines(code: str, entry: str) -> bool:
    tree = parse_code(code) if entry in code else None
    return tree is not None and any(_binds(node, entry) for node in tree.body)


def _binds(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name == name
    if isinstance(node, ast.Assign):
        return any(isinstance(t, ast.Name) and t.id == name for t in node.targets)
    if isinstance(node, ast.Import | ast.ImportFrom):
        return any((alias.asname or alias.name) == name for alias in node.names)
    if isinstance(node, ast.If | ast.Try):
        return any(_binds(child, name) for child in node.body)
    return False


def parse_code(code: str) -> ast.Module | None:
    """The syntax tree, or None if the code does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
