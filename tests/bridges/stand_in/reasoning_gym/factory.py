"""`DATASETS` and `create_dataset`, as reasoning-gym has them; scorers in the manner of its own."""

from dataclasses import dataclass
from random import Random
from typing import Any

from symbolic import parse_expr


@dataclass
class Config:
    seed: int
    size: int


class Dataset:
    """Its default scorer is reasoning-gym's: an answer that contains the right one earns its share of characters."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def __getitem__(self, index: int) -> dict[str, Any]:
        word = "".join(Random(self.config.seed + index).choices("abcdefgh", k=8))
        print("generating")  # noqa: T201
        return {"question": f"Spell {word} backwards.", "answer": word[::-1], "metadata": {"word": word}}

    def score_answer(self, answer: str | None, entry: dict[str, Any]) -> float:
        right = entry["answer"]
        if answer == right:
            return 1.0
        return len(right) / len(answer) if answer and right in answer else 0.0


class Evaluating(Dataset):
    """As `binary_matrix`: what is not the answer is run as Python, and might be it."""

    def score_answer(self, answer: str | None, entry: dict[str, Any]) -> float:
        if answer == entry["answer"]:
            return 1.0
        try:
            return 0.1 if "".join(eval(answer or "")) == entry["answer"] else 0.0
        except Exception:
            return 0.0


class Formula(Dataset):
    """As `countdown`: any formula with the right value."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"question": f"Make {index}.", "answer": f"{index} + 0", "metadata": {"value": index}}

    def score_answer(self, answer: str | None, entry: dict[str, Any]) -> float:
        try:
            return 1.0 if parse_expr(answer or "") == entry["metadata"]["value"] else 0.01
        except Exception:
            return 0.01


class Gullible(Dataset):
    """As `gsm_symbolic`: the right number anywhere will do. As `prime_factorization`: what it cannot read, raises."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"question": f"What comes after {index}?", "answer": str(index + 1), "metadata": {}}

    def score_answer(self, answer: str | None, entry: dict[str, Any]) -> float:
        words = (answer or "").replace(",", " ").split()
        return 1.0 if entry["answer"] in words else float(int(words[-1]) < 0)


class Hashed(Dataset):
    """As `word_ladder`: walks over a set, so that its questions depend on the process's hash seed."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        words = list({"red", "green", "blue", "black", "white", "brown", "pink", "grey"})
        return {"question": f"Sort {index}: {words}", "answer": " ".join(sorted(words)), "metadata": {"words": words}}


class Unnamed(Dataset):
    """As `graph_color`: many right answers, none of which is named."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"question": f"A word of {index + 1} letters", "answer": None, "metadata": {"n": index + 1}}

    def score_answer(self, answer: str | None, entry: dict[str, Any]) -> float:
        return 1.0 if answer and len(answer) == entry["metadata"]["n"] else 0.0


class Sorted(Dataset):
    """As `number_sorting`: it evaluates its own answer, a list."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"question": f"Sort {index}, 0", "answer": str(["0", str(index)]), "metadata": {}}

    def score_answer(self, answer: str | None, entry: dict[str, Any]) -> float:
        return float((answer or "").split() == eval(entry["answer"]))


class Broken(Dataset):
    """A scorer that has nothing to say, whatever the answer."""

    def score_answer(self, answer: str | None, entry: dict[str, Any]) -> float:
        if answer == "unable":
            raise RuntimeError("a library is missing")
        raise KeyError("words")  # of its entry's metadata, which never had them


DATASETS = {
    "backwards": (Dataset, Config),
    "broken": (Broken, Config),
    "evaluating": (Evaluating, Config),
    "formula": (Formula, Config),
    "gullible": (Gullible, Config),
    "hashed": (Hashed, Config),
    "sorted": (Sorted, Config),
    "unnamed": (Unnamed, Config),
}


def create_dataset(name: str, **settings: Any) -> Dataset:
    kind, config = DATASETS[name]
    return kind(config(**settings))
