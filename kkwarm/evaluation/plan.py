"""The benchmarks of a run: their questions, protocol, rendered prompts, verifier and sampling settings."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kkwarm.data.splits import content_hash, fingerprint
from kkwarm.errors import KkwarmError
from kkwarm.evaluation.collect import SampleRequest, SampleRequests
from kkwarm.evaluation.lm_eval_index import LM_EVAL_PREFIX, find_lm_eval_task, is_lm_eval_name
from kkwarm.plugins import Registry
from kkwarm.protocols import PromptRenderer, make_renderer, prompt_hash
from kkwarm.schema.settings import BenchConfig, value_of
from kkwarm.types import SPLIT, Benchmark, ChatPrompt, Example, Protocol, Sampling, Verifier
from kkwarm.verify.rewards import TaskReward

if TYPE_CHECKING:
    from kkwarm.evaluation.lm_eval_tasks import LmEvalBenchmark

_SALT = "kkwarm-limit-1"


@dataclass(frozen=True, slots=True)
class Item:
    """A question with its rendered prompt."""

    example: Example
    prompt: str
    prompt_hash: str
    chat: ChatPrompt | None = None  # for a server that renders the chat template


@dataclass(frozen=True, slots=True)
class EvalTask:
    """One benchmark of a run. With a forced beginning (`force`) its name ends in ``+forced``.

    :param sampling_source: whose sampling settings apply where the user gives none: ``paper`` or ``checkpoint``; empty:
        the protocol's or the benchmark's.
    :param lm_eval: the tasks of lm-eval that it consists of; None for kkwarm's own benchmarks.
    :param reward: gives the rewards that are stored with the samples.
    """

    name: str
    benchmark: Benchmark
    renderer: PromptRenderer
    verifier: Verifier
    sampling: Sampling
    items: tuple[Item, ...]
    force: str = ""
    lm_eval: LmEvalBenchmark | None = None
    sampling_source: str = ""
    reward: TaskReward | None = None

    @property
    def max_tokens(self) -> int:
        """The most tokens that are generated for a sample: none where log-likelihoods are scored."""
        return 0 if self.lm_eval is not None and self.lm_eval.scores_likelihoods else self.sampling.max_tokens

    def samples_per_question(self, requested: int) -> int:
        """Number of samples of each question: `requested`; one where log-likelihoods are scored, which do not vary."""
        return 1 if self.lm_eval is not None and self.lm_eval.scores_likelihoods else requested

    def count_samples(self, requested: int) -> int:
        """Number of samples of all questions. None are stored where no question has a score of its own."""
        if self.lm_eval is not None and not self.lm_eval.has_scores:
            return 0
        return len(self.items) * self.samples_per_question(requested)

    @property
    def protocol(self) -> Protocol:
        """How questions are put and answers are read."""
        return self.renderer.protocol

    @property
    def facets(self) -> dict[str, dict[str, str]]:
        """The value of each facet of the benchmark by question id."""
        examples = [item.example for item in self.items]
        names = self.benchmark.all_facets
        facets = {name: {e.id: str(e.meta[name]) for e in examples if e.meta.get(name) is not None} for name in names}
        if self.training_split:
            facets[SPLIT] = {e.id: e.split for e in examples}
        return {name: values for name, values in facets.items() if values}

    @property
    def training_split(self) -> list[str]:
        """Ids of the questions that belong to the training split."""
        return [item.example.id for item in self.items if item.example.split == "train"]

    def sample_requests(self, missing: Callable[[str], tuple[int, ...]]) -> SampleRequests:
        """Requests for the samples whose indices `missing` returns for a question id."""
        prompts = []
        for item in self.items:
            example = item.example
            if indices := missing(example.id):
                meta = {name: example.meta[name] for name in self.benchmark.all_facets if name in example.meta}
                meta |= {SPLIT: "train"} if example.split == "train" else {}
                prompts.append(
                    SampleRequest(
                        self.request_key(example.id), example, item.prompt, indices, item.prompt_hash, meta, item.chat
                    )
                )
        how = (self.protocol, self.verifier, self.sampling)
        return SampleRequests(self.name, *how, prompts, self.force, self.renderer.split_reasoning, self.reward)

    def request_key(self, id_: str) -> str:
        """The key of a question's request (see `kkwarm.backends.Request`)."""
        return f"{self.name}/{id_}"

    def fingerprints(self) -> dict[str, str]:
        """Hashes of the questions and of the prompts."""
        prompts = hashlib.sha256("\x1e".join(i.prompt for i in self.items).encode("utf-8", "surrogatepass"))
        hashes = {
            f"data:{self.name}": fingerprint([i.example for i in self.items]),
            f"prompts:{self.name}": prompts.hexdigest()[:16],
        }
        return hashes if self.lm_eval is None else hashes | {f"task:{self.name}": self.lm_eval.fingerprint()}


def parse_benchmark_names(names: Sequence[str]) -> list[str]:
    """Benchmark names without duplicates; each text may hold several names, separated by commas."""
    parsed = list(dict.fromkeys(part.strip() for name in names for part in name.split(",") if part.strip()))
    if not parsed:
        raise KkwarmError("no benchmark is named", hint="--on NAME,NAME; `kkwarm domains` lists the names")
    return parsed


def check_benchmark_name(name: str, registry: Registry) -> None:
    """:raises KkwarmError: there is no such benchmark; the name of a task of lm-eval is suggested with its prefix."""
    if name.startswith(LM_EVAL_PREFIX):
        find_lm_eval_task(name)
        return
    try:
        registry.benchmark(name)
    except KkwarmError as err:
        if not is_lm_eval_name(name):
            raise
        near, _, rest = err.hint.partition("?") if err.hint.startswith("did you mean") else ("", "", "")
        advice = f"{near} or" if near else "did you mean"
        raise KkwarmError(err.message, hint=f"{advice} {LM_EVAL_PREFIX}{name}?{rest}") from None


def make_eval_task(
    name: str,
    registry: Registry,
    config: BenchConfig,
    tokenizer: Any,
    own_sampling: Callable[[], Mapping[str, float]] = dict,
) -> EvalTask:
    """Loads a benchmark's questions and renders its prompts. For ``lm_eval:NAME``, lm-eval does both.

    :param own_sampling: returns the checkpoint's own sampling settings.
    :raises KkwarmError: the benchmark or protocol is unknown, there are no questions, ids are not unique, or the
        protocol has no text that forces reasoning.
    """
    if name.startswith(LM_EVAL_PREFIX):
        from kkwarm.evaluation.lm_eval_tasks import load_lm_eval_task

        return load_lm_eval_task(name, config, tokenizer)
    benchmark = registry.benchmark(name)
    protocol = registry.protocol(benchmark, config.protocol)
    force = protocol.force if config.force else ""
    if config.force and not force:
        raise KkwarmError(f"protocol {protocol.name} has no text that forces reasoning", hint="use another --protocol")
    api = config.api if config.backend == "openai" else None
    renderer = make_renderer(protocol, tokenizer, config.prompt_options, registry.task_of(benchmark), api)
    default, source = _default_sampling(renderer, benchmark, config, own_sampling)
    sampling = choose_sampling(default, config, benchmark.name)
    examples = list(benchmark.load_all() if config.split == "all" else benchmark.load())
    if not examples:
        raise KkwarmError(f"benchmark {name} has no questions")
    duplicates = [id_ for id_, count in Counter(e.id for e in examples).items() if count > 1]
    if duplicates:
        raise KkwarmError(f"benchmark {name} has several questions with id {duplicates[0]!r}", hint="make ids unique")
    items = []
    for example in limit_examples(examples, value_of(config.limit, benchmark.name)):
        prompt = renderer(example) + force
        items.append(Item(example, prompt, prompt_hash(prompt), renderer.chat_prompt(example, force)))
    task_name = f"{benchmark.name}+forced" if force else benchmark.name
    verifier = registry.verifier_of(benchmark, protocol)
    return EvalTask(
        *(task_name, benchmark, renderer, verifier, sampling, tuple(items), force),
        sampling_source=source,
        reward=registry.reward_of(benchmark),
    )


def _default_sampling(
    renderer: PromptRenderer, benchmark: Benchmark, config: BenchConfig, own_sampling: Callable[[], Mapping[str, float]]
) -> tuple[Sampling, str]:
    """The sampling settings where the user gives none, and whose they are: ``paper``, ``checkpoint``; else empty.

    The checkpoint's own apply where its chat template is used and the protocol has none: they are made for chat.
    """
    protocol = renderer.protocol
    default = protocol.sampling or benchmark.sampling
    if config.generation_config == "paper":
        return Sampling(max_tokens=default.max_tokens), "paper"
    if config.generation_config == "auto" and protocol.sampling is None and renderer.chat and (own := own_sampling()):
        values = {name: int(value) if name == "top_k" else float(value) for name, value in own.items()}
        return replace(Sampling(1.0, 1.0, default.max_tokens), **values), "checkpoint"  # type: ignore[arg-type]
    return default, ""


def choose_sampling(default: Sampling, config: BenchConfig, benchmark: str) -> Sampling:
    """The default settings, replaced by those that the user gave."""
    max_tokens = value_of(config.max_tokens, benchmark)
    return Sampling(
        default.temperature if config.temperature is None else config.temperature,
        default.top_p if config.top_p is None else config.top_p,
        default.max_tokens if max_tokens is None else max_tokens,
        config.seed,
        default.top_k if config.top_k is None else config.top_k,
        default.min_p if config.min_p is None else config.min_p,
        default.repetition_penalty if config.repetition_penalty is None else config.repetition_penalty,
    )


def limit_examples(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most `limit` examples in their order. They are selected by a hash of their content, not by position: the first
    questions of a sorted benchmark would be unrepresentative.
    """
    if limit is None or limit >= len(examples):
        return list(examples)
    selected = set(sorted(range(len(examples)), key=lambda i: _rank(examples[i]))[:limit])
    return [example for i, example in enumerate(examples) if i in selected]


def shuffle_items(items: Sequence[Item]) -> list[Item]:
    """Items in the order in which `limit_examples` selects them: pseudo-random and always the same."""
    return sorted(items, key=lambda item: _rank(item.example))


def _rank(example: Example) -> tuple[str, str]:
    return hashlib.sha256(f"{_SALT}:{content_hash(example)}".encode()).hexdigest(), example.id
