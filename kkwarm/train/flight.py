"""The flight recorder: at chosen steps, a small evaluation of the live policy on every watched domain.

It draws from its own counters, so that a watched run ends with the same weights as an unwatched one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kkwarm.data import content_hash
from kkwarm.plugins import registry
from kkwarm.train import ranks
from kkwarm.train.alarms import best_step, of_flights, of_log
from kkwarm.train.config import TrainConfig
from kkwarm.train.progress import say
from kkwarm.train.steps import StepFile
from kkwarm.types import Benchmark, Completion, Example, Format, Sampling, Verifier
from kkwarm.verify import Judge

__all__ = ["FLIGHTS", "Flight", "Watched", "watched"]

FLIGHTS = "flights.jsonl"


@dataclass(frozen=True)
class Watched:
    """A benchmark with the questions that are asked each time."""

    benchmark: Benchmark
    examples: list[Example]
    format: Format
    verifier: Verifier


def watched(config: TrainConfig) -> list[Watched]:
    """The benchmarks of `config.watch`, each with the same `watch_questions` questions whatever else is set.

    :raises KkwarmError: one is unknown, or its data cannot be had.
    """
    reg = registry()
    found = []
    for name in config.watch:
        benchmark = reg.benchmark(name)
        questions = sorted(benchmark.load(), key=lambda e: (hashlib.sha256(content_hash(e).encode()).digest(), e.id))
        examples = questions[: config.watch_questions]
        found.append(Watched(benchmark, examples, reg.format(benchmark.format), reg.verifier(benchmark.verifier)))
    return found


class Flight:
    """Evaluates, keeps a row for each flight in ``flights.jsonl``, and raises alarms.

    :param trained: the domain that is trained on, for the alarm of drift.
    :param policy: gives the network that generates, for a trainer (RLVR: the copy that draws rollouts).
    """

    def __init__(
        self,
        run: Any,
        config: TrainConfig,
        domains: Sequence[Watched],
        tokenizer: Any,
        trained: str | None,
        policy: Any,
    ) -> None:
        self._run, self._config, self._domains, self._tokenizer = run, config, domains, tokenizer
        self._trained, self._policy = trained, policy
        self._file: StepFile | None = None

    @property
    def path(self) -> Path:
        return Path(self._run.path) / FLIGHTS

    def open(self, resumed: int) -> None:
        """Cuts off flights of steps that will be done again."""
        if ranks.main() and self._domains:
            self._file = StepFile(self.path, resumed)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def due(self, step: int, last: int) -> bool:
        """Whether to evaluate after `step` (0: before the first): every `watch_every` steps, and at the end."""
        return bool(self._domains) and (step % self._config.watch_every == 0 or step == last)

    def rows(self) -> list[dict[str, Any]]:
        return StepFile.rows(self.path)

    def fly(self, trainer: Any, step: int) -> None:
        """One evaluation; all processes share its questions."""
        if ranks.first(any(row["step"] == step for row in self.rows())):  # by the run that this one goes on from
            return
        network, training = self._policy(trainer), trainer.model.training
        trainer.model.eval()
        told = {w.benchmark.name: self._asked(w, network) for w in self._domains}
        trainer.model.train(training)
        if self._file is not None:
            correct = {name: [m[0] for m in marks] for name, marks in told.items()}
            self._file.write(
                {
                    "step": step,
                    "accuracy": {n: sum(c) / len(c) for n, c in correct.items()},
                    "truncated": {n: sum(m[1] for m in marks) / len(marks) for n, marks in told.items()},
                    "length": {n: sum(m[2] for m in marks) / len(marks) for n, marks in told.items()},
                    "correct": correct,
                }
            )
            shown = ", ".join(f"{n} {sum(c) / len(c):.0%}" for n, c in correct.items())
            say(f"step {step}: {shown}")

    def _asked(self, w: Watched, network: Any) -> list[tuple[int, int, int]]:
        """(correct, truncated, tokens) of each question."""
        from kkwarm.backends.base import Request
        from kkwarm.backends.hf import HFBackend

        sampling = w.benchmark.sampling
        drawn = Sampling(sampling.temperature, sampling.top_p, sampling.max_tokens, self._config.seed)
        mine = range(ranks.rank(), len(w.examples), ranks.world())
        backend = HFBackend("policy", "", self._tokenizer, network)
        requests = [
            Request(f"watch/{i}", w.format.render(w.examples[i].question, self._tokenizer), (0,), w.format.stop)
            for i in mine
        ]
        made: dict[int, Completion] = {
            int(request.key.partition("/")[2]): completion
            for request, _, completion in backend.generate(requests, drawn)
        }
        with Judge() as court:
            verdicts = court.judge(w.verifier, w.format, [(w.examples[i], made[i]) for i in mine])
        marks = [
            (i, int(v.correct), int(made[i].finish_reason == "length"), made[i].n_tokens or 0)
            for i, v in zip(mine, verdicts, strict=True)
        ]
        return [(right, cut, tokens) for _, right, cut, tokens in sorted(ranks.from_all(marks))]

    def alarm(self, log: Sequence[dict[str, Any]]) -> None:
        """Says and records each kind of alarm once."""
        known = self._run.manifest.get("alarms", [])
        flights = self.rows() if self._domains else []
        for alarm in [*(of_log(log) if self._trained else []), *of_flights(flights, log, self._trained)]:
            if all((a["kind"], a["text"].split()[0]) != (alarm.kind, alarm.text.split()[0]) for a in known):
                known = [*known, asdict(alarm)]
                self._run.record(alarms=known)
                say(f"step {alarm.step}: {alarm.kind}: {alarm.text}")

    def results(self) -> dict[str, Any]:
        """For the run's results: first and last accuracy of each domain, and the best step as it is and corrected."""
        rows = self.rows() if self._domains else []
        best = best_step(rows)
        if best is None:
            return {}
        return {
            "watched": {d: {"first": rows[0]["accuracy"][d], "last": v} for d, v in rows[-1]["accuracy"].items()},
            "best": {k: round(v, 4) for k, v in asdict(best).items()},
        }
