r"""Words, signs and statements around an answer. `§` stands for the answer.

The lists of what changes an answer are English and LaTeX as they come, not those of the reader under test.
"""

from __future__ import annotations

import random
import re

from kkwarm.types import Target

__all__ = ["accepted_context", "changed", "doubted_text", "fits", "hidden", "signed", "stated_text"]

_BEHIND = (
    "over two", "divided by two", "times two", "minus one", "plus one", "squared", "cubed", "factorial", "halved",
    "or so", "thousand", "million", "dozen", "base nine", "point five", "and a half", "or more", "at most",
    "at least", "maybe", "ish", "k", "crore", "lakh", "mod five", "undefined", "retracted", "is wrong", "fails",
    "not", "inverse", "negative", "below zero", "root two", "to the third", "above", "around", "alternatively 43",
    "less", "more", "fewer", "doubtful", "does not work", "is too large", "is impossible", "was a mistake",
    "is not right", "is an upper bound", "if x is even", "unless n is odd", "or 43", "and 43", "then 43",
    "instead of 43", "but not quite", "hundredths", "tenths", "halves", "out of 43", "to 43", "by 43", "after 43",
    "less than x", "in base 9", "multiplied by two", "xy", "pi", "i", "e", "to the power two", "per two", "of 43",
    "rounded", "is close", "is excluded", "cannot be", "is false", "never", "times a constant", "plus a constant",
    "more than x", "each side", "doubled", "reversed", "in hexadecimal", "negated",
)  # fmt: skip
_BEFORE = (
    "at least", "at most", "about", "not", "negative", "minus", "half of", "twice", "one less than", "more than",
    "less than", "fewer than", "between zero and", "the square root of", "the negative of", "one over",
    "anything but", "either", "neither", "never", "no", "all but", "forty three,", "roughly", "nearly", "almost",
    "over", "under", "up to", "above", "below", "beyond", "the inverse of", "ten times", "two to the", "five choose",
    "without", "except", "other than", "unlike", "if", "unless", "maybe", "perhaps", "possibly", "the log of",
    "the opposite of", "the answer plus one is", "the negative of the answer is", "the answer is not",
    "the answer is less than", "it is not", "it cannot be that it is", "the answer differs from", "anything above",
    "twice the answer is", "the answer, forty three, is", "x is not", "the wrong answer is", "an upper bound is",
    "the answer is never", "the answer squared is", "one of them is", "the answer is at least", "I doubt that it is",
    "nobody gets", "one might think it is", "the answer is close to", "the answer cannot be",
    "the sum of the digits is", "43 or", "43, not", "43 and", "a lower bound is", "the next one is",
    "x is greater than", "the answer is one more than", "the answer is a multiple of", "the answer divides",
    "the first of",
)  # fmt: skip
# Those that also change an answer in a box in the middle of a text, whatever the question asks for.
_MODIFIERS = (
    "at least", "at most", "not", "negative", "minus", "half of", "twice", "one less than", "more than", "less than",
    "about", "fewer than", "between zero and", "the square root of", "the negative of", "anything but", "either",
    "neither", "never", "no", "all but", "roughly", "nearly", "almost", "over", "under", "up to", "above", "below",
    "the inverse of", "ten times", "without", "except", "other than", "unlike", "unless", "the opposite of",
    "the answer is not", "it is not", "x is not", "it cannot be that it is", "the answer is less than",
    "the answer is never", "the answer is at least", "43 or", "43 and", "the answer cannot be",
    "the answer is a multiple of", "I doubt that it is", "it would be", "the answer could be", "the reciprocal of",
    "we need the complement of", "the successor of", "it is somewhere near", "one short of", "just shy of",
    "the value is just past", "instead of", "anything except for", "all values besides", "it excludes", "x avoids",
    "x differs from", "we rule out", "the number after", "the number before", "it precedes", "it lacks",
    "multiply it by", "we divide by", "next we subtract", "let us guess", "suppose x is", "mistakenly one gets",
    "one erroneously obtains", "a naive count gives", "my classmate says", "a trap answer here is",
    "it is wrong that x is", "there is no way that x is", "it is false that the total is",
    "I do not believe the total is", "I don't think that x equals", "it would be a mistake to say that x is",
    "if the sum were", "perhaps it is", "few people get", "slightly more than", "the remainder modulo",
    "among the divisors of", "raised to", "the neighbor of", "the double of", "toward", "against", "minus the",
    "a third of", "it shrinks from", "the gap to", "out of", "not even", "a multiple of", "per", "versus",
)  # fmt: skip
_WORD_FRAMES = (
    "§ @", "$§$ @", "§\\text{ @}", "$§\\text{ @}$", "§\\ \\text{@}", "\\boxed{§} @", "\\boxed{§\\text{ @}}",
    "**§** @", "§, @", "\\text{§ @}", "\\boxed{\\text{§ @}}", "{§} @", "§~\\text{@}", "§ \\mathrm{@}", "§-@",
    "§ (@)", "$\\boxed{§}$ @", "\\(§\\) @", "The answer is § @", "The answer is $§$ @.", "x = § @", "§\\,\\text{@}",
    "§ -- @", "§; @", "§ \\mbox{@}", "§\\textbf{ @}",
)  # fmt: skip
_LEAD_FRAMES = (
    "@ §", "@ $§$", "\\text{@ }§", "$\\text{@ }§$", "@ \\boxed{§}", "\\boxed{\\text{@ }§}", "@ **§**", "\\text{@ §}",
    "\\boxed{\\text{@ §}}", "@: §", "@ $\\boxed{§}$", "@ {§}", "@ \\(§\\)", "\\text{@}~§", "@, §", "\\mathrm{@}\\ §",
)  # fmt: skip
# Signs that give another number, or none, whatever positive integer above one they stand next to.
_SIGNED = (
    "-§", "§!", "§'", "§i", "§e", "§x", "§\\pi", "§_9", "§_{9}", "§\\ldots", "§\\cdots", "§...", "§+", "§-", "§+1",
    "§\\cdot 2", "§/2", "§\\text{3}", "§{3}", "§\\mathrm{2}", "§!!", "§^2", "§^{-1}", "§^T", "§?", "1/§", "2/§",
    "2^§", "2^{§}", "\\sqrt{§}", "\\neq §", "> §", "< §", "\\geq §", "\\leq §", "\\sim §", "\\pm §", "\\frac{§}{2}",
    "\\frac{1}{§}", "§=43", "43=§", "§,43", "43,§", "§ 43", "§;43", "§/43", "43 \\to §", "§\\text{i}", "§\\text{x}",
    "§\\mathrm{e}", "§\\mathit{x}", "§\\text{k}", "§\\text{^2}", "\\log §", "\\ln §", "§\\infty", "§-\\infty",
    "\\lnot §", "\\overline{§}", "\\hat{§}", "\\vec{§}", "\\dot{§}", "§^{th}", "§^{\\text{nd}}", "§\\uparrow",
    "§\\ \\text{3}", "§\\, 3", "§\\;3", "3\\;§", "\\binom{§}{2}", "§\\choose 2", "|§|x", "\\{§", "[§, §]", "(§, §)",
    "§:1:1", "1:§", "\\sin §", "f(§)", "(§)(2)", "2(§)", "§\\%\\%", "\\Delta §", "d§", "§dx", "§\\hat{i}", "§§",
    "§0", "0.§", ".§", "§.5", "§\\frac{1}{2}", "§\u00bd", "§\u00b2", "§ \\times", "\\times §", "§\\div", "\\sqrt §",
    "\\lim §", "\\nabla §", "§\\star", "§\\dagger", "§\u2026", "\u221a§", "{§}^{2}", "\\left(§\\right)^2",
    "-\\left(§\\right)", "-(§)", "(-§)", "- §", "\u2212§", "\u2013§", "\\text{-}§", "{-}§", "§\\text{!}", "§\\,!",
    "x^§", "x_§", "x§", "§\\bmod 5", "§\\&43", "§\\vee 43", "\\lfloor §.5\\rfloor+1", "\u00ac§", "~§x",
    "§\\backslash 2", "§\\mid 43", "§\\setminus\\{43\\}", "§\\cup 43", "§\\in\\{43\\}", "§\\equiv 43",
    "§\\approx 43", "43\\approx §", "§\\rightarrow 43", "§\\;\\text{or}\\;43", "§\\lor 43", "§\\oplus 43", "§\\,43",
    "§,043", "\\approx §", "x \\approx §",
)  # fmt: skip
_AT_BOX = (
    "-\\boxed{§}", "\\boxed{§}i", "\\boxed{§}x", "\\sqrt{\\boxed{§}}", "1/\\boxed{§}", "\\frac{\\boxed{§}}{2}",
    "2\\boxed{§}", "2\\cdot\\boxed{§}", "\\boxed{§}^2", "\\boxed{§}!", "\\boxed{§}2", "2\\boxed{§}",
    "\\boxed{§}\\boxed{43}", "\\boxed{§} \\text{ or } \\boxed{43}", "\\boxed{43} or \\boxed{§}",
    "\\boxed{§}, \\boxed{43}", "\\neq \\boxed{§}", "x > \\boxed{§}", "\\boxed{§}+1", "\\boxed{§} \\cdot 2",
    "\\boxed{§} - 1", "$-\\boxed{§}$", "$\\boxed{§}\\pi$", "$2^{\\boxed{§}}$", "$\\boxed{§}_9$", "\\boxed{§}\\%\\%",
    "\\boxed{> §}", "\\boxed{-§}", "\\boxed{§!}", "\\boxed{§ or 43}", "\\boxed{§}/2", "\\boxed{§}:43",
    "\\boxed{§} \\text{ squared}", "\\log\\boxed{§}", "\\boxed{§}'", "\\boxed{§\\ldots}", "$\\boxed{§}$ or $43$",
    "not \\boxed{§}", "\\boxed{§} is wrong", "\\boxed{§}. No: 43", "\\boxed{§}\\text{ thousand}", "$\\pm\\boxed{§}$",
    "$x \\ne \\boxed{§}$", "$\\boxed{§} \\pm 1$", "$\\boxed{§} < x$", "$0 < \\boxed{§}x$", "$\\boxed{§}e$",
    "$\\boxed{§}\\sqrt{2}$", "$\\boxed{§}^\\circ\\text{ below zero}$", "\\[-\\boxed{§}\\]", "\\[\\boxed{§}^{2}\\]",
    "$\\ln\\boxed{§}$", "\\(\\frac{1}{\\boxed{§}}\\)", "\\fbox{§}i", "-\\fbox{§}", "\\boxed{§} million",
    "\\boxed{§} squared", "1 - \\boxed{§}",
)  # fmt: skip
_HIDDEN = (
    "\\phantom{§}", "\\cancel{§}", "\\sout{§}", "\\iffalse 43\\fi §", "\\hphantom{§}", "\\xcancel{§}",
    "\\bcancel{§}", "\\not{§}", "\\require{x}§", "\\write18{ls}§", "\\input{/etc/passwd}", "% 43\n§", "\\verb|§|",
    "\\href{x}{§}", "\\label{§}", "\\tag{§}", "\\footnote{§}", "\\vphantom{43}§", "\\smash{§}43",
    "\\def\\x{43}\\x §", "\\newcommand{\\x}{§}", "\\color{white}43 §", "\\rlap{43}§", "\\llap{43}§",
    "\\overset{43}{§}", "\\underset{43}{§}", "\\stackrel{43}{§}", "\\substack{43\\\\§}", "<!-- 43 -->§", "<s>§</s>",
    "~~§~~", "&§", "\\hspace{43}§", "\\rule{§}{43}", "\\ref{§}", "\\cite{§}", "\\hidden{§}",
    "\\mathchoice{§}{43}{43}{43}", "\\colorbox{43}{§}43", "\\raisebox{§}{43}", "\\textsuperscript{§}",
    "\\textsubscript{§}", "4\u200b§", "§\u0336", "\u0661§", "\u202e§", "§\x00", "§\u20e0", "\\char§", "\\symbol{§}",
    "\\number§",
)  # fmt: skip
_HARMLESS = (
    "§", "$§$", "\\(§\\)", "\\boxed{§}", "$\\boxed{§}$", "The answer is $§$.", "The answer is §", "**§**", "$$§$$",
    "\\[§\\]", "Answer: $§$", "**Answer:** §", "The final answer is $\\boxed{§}$.", "So the answer is \\boxed{§}",
    "Therefore, the answer is §.", "\\boxed{§}.", "Thus, the answer is $§$", "\\fbox{§}", " §\n", "$ § $",
    "$\\displaystyle §$",
)  # fmt: skip
_STATED = (
    "We add the parts.\n\nThe answer is $§$.", "We add the parts.\nSo the final answer is $\\boxed{§}$.",
    "Some work.\n\n\\boxed{§}", "Some work.\n\nAnswer: $§$", "Some work with 43 in it.\n\n**Answer:** $§$",
    "Some work.\n#### §", "Some work.\n\n$§$", "§",
    "First we get 43, which is one too many.\n\nTherefore, the answer is $\\boxed{§}$.",
    "Some work.\n\\[\\boxed{§}\\]", "Some work. Therefore, the answer is $§$. I hope it is correct.",
    "We work it out and get $\\boxed{§}$.", "Let $x$ be the number.\nThen $x = 43 - 1$.\n\nFinal answer: $§$",
    "Some work.\n\nHence the answer is \\(§\\).", "The answer is not obvious, so we count.\n\nThe answer is $§$.",
    "If $n = 1$ then we get 43.\n\nThe answer is $§$.", "This gives us a total of $\\boxed{§}$.",
    "Since it is not 43, solving yields $\\boxed{§}$.", "The first part simplifies to $\\boxed{§}$.",
    "Plugging it in, we find that $x = \\boxed{§}$.", "We have $2x = 43$ or $y = \\boxed{§}$.",
    "In all, she has exactly $\\boxed{§}$.", "The value is given by $\\boxed{§}$.",
    "We see that the two are not equal, so that the value must be \\boxed{§}.",
)  # fmt: skip
_DOUBTED = (
    "The answer is not $§$.", "The answer is 43 or $§$.", "I could not finish in § minutes.", "43 or §",
    "It is 43, not §", "The answer isn't $§$.", "The answer could be §.", "\\boxed{§}\n\nWait, it is actually 43.",
    "The answer is §. Wait, it is 43.", "The answer is $§$. No, that is wrong.", "\\boxed{§} is wrong.",
    "It is false that the answer is $§$.", "§ is wrong", "I doubt that the answer is $§$.",
    "Nobody says the answer is $§$.", "If $n$ is even, the answer is $§$.", "Maybe §?",
    "There are § of them left to count.", "I think it may be §, or not.", "The answer is § or more.",
    "The answer is at least $§$.", "The answer is less than $§$.", "2 to the §", "We have used § of the 43 lines.",
    "The answer is neither 43 nor §.", "Is it §?", "The answer is $§$?", "The answer is § but I am not sure.",
    "The answer is different from $§$.", "The answer is § plus one.", "The answer is one more than $§$.",
    "The answer is $\\boxed{§}$ or $\\boxed{43}$.", "\\boxed{§}\n\nNo, the answer is 43.",
    "The answer is §.\n\nThe answer is 43.", "\\boxed{§}\n\n\\boxed{43}", "Suppose the answer is $§$.",
    "The answer would be § if n was odd.", "It is not true that the answer is $\\boxed{§}$.",
    "The answer is anything but $§$.", "Assume that the answer is $§$.", "Page §", "Step §:", "So far we have §",
    "Case §.", "The answer is unlikely to be $§$.", "One wrong answer is $§$.", "The answer is $-\\boxed{§}$.",
    "The answer is $\\boxed{§}^2$.", "The answer to part 2 is 43, and part § is open.",
    "Some say the answer is $§$.", "The answer is never $§$.", "Unless $n$ is odd, the answer is $§$.",
    "The answer is hardly $§$.", "The answer is $§$ is what a beginner would say, but it is 43.",
    "The answer is $§$ times two.", "I have no answer after § tries.", "The answer is $§$ or something else.",
    "Could the answer be $§$?", "The answer is $§$, which is wrong.", "The answer: not $§$.",
    "\\boxed{§} would be the answer if $n$ was odd.", "If $n$ was odd, we would get \\boxed{§}.",
    "It cannot be \\boxed{§}.", "The answer is $43$, not $§$.", "The answer is $43$ rather than $\\boxed{§}$.",
    "The answer is not \\boxed{§}.", "\\boxed{§}. Scratch that.", "\\boxed{§}. On second thought, 43.",
    "The answer is $§$. Never mind, 43.", "The answer is §. Hold on, it is 43.", "\\boxed{§} (no).",
    "\\boxed{§} [rejected]", "$\\boxed{§}$. Ignore the above.", "\\boxed{§} was a typo; it is 43.",
    "$\\boxed{§}$ fails the check.", "\\boxed{§} contradicts the assumption.", "\\boxed{§}. That was a joke.",
    "The answer is $§$. That cannot be. 43.", "One might guess $\\boxed{§}$.", "Common mistake: $\\boxed{§}$",
    "We get $x = 43$ or $x = \\boxed{§}$.", "The wrong answer: \\boxed{§}", "Let us rule out $x = \\boxed{§}$.",
)  # fmt: skip
_LETTERS = "qwzvj"


def fits(t: Target, answer: str) -> bool:
    """Whether the protocol leaves room for the answer: where it writes a formula, for no other formula or sentence."""
    return "$@$" not in t.compose("@") or re.search(r"\$|\\[\[(]|\*|nswer", answer) is None


def accepted_context(rng: random.Random, answer: str) -> str:
    """The answer in a frame that changes nothing."""
    frames = [f for f in _HARMLESS if "*" not in f] if "**" in answer else _HARMLESS
    if not any(c.isdigit() for c in answer):  # a word is not written in a formula
        frames = [f for f in frames if "displaystyle" not in f]
    return rng.choice(frames).replace("§", answer)


def changed(rng: random.Random, answer: str, *, unknown: bool = True) -> str:
    """The answer with words next to it that change it, or make it no answer.

    :param unknown: also use words that mean nothing.
    """
    before = rng.randrange(2)
    if unknown and not rng.randrange(8):
        word = "".join(rng.choice(_LETTERS) for _ in range(rng.choice((2, 3, 4, 5, 7))))
    else:
        word = rng.choice((_BEFORE if unknown else _MODIFIERS) if before else _BEHIND)
    if not rng.randrange(6):
        word = rng.choice((word.capitalize(), word.upper()))
    frame = rng.choice(_LEAD_FRAMES if before else _WORD_FRAMES)
    return frame.replace("@", word).replace("§", answer)


def signed(rng: random.Random, answer: str) -> tuple[str, str]:
    """The answer with a sign next to it, and the kind of the case."""
    kind = rng.choice(("sign at the answer", "sign at a box"))
    return rng.choice(_SIGNED if kind == "sign at the answer" else _AT_BOX).replace("§", answer), kind


def hidden(rng: random.Random, answer: str) -> str:
    """The answer in commands and signs that hide it, or something else."""
    return rng.choice(_HIDDEN).replace("§", answer)


def stated_text(rng: random.Random, answer: str) -> str:
    """Free text that states the answer."""
    return rng.choice(_STATED).replace("§", answer)


def doubted_text(rng: random.Random, answer: str) -> str:
    """Free text with the answer in it that does not state it."""
    return rng.choice(_DOUBTED).replace("§", answer)
