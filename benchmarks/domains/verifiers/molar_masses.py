import re

import verifiers as vf
from datasets import load_dataset

QUESTION = "What is the molar mass of {name} ({formula}) in g/mol? Answer with a number."
SYSTEM = "Think inside <think> tags, then give the answer inside <answer> tags."


def load_environment():
    rows = load_dataset("json", data_files="../data/molar_masses.jsonl", split="train")
    rows = rows.map(lambda row: {"question": QUESTION.format_map(row), "answer": str(row["mass"])})
    parts = rows.train_test_split(train_size=12, seed=0)
    parser = vf.XMLParser(["think", "answer"], answer_field="answer")

    def error(completion, answer):
        found = re.fullmatch(r"([0-9]{1,5}(?:\.[0-9]{1,4})?)(?: g/mol)?", parser.parse_answer(completion) or "")
        return abs(float(found[1]) / float(answer) - 1) if found else 1.0

    def closeness(completion, answer):
        return max(0.0, 1 - 4 * error(completion, answer))

    def correct(completion, answer):
        return float(error(completion, answer) <= 0.005)

    funcs = [closeness, correct, parser.get_format_reward_func()]
    rubric = vf.Rubric(funcs=funcs, weights=[1.0, 0.0, 0.2], parser=parser)
    return vf.SingleTurnEnv(
        dataset=parts["train"], eval_dataset=parts["test"], system_prompt=SYSTEM, parser=parser, rubric=rubric
    )
