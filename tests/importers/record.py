"""Runs lm-eval and evalplus on made-up questions and keeps what they write: the folders under ``recorded/``.

    python tests/importers/record.py tests/importers/recorded

lm-eval asks the miniature's base; evalplus judges 164 one-line functions of ours, some of them wrong on purpose.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TAKE_FIRST = {"function": "take_first"}
LM_EVAL = {
    "sums_gen": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}\n",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {
            "until": ["</answer>"],
            "max_gen_toks": 64,
            "do_sample": True,
            "temperature": 1.0,
            "top_p": 1.0,
        },
        "repeats": 2,
        "num_fewshot": 0,
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "filter_list": [
            {"name": "strict", "filter": [{"function": "regex", "regex_pattern": "<answer> (.*)"}, TAKE_FIRST]},
            {"name": "whole", "filter": [TAKE_FIRST]},
        ],
    },
    "sums_mc": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}\nAnswer:",
        "doc_to_choice": [str(i) for i in range(10)],
        "doc_to_target": "{{answer|int}}",
        "num_fewshot": 1,
        "fewshot_split": "test",
        "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")],
    },
}  # fmt: skip
DOCUMENTS = 8


def record_lm_eval(out: Path) -> None:
    """Both tasks on the first questions of mini_math."""
    from kkwarm_mini import BASE
    from kkwarm_mini.domains import generate_examples

    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        shutil.copytree(BASE, work / "base")
        rows = [
            {"id": e.id, "question": e.question, "answer": e.answer}
            for e in generate_examples("mini_math", "test", DOCUMENTS)
        ]
        (work / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for name, task in LM_EVAL.items():
            data = {
                "dataset_path": "json",
                "dataset_kwargs": {"data_files": {"test": "sums.jsonl"}},
                "test_split": "test",
            }
            (work / f"{name}.yaml").write_text(json.dumps({"task": name, **data, **task}))  # JSON is YAML
        command = ["-m", "lm_eval", "run", "--model", "hf", "--model_args", "pretrained=base,dtype=float32"]
        command += ["--tasks", ",".join(LM_EVAL), "--include_path", ".", "--device", "cpu", "--batch_size", "4"]
        home = {"HF_HOME": str(work / "hf"), "HF_DATASETS_CACHE": str(work / "hf"), "HF_DATASETS_OFFLINE": "1"}
        _run([*command, "--output_path", str(out), "--log_samples"], work, home)


def record_evalplus(out: Path) -> None:
    """Two samples of each task: the second is wrong in every third task, and passes base alone in every fifth."""
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        tasks, samples = [], []
        for i in range(164):
            prompt = f'def plus_{i}(x):\n    """x + {i}"""\n'
            right, wrong = f"    return x + {i}\n", f"    return x - {i} - 1\n"
            half = f"    return x + {i} if x < 50 else 0\n"
            tasks.append(
                {
                    "task_id": f"HumanEval/{i}",
                    "prompt": prompt,
                    "entry_point": f"plus_{i}",
                    "contract": "",
                    "canonical_solution": right,
                    "base_input": [[1], [2]],
                    "plus_input": [[3], [100]],
                    "atol": 0,
                }
            )
            second = wrong if i % 3 == 0 else half if i % 5 == 0 else right
            samples += [{"task_id": f"HumanEval/{i}", "solution": prompt + body} for body in (right, second)]
        (work / "tasks.jsonl").write_text("".join(json.dumps(t) + "\n" for t in tasks))
        out.mkdir(parents=True, exist_ok=True)
        file = out / "made--up_hf_temp_0.8.jsonl"
        file.write_text("".join(json.dumps(s) + "\n" for s in samples))
        environment = {"HUMANEVAL_OVERRIDE_PATH": str(work / "tasks.jsonl"), "XDG_CACHE_HOME": str(work)}
        _run(["-m", "evalplus.evaluate", "--dataset", "humaneval", "--samples", str(file)], work, environment)


def _run(command: list[str], work: Path, more: dict[str, str]) -> None:
    import kkwarm

    root = Path(kkwarm.__file__).resolve().parents[1]
    path = os.pathsep.join([str(root), str(root / "plugins")])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **more}
    done = subprocess.run([sys.executable, *command], cwd=work, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    record_lm_eval(folder / "lm_eval")
    record_evalplus(folder / "evalplus")
