"""The text of a recipe that `kkwarm study new` writes: the paper's values stand beside each choice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kkwarm.study.new import Choices

BENCH_MINUTES = 20  # of one worker for an evaluation, where the paper's sizes do not fit


def render_recipe(c: Choices) -> str:
    """A complete recipe in TOML, with a line ``# Estimate:`` to be filled in."""
    parts = [_head(c), _traces(c), _warmup(c), _rlvr(c), _conditions(c), _evaluation(c), _assumptions(c)]
    return "\n".join(parts)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _names(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(map(_quote, names)) + "]"


def _counts(counts: dict[str, int]) -> str:
    """A number for all benchmarks, or a table where they differ."""
    different = set(counts.values())
    if len(different) == 1:
        return str(different.pop())
    return "{ " + ", ".join(f"{_quote(name)} = {n}" for name, n in counts.items()) + " }"


def _head(c: Choices) -> str:
    size = f"{c.size.parameters / 1e9:.3g} G parameters" if c.size.parameters else "an unknown number of parameters"
    context = f", a context of {c.size.context:,} tokens" if c.size.context else ""
    chat = ""
    if c.chat_template:
        chat = (
            "# The checkpoint has a chat template. The paper prompts base models with raw text, and so does this\n"
            '# recipe. For an instruct model, also try `chat = "on"` in every stage and in [evaluate].\n'
        )
    return f"""\
# Does warming up on {c.warmup_domain} help this checkpoint on {c.domain}? The experiment of "Warm Up Before You Train"
# (arXiv 2505.13718) for {c.model}:
# {size}{context}, on {c.hardware.name}. Written by `kkwarm study new`.
#
# The first command shows the plan with its cost. The second runs it, resumes it after an interruption, and prints the
# report.
#
#   kkwarm study FILE --dry-run
#   kkwarm study FILE
#
# Estimate:
# The settings of the paper are given as "paper: ...". Change what you like: the page "Settings" of the documentation
# describes every key.
{chat}title = {_quote(f"Warm-up on {c.warmup_domain}, then RLVR on {c.domain}: {c.model.rpartition('/')[2]}")}
note = "One seed: the intervals cover questions and sampling, but not the variance between trainings."
seeds = [0]  # paper: one. Three or more tell a gain from the luck of one training. They can be added later
margin = 5   # percentage points within which two conditions count as equal

[models]
base = {_quote(c.model)}
"""


def _traces(c: Choices) -> str:
    reason = (
        "as many puzzles as the paper"
        if c.paper_scale
        else f"what fits into half an hour (about {c.trace} tokens each)"
    )
    text = f"""\
# Traces of {c.warmup_domain}. paper: 5,000 puzzles x 4 samples of QwQ-32B, unfiltered. The symbolic teacher needs no
# model; for a teacher of your own, give its hub id or folder, with samples, temperature 0.6 and top_p 0.95.
[traces.symbolic]
domain = {_quote(c.warmup_domain)}
teacher = "symbolic"
n = {c.traces}  # {reason}
seed = 0  # the same traces for all training seeds
"""
    for control in c.controls:
        text += f"""
[traces.{control}]
domain = {_quote(c.warmup_domain)}
teacher = {_quote(control)}
n = {c.traces}
seed = 0
"""
    return text


def _training(c: Choices, learning_rate: float, paper: str) -> str:
    text = f"learning_rate = {learning_rate:g}  # {paper}"
    if c.lora:
        text += "\nlora = true  # full training does not fit into memory; an adapter learns at ten times the rate"
    return text


def _warmup(c: Choices) -> str:
    epochs = 3 if c.paper_scale else 1
    why = "paper: 3 to 5" if c.paper_scale else "paper: 3 to 5. A small model soon takes over the answer's form"
    shared = f"""\
epochs = {epochs}  # {why}
batch_size = {2 if c.paper_scale else 4}  # paper: 2
{_training(c, c.learning_rates[0], "paper: 1e-6, for 3 G parameters and more")}
warmup_steps = {25 if c.paper_scale else 5}  # paper: 25
schedule = "constant"
max_grad_norm = {0.1 if c.paper_scale else 1.0}  # paper: 0.1
max_length = {c.max_length}  # tokens; longer traces are left out
"""
    text = f"""\
[stages.warm]
kind = "warmup"
traces = "symbolic"
{shared}"""
    for control in c.controls:
        text += f'\n[stages.{control}]\nkind = "warmup"\ntraces = {_quote(control)}\n{shared}'
    return text


def _rlvr(c: Choices) -> str:
    available = f"{c.available:,} are available" if c.available is not None else "the data was not here to count them"
    if c.steps is None:
        length = """\
epochs = 25  # paper: 25
prompts_per_step = 2  # paper: 2 prompts x 10 completions in a step
generations = 10"""
    else:
        length = f"""\
steps = {c.steps}  # paper: 25 epochs, 1,250 steps. So many fit into two hours
prompts_per_step = 4  # paper: 2 prompts x 10 completions
generations = 8"""
    code = "\n# The reward runs code that the model wrote: see `kkwarm doctor` for the sandbox." if c.is_code else ""
    limit = f"paper: 4096; prompts have {c.prompt} tokens on average, {c.longest_prompt} at most"
    return f"""\
# RLVR: GRPO with the verifier of {c.domain} as the reward. paper: at most 100 examples (50 programs).{code}
# No completion of a group better than the others means no signal: then take easier examples or more generations.
[stages.rlvr]
kind = "rlvr"
domain = {_quote(c.domain)}
examples = {c.examples}  # {available}
{length}
max_tokens = {c.max_tokens}  # {limit}
{_training(c, c.learning_rates[1], "paper: 1e-6")}
beta = 0.0  # paper: no KL term
temperature = 1.0  # paper: 0.7, with top_p 0.95; below 1 top_p biases the importance ratio
top_p = 1.0
loss_type = "dr_grpo"  # paper
scale_rewards = "none"  # paper
eval_on = {_names((c.domain,))}  # watched on held-out questions, for alarms and the best step
eval_every = {50 if c.steps is None else max(1, c.steps // 2)}
eval_questions = {50 if c.paper_scale else 20}
eval_max_tokens = {c.max_tokens}
"""


def _condition(name: str, chain: tuple[str, ...], baseline: str | None, comment: str, *, forced: bool = False) -> str:
    lines = [f"# {comment}", "[[conditions]]", f"name = {_quote(name)}", f"chain = {_names(chain)}"]
    lines += [f"baseline = {_quote(baseline)}"] if baseline else []
    lines += ["forced = true"] if forced else []
    return "\n".join(lines) + "\n"


_CONTROLS = {
    "direct": "Control: the same puzzles, answered without reasoning. Does the gain come from the reasoning?",
    "shuffled": "Control: the same traces with shuffled words. Does the gain come from the content of the reasoning?",
}


def _conditions(c: Choices) -> str:
    forced = "The checkpoint as it is; `forced` measures it also where the prompt makes it reason step by step."
    parts = [
        _condition("base", ("base",), None, forced, forced=True),
        _condition("warmed", ("base", "warm"), "base", "Does the warm-up alone help?"),
        _condition("base + RLVR", ("base", "rlvr"), "base", "Does RLVR alone help?"),
        _condition("warmed + RLVR", ("base", "warm", "rlvr"), "base + RLVR", "Does the warm-up help RLVR?"),
    ]
    parts += [_condition(f"{name} SFT", ("base", name), "base", _CONTROLS[name]) for name in c.controls]
    return "\n".join(parts)


def _evaluation(c: Choices) -> str:
    counted = ", ".join(f"{name} {n:,}" for name, n in c.questions.items())
    questions = f"# Questions: {counted}.\n" if counted else ""
    limit, samples = "", 4
    if not c.limit:
        questions += "# paper: all questions, 4 samples each."
    else:
        n, samples = c.limit[c.domain], 1
        limit = f"limit = {_counts(c.limit)}  # questions; what fits into {BENCH_MINUTES} minutes\n"
        questions += (
            f"# paper: all questions, 4 samples each. With {n} questions the standard error is up to\n"
            f"# {50 / n**0.5:.1f} points; `kkwarm power --on {c.domain} --limit {n}` tells what can be detected."
        )
    return f"""\
{questions}
# The domain and {c.warmup_domain} tell what is gained; add others to see what is lost: `kkwarm domains` lists them.
[evaluate]
domains = {_names(c.benchmarks)}
{limit}samples = {samples}
temperature = 0.7  # paper
top_p = 0.95  # paper
max_tokens = {_counts(c.eval_tokens)}  # paper: about 4096; traces have {c.trace} tokens on average

# The paper's claims on these conditions, in the report.
[[claims]]
base = "base"
warmed = "warmed"
base_rlvr = "base + RLVR"
warmed_rlvr = "warmed + RLVR"
on = {_quote(c.domain)}
warmup = {_quote(c.warmup_domain)}
"""


def _assumptions(c: Choices) -> str:
    text = f"""\
# Only for the estimate of --dry-run. Replace lengths and rates by those of your first steps.
[assume]
prompt = {c.prompt}
answer = {max(1, max(c.eval_tokens.values()) // 2)}
trace = {c.trace}
start_s = 30
"""
    if c.questions:
        text += "[assume.questions]\n" + "".join(f"{_quote(name)} = {n}\n" for name, n in c.questions.items())
    return text
