"""The in-training evaluation: at chosen steps, a small evaluation of the live policy on every watched domain.

It draws with the engine that draws rollouts, and from its own counters, so that a watched run ends with the same
weights as an unwatched one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kkwarm.backends.base import Backend, Request
from kkwarm.data import content_hash
from kkwarm.plugins import registry
from kkwarm.train import distributed
from kkwarm.train.alarms import alarms_of_evals, alarms_of_log, best_step, leader
from kkwarm.train.best_weights import BEST, BestWeights
from kkwarm.train.config import TrainConfig
from kkwarm.train.engine import CHECKPOINT
from kkwarm.train.progress import say
from kkwarm.train.step_log import StepLog
from kkwarm.types import Benchmark, Completion, Example, Format, Sampling, Verifier
from kkwarm.verify import Judge

__all__ = ["EVALS", "Engine", "EngineFactory", "InTrainingEval", "Watched", "longest", "of_network", "watched"]

EVALS = "evals.jsonl"


@dataclass(frozen=True)
class Watched:
    """A benchmark with the questions that are asked each time."""

    benchmark: Benchmark
    examples: list[Example]
    format: Format
    verifier: Verifier


def watched(config: TrainConfig) -> list[Watched]:
    """The benchmarks of `config.eval_on`, each with the same `eval_questions` questions whatever else is set.

    :raises KkwarmError: one is unknown, or its data cannot be had.
    """
    reg = registry()
    found = []
    for name in config.eval_on:
        benchmark = reg.benchmark(name)
        questions = sorted(benchmark.load(), key=lambda e: (hashlib.sha256(content_hash(e).encode()).digest(), e.id))
        examples = questions[: config.eval_questions]
        found.append(Watched(benchmark, examples, reg.format(benchmark.format), reg.verifier(benchmark.verifier)))
    return found


def longest(domains: Sequence[Watched], tokenizer: Any) -> int:
    """Tokens of the longest prompt and completion that may be asked for; 0 where nothing is watched."""
    from kkwarm.backends.text import token_ids

    found = 0
    for w in domains:
        prompts = token_ids(tokenizer, [w.format.render(e.question, tokenizer) for e in w.examples])
        found = max(found, w.benchmark.sampling.max_tokens + max(map(len, prompts)))
    return found


@dataclass(frozen=True)
class Engine:
    """What this process draws with: every question whose number is `share` modulo `shares`.

    :param backend: None where another process draws for this one.
    :param tells: whether what it draws counts: processes that share an engine all draw the same.
    """

    backend: Backend | None
    share: int
    shares: int
    tells: bool = True


EngineFactory = Callable[[Any], AbstractContextManager[Engine]]  # of a trainer


def of_network(network_of: Callable[[Any], Any], tokenizer: Any) -> EngineFactory:
    """Drawing by transformers, with the network that `network_of` gives for a trainer."""

    @contextmanager
    def engine(trainer: Any) -> Iterator[Engine]:
        from kkwarm.backends.hf import HFBackend

        network, training = network_of(trainer), trainer.model.training
        trainer.model.eval()
        yield Engine(HFBackend("policy", "", tokenizer, network), distributed.rank(), distributed.world_size())
        trainer.model.train(training)

    return engine


class InTrainingEval:
    """Evaluates, keeps a row for each in-training evaluation in ``evals.jsonl`` and the best step's weights, and raises alarms.

    :param trained: the domain that is trained on, for the alarm of drift.
    :param draws: the engine that draws, with the policy's weights, for a trainer.
    """

    def __init__(
        self,
        run: Any,
        config: TrainConfig,
        domains: Sequence[Watched],
        tokenizer: Any,
        trained: str | None,
        draws: EngineFactory,
    ) -> None:
        self._run, self._config, self._domains, self._tokenizer = run, config, domains, tokenizer
        self._trained, self._draws = trained, draws
        self._best = BestWeights(Path(run.path), tokenizer)
        self._file: StepLog | None = None

    @property
    def path(self) -> Path:
        return Path(self._run.path) / EVALS

    def open(self, resumed: int) -> None:
        """Cuts off in-training evaluations of steps that will be done again, and all of them where other questions are asked now."""
        if not (distributed.is_main() and self._domains):
            return
        asked = {w.benchmark.name: len(w.examples) for w in self._domains}
        if any({n: len(c) for n, c in row["correct"].items()} != asked for row in self.rows()):
            say("other questions are watched than before: in-training evaluations and the best step begin anew")
            self.path.unlink()
            self._best.forget()
        self._file = StepLog(self.path, resumed)
        self._best.resume(resumed)

    def covered(self, step: int) -> None:
        """A step checkpoint of `step` is whole."""
        if self._domains:
            self._best.covered(step)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def due(self, step: int, last: int) -> bool:
        """Whether to evaluate after `step` (0: before the first): every `eval_every` steps, and at the end."""
        return bool(self._domains) and (step % self._config.eval_every == 0 or step == last)

    def rows(self) -> list[dict[str, Any]]:
        return StepLog.rows(self.path)

    def run(self, trainer: Any, step: int) -> None:
        """One evaluation; all processes share its questions."""
        if distributed.broadcast(
            any(row["step"] == step for row in self.rows())
        ):  # by the run that this one goes on from
            return
        with self._draws(trainer) as engine:
            told = {w.benchmark.name: self._asked(w, engine) for w in self._domains}
        correct = {name: [m[0] for m in marks] for name, marks in told.items()}
        row = {
            "step": step,
            "accuracy": {n: sum(c) / len(c) for n, c in correct.items()},
            "truncated": {n: sum(m[1] for m in marks) / len(marks) for n, marks in told.items()},
            "length": {n: sum(m[2] for m in marks) / len(marks) for n, marks in told.items()},
            "correct": correct,
        }
        # Weights before the row: a row without them would stay so, weights without a row are dropped.
        keep = self._config.keep_best and step > 0 and distributed.broadcast(leader([*self.rows(), row]) is row)
        if keep:
            self._best.keep(trainer, step)
        if self._file is not None:
            self._file.write(row)
            shown = ", ".join(f"{n} {sum(c) / len(c):.0%}" for n, c in correct.items())
            say(f"step {step}: {shown}{', the best so far: kept' if keep else ''}")

    def _asked(self, w: Watched, engine: Engine) -> list[tuple[int, int, int]]:
        """(correct, truncated, tokens) of each question."""
        sampling = w.benchmark.sampling
        drawn = Sampling(sampling.temperature, sampling.top_p, sampling.max_tokens, self._config.seed)
        marks: list[tuple[int, int, int, int]] = []
        if engine.backend is not None:
            mine = range(engine.share, len(w.examples), engine.shares)
            asked = {f"watch/{i}": i for i in mine}
            requests = [
                Request(key, w.format.render(w.examples[i].question, self._tokenizer), (0,), w.format.stop)
                for key, i in asked.items()
            ]
            made = {asked[r.key]: completion for r, _, completion in engine.backend.generate(requests, drawn)}
            if engine.tells:
                marks = self._marks(w, made)
        return [(right, cut, tokens) for _, right, cut, tokens in sorted(distributed.all_gather(marks))]

    def _marks(self, w: Watched, made: Mapping[int, Completion]) -> list[tuple[int, int, int, int]]:
        with Judge() as judge:
            verdicts = judge.verify(w.verifier, w.format, [(w.examples[i], made[i]) for i in made])
        return [
            (i, int(v.correct), int(c.finish_reason == "length"), c.n_tokens or 0)
            for (i, c), v in zip(made.items(), verdicts, strict=True)
        ]

    def alarm(self, log: Sequence[dict[str, Any]]) -> None:
        """Says and records each kind of alarm once."""
        known = self._run.manifest.alarms
        evals = self.rows() if self._domains else []
        for alarm in [*(alarms_of_log(log) if self._trained else []), *alarms_of_evals(evals, log, self._trained)]:
            if all((a["kind"], a["text"].split()[0]) != (alarm.kind, alarm.text.split()[0]) for a in known):
                known = [*known, asdict(alarm)]
                self._run.record(alarms=known)
                say(f"step {alarm.step}: {alarm.kind}: {alarm.text}")

    def results(self) -> dict[str, Any]:
        """For the run's results: first and last accuracy of each domain, and the best step: as it is, corrected, and
        where its weights are (a folder of the run, or the model that training began with).
        """
        rows = self.rows() if self._domains else []
        best = best_step(rows)
        if best is None:
            return {}
        told: dict[str, Any] = {k: round(v, 4) for k, v in asdict(best).items()}
        if best.step == 0:
            told["weights"] = self._run.manifest.model.checkpoint if self._run.manifest.model else ""
        elif self._best.step == best.step:
            told["weights"] = BEST
        elif best.step == rows[-1]["step"]:
            told["weights"] = CHECKPOINT
        return {
            "watched": {d: {"first": rows[0]["accuracy"][d], "last": v} for d, v in rows[-1]["accuracy"].items()},
            "best": told,
        }

    def products(self) -> dict[str, str]:
        """The fingerprint of the best step's weights, where they are kept."""
        from kkwarm.backends.checkpoint import fingerprint

        return {BEST: fingerprint(self._best.path)} if self._domains and self._best.step is not None else {}
