"""Which code a response gives: a fenced block, a whole solution, the body that continues the prompt, code amid prose.

Every step is linear in the text's lines (evalplus's `sanitize` parses every span of lines). Code that names the
function but does not parse is returned as it is: then Python's own error is the reason for the verdict.
"""

from __future__ import annotations

import ast
import re
import warnings

__all__ = ["MAX_CHARS", "extract"]

MAX_CHARS = 100_000
_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_STARTS = re.compile(r"(?:from|import|def|class|async|@)\b|@|[A-Za-z_]\w*\s*(?::[^=\n]+)?=[^=]")
_DROPPED_LINES = 40


def extract(text: str, prompt: str, entry: str, *, amid_prose: bool = True) -> str | None:
    """The code that defines `entry`, or None where there is none (or it is longer than 100,000 characters).

    Without `amid_prose`, text beside code that is not fenced is not passed over (inside answer tags: nothing but the
    answer belongs there).
    """
    if len(text) > MAX_CHARS or not text.strip():
        return None
    text = text.replace("\r\n", "\n")
    blocks = [m.group(1) for m in _FENCE.finditer(text)] if "```" in text else []
    for block in reversed(blocks):  # models revise: the last block that defines the function counts
        if _defines(block, entry):
            return block
    if not blocks and _defines(text, entry):
        return text
    named = re.compile(rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{re.escape(entry)}\b", re.MULTILINE)
    for part in [*reversed(blocks), *([] if blocks else [text])]:
        if not named.search(part):
            found = _continued(part, prompt)
        else:
            found = _amid_prose(part, entry, named) if amid_prose else None
        if found is not None:
            return found
    return next((part for part in [*reversed(blocks), text] if named.search(part)), None)


def _continued(body: str, prompt: str) -> str | None:
    """The prompt with the body that continues it; what follows the body (examples, prose) is cut where it must be."""
    lines = body.strip("\n").split("\n")
    if not lines[0].startswith((" ", "\t")):
        lines[0] = "    " + lines[0]  # formats strip the answer, and with it the first line's indentation
    inside = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith((" ", "\t", "#"))), None)
    for end in [len(lines)] if inside is None else [len(lines), inside]:
        code = prompt + ("" if prompt.endswith("\n") else "\n") + "\n".join(lines[:end]) + "\n"
        if parse(code) is not None and re.search(r"\b(?:return|yield|raise|pass)\b", "\n".join(lines[:end])):
            return code
    return None


def _amid_prose(text: str, entry: str, named: re.Pattern[str]) -> str | None:
    """The lines of code around the definition of `entry`."""
    lines = text.split("\n")
    at = next(i for i, line in enumerate(lines) if named.match(line))
    margin = len(lines[at]) - len(lines[at].lstrip())
    lines = [line[margin:] if not line[:margin].strip() else line for line in lines]
    start = at
    for i in range(at - 1, -1, -1):
        if _STARTS.match(lines[i]):
            start = i
        elif lines[i].strip() and not lines[i].startswith((" ", "\t", "#", ")", "]", "}")):
            break
    end = at + 1
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " \t#)]}" or _STARTS.match(lines[end])):
        end += 1
    for stop in range(end, max(at, end - _DROPPED_LINES), -1):
        code = "\n".join(lines[start:stop])
        if _defines(code, entry):
            return code
    return None


def _defines(code: str, entry: str) -> bool:
    tree = parse(code) if entry in code else None
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


def parse(code: str) -> ast.Module | None:
    """The syntax tree, or None where the code does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
