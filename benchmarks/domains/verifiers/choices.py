import verifiers as vf
from datasets import load_dataset

SYSTEM = "Think inside <think> tags, then give only the letter of the correct option inside <answer> tags."


def convert(row):
    options = [row[key] for key in "abcd"]
    lines = [f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=True)]
    return {"question": "\n".join([row["question"], *lines]), "answer": "ABCD"[options.index(row["answer"])]}


def load_environment():
    rows = load_dataset("csv", data_files="../data/choices.csv", split="train").map(convert)
    parts = rows.train_test_split(train_size=6, seed=0)
    parser = vf.XMLParser(["think", "answer"], answer_field="answer")

    def correct(completion, answer):
        return float((parser.parse_answer(completion) or "").strip("(). ") == answer)

    rubric = vf.Rubric(funcs=[correct, parser.get_format_reward_func()], weights=[1.0, 0.2], parser=parser)
    return vf.SingleTurnEnv(
        dataset=parts["train"], eval_dataset=parts["test"], system_prompt=SYSTEM, parser=parser, rubric=rubric
    )
