r"""Whether the sentences around an answer assert it, or doubt, deny or take it back.

In front of "the answer is" and of a box, only known words and words of the question introduce an answer. The lists are
closed: an unknown word makes the text state none.
"""

from __future__ import annotations

import re

from kkwarm_math.units import split_unit, words

__all__ = [
    "EQUALS",
    "MARKS",
    "PLAIN_WORD",
    "REMARKS",
    "STATEMENT",
    "box_is_asserted",
    "is_asserted",
    "last_dollar",
    "may_state",
    "takes_back",
]

_STATED = (
    r"(?:(?:the|my|our)\s+)?(?:(?:final|correct|exact|only|desired|required)\s+)*(?:answers?|result|"
    r"(?:answer|solution)\s+to\s+(?:the|this|our)\s+(?:question|problem|equation)|solutions?(?=\s+(?:is|are)))"
)
_VERB = r"(?:is|are|equals|to\s+be)(?:\s+equal\s+to)?"
STATEMENT = re.compile(
    rf"(?:(?<![A-Za-z]){_STATED}(?:\s*\*\*)?(?:\s*{_VERB}\s*(?:\*\*)?\s*:?|\s*(?:\*\*)?\s*[:=])\s*(?:\*\*)?"
    r"|^[ \t]*####(?!#))\s*",
    re.IGNORECASE | re.MULTILINE,
)
_RETRACTION = re.compile(
    r"(?<![A-Za-z])(?:wait|actually|nope|wrong|incorrect|mistaken?|instead|correction|sorry|hmm|oops|recheck|reconsider|"
    r"scratch\s+that|never\s*mind|second\s+thoughts?|jok(?:e|ing)|kidding|ignore|disregard|discard|reject(?:ed)?|retract(?:ed)?|"
    r"withdrawn?|hold\s+on|typo|errors?|contradict(?:s|ion)?|fails|redo|revised?|"
    r"(?:that|this|it)\s+(?:can['’]t|cannot)\s+be(?=\s*[.,!;])|"
    r"not\s+(?:right|correct|the\s+(?:right|correct)?\s*answer))(?![A-Za-z])",
    re.IGNORECASE,
)
_NO = re.compile(r"[.!?(\n]\s*(?:no|nope)(?![A-Za-z])(?!\s+(?:other|more|further|need|matter|one|such))", re.IGNORECASE)
EQUALS = re.compile(
    r"(?<![<>!\\])=|&|\\(?:implies|Rightarrow|Longrightarrow|therefore|approx|equiv)(?![A-Za-z])|:(?=\s)"
)
MARKS = re.compile(r"\$\$|(?<!\\)\$|\\[()\[\]]")
REMARKS = 400  # characters behind an answer in which it may be taken back
_LONGEST_SENTENCE = 600  # characters around an answer that are searched for the ends of its sentence
_SENTENCE_START = re.compile(
    r"[.!?](?=\$?\s)|\\\]|\\end\s*\{[a-z]+\*?\}|\$(?=(?:So|Thus|Hence|Therefore|Then|Our|The|Finally)\b)"
)
_CLAUSE_START = re.compile(r"[,;:](?=\$?\s)|(?<=\s)[-–—](?=\s)")
PLAIN_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?")
# The words that may stand between the beginning of a clause and "the answer is".
_LEADING_WORDS = words(
    """a all also altogether and as because box boxed but can clearly conclude conclusion conclusively deduce finally
    find following follows for from gather get given gives have hence i implies in indicates is it know leads let's
    me mean means my now obtain of our overall problem put question see short show shows since so step summary that
    the then therefore these this thus to together total up us we which yields"""
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
_MONTH = re.compile(r"(?<=\S )May(?![A-Za-z])")
_WORD = re.compile(r"[A-Za-z]+(?:['’][tT](?![A-Za-z]))?")
# What may give the reason for the clause behind it, so that a negation in it is about something else.
_REASON = re.compile(r"\s*(?:since|because|as|given)\s", re.IGNORECASE)
_CONSEQUENCE = re.compile(r"\s*(?:and\s+)?(?:so|thus|hence|therefore|then|but)\s", re.IGNORECASE)
_SUPPOSED = re.compile(r"(?<![A-Za-z])(would|could|might|may|should)(?:\s+(?:\w+\s+){0,3}\Z)", re.IGNORECASE)
# The words that may stand directly in front of a boxed answer, besides words of the question.
_BEFORE_BOX = words(
    """again altogether answer answers are ate bake bakes be become becomes being bought buy buys calculate calculates
    came carries carry case charge charges choice collect collects compute computes conclude concludes contain
    contains cost costs cover covers cut determine determines drank drink drive drives drove earn earned earns eat
    eaten eats equal equals es est evaluate evaluates fill fills finally find finds finish finished finishes found
    gave get gets getting give given gives giving got gotten grew grow had has have having hence her him hold holds
    implies imply implying in include includes into is ist it know last lasts leave leaves leaving left letter lose
    loses lost made make makes making me mean meaning means measure measures namely need needs obtain obtained
    obtaining obtains option overall owe owes paid passes pay pays plant plants produce produces raise raised raises
    ran read reads receive received receives require requires result run runs save saved saves score scored scores
    see sees sell sells serve serves simplifies simplify sind so sold solution solutions son sono sont spend spends
    spent such take takes that them then there therefore thus took travel travels us use uses walk walks was weigh
    weighs went were when where which win wins won write wrote yield yielding yields you è é"""
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
# Words whose "of" has a boxed number that is not the answer, also where the question has them: a multiple of 42.
_PARTS = words(
    """base bases coefficient complement conjugate cube cubes digit digits divisor divisors double expression factor
    factors fraction fractions half inverse log logarithm multiple multiples negation neighbor opposite part parts
    percent power powers predecessor quarter quarters root roots side sides square squares successor term terms
    third thirds triple"""
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
_CHINESE = re.compile(r"([\u4e00-\u9fff])[\s：:，,*]*\Z")
_CHINESE_NOT = re.compile("[不非没錯错未否]")
_CHINESE_BEFORE_BOX = frozenset("是为為得有即共到案以故")
_TOKEN = re.compile(r"\\[A-Za-z]+|</?\w+>|[^\W\d_]+(?:['’-][^\W\d_]+)*|[,;:]|\S")
_INLINE_FORMULA = re.compile(
    r"(?<!\\)(?:\$(?:\\.|[^$\\])*?([,;]?)\s*\$|\\\(.*?([,;]?)\s*\\\)|\\\[.*?([,;]?)\s*\\\])", re.DOTALL
)
_CLAUSE_END = re.compile(r"[,;](?=\s)|[，。；](?=.)|(?<=\s)[-–—](?=\s)")
_LEFT_SIDE = re.compile(r"(?:\$|\\[(\[])?([^=<>]*?)(?:=|\\(?:equiv|approx|in)(?![A-Za-z]))")
_FORMULA_END = re.compile(r"\A(\s*)(?:\$|\\[\])])")
_BEHIND_END = re.compile(r"(?<![0-9])[.!?]|[.!?](?![0-9])|\n")
_FIRST_WORD = re.compile(r"(?:\s|\\[ ,;:!]|~|\*|,)*([A-Za-z]+)")
_DISPLAYS = (("\\[", "\\]"), ("\\(", "\\)"), ("\\begin{a", "\\end{a"))
_RESTATED = re.compile(r"\$([^$]*)\$?,?\$?\s*or\s*(?:\$|\\\()?\s*\Z")
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
    r"(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|half)(?![A-Za-z])|[0-9\\-]|\$(?!\(?[a-z][,=. $]))",
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

# "is the smallest angle": a noun phrase of words of the question and these.
_NOUN_PHRASE = re.compile(
    r"(?:is|are)\s+(?:the|our|an?)\s+((?:[A-Za-z]+\s+){0,3}[A-Za-z]+)"
    r"(?=\s+(?:of|that|which|in|for|with|to|at|from|such)(?![A-Za-z])|\s*(?:\Z|[,;(]))",
    re.IGNORECASE,
)
_ADJECTIVES = words(
    """closest common correct desired exact final first greatest highest integer largest last least lowest maximum
    minimum only positive possible prime requested required smallest unique whole"""
)


def may_state(text: str) -> bool:
    """Whether `STATEMENT` may find something: a quick test, because it seldom does."""
    folded = text.casefold()
    return not text.isascii() or any(word in folded for word in ("answer", "result", "solution", "####"))


def _sentence_start(text: str, end: int) -> int:
    """Where the sentence that `end` is in begins."""
    first = max(0, end - _LONGEST_SENTENCE, text.rfind("\n", 0, end) + 1)
    for begin in (max(first, end - 120), first):  # most sentences are short
        if starts := list(_SENTENCE_START.finditer(text, begin, end)):
            return starts[-1].end()
    return first


def is_asserted(text: str, at: int) -> bool:
    """Whether "the answer is" at this place is asserted: only known words are before it in its clause, and no doubt."""
    sentence = text[_sentence_start(text, at) : at]
    *before, clause = _CLAUSE_START.split(sentence)
    if any(_words_among(_HYPOTHETICAL, part) for part in before):
        return False
    explained = _REASON.match(sentence) or _CONSEQUENCE.match(clause + " ")
    if not explained and any(_words_among(_NEGATIONS, part) for part in before):
        return False
    return all(word.casefold() in _LEADING_WORDS for word in map(str, PLAIN_WORD.findall(clause)))


def box_is_asserted(text: str, start: int, inside: str, stop: int, question: str) -> bool:
    """Whether the sentence around a box asserts what is in it."""
    begin = _formula_start(text, start)
    sentence = text[_sentence_start(text, begin) : begin]
    lead = (sentence + text[begin:start])[-_LONGEST_SENTENCE:]
    statement = next(reversed(list(STATEMENT.finditer(lead))), None) if may_state(lead) else None
    if (
        statement is not None
        and not lead[statement.end() :].strip(" $*\\([{")
        and not is_asserted(text, start - len(lead) + statement.start())
    ):
        return False
    if _words_among(_QUALIFIED, lead) and _is_doubted(sentence, lead, question):
        return False
    return _is_introduced(sentence, text[begin:start], inside, question) and _goes_on(
        text[stop : stop + _LONGEST_SENTENCE], question
    )


def _is_doubted(sentence: str, lead: str, question: str) -> bool:
    """Whether the words in front of a box deny or doubt it. Those of the question may be about something else."""
    if not all(
        _has_word(question, word) for word in _words_among(_DENIALS, _SUBORDINATE.split(_last_clause(sentence))[0])
    ):
        return True
    plain = MARKS.sub(" ", lead).rstrip("*_ ") + " "
    if _NEGATED_BOX.search(plain):
        return True
    supposed = _SUPPOSED.search(plain)
    return supposed is not None and (_UNREAL.search(plain) is not None or not _has_word(question, supposed[1]))


def _last_clause(sentence: str) -> str:
    """The clause at the end of a sentence, with a dollar for each formula."""
    return _CLAUSE_END.split(_INLINE_FORMULA.sub(r" $ \1\2\3 ", sentence))[-1]


def _is_introduced(sentence: str, formula: str, inside: str, question: str) -> bool:
    """Whether the words in front of the formula with the box introduce an answer.

    :param formula: its part in front of the box.
    """
    plain = sentence.rstrip(" *_\n")
    if not plain or plain[-1] == ":" or plain.rpartition(" ")[2].casefold() in _BEFORE_BOX:  # most often
        return True
    clause = _last_clause(sentence)
    if (chinese := _CHINESE.search(clause)) is not None:
        return _CHINESE_NOT.search(clause) is None and chinese[1] in _CHINESE_BEFORE_BOX
    tokens = [token.casefold() for token in _TOKEN.findall(clause)]
    while tokens and not (PLAIN_WORD.fullmatch(tokens[-1]) and (len(tokens[-1]) > 1 or tokens[-1] == "a")):
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
        return word in known or (word not in _PARTS and _has_form_of(question, word))
    return word in _BEFORE_BOX or word in _QUANTITIES or _has_form_of(question, word)


def _has_equation(sentence: str, side: str) -> bool:
    """Whether a sentence has an equation for this side: ``x = 43 or x = ``."""
    name = re.sub(r"\s", "", side)[:_LONGEST_SENTENCE]
    return re.search(rf"(?<![-+*/^_A-Za-z0-9)}}]){re.escape(name)}(?:=|\\in)", re.sub(r"\s", "", sentence)) is not None


def _formula_start(text: str, start: int) -> int:
    """Where the formula that `start` is in begins."""
    if (text.count("$", 0, start) - text.count("\\$", 0, start)) % 2:
        return last_dollar(text, start)
    opened = [
        at for mark, end in _DISPLAYS if (at := text.rfind(mark, 0, start)) >= 0 and text.rfind(end, at, start) < 0
    ]
    return min(opened, default=start)


def last_dollar(text: str, end: int) -> int:
    """The place of the last dollar before `end` that no backslash precedes; -1 where there is none."""
    at = text.rfind("$", 0, end)
    while at > 0 and text[at - 1] == "\\":
        at = text.rfind("$", 0, at)
    return at


def _words_among(known: frozenset[str], text: str) -> frozenset[str]:
    """The words of a text that are among the known ones; "isn't" counts as "not"."""
    if "May" in text:
        text = _MONTH.sub("", text)
    folded = text.replace("No:", "").casefold()
    found = _WORD.findall(folded)
    if "not" in known and ("n't" in folded or "n’t" in folded):
        return known.intersection(found) | {w for w in found if w.endswith(("n't", "n’t"))}
    return known.intersection(found)


def _has_word(question: str, word: str) -> bool:
    """Whether a word is in the question."""
    return re.search(rf"(?<![A-Za-z]){re.escape(word)}(?![A-Za-z])", question, re.IGNORECASE) is not None


def _has_form_of(question: str, word: str) -> bool:
    """Whether the question has a word, or another form of it, that leaves a number behind it as it is."""
    if word in _NEVER_BEFORE_BOX or _OPERATION.fullmatch(word) or len(word) < 3:
        return False
    stem = re.sub(r"(?:s|es|ed|ing|en)\Z", "", word)
    return re.search(rf"(?<![A-Za-z]){re.escape(stem)}", question, re.IGNORECASE) is not None


def _restates(lead: str, inside: str) -> bool:
    """Whether "X or" in front of a box gives the same value: "which equals $50 \\cdot 12$, or $\\boxed{600}$"."""
    from kkwarm_math.compare import same_value

    found = _RESTATED.search(lead)
    return found is not None and same_value(EQUALS.split(found[1])[-1].strip(" ,"), inside)


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
    if _words_among(_HYPOTHETICAL, sentence):
        return False
    if not all(_has_word(question, found[0]) for found in _OPERATION.finditer(sentence)):
        return False
    claim = _SUBORDINATE.split(sentence)[0]  # what "which ..." says is about something else
    if name in ("is", "are", "was", "were", "be"):
        confirmed = _CONFIRMED.match(sentence, word.start(1)) is not None or _is_asked(
            sentence, word.start(1), question
        )
        return confirmed and not _words_among(_NEGATIONS, claim)
    if name in _CHANGES:
        return False
    asked = _has_word(question, name) or (name.endswith("s") and _has_form_of(question, name))
    if name in ("more", "fewer", "less"):
        return asked and _NUMBER_NEXT.match(rest) is None
    if name in ("or", "nor", "than") or _words_among(_NEGATIONS, claim) or _ALTERNATIVE.search(claim):
        return False
    if name == "and":  # "and we are done", but not "and a half"
        return (
            re.match(r"\s+(?:(?:we|so|thus|hence|therefore|this|that|it|i)\s|is\s+(?:achieved|attained|reached))", rest)
            is not None
        )
    if name in ("since", "because", "where", "when", "which") or (name == "to" and rest.startswith(" the nearest ")):
        return True
    alone = _NUMBER_NEXT.match(rest) is None and not (name == "times" and rest.lstrip().startswith("$"))
    if name == "at":  # "at the vertex", but not "at first, then 18"
        return re.match(r"\s+(?:the|a|an|each|every|this|that|(?:\$|\\\()?\(?[a-z]\s*=)(?![A-Za-z])", rest) is not None
    if name in _BEHIND_BOX:
        return alone
    unit = re.match(r"[A-Za-z]+(?:\s+[A-Za-z]+)?", sentence[word.start(1) :])
    assert unit is not None
    units = (split_unit(f"0 {u}", question=question)[1] for u in (unit.group(), word[1]))
    return (asked and alone) or any(u is not None for u in units)


def _is_asked(sentence: str, at: int, question: str) -> bool:
    """Whether "is the smallest angle" in a sentence names what the question asks for, by its words."""
    found = _NOUN_PHRASE.match(sentence, at)
    if found is None:
        return False
    names = found[1].casefold().split()
    if names[-1] in _PARTS and sentence[found.end() :].split()[:1] == ["of"]:
        return False
    return _has_form_of(question, names[-1]) and all(
        name in _ADJECTIVES or _has_form_of(question, name) for name in names
    )


def takes_back(text: str) -> bool:
    """Whether a text behind an answer takes it back."""
    return bool(_RETRACTION.search(text) or _NO.search(text))
