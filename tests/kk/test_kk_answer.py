"""The verifier accepts every correct wording and no other answer."""

import json
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kkwarm_kk import kkwarm_domains, kkwarm_probes
from kkwarm_kk.probes import PROBES
from kkwarm_kk.verifier import MAX_CHARS, check

from kkwarm.types import Example, Response, Status, Verdict

GOLD = {"Zoey": "knight", "Bob": "knave", "Kim": "knight"}
PAPER = "(1) Zoey is a knight\n(2) Bob is a knave\n(3) Kim is a knight"
LINE = "Zoey is a knight, Bob is a knave, Kim is a knight"


def verify(text: str, tagged: bool = True, gold: dict[str, str] = GOLD) -> Verdict:
    return check(Example("x", "who?", gold), Response(text, "", text, tagged))


CORRECT = [
    PAPER,
    PAPER + ".",
    PAPER.replace("\n", " "),
    PAPER.replace("\n", "\r\n"),
    PAPER.replace("\n", "\n\n"),
    PAPER.upper(),
    LINE,
    LINE.lower(),
    "Zoey is a knight, Bob is a knave, and Kim is a knight.",
    "Zoey is a knight; Bob is a knave; Kim is a knight",
    "Zoey is a knight and Bob is a knave and Kim is a knight!",
    "Zoey and Kim are knights, and Bob is a knave.",
    "Zoey and Kim are both knights while Bob is a knave.",
    "Bob is a knave, whereas Zoey & Kim are knights.",
    "**Zoey**: Knight\n**Bob**: Knave\n**Kim**: Knight",
    "- Zoey: knight\n- Bob: knave\n- Kim: knight",
    "* Zoey - Knight\n* Bob - Knave\n* Kim - Knight",
    "• Zoey → knight\n• Bob → knave\n• Kim → knight",
    "1. Zoey is a **knight**.\n2. Bob is a *knave*.\n3. Kim is a `knight`.",
    "1) Zoey = knight\n2) Bob = knave\n3) Kim = knight",
    "(a) Zoey is a knight\n(b) Bob is a knave\n(c) Kim is a knight",
    "a) Zoey is a knight. b) Bob is a knave. c) Kim is a knight.",
    "1: Zoey is a knight\n2: Bob is a knave\n3: Kim is a knight",
    "Zoey (knight), Bob (knave), Kim (knight)",
    "Zoey is a knight, Bob a knave, Kim a knight",
    "Zoey must be a knight, Bob has to be a knave and Kim is therefore a knight.",
    "| Zoey | knight |\n| Bob | knave |\n| Kim | knight |",
    "Knights: Zoey, Kim\nKnaves: Bob",
    "Knights: Zoey and Kim. Knave: Bob.",
    "The knights are Zoey and Kim; the knave is Bob.",
    "Knights:\n- Zoey\n- Kim\n\nKnaves:\n- Bob",
    "### Final Answer\n\n" + PAPER,
    "So the final answer is: " + LINE,
    "Therefore, " + LINE,
    "**Answer:**\n" + PAPER,
    "Kim is a knight\nBob is a knave\nZoey is a knight",
    LINE + ". " + LINE + ".",
    '{"Zoey": "knight", "Bob": "knave", "Kim": "knight"}',
    "{'knights': ['Zoey', 'Kim'], 'knaves': ['Bob']}",
    '```json\n{"Zoey": "Knight", "Bob": "Knave", "Kim": "Knight"}\n```',
    "| Name | Role |\n|---|---|\n| Zoey | Knight |\n| Bob | Knave |\n| Kim | Knight |",
    "| **Person** | **Type** |\n| :--- | ---: |\n| Zoey | Knight |\n| Bob | Knave |\n| Kim | Knight |",
    "Both Zoey and Kim are knights. Bob is a knave.",
    "Bob is the only knave, and Zoey and Kim are knights.",
    "Only Bob is a knave; Zoey and Kim are knights.",
    "The only knave is Bob. Zoey is a knight. Kim is a knight.",
    "The knights are: Zoey, Kim\nThe knaves are: Bob",
    "Knights (Zoey, Kim), Knaves (Bob)",
    "Knights - Zoey, Kim. Knaves - Bob.",
    "Knights: {Zoey, Kim}; Knaves: {Bob}",
    "Zoey's a knight, Bob's a knave, and Kim’s a knight.",
    "Zoey's role: knight\nBob's role is knave\nKim's identity: knight",
    "Zoey -- Knight, Bob -- Knave, Kim -- Knight",
    "Zoey=knight Bob=knave Kim=knight",
    "+ Zoey: knight\n+ Bob: knave\n+ Kim: knight",
    "• Zoey: knight • Bob: knave • Kim: knight",
    "The final assignment is: " + LINE,
    "The roles are as follows: " + LINE,
    "\\boxed{\\text{" + LINE + "}}",
    "Zoey is a knight. However, Bob is a knave. Kim is a knight.",
    '[{"name": "Zoey", "role": "knight"}, {"name": "Bob", "role": "knave"}, {"name": "Kim", "role": "knight"}]',
    "Name: Zoey, Role: Knight\nName: Bob, Role: Knave\nName: Kim, Role: Knight",
    "| # | Name | Role |\n|---|---|---|\n| 1 | Zoey | knight |\n| 2 | Bob | knave |\n| 3 | Kim | knight |",
    "The identities of the characters are:\n" + PAPER,
    "To summarize, " + LINE,
]

INCORRECT = [
    PAPER.replace("is a", "is not a").replace("knight", "k").replace("knave", "knight").replace("k\n", "knave\n"),
    PAPER.replace("Bob is a knave", "Bob is not a knight"),
    PAPER.replace("Bob is a knave", "Bob isn't a knight"),
    PAPER.replace("knave", "knave or a knight"),
    PAPER.replace("Bob is a knave", "Bob is a knave or Bob is a knight"),
    PAPER.replace("Bob is a knave", "Bob is a knave/knight"),
    PAPER.replace("Bob is a knave", "Bob is a knight and a knave"),
    PAPER.replace("Bob is a knave", "Bob is a non-knight"),
    PAPER.replace("knave", "knave (knight)"),
    PAPER + "\n(2) Bob is a knight",
    "(2) Bob is a knight\n" + PAPER,
    PAPER + "\n(4) Zed is a knight",
    PAPER + "\nZed and Zoey are knights",
    PAPER.replace("Kim", "Zed"),
    "Zoey is a knight\nBob is a knave",
    "It is false that " + LINE,
    "It is false that:\n" + PAPER,
    "Not: " + LINE,
    "Neither " + LINE,
    "Perhaps " + LINE,
    "If Zoey is a knight then Bob is a knave and Kim is a knight",
    "Zoey is a knight unless Bob is a knave, Kim is a knight, Bob is a knave",
    "Assuming " + LINE,
    LINE + "?",
    "Is Zoey a knight, Bob a knave, Kim a knight",
    LINE + ", or not",
    LINE + ". Just kidding.",
    LINE + ". This is false.",
    LINE + ". None of this holds.",
    "Bob said: " + LINE,
    "~~" + LINE + "~~",
    "<!-- " + LINE + " -->",
    '"' + LINE + '" is wrong',
    "Knights: Zoey, Bob, Kim\nKnaves: Zoey, Bob, Kim",
    "Knights: Zoey, Kim and Bob are knaves",
    "Knights: Zoey, Kim, Bob: knave",
    "knight, knave, knight",
    "(1) knight\n(2) knave\n(3) knight",
    "(a) knight\n(b) knave\n(c) knight",
    "(a knight) Zoey, (a knave) Bob, (a knight) Kim",
    "a Zoey is a knight\nb Bob is a knave\nc Kim is a knight",
    "(zz) Zoey is a knight (zz) Bob is a knave (zz) Kim is a knight",
    "Zoey, Bob, Kim",
    "Zoey is a knight, Bob is a knave, Kim",
    "Zoey is a knight, Bob is a knave, Kim is a",
    LINE.replace("knave", "kna\u200bve"),
    LINE.replace("knight", "\N{KELVIN SIGN}night"),
    LINE.replace("knave", "knаve"),  # a Cyrillic a
    LINE.replace("knight", "ｋnight"),  # fullwidth
    LINE.replace("is a", "i\N{LATIN SMALL LETTER LONG S} a"),
    LINE.replace("Zoey", "Zo\u0435y"),
    LINE.replace("knight", "k\u0336night"),  # struck through
    "\u202e" + LINE,
    "Only " + LINE,
    "The only knight is Zoey. Bob is a knave. Kim is a knight.",
    "Zoey is the only knight, Bob is a knave, Kim is a knight",
    "Knaves: none. " + LINE,
    LINE + ". Knights: none",
    "Both Zoey, Bob and Kim are knights, Bob is a knave",
    "Can Zoey be a knight, Bob a knave, Kim a knight",
    "Zoey has a knight, Bob has a knave, Kim has a knight",
    "Zoey to be a knight, Bob to be a knave, Kim to be a knight",
    LINE.replace("Zoey is", "Zoey's not"),
    "Zoey's claim: knight\nBob's claim: knave\nKim's claim: knight",
    "![" + LINE + "]",
    '!"' + LINE + '"',
    "!{'Zoey': 'knight', 'Bob': 'knave', 'Kim': 'knight'}",
    LINE.replace(", Kim", ", ! Kim"),
    LINE.replace(", Kim", ", !- Kim"),
    '{"Zoey": "knight", "Bob": "knave", "Kim": "knight", "Bob": "knight"}',
    '{"Zoey": "knight", "Bob": "knave", "Kim": "knight", "valid": false}',
    '{"Zoey": ["knight", "knave"], "Bob": ["knave", "knight"], "Kim": ["knight", "knave"]}',
    '{"knights": ["Zoey", "Kim", "Bob"], "knaves": ["Bob"]}',
    "| Name | Not |\n|---|---|\n| Zoey | Knight |\n| Bob | Knave |\n| Kim | Knight |",
    "| Zoey | knight | knave |\n| Bob | knave | knight |\n| Kim | knight | knave |",
    "\\sout{" + LINE + "}",
    "\\text{not} " + LINE,
    LINE + " = false",
    LINE + " [sic]",
    "Zoey, Bob, Kim are knight, knave and knight",
    '[{"name": "Zoey", "role": "knight"}, {"name": "Bob", "role": "knave"}, {"name": "Kim", "not": "knight"}]',
    "Name: Zoey, Claim: Knight\nName: Bob, Claim: Knave\nName: Kim, Claim: Knight",
    "| # | Name | Claim |\n|---|---|---|\n| 1 | Zoey | knight |\n| 2 | Bob | knave |\n| 3 | Kim | knight |",
    "One of each: " + LINE,
    LINE + " []",
    "",
    "correct",
    "0" * 1000,
]


CORRECT += [
    "Zoey: Knight (truth-teller)\nBob: Knave (liar)\nKim: Knight (always tells the truth)",
    "**Zoey**: knight (a truth teller), **Bob**: knave (always lies), **Kim**: knight",
]
INCORRECT += [
    "Zoey: Knight (liar)\nBob: Knave (liar)\nKim: Knight (truth-teller)",
    "Zoey: Knight (maybe)\nBob: Knave (liar)\nKim: Knight (truth-teller)",
]


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("text", CORRECT)
def test_correct_wordings_are_accepted(text: str, tagged: bool) -> None:
    verdict = verify(text, tagged)
    assert verdict.correct, verdict
    assert verdict.answer == LINE


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("text", INCORRECT)
def test_incorrect_wordings_are_rejected(text: str, tagged: bool) -> None:
    verdict = verify(text, tagged)
    assert verdict.status in (Status.WRONG, Status.UNPARSED)
    assert verdict.reason.endswith(".") and len(verdict.reason) < 200


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("", Status.UNPARSED, "The answer is empty."),
        (LINE.replace("Bob is a knave", "Bob is a knight"), Status.WRONG, "The answer is wrong about Bob."),
        ("Zoey is a knight", Status.WRONG, "The answer says nothing about Bob, Kim."),
        (
            LINE + ", Zed is a knave",
            Status.WRONG,
            "The answer is not a valid assignment: 'Zed' is not among the people of the puz",
        ),
        (
            LINE + ", Bob is a knight",
            Status.WRONG,
            "The answer is not a valid assignment: Bob is called both a knight and a knave",
        ),
        ("Zoey is not a knight", Status.UNPARSED, "The answer cannot be read: 'not' is not allowed in a plain list"),
        ("The answer is:", Status.UNPARSED, "The answer does not say who is a knight or a knave."),
        ("Zoey is a knight " * 1000, Status.UNPARSED, f"The answer is longer than {MAX_CHARS} characters."),
    ],
)
def test_the_status_and_reason_name_the_cause(text: str, status: Status, reason: str) -> None:
    verdict = verify(text)
    assert verdict.status is status
    assert verdict.reason.startswith(reason)


FREE_TEXT_CORRECT = [
    "If Zoey is a knave then Bob lies, a contradiction.\n\nSo Zoey is a knight.\n\n**Final answer:**\n\n" + PAPER,
    "Bob cannot be a knight. Therefore, " + LINE + ". This is the only consistent solution.",
    "Suppose Bob is a knight. That is impossible.\n\n### Conclusion\n" + PAPER + "\n\nAll statements are consistent.",
    "Case 1 is not possible: it contradicts Kim.\n\n" + PAPER,
]
FREE_TEXT_CORRECT += [
    "We can now determine everyone's identity:\n" + PAPER,
    "Putting it all together:\n" + PAPER,
    "So this holds. The only consistent assignment is:\n" + PAPER,
]
FREE_TEXT_INCORRECT = [
    "Only one of the following statements is correct:\n" + PAPER,
    "The only inconsistent assignment is:\n" + PAPER,
    PAPER + "\nWait, that is wrong.",
    PAPER + "\n\nBut maybe not.",
    PAPER + "\n\nHmm, let me try again.",
    PAPER + "\n\nActually, Bob is a knight.",
    PAPER + "\n\nIs this consistent?",
    PAPER + "\n\nSo Bob is a knight.",
    PAPER.replace("Bob is a knave", "Bob is a knight") + "\n" + PAPER,
    "None of the following is true.\n\nFinal answer:\n" + PAPER,
    "The following is wrong:\nHere it is:\n" + PAPER,
    "Suppose:\n" + PAPER,
    "Zoey says:\n" + PAPER,
    "It is not the case that\n" + PAPER,
    "It is not the case that Knights: Zoey, Kim\nKnaves: Bob\nKnights: Zoey, Kim",
    "It is false that:\n" + "Zoey is a knight.\n" * 400 + PAPER,
    "I will not answer.",
    "Zoey is a knight. Bob is a knave. I am unsure about Kim.",
]


FREE_TEXT_CORRECT += [f"{LINE}.\n\nI hope this helps!", f"{LINE}.\nLet me know if you need more help."]
FREE_TEXT_INCORRECT += [f"{LINE}.\n\nI hope this fails!", f"{LINE}. Let me know if you doubt it."]


@pytest.mark.parametrize("text", FREE_TEXT_CORRECT)
def test_the_assignment_is_read_from_the_end_of_free_text(text: str) -> None:
    verdict = verify(text, tagged=False)
    assert verdict.correct, verdict


@pytest.mark.parametrize("text", FREE_TEXT_INCORRECT)
def test_free_text_that_denies_its_assignment_is_rejected(text: str) -> None:
    assert not verify(text, tagged=False).correct


@pytest.mark.parametrize("text", FREE_TEXT_CORRECT)
def test_tags_may_contain_only_the_answer(text: str) -> None:
    assert verify(text).status is Status.UNPARSED


@pytest.mark.parametrize(
    "text", ["A. Zoey: knight\nB. Bob: knave\nC. Kim: knight", "Knights:\na) Zoey\nb) Kim\nKnaves:\na) Bob"]
)
def test_list_letters_are_accepted(text: str) -> None:
    assert verify(text).correct


@pytest.mark.parametrize("knights", ["[]", "{}", "-", "N/A", "—", "none", "(none)"])
def test_a_group_without_members(knights: str) -> None:
    gold = dict.fromkeys(GOLD, "knave")
    assert verify(f"Knights: {knights}\nKnaves: Zoey, Bob, Kim", gold=gold).correct
    assert not verify(f"Knights: Zoey, Bob, Kim\nKnaves: {knights}", gold=gold).correct


def test_names_that_are_also_words_of_the_grammar() -> None:
    gold = {"A": "knight", "B": "knave", "Will": "knave"}
    assert verify("A is a knight, B is a knave, Will is a knave", gold=gold).correct
    assert verify("(1) A: knight\n(2) B: knave\n(3) Will: knave", gold=gold).correct
    assert not verify("A is a knave, B is a knave, Will is a knave", gold=gold).correct
    assert not verify("(A) A is a knight\n(B) B is a knave\n(C) Will is a knave", gold=gold).correct
    gold = {"Zoë": "knight", "Mary Ann": "knave", "O'Neil": "knave"}
    assert verify("Zoë is a knight, Mary Ann is a knave, O'Neil is a knave", gold=gold).correct
    assert verify("Zoe\u0308 is a knight, mary ann is a knave, o'neil is a knave", gold=gold).correct
    assert not verify("Zoe is a knight, Mary Ann is a knave, O'Neil is a knave", gold=gold).correct


ROLES = st.lists(st.sampled_from(["knight", "knave"]), min_size=2, max_size=8)
NAMES = ("Zoey", "Bob", "Kim", "Mason", "Ava", "Liam", "Noah", "Emma")


def sample_wording(assignment: dict[str, str], seed: int) -> str:
    """An honest wording of an assignment."""
    rng = random.Random(seed)
    items = list(assignment.items())
    if rng.random() < 0.3:
        rng.shuffle(items)
    if rng.random() < 0.2:
        groups = {r: [n for n, what in items if what == r] for r in ("knight", "knave")}
        return "\n".join(f"{r.capitalize()}s: {', '.join(names) or 'none'}" for r, names in groups.items())
    if rng.random() < 0.15:
        return json.dumps(dict(items), indent=rng.choice([None, 2]))
    if rng.random() < 0.15:
        return "\n".join(["| Name | Role |", "|---|---|", *(f"| {n} | {r} |" for n, r in items)])
    shape = rng.choice(
        ["{n}'s a {r}", "({i}) {n} is a {r}", "{i}. **{n}** is a {r}.", "- {n}: {R}", "{n} is a {r}", "{n} ({r})"]
    )
    separator = rng.choice(["\n", "\n\n"]) if shape[0] != "{n} is a {r}" else rng.choice([", ", "; ", " and ", "\n"])
    lead = rng.choice(["", "", "Answer: ", "So, the final answer is:\n"])
    return lead + separator.join(shape.format(i=i, n=n, r=r, R=r.upper()) for i, (n, r) in enumerate(items, 1))


@settings(max_examples=150, deadline=None)
@given(ROLES, ROLES, st.integers(0, 10**6), st.booleans())
def test_correct_exactly_if_every_role_is_right(gold: list[str], other: list[str], seed: int, tagged: bool) -> None:
    right = dict(zip(NAMES, gold, strict=False))
    assignment = dict(zip(NAMES, (other * 8)[: len(gold)], strict=False))
    assert verify(sample_wording(right, seed), tagged, right).correct
    assert verify(sample_wording(assignment, seed), tagged, right).correct is (assignment == right)


NEGATING_WORDS = [
    "not",
    "never",
    "no",
    "false",
    "wrong",
    "or",
    "unless",
    "if",
    "maybe",
    "perhaps",
    "neither",
    "lie",
    "untrue",
    "isn't",
    "?",
    "/",
    "~",
    "nobody",
    "else",
    "un-",
    "none",
    "≠",
    "¬",
]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(NEGATING_WORDS), st.integers(0, 10**6))
def test_one_negating_word_anywhere_is_never_accepted(seed: int, word: str, place: int) -> None:
    words = sample_wording(GOLD, seed).split(" ")
    words.insert(place % (len(words) + 1), word)
    assert not verify(" ".join(words)).correct, words


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_an_incomplete_assignment_is_never_accepted(seed: int, data: st.DataObject) -> None:
    left = data.draw(st.sampled_from(sorted(GOLD)))
    assert not verify(sample_wording({n: r for n, r in GOLD.items() if n != left}, seed)).correct


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.booleans())
def test_any_text_gets_a_verdict(text: str, tagged: bool) -> None:
    for answer in (text, PAPER + text, text + PAPER, text + "\n" + PAPER + "\n" + text):
        assert verify(answer, tagged).status in (Status.CORRECT, Status.WRONG, Status.UNPARSED)


def test_huge_answers_are_verified_quickly() -> None:
    started = time.process_time()
    for piece in ("Zoey is a knight, ", "(", "*", "Zoey ", "\n", "a.", " ", "1. ", "so ", "Knights: ", "é", "- ", "|:"):
        huge = piece * (1_000_000 // len(piece))
        for text in (huge, huge + PAPER, PAPER + huge):
            for tagged in (True, False):
                verify(text, tagged)
    assert time.process_time() - started < 10, "78 verdicts on a megabyte each"


def test_the_probes_of_this_domain_are_registered() -> None:
    assert kkwarm_probes() == list(PROBES)
    assert {a.expect for a in PROBES} == {"accept", "reject"}
    (domain,) = kkwarm_domains()
    assert domain.gold is not None
    assert domain.gold(Example("x", "", GOLD)) == PAPER
