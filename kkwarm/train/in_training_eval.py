"""In-training evaluation: at some steps, the live policy answers a few questions of every evaluated benchmark.

It generates with the rollouts' engine but with random streams of its own, so an evaluated run ends with the same
weights as one that is not evaluated.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kkwarm.backends.base import Backend, Request
from kkwarm.data import content_hash
from kkwarm.evaluation.collect import SampleRequest, SampleRequests, collect
from kkwarm.plugins import registry
from kkwarm.progress import GenerationNote
from kkwarm.protocols import PromptOptions, PromptRenderer, make_renderer
from kkwarm.schema.settings import TrainConfig, value_of
from kkwarm.train import distributed
from kkwarm.train.alarms import Alarm, best_eval, check_evals, check_step_log, select_best_step
from kkwarm.train.checkpoints import CHECKPOINT, replace_folder, write_weights
from kkwarm.train.progress import StepLog, print_status
from kkwarm.types import Benchmark, Example, Protocol, Sample, Sampling, Verifier
from kkwarm.verify import Judge

BEST = "best"
_PREVIOUS, _OBSOLETE, _STEP_FILE = ".best-before", ".best-old", "kkwarm.json"


class BestWeights:
    """Keeps ``best/`` in a run folder. Only rank 0 writes; sharded weights are gathered by all processes."""

    def __init__(self, out: Path, tokenizer: Any) -> None:
        self._out, self._tokenizer = out, tokenizer
        self._checkpoint_step = 0  # step of the last complete step checkpoint

    @property
    def path(self) -> Path:
        return self._out / BEST

    @property
    def step(self) -> int | None:
        """The step whose weights are in ``best/``; None if there are none."""
        return self._read_step(BEST)

    def _read_step(self, name: str) -> int | None:
        file = self._out / name / _STEP_FILE
        return int(json.loads(file.read_text("utf-8"))["step"]) if file.is_file() else None

    def resume(self, step: int) -> None:
        """Drops weights of steps after `step`, which are repeated, and restores those that they replaced."""
        self._checkpoint_step = step
        best, previous = self.step, self._read_step(_PREVIOUS)
        if best is None or best > step:
            self._remove(BEST)
            if previous is not None and previous <= step:
                (self._out / _PREVIOUS).rename(self.path)
        self._remove(_PREVIOUS, _OBSOLETE)

    def keep(self, trainer: Any, step: int) -> None:
        """Stores the current weights as those of `step`. All processes call it together."""
        with replace_folder(self.path, move_old=self._move_aside) as folder:
            write_weights(trainer, self._tokenizer, folder)
            if distributed.is_main():
                (folder / _STEP_FILE).write_text(json.dumps({"step": step}), "utf-8")
        if distributed.is_main():
            self._remove(_OBSOLETE)

    def _move_aside(self) -> None:
        best = self.step
        if best is None:
            return
        target = _PREVIOUS if best <= self._checkpoint_step else _OBSOLETE
        self._remove(target)
        self.path.rename(self._out / target)

    def on_checkpoint_saved(self, step: int) -> None:
        """The step checkpoint of `step` is complete: no earlier step will be repeated."""
        self._checkpoint_step = step
        self._remove(_PREVIOUS)

    def forget(self) -> None:
        """Removes the weights: they were the best for other questions."""
        self._remove(BEST, _PREVIOUS, _OBSOLETE)

    def _remove(self, *names: str) -> None:
        for name in names:
            shutil.rmtree(self._out / name, ignore_errors=True)


EVALS = "evals.jsonl"


@dataclass(frozen=True)
class EvalBenchmark:
    """A benchmark with the questions that are asked at every evaluation."""

    benchmark: Benchmark
    examples: list[Example]
    protocol: Protocol
    verifier: Verifier
    max_tokens: int
    prompt_options: PromptOptions

    def render(self, tokenizer: Any, numbers: Iterable[int]) -> tuple[PromptRenderer, dict[int, str]]:
        """The prompts of the questions with these numbers, and their renderer."""
        render = make_renderer(self.protocol, tokenizer, self.prompt_options, registry().task_of(self.benchmark))
        return render, {i: render(self.examples[i]) for i in numbers}


def load_eval_benchmarks(config: TrainConfig) -> list[EvalBenchmark]:
    """The benchmarks of `config.eval_on`, with `eval_questions` questions each, selected by a hash of their content."""
    reg = registry()
    benchmarks = []
    for name in config.eval_on:
        benchmark = reg.benchmark(name)
        questions = sorted(benchmark.load(), key=lambda e: (hashlib.sha256(content_hash(e).encode()).digest(), e.id))
        examples = questions[: config.eval_questions]
        protocol = reg.protocol(benchmark, config.protocol, fall_back=True)
        verifier = reg.verifier_of(benchmark, protocol)
        max_tokens = (
            value_of(config.eval_max_tokens, benchmark.name) or (protocol.sampling or benchmark.sampling).max_tokens
        )
        options = replace(
            config.prompt_options, system=config.system if protocol.name == config.protocol else None, shots=None
        )
        benchmarks.append(EvalBenchmark(benchmark, examples, protocol, verifier, max_tokens, options))
    return benchmarks


def longest_eval_sequence(benchmarks: Sequence[EvalBenchmark], tokenizer: Any) -> int:
    """The largest number of tokens that a prompt and its completion may have; 0 without benchmarks."""
    from kkwarm.backends.text import token_ids

    longest = 0
    for b in benchmarks:
        prompts = token_ids(tokenizer, list(b.render(tokenizer, range(len(b.examples)))[1].values()))
        longest = max(longest, b.max_tokens + max(map(len, prompts)))
    return longest


@dataclass(frozen=True)
class EvalEngine:
    """What this process generates with. It answers the questions whose number is `share` modulo `shares`.

    :param backend: None if another process generates for this one.
    :param reports: False if another process shares this engine and reports the same completions.
    """

    backend: Backend | None
    share: int
    shares: int
    reports: bool = True


EvalEngineFactory = Callable[[Any], AbstractContextManager[EvalEngine]]  # takes a trainer


def transformers_engine(network_of: Callable[[Any], Any], tokenizer: Any) -> EvalEngineFactory:
    """Generates with transformers, using the network that `network_of` returns for a trainer."""

    @contextmanager
    def engine(trainer: Any) -> Iterator[EvalEngine]:
        from kkwarm.backends.hf import HFBackend

        network, training = network_of(trainer), trainer.model.training
        trainer.model.eval()
        yield EvalEngine(HFBackend("policy", "", tokenizer, network), distributed.rank(), distributed.world_size())
        trainer.model.train(training)

    return engine


@dataclass(frozen=True, order=True)
class _Answer:
    """The verified answer to question `number`; gathered from all processes."""

    number: int
    correct: int
    at_token_limit: int
    tokens: int


class InTrainingEval:
    """Evaluates the policy; keeps a row per evaluation in ``evals.jsonl`` and the best step's weights; raises alarms.

    :param trained: the domain that is trained on, for the alarm ``drift``.
    :param make_engine: makes the engine that holds the policy's weights, from a trainer.
    """

    def __init__(
        self,
        run: Any,
        config: TrainConfig,
        benchmarks: Sequence[EvalBenchmark],
        tokenizer: Any,
        trained: str | None,
        make_engine: EvalEngineFactory,
    ) -> None:
        self._run, self._config, self._benchmarks, self._tokenizer = run, config, benchmarks, tokenizer
        self._trained, self._make_engine = trained, make_engine
        self._best = BestWeights(Path(run.path), tokenizer)
        self.note = GenerationNote()  # shown beside the bar of the training
        self._file: StepLog | None = None

    @property
    def path(self) -> Path:
        return Path(self._run.path) / EVALS

    def open(self, resumed: int) -> None:
        """Drops evaluations of steps after `resumed`, which are repeated, or all if the questions changed."""
        if not (distributed.is_main() and self._benchmarks):
            return
        asked = {b.benchmark.name: (len(b.examples), b.max_tokens) for b in self._benchmarks}
        rows = [{n: (len(c), row["max_tokens"][n]) for n, c in row["correct"].items()} for row in self.rows()]
        if any(row != asked for row in rows):
            what = "the questions of the in-training evaluation, or their token limit, changed"
            print_status(f"{what}: its rows and the best step are dropped")
            self.path.unlink()
            self._best.forget()
        self._file = StepLog(self.path, resumed)
        self._best.resume(resumed)

    def on_checkpoint_saved(self, step: int) -> None:
        """The step checkpoint of `step` is complete."""
        if self._benchmarks:
            self._best.on_checkpoint_saved(step)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def is_due(self, step: int, last: int) -> bool:
        """Whether to evaluate after `step` (0: before the first): every `eval_every` steps, and at the end."""
        return bool(self._benchmarks) and (step % self._config.eval_every == 0 or step == last)

    def rows(self) -> list[dict[str, Any]]:
        return StepLog.rows(self.path)

    def run(self, trainer: Any, step: int) -> None:
        """One evaluation; its questions are shared among all processes."""
        done = any(row["step"] == step for row in self.rows())  # before the run was interrupted
        if distributed.broadcast(done):
            return
        with self._make_engine(trainer) as engine, Judge() as judge:
            answers = {b.benchmark.name: self._evaluate(b, engine, judge) for b in self._benchmarks}
        accuracy = {n: sum(a.correct for a in each) / len(each) for n, each in answers.items()}
        row: dict[str, Any] = {
            "step": step,
            "accuracy": accuracy,
            "at_token_limit": {n: sum(a.at_token_limit for a in each) / len(each) for n, each in answers.items()},
            "length": {n: sum(a.tokens for a in each) / len(each) for n, each in answers.items()},
            "correct": {n: [a.correct for a in each] for n, each in answers.items()},
            "max_tokens": {b.benchmark.name: b.max_tokens for b in self._benchmarks},
        }
        # Weights are written before the row: without a row they are dropped on resume; a row could not get them later.
        keep = self._config.keep_best and step > 0 and distributed.broadcast(best_eval([*self.rows(), row]) is row)
        if keep:
            self._best.keep(trainer, step)
        if self._file is not None:
            self._file.write(row)
            scores = ", ".join(f"{name} {value:.0%}" for name, value in accuracy.items())
            print_status(f"step {step}: {scores}{', the best so far: weights kept' if keep else ''}")

    def _evaluate(self, b: EvalBenchmark, engine: EvalEngine, judge: Judge) -> list[_Answer]:
        answers: list[_Answer] = []
        if engine.backend is not None:
            numbers = range(engine.share, len(b.examples), engine.shares)
            default = b.protocol.sampling or b.benchmark.sampling
            sampling = Sampling(default.temperature, default.top_p, b.max_tokens, self._config.seed)
            renderer, prompts = b.render(self._tokenizer, numbers)
            if engine.reports:
                requests = [SampleRequest(f"watch/{i}", b.examples[i], prompts[i], (0,)) for i in numbers]
                samples: list[Sample] = []
                how = (renderer.protocol, b.verifier, sampling, requests)
                group = SampleRequests(b.benchmark.name, *how, split_reasoning=renderer.split_reasoning)

                def keep(new: Sequence[Sample]) -> None:
                    samples.extend(new)
                    for sample in new:
                        self.note.add_sample(sample.completion.n_tokens or 0)

                self.note.start(f"evaluating {b.benchmark.name}", len(requests), sampling.max_tokens)
                collect([group], engine.backend, judge, keep, on_tokens=self.note.add_tokens)
                number_of = {b.examples[i].id: i for i in numbers}
                answers = [_answer(number_of[s.id], s) for s in samples]
            else:
                silent = [Request(f"watch/{i}", prompts[i], (0,), renderer.protocol.stop) for i in numbers]
                deque(engine.backend.generate(silent, sampling), maxlen=0)
        return sorted(distributed.all_gather(answers))

    def alarm(self, log: Sequence[dict[str, Any]]) -> None:
        """Prints and records each kind of alarm once."""
        evals = self.rows() if self._benchmarks else []
        self.record_alarms([*(check_step_log(log) if self._trained else []), *check_evals(evals, log, self._trained)])

    def record_alarms(self, alarms: Sequence[Alarm]) -> None:
        """Prints and records those alarms that the run has not raised yet."""
        recorded = self._run.manifest.alarms
        for alarm in alarms:
            if all((a["kind"], a.get("domain", "")) != (alarm.kind, alarm.domain) for a in recorded):
                recorded = [*recorded, {k: v for k, v in asdict(alarm).items() if v != ""}]
                self._run.record(alarms=recorded)
                print_status(f"step {alarm.step}: {alarm.kind}: {alarm.text}")

    def results(self) -> dict[str, Any]:
        """For the run's results: first and last accuracy of each benchmark, and the best step with its accuracy (also
        corrected for selection) and its weights: a folder of the run, or the model that training started from.
        """
        rows = self.rows() if self._benchmarks else []
        best = select_best_step(rows)
        if best is None:
            return {}
        entry: dict[str, Any] = {k: round(v, 4) for k, v in asdict(best).items()}
        if best.step == 0:
            entry["weights"] = self._run.manifest.model.checkpoint if self._run.manifest.model else ""
        elif self._best.step == best.step:
            entry["weights"] = BEST
        elif best.step == rows[-1]["step"]:
            entry["weights"] = CHECKPOINT
        first, last = rows[0]["accuracy"], rows[-1]["accuracy"]
        return {"in_training_eval": {n: {"first": first[n], "last": last[n]} for n in last}, "best": entry}

    def products(self) -> dict[str, str]:
        """The fingerprint of the best step's weights, if they are kept."""
        from kkwarm.backends.checkpoint import fingerprint

        return {BEST: fingerprint(self._best.path)} if self._benchmarks and self._best.step is not None else {}


def _answer(number: int, sample: Sample) -> _Answer:
    completion = sample.completion
    return _Answer(
        number, int(sample.verdict.correct), int(completion.finish_reason == "length"), completion.n_tokens or 0
    )
