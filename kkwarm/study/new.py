"""Writes a recipe of the paper's experiment for a checkpoint and a domain, with sizes that fit both and the machine."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from kkwarm.backends.checkpoint import load_tokenizer, resolve, resolve_package_path
from kkwarm.backends.sizes import ModelSize, cached_folder, read_size
from kkwarm.cost import Hardware, Rates, cores, device_memory, estimate_rates, this_machine
from kkwarm.errors import KkwarmError
from kkwarm.files import expand_path
from kkwarm.plugins import registry
from kkwarm.progress import duration
from kkwarm.protocols import PAPER
from kkwarm.schema.document import read
from kkwarm.schema.recipe import Recipe, parse_recipe
from kkwarm.study.local import default_jobs
from kkwarm.study.plan import Plan, make_plan
from kkwarm.study.progress import Estimate
from kkwarm.study.recipe_text import BENCH_MINUTES, render_recipe

# On processor cores a stage may take about so many minutes of one worker; on a GPU the paper's sizes are kept.
WARMUP_MINUTES, RLVR_MINUTES = 30, 120
SMALL, LARGE = 5e8, 1.5e9  # parameters; from LARGE on, the paper's learning rates
BYTES_FULL = 16 * 1.3  # for each parameter: fp32 weights, gradients and two moments, and some activations
CHARACTERS = 3.5  # for each token, where there is no tokenizer
MEASURED = 20  # examples and traces whose lengths are measured


@dataclass(frozen=True, slots=True)
class Choices:
    """What the recipe is written from: facts about model, data and machine, and the sizes chosen by them.

    `prompt`, `longest_prompt`, `trace` are tokens, `available` is the number of training examples (None where the data
    is not here), `questions` those of each benchmark that were counted. `limits` are the token
    limits of the benchmarks, `eval_tokens` those of the study's evaluations, `limit` their numbers of questions.
    """

    model: str
    domain: str
    warmup_domain: str
    benchmarks: tuple[str, ...]
    controls: tuple[str, ...]
    size: ModelSize
    hardware: Hardware
    rates: Rates
    chat_template: bool
    prompt: int
    longest_prompt: int
    trace: int
    available: int | None
    is_code: bool
    questions: dict[str, int]
    limits: dict[str, int]
    lora: bool = False
    traces: int = 5000
    max_length: int = 0
    examples: int = 100
    steps: int | None = None
    max_tokens: int = 4096
    eval_tokens: dict[str, int] = field(default_factory=dict)
    limit: dict[str, int] = field(default_factory=dict)

    @property
    def paper_scale(self) -> bool:
        """Whether the paper's sizes are kept: on a GPU."""
        return self.hardware.cuda

    @property
    def learning_rates(self) -> tuple[float, float]:
        """Of warm-up and RLVR: the paper's for models of its size, higher for smaller ones and for LoRA."""
        parameters = self.size.parameters or LARGE
        warmup, rlvr = (1e-6, 1e-6) if parameters >= LARGE else (1e-5, 2e-6) if parameters >= SMALL else (5e-5, 5e-6)
        return (10 * warmup, 10 * rlvr) if self.lora else (warmup, rlvr)


def new_recipe(
    model: str, domain: str, benchmarks: Sequence[str], out: Path, *, warmup_domain: str = "kk"
) -> tuple[Recipe, Plan]:
    """Writes the recipe to `out`; returns it with its plan.

    :raises KkwarmError: a name is unknown, the model is no checkpoint, no teacher writes traces of `warmup_domain`, or
        `out` exists or cannot be written.
    """
    if out.suffix != ".toml":
        raise KkwarmError(f"{out} is no TOML file", hint=f"-o {out.with_suffix('.toml')}")
    if out.exists():
        raise KkwarmError(f"{out} exists already", hint="use another -o, or delete it")
    choices = _choose_sizes(_gather(model, domain, benchmarks, warmup_domain))
    text = render_recipe(choices)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder, out.name)
        draft.write_text(text, "utf-8")
        recipe = parse_recipe(out.stem, read(draft))
    plan = make_plan(recipe)
    total = sum(step.cost.seconds for step in plan.steps.values())
    left = Estimate(plan, set(), default_jobs()).left({})
    summary = (
        f"# Estimate: {len(plan.steps)} steps, {duration(total)} of one worker, {duration(left)} on this machine.\n"
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("x", encoding="utf-8") as file:
            file.write(text.replace("# Estimate:\n", summary).replace("kkwarm study FILE", f"kkwarm study {out}"))
    except OSError as err:
        raise KkwarmError(f"{out} cannot be written: {err.strerror}", hint="use another -o") from None
    return recipe, plan


# -- facts -------------------------------------------------------------------------------------------------------------


def _gather(model: str, domain: str, benchmarks: Sequence[str], warmup_domain: str) -> Choices:
    reg = registry()
    task, warmup = reg.task(domain), reg.task(warmup_domain)
    reg.teacher(warmup_domain, "symbolic")
    names = tuple(dict.fromkeys([domain, warmup_domain, *benchmarks]))
    for name in names:
        reg.benchmark(name)
    controls = tuple(name for name in ("direct", "shuffled") if name in reg.teachers_of(warmup_domain))
    reference, tokenizer = _reference(model), _load_local_tokenizer(model)

    def tokens(text: str) -> int:
        return round(len(text) / CHARACTERS) if tokenizer is None else len(tokenizer(text)["input_ids"])

    examples = _load(task.load)
    around = tokens(str(PAPER.system)) + 10  # tokens of a prompt around the question
    prompts = [tokens(e.question) + around for e in (examples or ())[:MEASURED]] or [200]
    traces = islice(reg.teacher(warmup_domain, "symbolic").traces(MEASURED, 0), MEASURED)
    golds = [] if task.gold is None else [task.gold(e) for e in (examples or ())[:MEASURED]]
    hardware, size = this_machine(), read_size(model)
    counted = {name: _load(reg.benchmark(name).load) for name in names}
    return Choices(
        model=reference,
        domain=domain,
        warmup_domain=warmup.name,
        benchmarks=names,
        controls=controls,
        size=size,
        hardware=hardware,
        rates=estimate_rates(size, hardware),
        chat_template=getattr(tokenizer, "chat_template", None) is not None,
        prompt=round(statistics.fmean(prompts)),
        longest_prompt=max(prompts),
        trace=round(statistics.fmean(tokens(f"{t.reasoning} {t.answer}") for t in traces)),
        available=None if examples is None else len(examples),
        is_code=bool(golds) and all(_is_python(gold) for gold in golds),
        questions={name: len(found) for name, found in counted.items() if found is not None},
        limits={name: reg.benchmark(name).sampling.max_tokens for name in names},
        max_tokens=task.sampling.max_tokens,
    )


def _reference(model: str) -> str:
    """The model as the recipe names it: an absolute path, a package's checkpoint, or a hub id."""
    if resolve_package_path(model) != model:
        return model
    path = expand_path(model)
    if path.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        resolve(model)
        return str(path.absolute())
    return model


def _load_local_tokenizer(model: str) -> Any:
    if not Path(expand_path(resolve_package_path(model))).exists() and cached_folder(model) is None:
        return None
    try:
        return load_tokenizer(model)
    except KkwarmError:
        return None


def _load(loader: Any) -> list[Any] | None:
    """The examples of a loader; None where the data is neither on this machine nor can be fetched."""
    try:
        return list(loader())
    except KkwarmError:
        return None


def _is_python(text: str) -> bool:
    if not any(word in text for word in ("def ", "return", "import ")):
        return False
    try:
        compile(text, "gold", "exec")
    except (SyntaxError, ValueError):
        return "\n    " in text  # the body of a function
    return True


# -- sizes -------------------------------------------------------------------------------------------------------------


def _choose_sizes(facts: Choices) -> Choices:
    """The sizes of the recipe; see the comments that `render_recipe` writes beside them."""
    parameters = facts.size.parameters
    lora = parameters is not None and BYTES_FULL * parameters > device_memory(facts.hardware)
    context = facts.size.context or 2**31
    room = max(64, context - facts.longest_prompt - 1)
    most = facts.max_tokens
    if not facts.paper_scale or (parameters is not None and parameters < SMALL):
        most = min(most, 512 if facts.is_code else 1024)
    if not facts.paper_scale:
        most = min(most, 512)
    max_tokens = min(most, room) // 16 * 16 or min(most, room)
    # After the warm-up answers may be as long as its traces.
    longest = max(max_tokens, round(1.25 * facts.trace) // 16 * 16 + 16)
    eval_tokens = {name: min(limit, room, longest) for name, limit in facts.limits.items()}
    max_length = min(context, 4096)
    examples = min(100, facts.available or 100)
    sized = replace(
        facts, lora=lora, max_tokens=max_tokens, eval_tokens=eval_tokens, max_length=max_length, examples=examples
    )
    if facts.paper_scale:
        return sized
    worker = 1 / cores()  # a study runs a worker for each core
    generate, train = facts.rates.generate * worker, facts.rates.train * worker
    answer = max_tokens / 2  # on average
    traces = _rounded(60 * WARMUP_MINUTES * train / (facts.prompt + facts.trace), 50, 5000)
    step = 32 * (answer / generate + (facts.prompt + answer) / train)  # 4 prompts, 8 completions each
    steps = _rounded(60 * RLVR_MINUTES / step, 5, 100)
    generated = 60 * BENCH_MINUTES * generate / len(facts.benchmarks)  # tokens of each benchmark
    questions = {name: _rounded(generated / (tokens / 2), 20, 500) for name, tokens in eval_tokens.items()}
    return replace(sized, traces=traces, steps=steps, limit=questions)


def _rounded(value: float, least: int, most: int) -> int:
    """A number within limits, rounded down to one or two digits."""
    number = int(min(max(value, least), most))
    unit = 5 if number < 100 else 50 if number < 1000 else 500
    return max(least, number // unit * unit)
