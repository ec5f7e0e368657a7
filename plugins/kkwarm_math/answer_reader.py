r"""Finds the answer that a text states: in a box, after "the answer is", or in a last line that is only the answer.

What stands next to a box in the same formula is part of the answer. Only the phrases listed here are removed.
"""

from __future__ import annotations

import re
from functools import lru_cache

from kkwarm_math.units import split_unit, words

__all__ = ["last_boxed", "read_answer"]

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_UNBRACED = re.compile(r"-?[0-9]+(?:\.[0-9]+)?|[A-Za-z](?![A-Za-z])")
_LONGEST_BOX = 4_000
_LEAD_WORDS = r"(?:(?:so|thus|therefore|hence|then|finally|and)\b,?\s*)"
_OF_ANSWER = r"(?:(?:the|my|our)\s+)?(?:final\s+|correct\s+|exact\s+)?(?:answers?|results?|solutions?)"
_QUANTITY = (
    r"(?:the|its|their)\s+(?:total\s+|final\s+|desired\s+|required\s+|requested\s+)?(?:cost|price|total|sum|product|difference|"
    r"quotient|remainder|area|perimeter|volume|length|width|height|distance|number|value|values|probability|average|mean|"
    r"median|mode|ratio|units? digit|digit|angle|slope|radius|diameter|roots|maximum|minimum|answer)"
    r"(?:\s+of\s+\$?[A-Za-z]\$?(?=\s))?"
)
_STATED = (
    r"(?:(?:the|my|our)\s+)?(?:(?:final|correct|exact|only|desired|required)\s+)*(?:answers?|result|"
    r"(?:answer|solution)\s+to\s+(?:the|this|our)\s+(?:question|problem|equation)|solutions?(?=\s+(?:is|are)))"
)
_IS = r"\s*(?:is|are|=|:|equals|to\s+be)(?:\s+equal\s+to)?\s*:?\s*"
# What may introduce an answer, and carries no meaning.
_INTRODUCTION = re.compile(
    rf"{_LEAD_WORDS}*(?:{_OF_ANSWER}{_IS}|{_QUANTITY}\s+(?:is|are|equals)\s*:?\s*|(?:we|you|i)\s+(?:get|have|obtain|find)\s*:?\s*|"
    r"(?:there|it|this|that)\s+(?:is|are)\s*:?\s*|####\s*)?",
    re.IGNORECASE,
)
_THEREFORE = re.compile(r"\A(?:\\(?:therefore|implies|Rightarrow|Longrightarrow)(?![A-Za-z])|∴|⇒|=>)\s*")
_VERB = r"(?:is|are|equals|to\s+be)(?:\s+equal\s+to)?"
_STATEMENT = re.compile(
    rf"(?:(?<![A-Za-z]){_STATED}(?:\s*\*\*)?(?:\s*{_VERB}\s*(?:\*\*)?\s*:?|\s*(?:\*\*)?\s*[:=])\s*(?:\*\*)?"
    r"|^[ \t]*####(?!#))\s*",
    re.IGNORECASE | re.MULTILINE,
)
_CORRECTION = re.compile(r"(?:(?<![A-Za-z])(?:it|that)\s+(?:is|should\s+be)\s+(?:actually\s+)?)", re.IGNORECASE)
_RETRACTION = re.compile(
    r"(?<![A-Za-z])(?:wait|actually|nope|wrong|incorrect|mistaken?|instead|correction|sorry|hmm|oops|recheck|reconsider|"
    r"scratch\s+that|never\s*mind|second\s+thoughts?|jok(?:e|ing)|kidding|ignore|disregard|discard|reject(?:ed)?|retract(?:ed)?|"
    r"withdrawn?|hold\s+on|typo|errors?|contradict(?:s|ion)?|fails|redo|revised?|"
    r"(?:that|this|it)\s+(?:can['’]t|cannot)\s+be(?=\s*[.,!;])|"
    r"not\s+(?:right|correct|the\s+(?:right|correct)?\s*answer))(?![A-Za-z])",
    re.IGNORECASE,
)
_NO = re.compile(r"[.!?(\n]\s*(?:no|nope)(?![A-Za-z])(?!\s+(?:other|more|further|need|matter|one|such))", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?:(?<![0-9])[.]|(?<=[0-9])\.(?![0-9])|(?<!\\)!)(?=\s|\*|$)|\n")
_DOLLAR = re.compile(r"(?<!\\)\$")
_CLOSING_DOLLAR = re.compile(r"(?<!\\)\$(?![0-9])")  # "$36. So she pays $36" has two amounts, and no formula
_QUOTES = str.maketrans("“”‘’", "\"\"''")
_EMPHASIS = ("**", "__", "`", '"', "''", "*", "'")
_EQUALS = re.compile(
    r"(?<![<>!\\])=|&|\\(?:implies|Rightarrow|Longrightarrow|therefore|approx|equiv)(?![A-Za-z])|:(?=\s)"
)
_ENVIRONMENT = re.compile(
    r"\\(?:begin|end)\s*\{(?:align|aligned|equation|gather|gathered|split|displaymath|math|center)\*?\}"
)
_UNIT_BEHIND = re.compile(
    r"(?:\s|\\[ ,;:!]|~)*((?:square |cubic |sq\.? )?[A-Za-z]{1,12}(?:\^\{?[23]\}?)?)(?=[\s.,;!)]|$)"
)
_STRUCK = re.compile(r"~~\s*[^~\s][^~]*~~")
_ABOUT = re.compile(r"~\s*[-+$0-9]")
_SIZE = re.compile(r"\A\s*\\(?:displaystyle|textstyle)(?![A-Za-z])\s*")
_GROUP = re.compile(
    r"(?:\\(?:text(?:bf|it|rm|normal)?|math(?:bf|rm|it)|bold|underline|mbox|emph)\s*|\\textcolor\s*\{\w+\}\s*)?\{"
)
_DIGITS = re.compile(r"[0-9]")
_TRAILING = re.compile(r"(?:\\[ ,;:!]|[\s~*_.,;\"]|\\$)+$")
_MODULUS = re.compile(r"\s*\(?\s*\\p?mod\s*(?:\{[^{}]*\}|\w+)\s*\)?\s*\.?\s*$")
_MAGNITUDES = words(
    """hundred hundreds thousand thousands million millions billion billions trillion dozen dozens score lakh crore
    halves thirds quarters fourths fifths sixths sevenths eighths ninths tenths hundredths thousandths squared
    cubed factorial minus plus over divided multiplied point"""
)
_WORD_BEHIND = re.compile(r"(?:\s|\\[ ,;:!]|~|-)*([A-Za-z]+)")
_FOLLOWERS = words("""is as and or so which that where when if in for by with from but because since are was""")
_SEPARATOR_WORD = re.compile(r"\\(?:text|textrm|mbox)\s*\{([^{}]*)\}")
_SPACING = re.compile(r"\\(?:q?quad(?![A-Za-z])|[,;: ])|~")
_BETWEEN_BOXES = re.compile(r"\s*[,;]?\s*(?:\b(?:and|or)\b)?\s*(?:[A-Za-z](?:_\{?\w\}?)?\s*=\s*)?\s*")
_OPEN_BRACKET = re.compile(r"[(\[](?=[^()\[\]]*[^\s()\[\]])[^()\[\]A-Za-z=$*\\]*\Z")
_MARKS = re.compile(r"\$\$|(?<!\\)\$|\\[()\[\]]")
_REMARKS = 400  # characters behind an answer in which it may be taken back
_LONGEST_SENTENCE = 600  # characters around an answer that are searched for the ends of its sentence
_SENTENCE_START = re.compile(
    r"[.!?](?=\$?\s)|\\\]|\\end\s*\{[a-z]+\*?\}|\$(?=(?:So|Thus|Hence|Therefore|Then|Our|The|Finally)\b)"
)
_CLAUSE_START = re.compile(r"[,;:](?=\$?\s)|(?<=\s)[-–—](?=\s)")
_PLAIN_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?")
# The words that may stand between the beginning of a clause and "the answer is".
_LEADING_WORDS = words(
    """a all also altogether and as because but can clearly conclude conclusion conclusively deduce finally find
    following follows for from gather get given gives have hence i implies in indicates is it know leads me mean
    means my now obtain of our overall problem put question see short show shows since so step summary that the
    then therefore these this thus to total together up us we which yields"""
)
# What makes a sentence suppose, doubt or deny what it states.
_NEGATIONS = words("not never neither nor impossible cannot")  # and all that ends with n't
_DOUBTS = words(
    """assume assuming claim claims deny denies doubt doubted doubtful doubts erroneous erroneously error false falsely
    few guess guessed guesses guessing hardly if incorrect incorrectly maybe mistake mistaken mistakenly naive naively
    nobody perhaps possibly probably suppose supposing trap uncertain unless unlikely unsure untrue whether wrong
    wrongly"""
)
_MODALS = words("may might could would should")
_HYPOTHETICAL = _DOUBTS | _MODALS
_DENIALS = _DOUBTS | _NEGATIONS | words("no contrary instead rather")
_QUALIFIED = _DENIALS | _MODALS
_WORD = re.compile(r"[a-z]+(?:['’]t(?![a-z]))?")
# What may give the reason for the clause behind it, so that a negation in it is about something else.
_REASON = re.compile(r"\s*(?:since|because|as|given)\s", re.IGNORECASE)
_CONSEQUENCE = re.compile(r"\s*(?:and\s+)?(?:so|thus|hence|therefore|then|but)\s", re.IGNORECASE)
_SUPPOSED = re.compile(r"(?<![A-Za-z])(would|could|might|may|should)(?:\s+(?:\w+\s+){0,3}\Z)", re.IGNORECASE)
# The words that may stand directly in front of a boxed answer, besides words of the question.
_BEFORE_BOX = words(
    """again altogether answer answers are ate be become becomes being bought buys calculate calculates came case
    choice compute computes conclude concludes contain contains cost costs covers cut determine determines drank
    drives drove earn earned earns eaten eats equal equals es est evaluate evaluates finally find finds found gave
    get gets getting give given gives giving got gotten grew had has have having hence holds implies imply implying
    in include includes into is ist it know leave leaves leaving left letter lost made make makes making me mean
    meaning means measure measures namely need needs obtain obtained obtaining obtains option overall paid passes
    pay pays produce produces ran reads received receives require requires result runs saved saves see sees sells
    simplifies simplify sind so sold solution solutions son sono sont spend spends spent such take takes that them
    then there therefore thus took travels us use uses walks was weigh weighs went were when where which won write
    wrote yield yielding yields"""
)
# Words that are looked through: what stands in front of them decides.
_LOOKED_THROUGH = words(
    "the a an exactly precisely just simply only also now indeed clearly thus therefore all another other remaining"
)
_BEFORE_PREPOSITION = _LOOKED_THROUGH | {"up", "down"}
_QUANTITIES = words(
    """age amount angle answer area areas asymptote average base chance choice circumference coefficient coordinates
    cost count degree degrees depth diameter difference digit digits distance divisor domain equation exponent
    expression factor form fraction function gcd height intercept intercepts interval lcm length line matrix max
    maximum mean measure measurement measures median min minimum mode multiple number numbers odds option percent
    percentage perimeter point polynomial price probability product profit quotient radius range rate ratio
    remainder result root roots set side slope solution speed sum term time total value values vector volume width"""
)
# Those whose "of" has a boxed number that is not the answer: a multiple of 42.
_PARTS = words(
    """base bases coefficient digit digits divisor divisors double expression factor factors fraction fractions half
    multiple multiples part parts percent power powers quarter quarters root roots side sides square squares term
    terms third thirds cube cubes logarithm log"""
)
# What may stand in front of a preposition that is in front of a boxed answer, besides words of the question.
_PREPOSITIONS = {
    "of": _QUANTITIES - _PARTS,
    "to": words(
        """add adds amount amounts brings come comes congruent converges correspond corresponds equal equals equates
        equivalent evaluate evaluates expression grown lead leading leads move moves out rearrange rearranges reduce
        reduced reduces round rounded rounds simplified simplifies simplify solves sum sums telescopes tends
        translates us"""
    ),
    "by": words("given represented described denoted followed increased decreased reduced"),
    "as": words(
        """answer computed express expressed find follows formatted given it represented rewrite rewritten same
        simplified this write written"""
    ),
    "for": words("make makes making"),
    "with": words("leaves leaving left me them us"),
    "on": words("is falls fell lands landed"),
    "at": words("is are occurs attained achieved reached arrive arriving minimized maximized intersect meet and"),
}
# Words of a question that change a number, or say something else about it, in front of a boxed answer.
_NEVER_BEFORE_BOX = words(
    """about after almost approximately around before between beyond but close each either every except from half if
    instead least like most near nearly neither never no nor not off or over past roughly short than these this
    those thrice times twice under unless unlike until within without"""
)
_TOKEN = re.compile(r"\\[A-Za-z]+|</?\w+>|[^\W\d_]+(?:['’-][^\W\d_]+)*|[,;:]|\S")
_INLINE_FORMULA = re.compile(
    r"(?<!\\)(?:\$(?:\\.|[^$\\])*?([,;]?)\s*\$|\\\(.*?([,;]?)\s*\\\)|\\\[.*?([,;]?)\s*\\\])", re.DOTALL
)
_CLAUSE_END = re.compile(r"[,;](?=\s)|(?<=\s)[-–—](?=\s)")
_LEFT_SIDE = re.compile(r"(?:\$|\\[(\[])?([^=<>]*?)(?:=|\\(?:equiv|approx|in)(?![A-Za-z]))")
_FORMULA_END = re.compile(r"\A(\s*)(?:\$|\\[\])])")
_BEHIND_END = re.compile(r"(?<![0-9])[.!?]|[.!?](?![0-9])|\n")
_FIRST_WORD = re.compile(r"(?:\s|\\[ ,;:!]|~|\*|,)*([A-Za-z]+)")
_DISPLAYS = (("\\[", "\\]"), ("\\(", "\\)"), ("\\begin{a", "\\end{a"))
_UNREAL = re.compile(r"(?<![A-Za-z])(?:if|unless|was|were)(?![A-Za-z])", re.IGNORECASE)
_NEGATED_BOX = re.compile(
    r"(?<![A-Za-z])(?:not|never|neither|nor|impossible|cannot|\w+n['’]t)\s+"
    r"(?:(?:be|to|of|is|it|equal|the|that|a|an|yet|even|really)\s+){0,5}\Z",
    re.IGNORECASE,
)
# The words that may stand directly behind a boxed answer, besides units and words of the question.
_BEHIND_BOX = words(
    """is are as so which in for from with because since where when on and by of the a answer answers solution
    solutions we thus therefore hence respectively total altogether that who whose such possible different distinct
    valid ordered integral positive suitable integer prime choices orderings chance achieved attained obtained
    reached occurs"""
)
# Words that change a number wherever they stand behind it, unless the question has them.
_OPERATION = re.compile(
    r"(?<![A-Za-z])(?:plus|minus|divided|multiplied|squared|cubed|halved|doubled|tripled|twice|thrice|added|subtracted|"
    r"adding|subtracting|base|binary|octal|hexadecimal|exponent|reciprocal|numerator|denominator|below|above|less|"
    r"negative|better|from|million|billion|thousand|another)(?![A-Za-z])",
    re.IGNORECASE,
)
# Words that change a number directly behind it, also where the question has them.
_CHANGES = words("plus minus divided multiplied squared cubed halved doubled tripled below above negative")
_SUBORDINATE = re.compile(r"(?<![A-Za-z])(?:that|which|who|whose|where|when|since|because|such\s+that)(?![A-Za-z])")
_NUMBER_NEXT = re.compile(
    r"\s+(?:most|least|base|binary|octal|hexadecimal|(?:thousand|million|billion|hundred|dozen)s|"
    r"(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|half)(?![A-Za-z])|[0-9$\\-])",
    re.IGNORECASE,
)
_ALTERNATIVE = re.compile(
    r"(?<![A-Za-z])(?:than|but|too\s+(?:many|few|large|small|high|low)|n?or\s+(?:\S+\s+){0,2}?(?:[0-9$\\]|so|more|less|fewer|greater|not|maybe|else|perhaps|possibly|zero|one|"
    r"two|three|four|five|six|seven|eight|nine|ten)|n?or\s*\Z)(?![A-Za-z])",
    re.IGNORECASE,
)
_CONFIRMED = re.compile(
    r"(?:is|are)\s+(?:(?:indeed|also|thus|therefore|then)\s+)?(?:(?:achieved|attained|obtained|reached)(?![A-Za-z])|"
    r"(?:(?:the|our|my)\s+)?(?:(?:final|correct|exact|desired|required|only|smallest|largest|greatest|least|minimum|"
    r"maximum|lowest|highest|closest|positive|possible|integer|prime|whole)\s+)*"
    r"(?:(?<=smallest\s)|(?<=largest\s)|(?<=greatest\s)|(?<=least\s)(?!likely)|(?<=only\s)|"
    r"(?:answers?|results?|solutions?|values?|correct|right|what|number)(?![A-Za-z])|(?:smallest|largest|greatest|least|winner)\s*(?:\Z|[,;])))",
    re.IGNORECASE,
)
_OPERATORS = frozenset("+*/^<>≠≤≥±∓×·÷√|_=≈∈¬")
_HARMLESS_COMMANDS = words(
    """quad qquad therefore implies Rightarrow rightarrow Longrightarrow to boxed fbox left big Big displaystyle
    hfill par noindent bf square blacksquare"""
)


@lru_cache(maxsize=8)
def boxed_spans(text: str) -> list[tuple[int, int, int, int]]:
    """The outermost closed boxes that hold something: begin of box, begin and end of its content, end of box."""
    spans: list[tuple[int, int, int, int]] = []
    for found in _BOX.finditer(text):
        start, begin = found.span()
        if spans and start < spans[-1][3]:
            continue
        if text[begin : begin + 1] == "{":
            end = _closing(text, begin)
            if end is not None and text[begin + 1 : end].strip():
                spans.append((start, begin + 1, end, end + 1))
        elif (bare := _UNBRACED.match(text, begin)) is not None:
            spans.append((start, begin, bare.end(), bare.end()))
    return spans


def _closing(text: str, at: int) -> int | None:
    """The place of the brace that closes the one at `at`; None where another box opens first, or none closes it."""
    depth = 0
    for token in _BRACE.finditer(text, at, at + _LONGEST_BOX):
        brace = token.group()
        if brace == "{":
            depth += 1
        elif brace == "}":
            depth -= 1
            if depth == 0:
                return token.start()
    return None


def last_boxed(text: str) -> str | None:
    r"""The content of the last ``\boxed{...}`` that holds something; None where there is none."""
    spans = boxed_spans(text)
    return text[spans[-1][1] : spans[-1][2]] if spans else None


def read_answer(text: str, *, tagged: bool, question: str = "") -> str | None:
    """The answer as one expression, or None where the text states none.

    :param tagged: the text is nothing but the answer (the format's tags delimit it).
    :param question: its words may stand behind a boxed answer.
    """
    if tagged:
        return clean(text)
    text = _STRUCK.sub(" ", text.replace("$$", "$"))
    spans = boxed_spans(text)
    statement = _last_statement(text, spans[-1][3] if spans else 0)
    if statement is not None and (not spans or not statement or _readable(statement)):
        return statement
    if spans:
        return _from_boxes(text, spans, question)
    lines = [line for line in text.strip().split("\n") if line.strip(" *_-#$\\[]()")]
    if not lines:
        return None
    line = lines[-1].strip()
    if line.startswith(("$$", "\\[")) or "$" in line or "\\" in line or len(line) < 200:
        return clean(line)
    return None


def _readable(text: str) -> bool:
    from kkwarm_math.compare import read
    from kkwarm_math.expression import Unreadable

    try:
        return bool(text) and read(text) is not None
    except Unreadable:
        return False


def _may_state(text: str) -> bool:
    """Whether `_STATEMENT` may find something: a quick test, because it seldom does."""
    folded = text.casefold()
    return not text.isascii() or any(word in folded for word in ("answer", "result", "solution", "####"))


def _last_statement(text: str, after: int) -> str | None:
    """What the last "the answer is" states, behind the last box."""
    statements = list(_STATEMENT.finditer(text, after)) if _may_state(text[after:]) else None
    if not statements:
        return None
    found = statements[-1]
    begin = found.end()
    if not _is_asserted(text, found.start()):
        return ""
    end = _statement_end(text, begin)
    answer, rest = text[begin:end], text[end:]
    if rest.startswith("?") or answer.rstrip(" *$").endswith("?"):
        return ""
    corrections = list(_CORRECTION.finditer(rest))
    taken_back = rest[: corrections[-1].start()] if corrections else ""
    if _RETRACTION.search(taken_back) or _NO.search(taken_back):
        begin = corrections[-1].end()
        answer, rest = rest[begin : _statement_end(rest, begin)], rest[_statement_end(rest, begin) :]
    if _RETRACTION.search(rest) or _NO.search(rest):
        return ""
    return clean(answer)


def _statement_end(text: str, begin: int) -> int:
    if text.startswith(("$$", "\\["), begin):
        closed = text.find("$$" if text[begin] == "$" else "\\]", begin + 2)
        if closed >= 0:
            begin = closed + 2
    found = _SENTENCE_END.search(text, begin)
    while found is not None and len(_DOLLAR.findall(text, begin, found.start())) % 2:  # an end inside a formula
        line = text.find("\n", found.start())
        close = _CLOSING_DOLLAR.search(text, found.start(), line if line >= 0 else len(text))
        if close is None:
            break
        found = _SENTENCE_END.search(text, close.end())
    return len(text) if found is None else found.start()


def _sentence_start(text: str, end: int) -> int:
    """Where the sentence that `end` is in begins."""
    first = max(0, end - _LONGEST_SENTENCE, text.rfind("\n", 0, end) + 1)
    for begin in (max(first, end - 120), first):  # most sentences are short
        if starts := list(_SENTENCE_START.finditer(text, begin, end)):
            return starts[-1].end()
    return first


def _is_asserted(text: str, at: int) -> bool:
    """Whether "the answer is" at this place is asserted: only known words are before it in its clause, and no doubt."""
    sentence = text[_sentence_start(text, at) : at]
    *before, clause = _CLAUSE_START.split(sentence)
    if any(_those(_HYPOTHETICAL, part) for part in before):
        return False
    explained = _REASON.match(sentence) or _CONSEQUENCE.match(clause + " ")
    if not explained and any(_those(_NEGATIONS, part) for part in before):
        return False
    return all(word.casefold() in _LEADING_WORDS for word in map(str, _PLAIN_WORD.findall(clause)))


def _box_is_asserted(text: str, start: int, inside: str, stop: int, question: str) -> bool:
    """Whether the sentence around a box asserts what is in it."""
    begin = _formula_start(text, start)
    sentence = text[_sentence_start(text, begin) : begin]
    lead = sentence + text[begin:start]
    statement = next(reversed(list(_STATEMENT.finditer(lead))), None) if _may_state(lead) else None
    if (
        statement is not None
        and not lead[statement.end() :].strip(" $*\\([{")
        and not _is_asserted(text, start - len(lead) + statement.start())
    ):
        return False
    if _those(_QUALIFIED, lead) and _is_doubted(sentence, lead, question):
        return False
    return _is_introduced(sentence, text[begin:start], inside, question) and _goes_on(
        text[stop : stop + _LONGEST_SENTENCE], question
    )


def _is_doubted(sentence: str, lead: str, question: str) -> bool:
    """Whether the words in front of a box deny or doubt it. Those of the question may be about something else."""
    if not all(_asks(question, word) for word in _those(_DENIALS, _SUBORDINATE.split(_last_clause(sentence))[0])):
        return True
    words = _MARKS.sub(" ", lead).rstrip("*_ ") + " "
    if _NEGATED_BOX.search(words):
        return True
    supposed = _SUPPOSED.search(words)
    return supposed is not None and (_UNREAL.search(words) is not None or not _asks(question, supposed[1]))


def _last_clause(sentence: str) -> str:
    """The clause at the end of a sentence, with a dollar for each formula."""
    return _CLAUSE_END.split(_INLINE_FORMULA.sub(r" $ \1\2\3 ", sentence))[-1]


def _is_introduced(sentence: str, formula: str, inside: str, question: str) -> bool:
    """Whether the words in front of the formula with the box introduce an answer.

    :param formula: its part in front of the box.
    """
    if sentence.rstrip(" *_\n").rpartition(" ")[2].casefold() in _BEFORE_BOX:  # most often
        return True
    tokens = [token.casefold() for token in _TOKEN.findall(_last_clause(sentence))]
    while tokens and not (_PLAIN_WORD.fullmatch(tokens[-1]) and (len(tokens[-1]) > 1 or tokens[-1] == "a")):
        if tokens.pop() == ":":
            return True
    while tokens and tokens[-1] in _LOOKED_THROUGH:
        tokens.pop()
    if not tokens:
        return True
    *before, word = tokens
    if word in ("or", "and"):
        side = _LEFT_SIDE.match(formula)
        if side is not None and not _has_equation(sentence, side[1]):
            return True  # 2x = 6 or x = \boxed{3}
        if word == "or":
            return _restates(sentence, inside)
        return not before  # not "3 and \boxed{42}"
    if word in _PREPOSITIONS:
        known = _PREPOSITIONS[word]
        word = next((t for t in reversed(before) if t not in _BEFORE_PREPOSITION), "")
        return word in known or (word not in _PARTS and _names(question, word))
    return word in _BEFORE_BOX or word in _QUANTITIES or _names(question, word)


def _has_equation(sentence: str, side: str) -> bool:
    """Whether a sentence has an equation for this side: ``x = 43 or x = ``."""
    name = re.sub(r"\s", "", side)
    return re.search(rf"(?<![A-Za-z0-9)}}]){re.escape(name)}(?:=|\\in)", re.sub(r"\s", "", sentence)) is not None


def _formula_start(text: str, start: int) -> int:
    """Where the formula that `start` is in begins."""
    if (text.count("$", 0, start) - text.count("\\$", 0, start)) % 2:
        return text.rfind("$", 0, start)
    opened = [
        at for mark, end in _DISPLAYS if (at := text.rfind(mark, 0, start)) >= 0 and text.rfind(end, at, start) < 0
    ]
    return min(opened, default=start)


def _those(known: frozenset[str], text: str) -> list[str]:
    """The words of a text that are among the known ones; "isn't" counts as "not"."""
    found = _WORD.findall(text.casefold().replace("no:", ""))
    return [w for w in found if w in known or ("not" in known and w.endswith(("n't", "n’t")))]


def _asks(question: str, word: str) -> bool:
    """Whether a word is in the question."""
    return re.search(rf"(?<![A-Za-z]){re.escape(word)}(?![A-Za-z])", question, re.IGNORECASE) is not None


def _names(question: str, word: str) -> bool:
    """Whether the question has a word, or another form of it, that leaves a number behind it as it is."""
    if word in _NEVER_BEFORE_BOX or _OPERATION.fullmatch(word) or len(word) < 3:
        return False
    stem = re.sub(r"(?:s|es|ed|ing|en)\Z", "", word)
    return re.search(rf"(?<![A-Za-z]){re.escape(stem)}", question, re.IGNORECASE) is not None


_RESTATED = re.compile(r"\$([^$]*)\$?,?\$?\s*or\s*(?:\$|\\\()?\s*\Z")


def _restates(lead: str, inside: str) -> bool:
    """Whether "X or" in front of a box gives the same value: "which equals $50 \\cdot 12$, or $\\boxed{600}$"."""
    from kkwarm_math.compare import same_value

    found = _RESTATED.search(lead)
    return found is not None and same_value(_EQUALS.split(found[1])[-1].strip(" ,"), inside)


def _goes_on(behind: str, question: str) -> bool:
    """Whether the rest of a box's sentence leaves the box as it is."""
    behind = _FORMULA_END.sub(r"\1", behind)
    stop = _BEHIND_END.search(behind)
    sentence = behind[: stop.start()] if stop is not None else behind
    if stop is not None and stop.group() == "?":
        return False
    word = _FIRST_WORD.match(sentence)
    if word is None:
        return True
    name, rest = word[1].casefold(), sentence[word.end() :]
    if _those(_HYPOTHETICAL, sentence):
        return False
    if not all(_asks(question, found[0]) for found in _OPERATION.finditer(sentence)):
        return False
    claim = _SUBORDINATE.split(sentence)[0]  # what "which ..." says is about something else
    if name in ("is", "are", "was", "were", "be"):
        return _CONFIRMED.match(sentence, word.start(1)) is not None and not _those(_NEGATIONS, claim)
    if name in _CHANGES:
        return False
    asked = _asks(question, name)
    if name in ("more", "fewer", "less"):
        return asked and _NUMBER_NEXT.match(rest) is None
    if name in ("or", "nor", "than") or _those(_NEGATIONS, claim) or _ALTERNATIVE.search(claim):
        return False
    if name == "and":  # "and we are done", but not "and a half"
        return (
            re.match(r"\s+(?:(?:we|so|thus|hence|therefore|this|that|it|i)\s|is\s+(?:achieved|attained|reached))", rest)
            is not None
        )
    if name in ("since", "because", "where", "when", "which") or (name == "to" and rest.startswith(" the nearest ")):
        return True
    alone = _NUMBER_NEXT.match(rest) is None
    if name == "at":  # "at the vertex", but not "at first, then 18"
        return re.match(r"\s+(?:the|a|an|each|every|this|that|(?:\$|\\\()?\(?[a-z]\s*=)(?![A-Za-z])", rest) is not None
    if name in _BEHIND_BOX:
        return alone
    unit = re.match(r"[A-Za-z]+(?:\s+[A-Za-z]+)?", sentence[word.start(1) :])
    assert unit is not None
    units = (split_unit(f"0 {u}", question=question)[1] for u in (unit.group(), word[1]))
    return (asked and alone) or any(u is not None for u in units)


def _from_boxes(text: str, spans: list[tuple[int, int, int, int]], question: str) -> str | None:
    """The last box, with the boxes that only separators or names part from it, and what is next to it."""
    group = [spans[-1]]
    for span in reversed(spans[:-1]):
        between = _SPACING.sub(" ", _SEPARATOR_WORD.sub(r"\1", _MARKS.sub(" ", text[span[3] : group[0][0]])))
        if not between.strip():
            if "\n" not in between and text[span[1] : span[2]] != text[group[0][1] : group[0][2]]:
                return ""  # two boxes side by side are neither one answer nor a list
            break
        if not _BETWEEN_BOXES.fullmatch(between):
            break
        group.insert(0, span)
    start, stop = group[0][0], group[-1][3]
    inside = ", ".join(text[begin:end] for _, begin, end, _ in group)
    if _contradicted(text[stop:]) or not _box_is_asserted(text, start, inside, stop, question):
        return ""
    return _with_context(text, start, inside, stop)


def _contradicted(rest: str) -> bool:
    """Whether the text behind a box takes it back."""
    return bool(_RETRACTION.search(rest[:_REMARKS]) or _NO.search(rest[:_REMARKS]))


def _with_context(text: str, start: int, inside: str, stop: int) -> str:
    """What is in a box, with what stands next to the box in its formula, and with the unit behind it."""
    left, right = text[:start], text[stop:]
    in_dollars = (left.count("$") - left.count("\\$")) % 2 == 1
    if in_dollars:
        left = left[left.rfind("$") + 1 :]
        right, _, behind = right.partition("$")
    else:
        opened = max(left.rfind("\\["), left.rfind("\\("))
        closed = max(left.rfind("\\]"), left.rfind("\\)"))
        if opened > closed:
            left = left[opened + 2 :]
            close = re.search(r"\\[\])]", right)
            right, behind = (right[: close.start()], right[close.end() :]) if close else (right, "")
        else:
            left = _formula_before(left.rpartition("\n")[2])
            size = _formula_size(right.partition("\n")[0])
            right, behind = right[:size], right[size:]
    if "\\" in left or "\\" in right:
        left, right = _ENVIRONMENT.sub(" ", left), _ENVIRONMENT.sub(" ", right)
    left = _EQUALS.split(left)[-1].strip().strip('*_("')
    if right.strip(" *_.,;\n"):
        right = _MODULUS.sub("", right.replace("\\\\", " "))
        right = _TRAILING.sub("", right)
    right = right.strip().rstrip("*_.,;")
    if (right and right[0] in "=≈") or right.startswith(("\\approx", "\\quad", "\\qquad")):
        right = ""
    if (word := _WORD_BEHIND.match(behind)) is not None and word[1].casefold() in _MAGNITUDES:
        return f"{left}{{{inside}}} {word[1]} {word[1]}"  # "42 thousand" is not 42, and is not read
    if not right and (unit := _UNIT_BEHIND.match(behind)) is not None:
        name, caret, power = unit[1].partition("^")
        if name.casefold() not in _FOLLOWERS and split_unit(f"0 {unit[1]}")[1] is not None:
            right = f" \\text{{ {name}}}{caret}{power}"
    if not left and not right:
        return clean(inside) or inside
    return f"{left}{{{inside}}}{right}"


def _formula_before(line: str) -> str:
    """What a formula outside of dollars has before a box: what is attached to it, and more before an operator."""
    if (opened := _OPEN_BRACKET.search(line)) is not None:
        return opened.group()
    tokens = re.findall(r"\S+|\s+", line)
    if len(tokens) > 1 and tokens[-1].isspace() and _UNBRACED.fullmatch(tokens[-2]) and tokens[-2][-1].isdigit():
        return f"{tokens[-2]}{tokens[-1]}"
    kept = "" if not tokens or tokens[-1].isspace() else tokens.pop()
    if kept:
        return kept
    while len(tokens) > 1 and (_is_operator(tokens[-2]) or _is_minus(tokens)):
        kept = tokens[-2] + tokens[-1] + kept
        del tokens[-2:]
        if tokens and tokens[-1].isspace():
            kept = tokens.pop() + kept
        if tokens and not _PLAIN_WORD.fullmatch(tokens[-1]):
            kept = tokens.pop() + kept
    return kept


def _is_minus(tokens: list[str]) -> bool:
    """Whether a sign between spaces at the end is a minus, not a dash or a bullet: a formula stands before it."""
    before = tokens[-4] if len(tokens) > 3 and tokens[-2] in ("-", "−") else ""
    return bool(before) and (len(before) == 1 or before[-1] in ")}]" or before[-1].isdigit())


def _is_operator(token: str) -> bool:
    if token.startswith("\\"):
        name = re.search(r"\\([A-Za-z]+)\Z", token)
        return name is not None and name[1] not in _HARMLESS_COMMANDS
    return token[-1] in _OPERATORS and not re.fullmatch(r"=>|#+|\*+|_+|>>+|->", token)


def _formula_size(line: str) -> int:
    """How many characters behind a box outside of dollars belong to its formula."""
    adjacent = re.match(r"(?:[^\s.,;!?)]|[.,](?=[0-9]))*(?:[!](?=\s|$))?", line)
    assert adjacent is not None
    rest = line[adjacent.end() :]
    token = re.match(r"\s+(\S+)", rest)
    if token is None:
        return adjacent.end()
    first = token[1]
    command = re.match(r"\\([A-Za-z]+)", first)
    goes_on = (
        (command is not None and command[1] not in _HARMLESS_COMMANDS)
        or (first[0] in _OPERATORS - {"|"} and not re.fullmatch(r"=>|\*+\S*|_+\S*|->", first))
        or first[0].isdigit()
        or re.match(r"-(?:[0-9\\]|\s+[0-9\\])", rest.lstrip()) is not None
    )
    return len(line) if goes_on else adjacent.end()


# -- cleaning ---------------------------------------------------------------------------------------------------------


def clean(text: str) -> str | None:
    """An answer block without emphasis, dollars, boxes and introductions; None where nothing is left."""
    text = text.strip()
    if "\\" in text:
        text = _ENVIRONMENT.sub(" ", text)
    if _STRUCK.search(text) or _ABOUT.match(text):
        return None
    for _ in range(4):
        before = text
        text = _unwrapped(text)
        text = _ungrouped(text).removeprefix("=").lstrip()
        text = _without_boxes(text)
        text = _without_dollars(text)
        text = _without_introduction(text)
        if text == before:
            break
    return text if any(c.isalnum() for c in text) or "\\" in text else None


def _ungrouped(text: str) -> str:
    """The text without braces, a font or a color around all of it."""
    text = _SIZE.sub("", text)
    found = _GROUP.match(text)
    if found is None or _closing(text, found.end() - 1) != len(text) - 1:
        return text
    inner = text[found.end() : -1].strip()
    if "\\over" in inner or "\\choose" in inner:
        return text
    return inner if found.group() == "{" or _DIGITS.search(inner) else text


def _without_boxes(text: str) -> str:
    spans = boxed_spans(text)
    if not spans:
        return text
    if len(spans) == 1 and not text[: spans[0][0]].strip(" $") and not text[spans[0][3] :].strip(" $.\n"):
        return text[spans[0][1] : spans[0][2]].strip()
    parts, at = [], 0
    for start, begin, end, stop in spans:
        parts += [text[at:start], "{", text[begin:end], "}"]
        at = stop
    return "".join(parts) + text[at:]


def _without_dollars(text: str) -> str:
    if "$" not in text and "\\(" not in text and "\\[" not in text:
        return text
    text = re.sub(r"\\[()]|(?<!\\)\\\[(?![0-9.]+(?:pt|em|ex))|(?<!\\)\\\]", " ", text)
    if text.count("$") - text.count("\\$") >= 2:
        text = re.sub(r"\$\$|(?<!\\)\$", " ", text)
    return text.strip()


def _without_introduction(text: str) -> str:
    if text.startswith("\\text") and (found := re.match(r"\\text(?:bf|it|rm)?\{([^{}]*)\}\s*", text)) is not None:
        lead = _INTRODUCTION.match(found[1])
        if lead is not None and lead.end() == len(found[1]) and found[1].strip():
            return text[found.end() :].strip()
    text = _THEREFORE.sub("", text)
    found = _INTRODUCTION.match(text)
    if found is None or not found.group():
        return text
    return text[found.end() :].strip()


def _unwrapped(text: str) -> str:
    text = text.strip().removesuffix("\\text{.}").translate(_QUOTES)
    for mark in _EMPHASIS:
        if len(text) > 2 * len(mark) and text.startswith(mark) and text.rstrip(".").endswith(mark):
            inner = text.rstrip(".")[len(mark) : -len(mark)]
            if mark not in inner:
                text = inner.strip()
    if text.startswith("**"):
        text = re.sub(r"^\*\*([A-Za-z ]+:)\*\*", r"\1", text)
    if text.count("**") == 1 and text.rstrip(".").endswith("**"):
        text = text.rstrip(".")[:-2].rstrip()
    if text.endswith("\\") and not text.endswith("\\\\"):
        text = text[:-1].rstrip()
    if text.endswith((".", ",", ";")) and not text.endswith(".."):
        text = text[:-1].rstrip()
    return text
