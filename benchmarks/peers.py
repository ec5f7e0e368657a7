"""Scorers of other tools for `adversarial_probes.py`, each used as its own documentation says.

A peer scores in its own process, one completion after the other, because some completions can kill or hang it. Jobs and
results are files, so that a candidate that writes to every open descriptor cannot reach the results.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kkwarm.types import Completion, Example, Status, Verdict

LETTERS = "ABCDEFGHIJ"
PeerScorer = Callable[[Mapping[str, Any], str], bool]


@dataclass(frozen=True, slots=True)
class AnswerTemplate:
    """The answer format that a peer's own instructions ask for: free text, without tags."""

    name: str
    template: str  # with {reasoning} and {answer}

    def compose(self, reasoning: str | None, answer: str) -> str:
        return self.template.replace("{reasoning}", reasoning or "").replace("{answer}", answer)


# -- the peers --------------------------------------------------------------------------------------------------------


def evalplus(folder: str) -> PeerScorer:
    """evalplus: its sanitizer, then `check_correctness` on base and plus tests, as `evalplus.evaluate` calls it."""
    import gzip

    from evalplus.evaluate import check_correctness, get_groundtruth
    from evalplus.sanitize import sanitize

    from kkwarm.data import local_file

    path = local_file("humaneval_plus/HumanEvalPlus.jsonl.gz")
    assert path is not None, "set KKWARM_DATA"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        problems = {p["task_id"]: p for p in map(json.loads, lines)}
    expected: dict[str, Any] = {}

    def score(example: Mapping[str, Any], text: str) -> bool:
        id_ = example["id"]
        problem = problems[id_]
        if id_ not in expected:
            name = f"adversarial-probes-{id_.replace('/', '-')}"
            expected.update(get_groundtruth({id_: problem}, name, []))
        # By evalplus's rules a text without the function's definition is a `completion` of the prompt.
        is_body = f"def {problem['entry_point']}" not in text
        code = problem["prompt"] + text if is_body else sanitize(text, problem["entry_point"])
        result = check_correctness("humaneval", 0, problem, code, expected[id_], fast_check=True)
        return bool(result["base"][0] == result["plus"][0] == "pass")

    return score


def math_verify(folder: str) -> PeerScorer:
    """math-verify's defaults: `verify(parse(gold), parse(text))`, gold in dollars, as its README shows."""
    from math_verify import parse, verify

    return lambda example, text: bool(verify(parse(f"${example['answer']}$"), parse(text)))


# TIGER-AI-Lab/MMLU-Pro, evaluate_from_local.py (Apache-2.0): tried in this order, then a guess.
PATTERNS = ((r"answer is \(?([A-J])\)?", 0), (r".*[aA]nswer:\s*([A-J])", 0), (r"\b[A-J]\b(?!.*\b[A-J]\b)", re.DOTALL))


def mmlu_pro_official(folder: str) -> PeerScorer:
    """MMLU-Pro's official scorer: three patterns, and a random option (seeded here) where none matches."""
    rng = random.Random(12345)

    def score(example: Mapping[str, Any], text: str) -> bool:
        for pattern, flags in PATTERNS:
            if (match := re.search(pattern, text, flags)) is not None:
                return bool(match[match.re.groups] == example["answer"])
        return LETTERS[rng.randint(0, len(example["options"]) - 1)] == example["answer"]

    return score


def lm_eval_mmlu_pro(folder: str) -> PeerScorer:
    """lm-eval's task mmlu_pro: its `custom-extract` filter, then exact match."""
    from lm_eval.filters.extraction import RegexFilter

    pattern = RegexFilter(regex_pattern=r"answer is \(?([ABCDEFGHIJ])\)?")
    return lambda example, text: next(iter(pattern.apply([[text]], [{}])))[0] == example["answer"]


def reasoning_gym_kk(folder: str) -> PeerScorer:
    """reasoning-gym: `extract_answer`, then `KnightsKnavesDataset.score_answer`. Only the full score is accepted."""
    if folder:
        sys.path.append(folder)
    from reasoning_gym.logic.knights_knaves import KnightsKnavesConfig, KnightsKnavesDataset
    from reasoning_gym.utils import extract_answer

    data = KnightsKnavesDataset(KnightsKnavesConfig(size=1, seed=0))

    def score(example: Mapping[str, Any], text: str) -> bool:
        return (
            float(data.score_answer(extract_answer(text), {"answer": reasoning_gym_answer(example["answer"])})) == 1.0
        )

    return score


def reasoning_gym_answer(roles: Mapping[str, str]) -> str:
    """A solution as reasoning-gym writes it: ``Zoey is a knight, and Ann is a knave.``"""
    parts = [f"{name} is a {role}" for name, role in roles.items()]
    return ", ".join(parts[:-1]) + f", and {parts[-1]}."


_LINE = re.compile(r"\(\d+\) (\w+) is .*\b(knight|knave)")


def paper_kk(folder: str) -> PeerScorer:
    """The paper's K&K reward, reimplemented from a description of what it accepts and rejects; not the authors' code.

    It expects a line ``(1) NAME is ... knight`` for each person and ignores what stands in between.
    """

    def score(example: Mapping[str, Any], text: str) -> bool:
        match = re.fullmatch(r".*?</think>\s*<answer>(.*?)</answer>\s*", text, re.DOTALL)
        if match is None:
            return False
        lines = [_LINE.fullmatch(line.strip()) for line in match[1].strip().splitlines()]
        return all(lines) and {m[1]: m[2] for m in lines if m} == dict(example["answer"])

    return score


PEERS: dict[str, Callable[[str], PeerScorer]] = {
    f.__name__: f for f in (evalplus, math_verify, mmlu_pro_official, lm_eval_mmlu_pro, reasoning_gym_kk, paper_kk)
}


# -- running a peer in its own process --------------------------------------------------------------------------------


def verify(peer: str, pairs: Sequence[tuple[Example, Completion]], *, folder: str, limit_s: float) -> list[Verdict]:
    """The peer's verdicts: CORRECT or WRONG, ERROR where it raised or crashed, TIMEOUT where it hung."""
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory() as work:
        jobs, results = Path(work, "jobs"), Path(work, "results")
        rows = [
            {"id": e.id, "answer": e.answer, "options": list(e.meta.get("options", ())), "text": c.text}
            for e, c in pairs
        ]
        jobs.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
        while len(verdicts) < len(pairs):
            verdicts += _run_worker(peer, folder, jobs, results, len(verdicts), len(pairs), limit_s)
    return verdicts


def _run_worker(
    peer: str, folder: str, jobs: Path, results: Path, begin: int, end: int, limit_s: float
) -> Iterator[Verdict]:
    """Verdicts from job `begin` on, until the scorer crashes or hangs (which is the last verdict)."""
    results.write_text("")
    command = [sys.executable, __file__, peer, folder, str(jobs), str(results), str(begin)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    n_done, since = 0, float("inf")  # start-up does not count towards the limit
    try:
        while begin + n_done < end:
            complete = results.read_text().rpartition("\n")[0]
            ready, *lines = complete.split("\n") if complete else [""]
            for line in lines[n_done:]:
                status, reason = json.loads(line)
                yield Verdict(Status(status), reason=reason)
            if len(lines) > n_done or (ready and since == float("inf")):
                n_done, since = len(lines), time.monotonic()
                continue
            if process.poll() is not None:
                if not ready:
                    raise SystemExit((process.stderr.read() if process.stderr else b"").decode()[-2000:])
                yield Verdict(Status.ERROR, reason="the scorer crashed")
                return
            if time.monotonic() - since > limit_s:
                yield Verdict(Status.TIMEOUT, reason=f"no verdict within {limit_s:g} s")
                return
            time.sleep(0.02)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def serve(peer: str, folder: str, jobs: str, results: str, begin: str) -> None:
    """Scores the jobs from `begin` on. Each result is on disk before the next job starts."""
    rows = [json.loads(line) for line in Path(jobs).read_text(encoding="utf-8").splitlines()]
    score = PEERS[peer](folder)
    Path(results).write_text("ready\n", encoding="utf-8")
    for row in rows[int(begin) :]:
        try:
            verdict = (Status.CORRECT if score(row, row["text"]) else Status.WRONG).value, ""
        except Exception as err:
            verdict = Status.ERROR.value, f"{type(err).__name__}: {err}"[:200]
        with open(results, "a", encoding="utf-8") as out:
            out.write(json.dumps(verdict) + "\n")


if __name__ == "__main__":
    serve(*sys.argv[1:])
