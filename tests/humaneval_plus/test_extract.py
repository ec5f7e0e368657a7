# ruff: noqa: E501  (a program a line reads better than a page of them)
"""Extraction of code from responses."""

import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kkwarm.verify.code import MAX_CHARS, extract_code

PROMPT = 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """ Sum of xs.\n    >>> total([1])\n    1\n    """\n'
BODY = "    result = 0\n    for x in xs:\n        result += x\n    return result\n"
WHOLE = PROMPT + BODY


def answer(code: str | None) -> object:
    assert code is not None
    space: dict[str, object] = {}
    exec(code, space)
    return space["total"]([1, 2, 3])  # type: ignore[operator]


FORMS = {
    "whole": WHOLE,
    "whole, stripped": WHOLE.strip(),
    "whole, Windows line ends": WHOLE.replace("\n", "\r\n"),
    "fenced": f"Here it is:\n\n```python\n{WHOLE}```\nIt adds them up.",
    "fenced, no language": f"```\n{WHOLE}```",
    "fenced, unclosed": f"Sure.\n```python\n{WHOLE}",
    "fenced, indented": f"1. Code:\n   ```python\n{WHOLE}   ```",
    "fenced, then usage": f"```python\n{WHOLE}```\nUse it:\n```python\nprint(total([1]))\n```",
    "fenced twice, revised": f"```python\ndef total(xs): return 0\n```\nBetter:\n```python\n{WHOLE}```",
    "fenced output before": f"```\n>>> total([1])\n1\n```\n```python\n{WHOLE}```",
    "body": BODY,
    "body, stripped": BODY.strip(),
    "body, then prose": BODY + "\nThis adds up the numbers.\n",
    "body, then another function that is broken": BODY + "\ndef main(:\n    pass\n",
    "body, fenced": f"```python\n{BODY}```",
    "prose around": f"The solution is:\n{WHOLE}\nThat is all there is to it!",
    "helper before": "def add(a, b):\n    return a + b\n\ndef total(xs):\n    t = 0\n    for x in xs:\n        t = add(t, x)\n    return t\n",
    "helper before, prose around": "I need a helper.\n\ndef add(a, b):\n    return a + b\n\ndef total(xs):\n    t = 0\n    for x in xs:\n        t = add(t, x)\n    return t\n\nDone.",
    "lambda": "total = lambda xs: sum(xs)",
    "import under its name": "from math import fsum\ndef total(xs):\n    return int(fsum(xs))",
    "with a test at the end": WHOLE + "\nassert total([1, 2]) == 3\n",
    "fenced, in unknown tags": f"<final>\n```python\n{WHOLE}```\n</final>",
    "fenced, quoted": "> ```python\n" + textwrap.indent(WHOLE, "> ", lambda _: True) + "> ```\n",
    "fenced, file name": f"```python:total.py\n{WHOLE}```",
    "fenced, file name as a word": f"```python total.py\n{WHOLE}```",
    "fenced, begun on the line of the fence": "```import math\ndef total(xs):\n    return int(math.fsum(xs))\n```",
    "fenced, begun behind the language": "```python from math import fsum\ndef total(xs):\n    return int(fsum(xs))\n```",
    "fenced, BOM inside": f"```python\n\ufeff{WHOLE}```",
    "fenced, a fence in its docstring": '```python\ndef total(xs):\n    """Sum:\n\n```\n>>> total([1])\n1\n```\n    """\n    return sum(xs)\n```',
    "fenced, a fence in its strings": "x = '''\n```python\ndef total(xs): return 0\n```\n'''\n" + WHOLE,
    "fenced, wrapped by a second block": f"```python\n{WHOLE}```\nFaster:\n```python\nfrom functools import lru_cache\ntotal = lru_cache(None)(total) if 0 else total\n```",
    "fenced, unclosed, then prose": f"```python\n{WHOLE}\nThis adds them up.\n- It is short.\n",
    "fenced twice without a close": f"```\nplan: add them\n\n```python\n{WHOLE}```",
    "bare behind a fenced example": f"```\n>>> total([1])\n1\n```\nThe code:\n\n{WHOLE}",
    "helper, sentence, function": "First a helper:\n\ndef plus(a, b):\n    return a + b\n\nNow the function:\n\ndef total(xs):\n    t = 0\n    for x in xs:\n        t = plus(t, x)\n    return t\n",
    "Markdown behind": WHOLE + "\n---\n| xs | sum |\n|---|---|\n*Note*: it adds.\n(That is all.)\n",
    "tags with prose around": f"Here it is:\n<code>\n{WHOLE}</code>\nIt adds them.",
    "tags of CodeLlama": f"[PYTHON]\n{WHOLE}[/PYTHON]",
    "tags of MBPP": f"[BEGIN]\n{WHOLE}[DONE]",
    "complexity behind": WHOLE + "\nTime complexity: O(n)\nSpace complexity: O(1)\n",
    "list behind": WHOLE + "\n1. It adds them.\n2. It returns the sum.\n",
    "sentence with code behind": WHOLE + "\n`total` returns the sum, that\u2019s all.\n",
    "Chinese around": f"\u4ee3\u7801\u5982\u4e0b\uff1a\n{WHOLE}\n\u8fd9\u5c31\u662f\u7b54\u6848\u3002",
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_correct_form_is_extracted(form: str) -> None:
    assert answer(extract_code(FORMS[form], "total", prompt=PROMPT)) == 6


@pytest.mark.parametrize(
    "text", ["", "   \n", "I do not know.", "6", "The answer is to add the numbers.", "```python\n```", "```\nprint(1)\n```",
             "def another(xs):\n    return 0", "x" * (MAX_CHARS + 1)],
)  # fmt: skip
def test_texts_without_code(text: str) -> None:
    assert extract_code(text, "total", prompt=PROMPT) is None


def test_prose_beside_code_is_not_ignored_inside_tags() -> None:
    for text in (f"not {WHOLE}", f"It is false that {WHOLE}", f"The solution is:\n{WHOLE}"):
        code = extract_code(text, "total", prompt=PROMPT, allow_prose=False)
        with pytest.raises(SyntaxError):
            compile(code or "(", "", "exec")
    assert (
        answer(extract_code(f"The solution is:\n```python\n{WHOLE}```", "total", prompt=PROMPT, allow_prose=False)) == 6
    )
    assert answer(extract_code(BODY.strip(), "total", prompt=PROMPT, allow_prose=False)) == 6


@pytest.mark.parametrize(
    "text",
    [
        "def outer():\n    def total(xs):\n        return sum(xs)\n",
        "class Solution:\n    @staticmethod\n    def total(xs):\n        return sum(xs)\n",
        "x = '''\nThe idea:\n\ndef total(xs):\n    return sum(xs)\n\nThat is it.\n'''\n",
        f"```python\n%timeit 1\n{WHOLE}```",
        f"```python\n{WHOLE}\n!pip install numpy\n```",
        f"x = (\n{WHOLE}",
        f"```python\n{WHOLE}\nThis adds them up.\n```",
        f"{WHOLE}\nprint total([1])\n",
        f"{WHOLE}\nX, y = (\n",
    ],
)  # fmt: skip
def test_no_line_of_a_program_is_dropped(text: str) -> None:
    with pytest.raises((SyntaxError, KeyError)):
        answer(extract_code(text, "total", prompt=PROMPT))


def test_the_prompt_provides_the_functions_that_an_answer_lacks() -> None:
    prompt = "import math\n\nhalf = 0.5\n\ndef root(x):\n    return math.sqrt(x) + half\n\n\ndef total(xs):\n    pass\n"
    code = "from __future__ import annotations\ndef total(xs):\n    return int(root(36) * 2 - 7)\n"
    assert answer(extract_code(code, "total", prompt=prompt)) == 6
    assert extract_code(code + "def root(x): return x\n", "total", prompt=prompt) == code + "def root(x): return x\n"


def test_code_that_does_not_parse_is_returned_for_pythons_error() -> None:
    text = "```python\ndef total(xs):\n    return (1\n```"
    assert extract_code(text, "total", prompt=PROMPT) == "def total(xs):\n    return (1\n"


def test_a_text_with_a_control_character_is_no_program() -> None:
    assert extract_code(f"{WHOLE}# \x0b\n", "total", prompt=PROMPT) is None


def test_a_function_in_the_reasoning_is_ignored() -> None:
    assert extract_code("def total_of(xs):\n    return 0", "total", prompt=PROMPT) is None


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=300))
def test_extraction_never_fails(text: str) -> None:
    code = extract_code(text, "total", prompt=PROMPT)
    assert code is None or isinstance(code, str)


@pytest.mark.parametrize(
    "text",
    ["\0" * 5000, "def total(xs):\n    return " + "(" * 5000, "\ud800def total(xs): return 1", "def total(xs):\n" + "    x\n" * 10_000,
     "def total(xs): return " + "-" * 50_000 + "1", "def total(xs): return " + "1+" * 30_000 + "1", "```python\n" * 5000,
     "import a\n" * 8000 + "def total(xs): return )", "```python\n(\n```\n" * 5000, "Then it is:\n" * 4000 + "def total(xs):\n    return )"],
    ids=range(10),
)  # fmt: skip
def test_adversarial_text_takes_little_time(text: str) -> None:
    started = time.process_time()
    extract_code(text, "total", prompt=PROMPT)
    assert time.process_time() - started < 5.0
