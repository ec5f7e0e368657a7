from inspect_ai import Task, task
from inspect_ai.dataset import Sample, csv_dataset
from inspect_ai.scorer import choice
from inspect_ai.solver import multiple_choice


def to_sample(record):
    options = [record[key] for key in "abcd"]
    return Sample(input=record["question"], choices=options, target="ABCD"[options.index(record["answer"])])


@task
def choices():
    dataset = csv_dataset("../data/choices.csv", to_sample)
    return Task(dataset=dataset, solver=multiple_choice(cot=True), scorer=choice())
