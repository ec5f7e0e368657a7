"""``lm_eval:NAME``: lm-eval's own tasks as benchmarks. lm-eval renders the prompts and scores the responses; kkwarm
generates, stores and compares them.

A task keeps lm-eval's meaning: its generation settings, stop strings, filters and `process_results`. Each sample is
scored on its own, by the task's first filter; the metrics of its other filters are kept too.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import logging
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from kkwarm.errors import KkwarmError, describe_error, warn
from kkwarm.evaluation.lm_eval_index import LM_EVAL_PREFIX, find_lm_eval_task, task_folders
from kkwarm.evaluation.lm_eval_logs import LIKELIHOOD_PROTOCOL, PROTOCOL, main_metric, numeric_scores
from kkwarm.evaluation.plan import EvalTask, Item, choose_sampling
from kkwarm.protocols import PromptRenderer, ReasoningSplitter, TextReader, parse_think_tags, prompt_hash
from kkwarm.schema.settings import BenchConfig, value_of
from kkwarm.types import Benchmark, Completion, Example, Protocol, Response, Sampling, Status, Verdict, Verifier

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

FACET = "task"  # the facet of a group's questions
_MAX_GEN_TOKS = 256  # lm-eval's default (models/huggingface.py)
_FEWSHOT_SEED, _RANDOM_SEED = 1234, 0  # lm-eval's defaults (defaults.py)
# Those that kkwarm applies.
_GENERATION_SETTINGS = {
    *("until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k", "min_p", "repetition_penalty")
}
_INVALID = "[invalid]"  # the answer of lm-eval's regular-expression filters where nothing matches
_LOGGERS = ("lm_eval", "lm-eval", "datasets")

Responses = Sequence[Any]  # of one document: [text], [(log-likelihood, is greedy), ...] or [log-likelihood]


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a task, with the requests that lm-eval makes of it. `index` counts the task's documents."""

    task: Any
    index: int
    doc: Mapping[str, Any]
    instances: Sequence[Instance]

    @property
    def prompt(self) -> str:
        """The text before the model's answer; empty where a whole text is scored."""
        arguments = self.instances[0].args
        return str(arguments[0]) if len(arguments) > 1 else ""


class LmEvalBenchmark:
    """A task of lm-eval, or a group of tasks that share their settings.

    :param loaded: what `TaskManager.load` returned.
    :param documents: the selected documents, by example id: the index of the document, preceded in groups by the name
        of its task and a slash.
    """

    def __init__(self, name: str, loaded: Mapping[str, Any], documents: Mapping[str, Document]) -> None:
        self.name = name
        self.loaded = loaded
        self.tasks: dict[str, Any] = dict(loaded["tasks"])
        self.documents = documents
        self.output_type = str(next(iter(self.tasks.values())).OUTPUT_TYPE)
        self.stop: tuple[str, ...] = ()
        if self.output_type == "generate_until":
            self.stop = tuple(s for s in self._generation_settings()["until"] if s)
        self.has_scores = self._has_scores()

    @property
    def scores_likelihoods(self) -> bool:
        """Whether the model scores given texts instead of generating."""
        return self.output_type != "generate_until"

    @property
    def few_shot(self) -> int:
        """Number of solved examples before each question."""
        return max(int(task.config.num_fewshot or 0) for task in self.tasks.values())

    @property
    def sampling(self) -> Sampling:
        """The task's own sampling settings; lm-eval decodes greedily unless a task asks for sampling."""
        if self.scores_likelihoods:
            return Sampling(0.0, 1.0, 1)
        own = self._generation_settings()
        sampled = bool(own["do_sample"])
        return Sampling(
            float(own.get("temperature") or 1.0) if sampled else 0.0,
            float(own.get("top_p", 1.0)) if sampled else 1.0,
            own["max_gen_toks"],
            top_k=max(0, int(own.get("top_k") or 0)) if sampled else 0,
            min_p=float(own.get("min_p") or 0.0) if sampled else 0.0,
            repetition_penalty=float(own.get("repetition_penalty") or 1.0),
        )

    def ignored_settings(self) -> dict[str, Any]:
        """Generation settings of the task that kkwarm's backends do not have, such as beam search."""
        if self.scores_likelihoods:
            return {}
        neutral = {"num_beams": 1, "num_return_sequences": 1}
        own = self._generation_settings()
        return {k: v for k, v in own.items() if k not in _GENERATION_SETTINGS and neutral.get(k) != v}

    def _generation_settings(self) -> dict[str, Any]:
        """The generation settings of the task's requests.

        :raises KkwarmError: the tasks of a group differ in them.
        """
        from lm_eval.models.utils import normalize_gen_kwargs

        settings: dict[str, dict[str, Any]] = {}
        for document in self.documents.values():
            own = dict(normalize_gen_kwargs(dict(document.instances[0].args[1]), _MAX_GEN_TOKS))
            settings.setdefault(json.dumps(own, sort_keys=True, default=str), own)
        if len(settings) > 1:
            raise KkwarmError(
                f"the tasks of {self.name} have different generation settings",
                hint=f"name tasks of it: {', '.join(f'lm_eval:{t}' for t in list(self.tasks)[:3])}, ...",
            )
        return next(iter(settings.values()))

    # -- scoring ------------------------------------------------------------------------------------------------------

    def check(self, example: Example, response: Response) -> Verdict:
        """lm-eval's verdict on a completion."""
        return self.verdict(self.documents[example.id], [self.cut(response.text)], truncated=response.truncated)

    def cut(self, text: str) -> str:
        """The text without the first stop string and what follows, as lm-eval's models return it."""
        from lm_eval.models.utils import postprocess_generated_text

        return str(postprocess_generated_text(text, list(self.stop), None))

    def verdict(self, document: Document, responses: Responses, *, truncated: bool = False) -> Verdict:
        """Correct where the main metric is 1. Without an answer that a filter could extract the status is ``unparsed``,
        and ``truncated`` where generation stopped at the token limit before there was an answer.
        """
        by_filter = self._score(document, responses)
        scores, filtered = next(iter(by_filter.values()))
        metric = self._main_metric(document.task, scores)
        metrics = dict(scores)
        if len(by_filter) > 1:
            metrics = {f"{m},{name}": value for name, (own, _) in by_filter.items() for m, value in own.items()}
        answer = self._answer(document, responses, filtered)
        status = Status.CORRECT if metric is not None and scores[metric] == 1.0 else Status.WRONG
        if status is Status.WRONG and answer == _INVALID:
            status = Status.UNPARSED
        elif status is Status.WRONG and truncated and answer == responses[0]:
            status = Status.TRUNCATED  # no filter extracts an answer: the whole text is the answer
        reason = "lm-eval has no score for this question" if metric is None else f"{metric} = {scores[metric]:g}"
        return Verdict(status, answer, f"lm-eval: {reason}", metrics)

    def completion(self, document: Document, responses: Responses) -> Completion:
        """What stands for the completion where log-likelihoods are scored: the most likely continuation."""
        best = self._most_likely(document, responses)
        return Completion(str(document.instances[best].args[-1]))

    def _score(self, document: Document, responses: Responses) -> dict[str, tuple[dict[str, float], Any]]:
        """For each filter: the numeric metrics of the document, and the first filtered response."""
        task = document.task
        instances = [
            replace(i, resps=[r], filtered_resps={}) for i, r in zip(document.instances, responses, strict=True)
        ]
        results = {}
        for ensemble in task._filters:
            if not uses_several_samples(ensemble):
                ensemble.apply(instances)
                filtered = [instance.filtered_resps[ensemble.name] for instance in instances]
                scores = numeric_scores(task.process_results(document.doc, filtered))
                results[str(ensemble.name)] = (scores, filtered[0])
        if not results:
            raise KkwarmError(f"{self.name} scores several samples of a question together", hint="use another task")
        return results

    @staticmethod
    def _main_metric(task: Any, scores: Mapping[str, float]) -> str | None:
        better = task.higher_is_better()
        return main_metric({m: v for m, v in scores.items() if better.get(m, True) and m != "loglikelihood"})

    def _answer(self, document: Document, responses: Responses, filtered: Any) -> str:
        if self.scores_likelihoods:
            best = self._most_likely(document, responses)
            if getattr(document.task, "multiple_input", 0):  # the choices are in the contexts
                return str(document.task.doc_to_choice(document.doc)[best]).strip()
            return str(document.instances[best].args[-1]).strip()
        return filtered if isinstance(filtered, str) else json.dumps(filtered, default=str)

    @staticmethod
    def _most_likely(document: Document, responses: Responses) -> int:
        # Some tasks also ask for the likelihood of each choice without a context, which comes after those with one.
        count = sum(len(i.args) < 2 or i.args[0] != "" for i in document.instances) or len(document.instances)
        values = [r[0] if isinstance(r, tuple | list) else r for r in responses[:count]]
        return max(range(count), key=values.__getitem__)

    def _has_scores(self) -> bool:
        """Whether lm-eval has a score of single questions that can be 1; found out with an empty response."""
        document = next(iter(self.documents.values()))
        dummy: Any = {"generate_until": "", "loglikelihood_rolling": -1.0}.get(self.output_type, (-1.0, False))
        try:
            scores, _ = next(iter(self._score(document, [dummy] * len(document.instances)).values()))
        except KkwarmError:
            raise
        except Exception:  # the scorer may not expect an empty response
            return True
        return self._main_metric(document.task, scores) is not None

    def metric_names(self, task: Any) -> dict[str, str]:
        """The names of lm-eval's averaged metrics, by the names of the verdicts' metrics."""
        from lm_eval.api.metrics import mean

        kept = [e.name for e in task._filters if not uses_several_samples(e)]
        averaged = [m for m, function in task.aggregation().items() if function is mean]
        if len(kept) == 1:
            return {m: f"{m},{kept[0]}" for m in averaged}
        return {f"{m},{name}": f"{m},{name}" for m in averaged for name in kept}

    def evaluation_settings(self) -> dict[str, Any]:
        """What two runs must share to be compared, beside prompts and sampling settings."""
        return {"scorer": "lm-eval"} | ({"samples": 1} if self.scores_likelihoods else {})

    def fingerprint(self) -> str:
        """A hash of the tasks' definitions: prompts, filters, metrics and the source of their functions."""
        parts = []
        for name, task in self.tasks.items():
            config = {k: v for k, v in task.dump_config().items() if k not in ("metadata", "dataset_kwargs")}
            parts.append(json.dumps({name: config}, sort_keys=True, default=str))
        return hashlib.sha256("\x1e".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def uses_several_samples(ensemble: Any) -> bool:
    """Whether a filter of lm-eval combines several samples of a question, as a majority vote does."""
    from lm_eval.filters.selection import MajorityVoteFilter, TakeKFilter

    steps = [f.func if isinstance(f, partial) else f for f in ensemble.filters]
    return any(isinstance(step, type) and issubclass(step, MajorityVoteFilter | TakeKFilter) for step in steps)


# -- loading -----------------------------------------------------------------------------------------------------------


def load_lm_eval_task(name: str, config: BenchConfig, tokenizer: Any) -> EvalTask:
    """Loads a task, or a group of tasks, with its data, and renders its prompts.

    :param config: `shots`, `chat` and `system` have lm-eval's meanings (``num_fewshot``, ``apply_chat_template``,
        ``system_instruction``).
    :raises KkwarmError: lm-eval does not have the task, cannot load its data, has no score of single questions for it,
        or would run untrusted code for it.
    """
    if config.force:
        raise KkwarmError(f"{name} has no text that forces reasoning", hint="leave out --force-reasoning for it")
    with _lm_eval_surroundings():
        loaded = _load(name)
        tasks: dict[str, Any] = loaded["tasks"]
        _check_supported(name, tasks)
        if name.endswith((".yaml", ".yml")) and len(tasks) == 1:  # a file's benchmark has the name of its task
            name = f"{LM_EVAL_PREFIX}{next(iter(tasks))}"
        documents: dict[str, Document] = {}
        for task_name, task in tasks.items():
            _set_shots(task, config.shots)
            prefix = "" if len(tasks) == 1 else f"{task_name}/"
            documents |= {f"{prefix}{d.index}": d for d in _build_documents(name, task, config, tokenizer)}
        benchmark = LmEvalBenchmark(name, loaded, documents)
    if not benchmark.has_scores and benchmark.output_type == "generate_until":
        raise KkwarmError(
            f"{name} has no score for single questions, so runs cannot be compared", hint="run lm-eval itself for it"
        )
    return _make_eval_task(benchmark, config, tokenizer)


def load_questions(name: str) -> list[Example]:
    """All questions of a task or group, for the contamination check. Parameters and errors as `load_lm_eval_task`."""
    return [item.example for item in load_lm_eval_task(name, BenchConfig(), None).items]


def _load(name: str) -> Any:
    entry = find_lm_eval_task(name)
    spec = entry.name if entry.path is None else str(entry.path)
    folders = tuple(str(folder) for folder in task_folders())
    try:
        with contextlib.redirect_stdout(sys.stderr):  # lm-eval prints to stdout, which --json reserves
            if entry.path is not None:
                return _manager((), False).load([spec])
            if entry.local:
                with contextlib.suppress(Exception):  # it may have tasks of lm-eval's own
                    return _manager(folders, False).load([spec])
            return _manager(folders, True).load([spec])
    except Exception as err:  # data sets fail in many ways
        cause = " ".join(str(err).split())[:300]
        raise KkwarmError(
            f"lm-eval cannot load {entry.name}: {type(err).__name__}: {cause}", hint="its data may be missing"
        ) from err


@functools.cache
def _manager(folders: tuple[str, ...], defaults: bool) -> Any:
    """lm-eval's index of task files. That of its own thousands of tasks takes 8 CPU-seconds; only groups need it."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=list(folders), include_defaults=defaults)


def _check_supported(name: str, tasks: Mapping[str, Any]) -> None:
    if not tasks:
        raise KkwarmError(f"{name} has no tasks")
    if unsafe := [n for n, t in tasks.items() if getattr(t, "UNSAFE_CODE", False)]:
        hint = "use kkwarm's own humaneval_plus"
        raise KkwarmError(f"{unsafe[0]} runs model-written code without a sandbox", hint=hint)
    if multimodal := [n for n, t in tasks.items() if getattr(t, "MULTIMODAL", False)]:
        raise KkwarmError(f"{multimodal[0]} needs images or audio, which kkwarm's backends do not have")
    types = sorted({str(t.OUTPUT_TYPE) for t in tasks.values()})
    if len(types) > 1:
        shown = ", ".join(f"lm_eval:{t}" for t in list(tasks)[:3])
        raise KkwarmError(f"{name} has tasks of several kinds ({', '.join(types)})", hint=f"name tasks: {shown}, ...")


def _set_shots(task: Any, shots: int | None) -> None:
    """Sets the number of solved examples as lm-eval's ``--num_fewshot`` does, and the seed of their choice."""
    default = task.config.num_fewshot
    if shots is not None and default == 0 and shots > 0:
        warn(f"lm_eval:{task.task_name} always has no solved examples: --shots {shots} does not apply to it")
    elif shots is not None:
        task.set_config("num_fewshot", shots)
    elif default is None:
        task.set_config("num_fewshot", 0)
    task.set_fewshot_seed(_FEWSHOT_SEED)
    source = task.fewshot_cfg
    has_examples = source.split is not None or source.samples is not None
    if task.config.num_fewshot and not (has_examples or task.has_training_docs() or task.has_validation_docs()):
        warn(f"lm_eval:{task.task_name} has test questions only: its solved examples may repeat the question itself")


def _build_documents(name: str, task: Any, config: BenchConfig, tokenizer: Any) -> Iterator[Document]:
    """The documents that `config.limit` selects, with lm-eval's requests.

    :raises KkwarmError: there are none, the data does not fit the task, or the chat template cannot be used.
    """
    count = len(task.eval_docs)
    indices = _select(count, value_of(config.limit, name))
    chat = config.chat == "on"
    template = _chat_template(tokenizer, config.system, config.chat_template_args) if chat else None
    try:
        # Its progress bar would be printed in the middle of kkwarm's own.
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            task.build_all_requests(
                samples=None if len(indices) == count else indices,
                system_instruction=config.system,
                apply_chat_template=chat,
                fewshot_as_multiturn=chat,
                chat_template=template,
            )
    except KkwarmError:
        raise
    except Exception as err:  # the task's own code, or too few documents for its examples
        raise KkwarmError(f"lm-eval cannot make the prompts of {name}: {describe_error(err)}") from err
    by_position: dict[int, list[Instance]] = {}
    for instance in task.instances:
        by_position.setdefault(int(instance.doc_id or 0), []).append(instance)
    for position, instances in by_position.items():
        instances.sort(key=lambda i: i.idx)
        yield Document(task, indices[position], instances[0].doc, instances)


def _select(count: int, limit: int | None) -> list[int]:
    """Indices of at most `limit` documents: a fixed pseudo-random selection."""
    if limit is None or limit >= count:
        return list(range(count))
    ranked = sorted(range(count), key=lambda i: hashlib.sha256(f"kkwarm-limit-1:{i}".encode()).digest())
    return sorted(ranked[:limit])


def _chat_template(tokenizer: Any, system: str | None, further: Mapping[str, Any]) -> Callable[..., str]:
    """Renders a conversation by the tokenizer's chat template, as lm-eval's ``hf`` model does: without the system turn
    where the template refuses it.

    :raises KkwarmError: there is no template, it fails, or it refuses a system prompt that the user gave.
    """
    if getattr(tokenizer, "chat_template", None) is None:
        raise KkwarmError("this checkpoint has no chat template", hint="leave out --chat on")

    def render(turns: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        arguments: dict[str, Any] = {"tokenize": False, "add_generation_prompt": add_generation_prompt, **further}
        if not add_generation_prompt:
            arguments["continue_final_message"] = True
        try:
            return str(tokenizer.apply_chat_template(turns, **arguments))
        except Exception as err:  # templates raise jinja2's errors, and tokenizers their own
            others = [turn for turn in turns if turn["role"] != "system"]
            if system or len(others) == len(turns):
                raise KkwarmError(f"the chat template fails: {describe_error(err)}", hint="use --chat off") from err
            return str(tokenizer.apply_chat_template(others, **arguments))

    return render


def _make_eval_task(benchmark: LmEvalBenchmark, config: BenchConfig, tokenizer: Any) -> EvalTask:
    name, is_group = benchmark.name, len(benchmark.tasks) > 1
    if benchmark.output_type == "generate_until" and (ignored := benchmark.ignored_settings()):
        shown = ", ".join(f"{k}={v}" for k, v in ignored.items())
        warn(f"{name} asks for {shown}, which kkwarm's backends do not apply")
    sampling = choose_sampling(benchmark.sampling, config, benchmark.name)
    if config.samples > 1 and sampling.temperature == 0 and not benchmark.scores_likelihoods:
        warn(f"{name} decodes greedily, so the {config.samples} samples of a question are equal: add --temperature")
    items = []
    for id_, document in benchmark.documents.items():
        meta = {FACET: document.task.task_name} if is_group else {}
        example = Example(id_, _question(document), _target(document), "test", meta)
        prompt = document.prompt
        items.append(Item(example, prompt, prompt_hash(prompt)))
    examples = [item.example for item in items]
    form = LIKELIHOOD_PROTOCOL if benchmark.scores_likelihoods else PROTOCOL
    protocol = Protocol(form, TextReader(), stop=benchmark.stop, source=f"lm-eval {version('lm_eval')}")
    return EvalTask(
        name,
        Benchmark(name, lambda: examples, lambda: examples, name, protocol.name, facet=FACET if is_group else None),
        PromptRenderer(
            *(protocol, tokenizer, config.chat == "on", config.system or "", benchmark.few_shot),
            template_args=config.chat_template_args,
            split_reasoning=ReasoningSplitter(parse_think_tags(config.think_tags or "none"), tokenizer),
        ),
        Verifier(name, benchmark.check, timeout_s=60.0),
        sampling,
        tuple(items),
        lm_eval=benchmark,
    )


def _question(document: Document) -> str:
    """The question's text, for the contamination check."""
    task, doc = document.task, document.doc
    try:
        text = task.doc_to_decontamination_query(doc) if task.should_decontaminate() else task.doc_to_text(doc)
    except Exception:  # tasks that declare a query need not define it
        text = None
    return text if isinstance(text, str) and text.strip() else document.prompt or str(document.instances[0].args[0])


def _target(document: Document) -> Any:
    target = document.task.doc_to_target(document.doc)
    simple = isinstance(target, str | int | float | bool | None)
    return target if simple else json.loads(json.dumps(target, default=str))


@contextlib.contextmanager
def _lm_eval_surroundings() -> Iterator[None]:
    """Python's and numpy's random numbers as lm-eval seeds them, because tasks use them; fewer log messages, and no
    progress bars of data sets.
    """
    import datasets

    bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    random.seed(_RANDOM_SEED)
    np.random.seed(_FEWSHOT_SEED)
    try:
        yield
    finally:
        if bars:
            datasets.enable_progress_bars()
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
