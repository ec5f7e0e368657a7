"""Exports a domain's benchmark as a task folder of lm-eval: a YAML file, the questions, and a module that verifies.

lm-eval then reaches the same verdicts: prompts are in the data, and the module calls kkwarm's verifier. lm-eval removes
stop strings from completions, although a protocol's closing tag may be one. The task therefore sets none, and the
module ends completions where kkwarm would.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kkwarm
from kkwarm.errors import KkwarmError
from kkwarm.plugins import Registry
from kkwarm.protocols import PromptOptions, make_renderer
from kkwarm.types import Benchmark, Example, Protocol, Sampling, Status

_FLAGS = (Status.UNPARSED, Status.MALFORMED, Status.TIMEOUT, Status.ERROR)  # statuses that become metrics

_YAML = """\
# Written by `kkwarm export domain`. Run it with: lm_eval --include_path FOLDER --tasks {task}
# kkwarm and the plugin of the domain must be installed. `acc` is kkwarm's accuracy.
task: {task}
custom_dataset: !function utils.load
output_type: generate_until
test_split: test
doc_to_text: prompt
doc_to_target: target
process_results: !function utils.process_results
num_fewshot: 0  # solved examples are in the prompts
repeats: {samples}
generation_kwargs:
{generation}
filter_list:
  - name: none
    filter:
      - function: take_first_k
        k: {samples}
metric_list:
{metrics}
metadata:
  version: 1.0
  kkwarm: {version}
"""

_MODULE = '''\
"""Loads the questions of {name} and verifies answers with kkwarm. Written by `kkwarm export domain`."""

import atexit
import functools
import json
from pathlib import Path

import datasets

from kkwarm.plugins import registry
from kkwarm.types import Completion, Example
from kkwarm.verify import Judge

BENCHMARK = {name!r}
PROTOCOL = {protocol!r}
FLAGS = {flags!r}


def load(**_):
    """The questions: `prompt` and `target` as text, and the example as JSON."""
    lines = Path(__file__).with_name({data!r}).read_text("utf-8").splitlines()
    return {{"test": datasets.Dataset.from_list([json.loads(line) for line in lines])}}


def process_results(doc, results):
    """`acc`: share of samples that kkwarm's verifier accepts; and the share with each other status of `FLAGS`."""
    benchmark = registry().benchmark(BENCHMARK)
    protocol = registry().protocol(benchmark, PROTOCOL)
    example = Example(**json.loads(doc["example"]))
    pairs = [(example, Completion(_end(text, protocol.stop))) for text in results[0]]
    verdicts = _judge().verify(registry().verifier_of(benchmark, protocol), protocol, pairs)
    scores = {{"acc": sum(v.correct for v in verdicts) / len(verdicts)}}
    return scores | {{flag: sum(v.status == flag for v in verdicts) / len(verdicts) for flag in FLAGS}}


def _end(text, stops):
    """The text up to the end of the first stop string, where kkwarm ends generation."""
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    return text[: min(ends)] if ends else text


@functools.cache
def _judge():
    judge = Judge()
    atexit.register(judge.close)
    return judge
'''


@dataclass(frozen=True, slots=True)
class ExportedTask:
    """What was written: the task's name, its folder, and the number of questions."""

    task: str
    folder: Path
    questions: int
    protocol: str


def export_task(
    name: str,
    registry: Registry,
    folder: Path,
    *,
    protocol: str | None = None,
    options: PromptOptions | None = None,
    samples: int = 1,
    task: str | None = None,
) -> ExportedTask:
    """Writes ``TASK.yaml``, ``TASK.jsonl`` and ``utils.py`` into `folder`.

    :param name: the benchmark, as ``bench --on`` takes it.
    :param options: system prompt and shots; prompts are text.
    :param samples: completions per question (lm-eval's ``repeats``).
    :param task: lm-eval's name for it; None: the benchmark's.
    :raises KkwarmError: the benchmark or protocol is unknown, the folder has such files, or a question is no JSON data.
    """
    benchmark = registry.benchmark(name)
    chosen = registry.protocol(benchmark, protocol)
    task_name = task or re.sub(r"\W+", "_", benchmark.name).strip("_")
    if not re.fullmatch(r"[\w.-]+", task_name):
        raise KkwarmError(f"{task_name!r} is no name for a task", hint="use letters, digits and _")
    files = {n: folder / n for n in (f"{task_name}.yaml", f"{task_name}.jsonl", "utils.py")}
    for path in files.values():
        if path.exists():
            raise KkwarmError(f"{path} exists already", hint="give another folder with -o, or delete it")
    rows = list(_rows(benchmark, chosen, options or PromptOptions(chat="off"), registry))
    if not rows:
        raise KkwarmError(f"benchmark {name} has no questions")
    reference = str(Path(name).resolve()) if Path(name).is_file() else name  # lm-eval may run in another folder
    sampling = chosen.sampling or benchmark.sampling
    texts = (
        _task_file(task_name, sampling, samples),
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        _MODULE.format(
            name=reference, protocol=chosen.name, flags=[f.value for f in _FLAGS], data=f"{task_name}.jsonl"
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in zip(files.values(), texts, strict=True):
        path.write_text(text, "utf-8")
    return ExportedTask(task_name, folder, len(rows), chosen.name)


def _rows(
    benchmark: Benchmark, protocol: Protocol, options: PromptOptions, registry: Registry
) -> Iterable[dict[str, Any]]:
    """A row for each question, with the rendered prompt. Examples are JSON text, because answers differ in type."""
    task = registry.task_of(benchmark)
    renderer = make_renderer(protocol, None, options, task)
    gold = task.gold if task is not None else None
    for example in benchmark.load():
        target = str(example.answer) if gold is None else gold(example)
        yield {"id": example.id, "prompt": renderer(example), "target": target, "example": _as_json(example)}


def _as_json(example: Example) -> str:
    fields = {
        "id": example.id,
        "question": example.question,
        "answer": example.answer,
        "split": example.split,
        "meta": dict(example.meta),
    }
    try:
        text = json.dumps(fields, ensure_ascii=False)
    except (TypeError, ValueError) as err:
        raise KkwarmError(
            f"question {example.id} is no JSON data: {err}", hint="make its answer and meta JSON"
        ) from None
    return text


def _task_file(task: str, sampling: Sampling, samples: int) -> str:
    generation: dict[str, Any] = {
        "until": [],
        "max_gen_toks": sampling.max_tokens,
        "do_sample": sampling.temperature > 0,
    }
    if sampling.temperature > 0:
        generation |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    return _YAML.format(
        task=task,
        samples=samples,
        generation="\n".join(f"  {key}: {json.dumps(value)}" for key, value in generation.items()),
        metrics="\n".join(_metric(name) for name in ("acc", *(flag.value for flag in _FLAGS))),
        version=json.dumps(kkwarm.__version__),
    )


def _metric(name: str) -> str:
    better = "true" if name == "acc" else "false"
    return f"  - metric: {name}\n    aggregation: mean\n    higher_is_better: {better}"
