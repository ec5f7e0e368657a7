import re

from inspect_ai import Task, task
from inspect_ai.dataset import Sample, json_dataset
from inspect_ai.scorer import Score, mean, scorer, stderr
from inspect_ai.solver import generate, system_message
from inspect_ai.util import sandbox

SYSTEM = "Reason, then give the program inside <answer> tags."


def to_sample(record):
    question = f"Write a Python program that {record['task']}."
    return Sample(input=question, target=record["program"], metadata={"tests": record["tests"]})


async def passes(program, test):
    try:
        done = await sandbox().exec(["python", "-c", program], input=test["input"], timeout=5)
    except TimeoutError:
        return False
    return done.success and done.stdout.split() == test["output"].split()


@scorer(metrics={"correct": [mean(), stderr()], "tests_passed": [mean(), stderr()]})
def run_tests():
    async def score(state, target):
        text = state.output.completion.rpartition("<answer>")[2].partition("</answer>")[0]
        blocks = re.findall(r"```(?:python)?\n(.*?)```", text, re.DOTALL)
        program = blocks[-1] if blocks else text
        passed = [await passes(program, test) for test in state.metadata["tests"]]
        share = sum(passed) / len(passed)
        return Score(value={"correct": float(share == 1), "tests_passed": share}, answer=program)

    return score


@task
def programs():
    dataset = json_dataset("../data/programs.jsonl", to_sample)
    return Task(dataset=dataset, solver=[system_message(SYSTEM), generate()], scorer=run_tests(), sandbox="docker")
