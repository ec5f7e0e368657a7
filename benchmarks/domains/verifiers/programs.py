import re
import subprocess
import sys

import verifiers as vf
from datasets import load_dataset

SYSTEM = "Think inside <think> tags, then give the program inside <answer> tags."


def run(program, text):
    try:
        done = subprocess.run([sys.executable, "-c", program], input=text, capture_output=True, text=True, timeout=5)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


def load_environment():
    rows = load_dataset("json", data_files="../data/programs.jsonl", split="train")
    rows = rows.map(
        lambda row: {"question": f"Write a Python program that {row['task']}.", "info": {"tests": row["tests"]}},
        remove_columns=["task"],
    )
    parts = rows.train_test_split(train_size=5, seed=0)
    parser = vf.XMLParser(["think", "answer"], answer_field="answer")

    def tests_passed(completion, info):
        text = parser.parse_answer(completion) or ""
        blocks = re.findall(r"```(?:python)?\n(.*?)```", text, re.DOTALL)
        outputs = [(run(blocks[-1] if blocks else text, test["input"]), test["output"]) for test in info["tests"]]
        return sum(out is not None and out.split() == right.split() for out, right in outputs) / len(outputs)

    rubric = vf.Rubric(funcs=[tests_passed, parser.get_format_reward_func()], weights=[1.0, 0.2], parser=parser)
    return vf.SingleTurnEnv(
        dataset=parts["train"], eval_dataset=parts["test"], system_prompt=SYSTEM, parser=parser, rubric=rubric
    )
