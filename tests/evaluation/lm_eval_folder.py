"""A folder of lm-eval tasks with local data, for tests without a network."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

WORDS = (
    "apple",
    "river",
    "stone",
    "cloud",
    "candle",
    "garden",
    "mirror",
    "bridge",
    "winter",
    "copper",
    "forest",
    "harbor",
)


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Questions about pairs of words; `label` is the position of the longer one."""
    pairs = [(WORDS[i % 12], WORDS[(5 * i + 7) % 12]) for i in range(first, first + count)]
    return [
        {
            "question": f"Number {n}: {a} or {b}?",
            "choices": [a, b],
            "label": int(len(b) > len(a)),
            "answer": "abcde"[n % 5],
        }
        for n, (a, b) in enumerate(pairs, first)
    ]


def mean(metric: str, **arguments: Any) -> dict[str, Any]:
    return {"metric": metric, "aggregation": "mean", "higher_is_better": True, **arguments}


def regex(name: str, pattern: str) -> dict[str, Any]:
    return {"name": name, "filter": [{"function": "regex", "regex_pattern": pattern}, {"function": "take_first"}]}


TASKS: dict[str, dict[str, Any]] = {
    "kkw_letters": {  # generates, with solved examples and two filters
        "output_type": "generate_until",
        "training_split": "train",
        "fewshot_split": "train",
        "num_fewshot": 2,
        "description": "Answer with a letter.\n\n",
        "doc_to_text": "Q: {{question}}\nA:",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n", "Q:"], "max_gen_toks": 12, "do_sample": False},
        "filter_list": [regex("strict", r"([a-e])$"), regex("flexible", r"([a-eA-E])")],
        "metric_list": [mean("exact_match", ignore_case=True)],
    },
    "kkw_choice": {
        "output_type": "multiple_choice",
        "training_split": "train",
        "doc_to_text": "{{question}} Answer:",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "metric_list": [mean("acc"), mean("acc_norm")],
    },
    "kkw_last_word": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{question}} Answer:",
        "doc_to_target": " {{choices[label]}}",
        "metric_list": [{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}, mean("acc")],
    },
    "kkw_text": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}} {{choices[0]}} {{choices[1]}}. {{question}}",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    },
}


def write_tasks(folder: Path, count: int = 24, own: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
    """Writes the tasks of `TASKS` and `own`, and a group and a tag of two of them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for split, first in (("test", 0), ("train", 100)):
        files[split] = str(folder / f"{split}.jsonl")
        write_rows(Path(files[split]), rows(count if split == "test" else 8, first))
    source = {"dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test"}
    for name, settings in {**TASKS, **(own or {})}.items():
        task = {"task": name, **source, **settings, "metadata": {"version": 1.0}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
    second = {"task": "kkw_choice_again", "tag": ["kkw_choices_tag"], **source, **TASKS["kkw_choice"]}
    (folder / "again.yaml").write_text(yaml.safe_dump(second, sort_keys=False))
    aggregated = [{"metric": "acc", "aggregation": "mean", "weight_by_size": True}]
    group = {"group": "kkw_choices", "task": ["kkw_choice", "kkw_choice_again"], "aggregate_metric_list": aggregated}
    (folder / "group.yaml").write_text(yaml.safe_dump(group, sort_keys=False))
    mixed = {"group": "kkw_mixed", "task": ["kkw_choice", "kkw_letters"]}
    (folder / "mixed.yaml").write_text(yaml.safe_dump(mixed, sort_keys=False))
    return folder


def write_rows(path: Path, data: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in data))
