"""A domain with partial credit: three fields, whose share is a metric. In a module of its own, because the code of a
verifier is hashed with all that its module imports.
"""

from kkwarm.types import Domain, Example, Response, Rewards, Status, Verdict

FIELDS = ("name", "year", "place")
ROWS = [
    Example(
        f"c/{i}", f"Who, when and where was number {i}?",
        {"name": f"n{i * 7}", "year": str(1900 + i), "place": f"p{i % 3}"}, "train" if i < 6 else "test",
    )
    for i in range(18)
]  # fmt: skip


def gold(example: Example) -> str:
    return "; ".join(f"{key}={example.answer[key]}" for key in FIELDS)


def check(example: Example, response: Response) -> Verdict:
    """``name=Ann; year=1900; place=Rome``: the share of right fields is the metric ``fields``."""
    pairs = [part.strip().partition("=") for part in (response.answer or "").split(";")]
    if tuple(key for key, _, _ in pairs) != FIELDS or any(" " in value or not value for _, _, value in pairs):
        return Verdict(Status.UNPARSED, reason="not name=…; year=…; place=…")
    share = sum(value == example.answer[key] for key, _, value in pairs) / len(FIELDS)
    return Verdict(Status.CORRECT if share == 1 else Status.WRONG, response.answer, metrics={"fields": share})


CITIES = Domain("cities", lambda: ROWS, check, gold, rewards=Rewards(partial="fields"))


def by_table(verdict: Verdict) -> float:
    return Rewards().for_status(verdict.status)


def graded(verdict: Verdict, example: Example) -> dict[str, float]:
    """Partial credit by fields, and a penalty for a broken format, as parts."""
    answer = 1.5 * verdict.metrics.get("fields", 0.0)
    broken = verdict.status in (Status.MALFORMED, Status.TRUNCATED)
    return {"answer": answer - 0.5, "format": -1.5 if broken else 0.0, "read": -0.5 * ("fields" not in verdict.metrics)}
