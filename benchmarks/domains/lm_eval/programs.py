import re
import subprocess
import sys


def run(program, text):
    try:
        done = subprocess.run([sys.executable, "-c", program], input=text, capture_output=True, text=True, timeout=5)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


def process_results(doc, results):
    text = results[0].rpartition("<answer>")[2]
    blocks = re.findall(r"```(?:python)?\n(.*?)```", text, re.DOTALL)
    outputs = [(run(blocks[-1] if blocks else text, test["input"]), test["output"]) for test in doc["tests"]]
    share = sum(out is not None and out.split() == right.split() for out, right in outputs) / len(outputs)
    return {"acc": share == 1, "tests_passed": share}
