import re

from inspect_ai import Task, task
from inspect_ai.dataset import Sample, json_dataset
from inspect_ai.scorer import Score, mean, scorer, stderr
from inspect_ai.solver import generate, system_message

QUESTION = "What is the molar mass of {name} ({formula}) in g/mol? Answer with a number."
SYSTEM = "Reason, then give the answer inside <answer> tags."


def to_sample(record):
    return Sample(input=QUESTION.format_map(record), target=str(record["mass"]))


@scorer(metrics={"correct": [mean(), stderr()], "closeness": [mean(), stderr()]})
def close():
    async def score(state, target):
        found = re.findall(r"<answer>\s*([0-9]{1,5}(?:\.[0-9]{1,4})?)(?: g/mol)?\s*</answer>", state.output.completion)
        error = abs(float(found[-1]) / float(target.text) - 1) if found else 1.0
        value = {"correct": float(error <= 0.005), "closeness": max(0.0, 1 - 4 * error)}
        return Score(value=value, answer=found[-1] if found else None)

    return score


@task
def molar_masses():
    dataset = json_dataset("../data/molar_masses.jsonl", to_sample)
    return Task(dataset=dataset, solver=[system_message(SYSTEM), generate()], scorer=close())
