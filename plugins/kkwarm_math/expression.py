r"""Parses an answer in LaTeX, or as a program would write it, into an expression tree.

The grammar is closed. A command, a word or a sign that is not listed here makes the text unreadable, so nothing next to
a number is ever dropped. The parser is linear in the length of the text and needs the standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from kkwarm_math.units import words

__all__ = ["Node", "Unreadable", "parse", "tokenize", "walk"]

MAX_TOKENS = 1_000
MAX_DEPTH = 60


class Unreadable(ValueError):
    """The text is outside the grammar."""


class Node(NamedTuple):
    """An expression. `kind` decides what `value` is and what the `args` mean:

    - ``number``: `value` is a `Fraction`; ``decimal``: `value` is ``(Fraction, digits after the point)``;
    - ``letter``: a variable; ``constant``: ``pi``, ``e``, ``i`` or ``infinity``; ``word``: a text of the answer;
    - ``sum``, ``product``: any number of arguments; ``quotient``, ``power``: two; ``negative``, ``factorial``: one;
    - ``call``: `value` is the function's name; ``log`` has the base as its second argument;
    - ``tuple``: `value` is the pair of brackets; ``set``, ``list``, ``union``, ``matrix`` (of ``tuple`` rows);
    - ``relation``: `value` is the tuple of signs between the arguments; ``plus_minus``; ``subscript``; ``ratio``.
    """

    kind: str
    value: Any = None
    args: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `spaced`: white space comes before it."""

    kind: str
    text: str
    spaced: bool = False


# -- tokens -------------------------------------------------------------------------------------------------------

_SPACE = re.compile(r"(?:\s|~|\\[,;:!> ]|\\(?:quad|qquad|thinspace|enspace)(?![A-Za-z]))+")
_NUMBER = re.compile(
    r"(?:[0-9]{1,3}(?:(?:\{,\}|,\s*\\!|\\,|\\!,?|\{\s\}|\{\\,\})\s*[0-9]{3}(?![0-9]))+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+"
)
_REPEATING = re.compile(r"\\(?:overline|bar)\s*(?:\{\s*([0-9]+)\s*\}|([0-9]))")
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]{1,4})(?![0-9A-Za-z.])")
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?|\\(.)", re.DOTALL)
_LETTERS = re.compile(r"[A-Za-z]+")
_SIZED_BAR = re.compile(r"\\(?:(left|[bB]igg?l)|right|[bB]igg?r)\s*(?:\||\\vert(?![A-Za-z]))")
_ROOT_SIGN = re.compile(r"([√∛])\s*([0-9]+|[A-Za-z])")  # the sign reaches over the whole number behind it
_NO_SEPARATOR = re.compile(r"[^0-9.]")

_IGNORED = words(
    """left right displaystyle textstyle scriptstyle limits big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl
    Biggr large Large LARGE huge Huge normalsize small bf rm it sf tt checkmark"""
)
_FONTS = words(
    """text mbox textbf textit textrm textnormal textsf texttt mathrm mathbf mathit mathsf mathtt mathnormal
    operatorname boldsymbol bm bold underline emph mathop hbox"""
)
_TEXT_FONTS = words("text mbox textbf textit textrm textnormal textsf texttt hbox emph")
_FUNCTIONS = words("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp")
_FUNCTION_NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "arccot": "arccot"} | {
    f: f for f in _FUNCTIONS
}
_CONSTANTS = {
    "pi": "pi",
    "uppi": "pi",
    "infty": "infinity",
    "infinity": "infinity",
    "inf": "infinity",
    "oo": "infinity",
}
_GREEK = words(
    """alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau
    upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell"""
)
_COMMANDS_OF_SIGN = {  # sign -> the commands that write it
    "*": "cdot times ast",
    "÷": "div",
    "±": "pm",
    "∓": "mp",
    "≤": "le leq leqslant",
    "≥": "ge geq geqslant",
    "<": "lt",
    ">": "gt",
    "≠": "ne neq",
    "∈": "in",
    "∪": "cup",
    "∩": "cap",
    "∖": "setminus backslash",
    "→": "to rightarrow",
    ":": "colon",
    "|": "mid vert",
    "|(": "lvert",
    "|)": "rvert",
    "⟨": "langle",
    "⟩": "rangle",
    "⌊": "lfloor",
    "⌋": "rfloor",
    "⌈": "lceil",
    "⌉": "rceil",
    "\\{": "lbrace",
    "\\}": "rbrace",
    "[": "lbrack",
    "]": "rbrack",
    "≈": "approx",
    "∘": "circ",
    "°": "degree",
    "'": "prime",
    "∅": "emptyset varnothing",
    "or": "lor vee",
    "and": "land wedge",
    "≡": "equiv",
    "∠": "angle",
    "mod": "mod bmod",
}
_SIGNS = {name: sign for sign, names in _COMMANDS_OF_SIGN.items() for name in names.split()}
_UNICODE = {
    "−": "-", "–": "-", "‐": "-", "°": "°", "π": "\\pi ", "∞": "\\infty ", "×": "\\times ", "·": "\\cdot ",
    "⋅": "\\cdot ", "÷": "\\div ", "∈": "\\in ", "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "∪": "\\cup ",
    "∩": "\\cap ", "±": "\\pm ", "∓": "\\mp ", "√": "\\sqrt ", "≈": "\\approx ", "½": "\\frac{1}{2}",
    "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}", "⅓": "\\frac{1}{3}", "⅔": "\\frac{2}{3}", "⅕": "\\frac{1}{5}",
    "⅛": "\\frac{1}{8}", "²": "^2", "³": "^3", "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ",
    "λ": "\\lambda ", "∅": "\\emptyset ", "’": "'", "“": "\"", "”": "\"", "\xa0": " ", "\u202f": " ",
    "\u2009": " ", "∠": "\\angle ", "→": "\\to ", "∘": "°",
}  # fmt: skip
_UNICODE_TABLE = str.maketrans(_UNICODE)


def tokenize(text: str) -> list[Token]:
    """The tokens of a text.

    :raises Unreadable: it has a sign or a command outside the grammar, or more than `MAX_TOKENS` tokens.
    """
    if not text.isascii():
        text = _ROOT_SIGN.sub(lambda m: f"\\sqrt{'[3]' if m[1] == '∛' else ''}{{{m[2]}}}", text).translate(
            _UNICODE_TABLE
        )
    tokens: list[Token] = []
    at, spaced = 0, False
    while at < len(text):
        if len(tokens) > MAX_TOKENS:
            raise Unreadable("the answer is too long")
        if (space := _SPACE.match(text, at)) is not None:
            at, spaced = space.end(), True
            continue
        token, at = _token(text, at, spaced)
        if token is not None:
            tokens.append(token)
            spaced = False
    return tokens


def _token(text: str, at: int, spaced: bool) -> tuple[Token | None, int]:
    sign = text[at]
    if (sign.isdigit() and sign.isascii()) or (sign == "." and text[at + 1 : at + 2].isdigit()):
        found = _NUMBER.match(text, at)
        assert found is not None
        digits = _NO_SEPARATOR.sub("", found.group())
        at = found.end()
        if "." in found.group() and (repeating := _REPEATING.match(text, at)) is not None:
            return Token("number", f"{digits}({repeating[1] or repeating[2]})", spaced), repeating.end()
        if (exponent := _EXPONENT.match(text, at)) is not None:
            return Token("number", f"{digits}e{exponent[1]}", spaced), exponent.end()
        return Token("number", digits, spaced), at
    if sign == "\\":
        if (bar := _SIZED_BAR.match(text, at)) is not None:
            return Token("|(" if bar[1] else "|)", bar.group(), spaced), bar.end()
        found = _COMMAND.match(text, at)
        if found is None:
            raise Unreadable("it ends in a backslash")
        return _command(found, spaced), found.end()
    if (letters := _LETTERS.match(text, at)) is not None:
        return Token("letters", letters.group(), spaced), letters.end()
    if sign in "+-*/^_=<>(),[]{}|!:;.'%&\"?":
        if sign == "*" and text[at : at + 2] == "**":
            return Token("^", "^", spaced), at + 2
        if sign in "<>" and text[at + 1 : at + 2] == "=":
            return Token({"<": "≤", ">": "≥"}[sign], text[at : at + 2], spaced), at + 2
        return Token(sign, sign, spaced), at + 1
    if sign in "°$":
        return Token(sign, sign, spaced), at + 1
    raise Unreadable(f"the sign {sign!r} is not read")


def _command(found: re.Match[str], spaced: bool) -> Token | None:
    name, sign = found[1], found[2]
    if name is None:
        if sign == "\\":
            return Token("\\\\", "\\\\", spaced)
        if sign in "{}":
            return Token("\\" + sign, "\\" + sign, spaced)
        if sign in "%$|":
            return Token(sign, sign, spaced)
        raise Unreadable(f"\\{sign} is not read")
    if name in _IGNORED:
        return None
    if name in _SIGNS:
        return Token(_SIGNS[name], "\\" + name, spaced)
    if name in _FUNCTIONS:
        return Token("function", name, spaced)
    if name in _CONSTANTS:
        return Token("constant", _CONSTANTS[name], spaced)
    if name in _GREEK:
        return Token("letter", name, spaced)
    return Token("command", name, spaced)


# -- parser -------------------------------------------------------------------------------------------------------

_CLOSES = {"(": ")", "[": "]", "\\{": "\\}", "⟨": "⟩"}
_RELATIONS = frozenset("=<>≤≥≠≈∈→≡")
_FRACTIONS = words("frac dfrac tfrac cfrac sfrac nicefrac")
_BINOMIALS = words("binom dbinom tbinom")
_MATRICES = words("matrix pmatrix bmatrix vmatrix Bmatrix Vmatrix smallmatrix array")
_SEPARATORS = frozenset((",", ";", "and", "or"))
_REPEATED = re.compile(r"([0-9]*)\.([0-9]*)\(([0-9]+)\)")

ONE = Node("number", Fraction(1))
_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
}  # fmt: skip


def number(text: str) -> Node:
    """The node of a number token: digits, a point, repeating digits in parentheses, an exponent of ten."""
    if (found := _REPEATED.fullmatch(text)) is not None:
        whole, fixed, again = found.groups()
        scale = 10 ** len(fixed)
        value = Fraction(int((whole or "0") + fixed), scale) + Fraction(int(again), scale * (10 ** len(again) - 1))
        return Node("number", value)
    digits, _, exponent = text.partition("e")
    if len(digits) > 400:
        raise Unreadable("a number has more than 400 digits")
    if exponent:
        base, power = Fraction(digits if not digits.endswith(".") else digits[:-1]), int(exponent)
        return Node("scientific", base * Fraction(10) ** power)
    if "." in digits:
        places = len(digits.partition(".")[2])
        return Node("decimal", (Fraction(("0" if digits[0] == "." else "") + digits.rstrip(".")), places))
    return Node("number", Fraction(int(digits)))


class _Parser:
    """Recursive descent over tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0

    # tokens
    def peek(self, ahead: int = 0) -> str:
        place = self.at + ahead
        return self.tokens[place].kind if place < len(self.tokens) else ""

    def text(self, ahead: int = 0) -> str:
        place = self.at + ahead
        return self.tokens[place].text if place < len(self.tokens) else ""

    def take(self, kind: str = "") -> Token:
        if self.at >= len(self.tokens):
            raise Unreadable("it ends too early")
        token = self.tokens[self.at]
        if kind and token.kind != kind:
            raise Unreadable(f"{token.text} stands where {kind} is expected")
        self.at += 1
        return token

    def accept(self, *kinds: str) -> str:
        if self.peek() in kinds:
            self.at += 1
            return self.tokens[self.at - 1].kind
        return ""

    # lists and relations
    def whole(self) -> Node:
        node = self.items()
        if self.at < len(self.tokens):
            raise Unreadable(f"{self.text()} is not expected")
        return node

    def items(self) -> Node:
        """Items between commas, semicolons, "and" or "or"; one item is itself."""
        parts = [self.relation()]
        signs: set[str] = set()
        while self.separator()[0]:
            signs.add(self.take_separators())
            parts.append(self.relation())
        if len(parts) == 1:
            return parts[0]
        return Node("list", "or" if "or" in signs else ",", tuple(parts))

    def take_separators(self) -> str:
        sign, before = ",", ""
        while (ahead := self.separator())[0]:
            if before and (before in ("and", "or") or ahead[0] in (",", ";")):
                raise Unreadable("two separators")
            if ahead[0] == "or":
                sign = "or"
            self.at += ahead[1]
            before = ahead[0]
        return sign

    def separator(self) -> tuple[str, int]:
        r"""The separator that comes next, alone or as ``\text{, and }``, and its tokens; "" where none does."""
        if self.peek() in _SEPARATORS:
            return self.peek(), 1
        if self.peek() == "letters":
            word = self.text().casefold()
            return (word, 1) if word in _SEPARATORS else ("", 0)
        sign, ahead = "", 2
        if self.peek() == "command" and self.text() in _FONTS and self.peek(1) == "{":
            while self.peek(ahead) in (",", ";"):
                sign, ahead = ",", ahead + 1
            if self.peek(ahead) == "letters" and self.text(ahead).casefold() in _SEPARATORS:
                sign, ahead = self.text(ahead).casefold(), ahead + 1
        return (sign, ahead + 1) if sign and self.peek(ahead) == "}" else ("", 0)

    def relation(self) -> Node:
        if self.peek() == "=":  # "= 5"
            self.at += 1
        args, signs = [self.union()], []
        while self.peek() in _RELATIONS:
            signs.append(self.take().kind)
            args.append(self.union())
        return Node("relation", tuple(signs), tuple(args)) if signs else args[0]

    def union(self) -> Node:
        parts = [self.ratio()]
        while self.accept("∪") or self.union_letter():
            parts.append(self.ratio())
        return Node("union", None, tuple(parts)) if len(parts) > 1 else parts[0]

    def union_letter(self) -> bool:
        """Takes a ``U`` between two intervals, as programs write a union."""
        found = self.text() == "U" and self.peek(1) in ("(", "[") and self.tokens[self.at - 1].kind in (")", "]")
        self.at += found
        return found

    def ratio(self) -> Node:
        parts = [self.sum()]
        while True:
            if self.peek() == ":":
                self.at += 1
            elif self.peek() == "{" and self.peek(1) == ":" and self.peek(2) == "}":
                self.at += 3
            else:
                break
            parts.append(self.sum())
        return Node("ratio", None, tuple(parts)) if len(parts) > 1 else parts[0]

    # arithmetic
    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("it is nested too deeply")
        terms = [self.signed()]
        while True:
            sign = self.sign()
            if not sign:
                break
            terms.append(_with_sign(sign, self.signed()))
        self.depth -= 1
        return _flat("sum", terms)

    def sign(self) -> str:
        r"""A sign between terms; also ``{-}`` and ``\text{-}``."""
        if self.peek() in ("+", "-", "±", "∓"):
            return self.take().kind
        return self.framed_sign()

    def framed_sign(self) -> str:
        ahead = 1 if self.peek() == "command" and self.text() in _FONTS else 0
        if self.peek(ahead) == "{" and self.peek(ahead + 1) in ("+", "-") and self.peek(ahead + 2) == "}":
            sign = self.peek(ahead + 1)
            self.at += ahead + 3
            return sign
        return ""

    def signed(self) -> Node:
        sign = self.sign()
        if sign == "+" and self.peek() == "-":
            raise Unreadable("+- may be a plus-minus sign")
        if sign:
            return _with_sign(sign, self.signed())
        return self.product()

    def product(self) -> Node:
        node = self.factors()
        while True:
            sign = self.accept("*", "/", "÷")
            if not sign:
                return node
            negative = self.sign()
            right = self.factors() if sign == "*" else self.divisor()
            if negative:
                right = _with_sign(negative, right)
            if sign == "*":
                node = _flat("product", [node, right], explicit=True)
            else:
                node = Node("quotient", sign, (node, right))

    def divisor(self) -> Node:
        """What stands behind a slash: ``1/2x`` is a half of x where the slash parts two numbers."""
        node = self.power()
        if node.kind != "number" and self.begins_factor():
            return _flat("product", [node, *self.more_factors()])
        return node

    def factors(self) -> Node:
        first = self.power()
        mixed = self.mixed(first)
        if mixed is not None:
            first = mixed
        return _flat("product", [first, *self.more_factors(first)])

    def more_factors(self, before: Node | None = None) -> list[Node]:
        parts: list[Node] = []
        while self.begins_factor():
            if self.peek() in ("number",):
                raise Unreadable("a number stands next to another factor")
            start = self.at
            node = self.power()
            digit = node.args[0] if node.kind == "power" else node
            if self.framed_number(start, digit):
                raise Unreadable("a number stands next to another factor")
            parts.append(node)
        return parts

    def framed_number(self, start: int, node: Node) -> bool:
        r"""Whether a number in a font command (``\text{3}``) or in braces follows something: it is no factor."""
        return (
            node.kind in ("number", "decimal")
            and self.tokens[start].kind in ("command", "{")
            and not (self.tokens[start].kind == "command" and self.tokens[start].text in (*_FRACTIONS, "sqrt"))
        )

    def mixed(self, first: Node) -> Node | None:
        r"""A mixed number: an integer, then a proper fraction of integers (``1\frac{4}{5}``, ``1 4/5``)."""
        if first.kind != "number" or first.value.denominator != 1:
            return None
        start = self.at
        if self.peek() == "command" and self.text() in _FRACTIONS:
            part = self.power()
            ok = part.kind == "quotient" and part.value == "frac" and all(_integer(a) for a in part.args)
        elif (
            self.peek() == "number" and self.tokens[self.at].spaced and self.peek(1) == "/" and self.peek(2) == "number"
        ):
            part = Node("quotient", "/", (number(self.take().text), (self.take("/"), number(self.take().text))[1]))
            ok = all(_integer(a) for a in part.args)
        else:
            return None
        if ok:
            top, bottom = (a.value for a in part.args)
            if 0 < top < bottom:
                return Node("mixed", first.value + top / bottom)
            raise Unreadable("a mixed number has an improper fraction")
        self.at = start
        return None

    def begins_factor(self) -> bool:
        kind = self.peek()
        if kind in ("number", "letter", "constant", "function", "(", "[", "\\{", "⌊", "⌈", "⟨", "∅", "∠", "|("):
            return True
        if kind == "{":
            return self.peek(1) not in (":", ",", "-", "+") or self.peek(2) != "}"
        if kind == "letters":
            union = self.text() == "U" and self.peek(1) in ("(", "[") and self.tokens[self.at - 1].kind in (")", "]")
            return not union and not self.separator()[0]
        if kind == "command":
            return (
                self.text() not in ("end", "over", "choose")
                and not self.separator()[0]
                and not (
                    self.text() in _FONTS and self.peek(1) == "{" and self.peek(2) in ("-", "+") and self.peek(3) == "}"
                )
            )
        return False

    def power(self) -> Node:
        node = self.postfix(self.atom())
        if self.peek() == "^":
            if self.degrees():
                return Node("unit", "degree", (node,))
            self.at += 1
            sign = self.sign()
            exponent = self.script()
            if sign:
                exponent = _with_sign(sign, exponent)
            node = self.postfix(Node("power", None, (node, exponent)))
            if self.peek() == "^":
                raise Unreadable("two exponents")
        return node

    def degrees(self) -> bool:
        for width, kinds in ((2, ("^", "∘")), (4, ("^", "{", "∘", "}")), (2, ("^", "°")), (4, ("^", "{", "°", "}"))):
            if all(self.peek(i) == k for i, k in enumerate(kinds)):
                self.at += width
                return True
        if self.text(1) == "o" or (self.peek(1) == "{" and self.text(2) == "o" and self.peek(3) == "}"):
            self.at += 2 if self.text(1) == "o" else 4
            return True
        return False

    def postfix(self, node: Node) -> Node:
        while True:
            if self.peek() == "!":
                self.at += 1
                node = Node("factorial", None, (node,))
            elif self.peek() == "_":
                self.at += 1
                node = Node("subscript", None, (node, self.base_word() or self.script()))
            elif self.peek() == "%":
                self.at += 1
                node = Node("percent", None, (node,))
            elif self.peek() == "°":
                self.at += 1
                node = Node("unit", "degree", (node,))
            else:
                return node

    def base_word(self) -> Node | None:
        r"""The base of a number system in words: ``_{\text{five}}``."""
        kinds = [t.kind for t in self.tokens[self.at : self.at + 6]]
        for pattern, place in (
            (["{", "letters", "}"], 1),
            (["{", "command", "{", "letters", "}", "}"], 3),
            (["command", "{", "letters", "}"], 2),
        ):
            if kinds[: len(pattern)] == pattern and (value := _BASES.get(self.text(place).casefold())) is not None:
                self.at += len(pattern)
                return Node("number", Fraction(value))
        return None

    def script(self) -> Node:
        """An exponent or subscript: a group in braces, or one sign. ``x^{12}`` and ``x^12`` as programs write it."""
        if self.peek() == "{":
            return self.braced()
        if self.peek() == "letters" and len(self.text()) > 1 and self.text().casefold() not in _CONSTANTS:
            token = self.tokens[self.at]
            self.tokens[self.at] = Token("letters", token.text[1:], False)
            return _letter(token.text[0])
        return self.atom()

    def braced(self) -> Node:
        self.take("{")
        node = self.items()
        if self.peek() == "command" and self.text() in ("over", "choose"):
            name = self.take().text
            other = self.items()
            node = Node("quotient", "frac", (node, other)) if name == "over" else Node("call", "binom", (node, other))
        self.take("}")
        return node

    def atom(self) -> Node:
        token = self.take()
        kind = token.kind
        if kind == "number":
            return number(token.text)
        if kind == "letters":
            return self.letters(token)
        if kind == "letter":
            return Node("letter", token.text)
        if kind == "constant":
            return Node("constant", token.text)
        if kind == "function":
            return self.call(token.text)
        if kind in _CLOSES:
            return self.bracket(kind)
        if kind == "{":
            self.at -= 1
            return self.braced()
        if kind in ("|", "|("):
            node = self.sum()
            self.take("|" if kind == "|" else "|)")
            return Node("call", "abs", (node,))
        if kind in "⌊⌈" and kind:
            node = self.sum()
            self.take("⌋" if kind == "⌊" else "⌉")
            return Node("call", "floor" if kind == "⌊" else "ceil", (node,))
        if kind == "∅":
            return Node("set", None, ())
        if kind == "∠":
            return Node("letter", "∠" + self.take("letters").text)
        if kind == "command":
            return self.command(token.text)
        raise Unreadable(f"{token.text} is not expected")

    def letters(self, token: Token) -> Node:
        """A run of letters: a function, a constant, or a product of variables."""
        text = token.text
        lower = text if len(text) > 1 else ""
        if lower == "sqrt":
            return self.root()
        if lower in _FUNCTION_NAMES and (
            self.peek() in ("(", "{", "^", "|(", "letters", "number", "letter", "constant")
        ):
            return self.call(_FUNCTION_NAMES[lower])
        if lower in ("abs", "floor", "ceil") and self.peek() == "(":
            return Node("call", lower, (self.atom(),))
        if lower == "cbrt" and self.peek() == "(":
            return Node("call", "root", (self.atom(), Node("number", Fraction(3))))
        if lower in _CONSTANTS:
            return Node("constant", _CONSTANTS[lower])
        for name in ("pi", "sqrt"):  # 2*pi*r written as `pir` is not read; `xsqrt(2)` is
            if len(text) > len(name) and text.endswith(name):
                head = [_letter(c) for c in text[: -len(name)]]
                tail = Node("constant", "pi") if name == "pi" else self.root()
                return _flat("product", [*head, tail])
        if len(text) > 3:
            raise Unreadable(f"the word {text!r} is not read")
        node = _letter(text[-1])
        if len(text) == 1:
            return node
        return _flat("product", [*map(_letter, text[:-1]), self.postfix_of_last(node)])

    def postfix_of_last(self, node: Node) -> Node:
        if self.peek() == "_":
            self.at += 1
            node = Node("subscript", None, (node, self.script()))
        if self.peek() == "^" and not self.degrees():
            self.at += 1
            sign = self.sign()
            exponent = self.script()
            node = Node("power", None, (node, _with_sign(sign, exponent) if sign else exponent))
        return node

    def call(self, name: str) -> Node:
        """A function with its argument: in brackets, or the factors that follow up to the next function or sign."""
        exponent: Node | None = None
        base: Node | None = None
        for _ in range(2):
            if self.peek() == "^" and exponent is None:
                self.at += 1
                sign = self.sign()
                exponent = self.script()
                exponent = _with_sign(sign, exponent) if sign else exponent
            elif self.peek() == "_" and base is None and name == "log":
                self.at += 1
                base = self.script()
        if self.peek() in ("(", "{", "[", "|", "|("):
            argument = self.atom()
            if argument.kind == "tuple" and len(argument.args) == 1:
                argument = argument.args[0]
        else:
            sign = self.sign()
            parts = [self.power()]
            while self.begins_factor() and self.peek() not in ("function", "number") and not self.function_word():
                parts.append(self.power())
            argument = _flat("product", parts)
            argument = _with_sign(sign, argument) if sign else argument
        if name == "exp":
            node = Node("power", None, (Node("constant", "e"), argument))
        elif name == "ln" or (name == "log" and base == Node("constant", "e")):
            node = Node("call", "ln", (argument,))
        elif name == "log" and base is not None:
            node = Node("call", "log", (argument, base))
        elif name in ("log", "lg"):
            node = Node("call", "log", (argument, Node("number", Fraction(10))))
        else:
            node = Node("call", name, (argument,))
        if exponent is None:
            return node
        if exponent == Node("negative", None, (ONE,)):
            if name in ("sin", "cos", "tan"):
                return Node("call", "arc" + name, (argument,))
            raise Unreadable("an inverse function")
        return Node("power", None, (node, exponent))

    def function_word(self) -> bool:
        return self.peek() == "letters" and self.text() in _FUNCTION_NAMES

    def root(self) -> Node:
        degree: Node | None = None
        if self.peek() == "[":
            self.at += 1
            degree = self.sum()
            self.take("]")
        inside = self.script() if self.peek() != "(" else self.atom()
        if degree is None:
            return Node("call", "sqrt", (inside,))
        return Node("call", "root", (inside, degree))

    def bracket(self, opening: str) -> Node:
        if opening == "\\{" and self.accept("\\}"):
            return Node("set", None, ())
        if opening == "\\{" and self.peek() == "letters" and len(self.text()) == 1 and self.peek(1) in (":", "|"):
            self.at += 2  # {x : 2 < x < 5} is what its condition says
            condition = self.items()
            self.take("\\}")
            if condition.kind != "relation" and not (condition.kind == "list" and condition.value == "or"):
                raise Unreadable("a set without a condition")
            return condition
        parts = [self.relation()]
        while sign := self.separator()[0]:
            if opening != "\\{" and (sign in ("and", "or") or self.take_separators() == "or"):
                raise Unreadable("a word stands between coordinates")
            self.take_separators()
            parts.append(self.relation())
        closing = self.take().kind
        if opening == "\\{" and closing == "\\}":
            return Node("set", None, tuple(parts))
        if (opening == "⟨" and closing == "⟩") or (closing in (")", "]") and opening in "(["):
            if len(parts) == 1 and (opening, closing) in (("(", ")"), ("[", "]")):
                return parts[0] if opening == "(" or parts[0].kind != "list" else Node("tuple", "[]", tuple(parts))
            return Node("tuple", opening + closing if opening != "⟨" else "()", tuple(parts))
        raise Unreadable("brackets do not match")

    def command(self, name: str) -> Node:
        if name in _FRACTIONS:
            top, bottom = self.script_digit(), self.script_digit()
            return Node("quotient", "frac", (top, bottom))
        if name == "sqrt":
            return self.sqrt()
        if name in _BINOMIALS:
            return Node("call", "binom", (self.script_digit(), self.script_digit()))
        if name in _FONTS:
            return self.font(name)
        if name in ("textcolor", "color"):
            self.skip_group()
            return self.braced() if self.peek() == "{" else self.power()
        if name == "begin":
            return self.environment()
        if name in ("mathbb", "mathcal"):
            inside = self.script()
            return Node("word", f"{name} {inside.value}")
        if name in ("overline", "bar", "vec", "hat", "overrightarrow", "overleftrightarrow"):
            inside = self.script()
            return Node("call", "bar" if name in ("overline", "bar") else name, (inside,))
        raise Unreadable(f"the command \\{name} is not read")

    def sqrt(self) -> Node:
        if self.peek() == "[":
            return self.root()
        return Node("call", "sqrt", (self.script_digit() if self.peek() == "number" else self.script(),))

    def script_digit(self) -> Node:
        r"""An argument of a command: a group, or one digit or letter (``\frac12`` is a half)."""
        if self.peek() == "number" and self.text().isdigit() and len(self.text()) > 1:
            token = self.tokens[self.at]
            self.tokens[self.at] = Token("number", token.text[1:], False)
            return number(token.text[0])
        return self.script()

    def skip_group(self) -> None:
        self.take("{")
        depth = 1
        while depth:
            kind = self.take().kind
            depth += (kind == "{") - (kind == "}")

    def font(self, name: str) -> Node:
        r"""``\text{...}``, ``\mathrm{...}``: one letter, a number, a function, a constant, or a formula."""
        if self.peek() == "{" and self.peek(1) == "letters" and self.peek(2) == "}":
            text = self.text(1)
            if text in _FUNCTION_NAMES or text == "sqrt":
                self.at += 3
                return self.root() if text == "sqrt" else self.call(_FUNCTION_NAMES[text])
            if len(text) > 1 and text not in _CONSTANTS:
                self.at += 3
                return Node("word", text)  # the name of something, as in P(\\text{heads}); it has no value
        return self.script()

    def environment(self) -> Node:
        name = self.group_text()
        if name not in _MATRICES:
            raise Unreadable(f"the environment {name} is not read")
        if name == "array" and self.peek() == "{":
            self.skip_group()
        rows: list[list[Node]] = [[]]
        while True:
            if self.peek() == "command" and self.text() == "end":
                self.at += 1
                self.group_text()
                break
            if self.peek() == "&":
                self.at += 1
            elif self.peek() == "\\\\":
                self.at += 1
                while self.peek() == "\\\\":
                    self.at += 1
                if (
                    self.peek() == "["
                    and self.peek(1) == "number"
                    and self.peek(2) == "letters"
                    and self.peek(3) == "]"
                ):
                    self.at += 4
                rows.append([])
            else:
                rows[-1].append(self.sum())
        rows = [r for r in rows if r]
        if not rows or len({len(r) for r in rows}) != 1:
            raise Unreadable("the rows of a matrix differ in length")
        kind = "determinant" if name == "vmatrix" else "matrix"
        return Node(kind, None, tuple(Node("tuple", "row", tuple(r)) for r in rows))

    def group_text(self) -> str:
        self.take("{")
        text = self.take("letters").text
        self.take("}")
        return text


def _letter(name: str) -> Node:
    return Node("constant", name) if name in "ei" else Node("letter", name)


def _integer(node: Node) -> bool:
    return node.kind == "number" and node.value.denominator == 1


def _with_sign(sign: str, node: Node) -> Node:
    if sign == "-":
        return Node("negative", None, (node,))
    if sign in ("±", "∓"):
        return Node("plus_minus", sign, (node,))
    return node


def _flat(kind: str, parts: list[Node], *, explicit: bool = False) -> Node:
    """A sum or product without nested ones of its kind; a single part is itself."""
    if len(parts) == 1:
        return parts[0]
    flat: list[Node] = []
    for part in parts:
        flat.extend(part.args if part.kind == kind else (part,))
    return Node(kind, "*" if explicit or any(p.kind == kind and p.value == "*" for p in parts) else None, tuple(flat))


def parse(text: str) -> Node:
    """The expression that a text is.

    :raises Unreadable: it is outside the grammar.
    """
    tokens = tokenize(text)
    if not tokens:
        raise Unreadable("it is empty")
    try:
        return _Parser(tokens).whole()
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    for child in node.args:
        if isinstance(child, Node):
            yield from walk(child)
