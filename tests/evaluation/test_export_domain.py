"""`kkwarm export domain NAME --to lm-eval`: the domain in lm-eval itself reaches kkwarm's verdicts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from toy_benchmark import Toy

from kkwarm.errors import KkwarmError
from kkwarm.evaluation import BenchConfig, bench
from kkwarm.exporters.lm_eval_task import export_task
from kkwarm.plugins import registry
from kkwarm.protocols import PromptOptions
from kkwarm.testing import ScriptedModel
from kkwarm.types import Completion

REPLIES = (
    " {n} plus its square </think> <answer> {right} </answer>",
    " guess </think> <answer> 7 </answer>",
    " none </think> <answer> many </answer>",
    " the answer is {right}",
    " {n} </think> <answer> {right} </answer> and User: more text",
    " {n} </think> <answer> {right}",
)


def reply(prompt: str, index: int) -> str:
    n = int(prompt.rpartition("What is ")[2].split()[0])
    return REPLIES[(n + index) % len(REPLIES)].format(n=n, right=n + n * n)


def lm_eval_scores(folder: Path, task: str, samples: int = 1) -> tuple[dict[str, float], dict[str, Any]]:
    """lm-eval's accuracy of each question, and its figures, with a model that replies as `reply` does."""
    from lm_eval.api.model import LM
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.utils import postprocess_generated_text
    from lm_eval.tasks import TaskManager

    class Scripted(LM):
        def generate_until(self, requests: Any) -> list[str]:
            texts = []
            for number, request in enumerate(requests):
                prompt, settings = request.args
                texts.append(postprocess_generated_text(reply(prompt, number % samples), settings["until"], None))
            return texts

        def loglikelihood(self, requests: Any) -> Any: ...
        def loglikelihood_rolling(self, requests: Any) -> Any: ...

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    results: Any = simple_evaluate(Scripted(), tasks=[task], task_manager=manager, bootstrap_iters=0)
    return {row["doc"]["id"]: row["acc"] for row in results["samples"][task]}, results["results"][task]


@pytest.mark.parametrize(("protocol", "samples"), [("paper", 1), ("plain", 1), ("paper", 3)])
def test_equal_verdicts(toy: Toy, tmp_path: Path, protocol: str, samples: int) -> None:
    written = export_task("toy", registry(), tmp_path / "task", protocol=protocol, samples=samples)
    assert (written.task, written.questions, written.protocol) == ("toy", 12, protocol)
    by_id, figures = lm_eval_scores(tmp_path / "task", "toy", samples)
    config = BenchConfig(protocol=protocol, samples=samples, chat="off")

    def stopped(prompt: str, index: int) -> Completion:  # as kkwarm's backends end it
        text = reply(prompt, index)
        end = text.find("</answer>")
        return Completion(text[: end + len("</answer>")] if protocol == "paper" and end >= 0 else text, 9, "stop")

    run = bench("scripted", ["toy"], tmp_path / "r", config, backend=ScriptedModel(stopped))
    ours: dict[str, list[bool]] = {}
    for sample in run.samples():
        ours.setdefault(sample.id, []).append(sample.verdict.correct)
    assert by_id == pytest.approx({id_: sum(correct) / samples for id_, correct in ours.items()})
    status = run.manifest.benchmarks["toy"]["status"]
    assert figures["acc,none"] == pytest.approx(run.manifest.benchmarks["toy"]["accuracy"])
    assert figures["unparsed,none"] == pytest.approx(status.get("unparsed", 0) / (12 * samples))
    assert figures["malformed,none"] == pytest.approx(status.get("malformed", 0) / (12 * samples))
    if protocol == "paper":
        assert 0 < figures["acc,none"] < 1 and figures["malformed,none"] > 0 and figures["unparsed,none"] > 0


def test_prompts_are_kkwarms(toy: Toy, tmp_path: Path) -> None:
    from lm_eval.tasks import TaskManager

    options = PromptOptions(chat="off", system="Be exact. ")
    export_task("toy", registry(), tmp_path / "task", options=options, task="sums")
    task: Any = TaskManager(include_path=str(tmp_path / "task"), include_defaults=False).load(["sums"])["tasks"]["sums"]
    task.build_all_requests()
    model = ScriptedModel(lambda *_: "")
    bench("scripted", ["toy"], tmp_path / "r", BenchConfig(system="Be exact. ", chat="off"), backend=model)
    assert [instance.args[0] for instance in task.instances] == model.prompts
    assert "Be exact." in model.prompts[0]


def test_bad_input(toy: Toy, tmp_path: Path) -> None:
    export_task("toy", registry(), tmp_path / "task")
    with pytest.raises(KkwarmError, match="exists already"):
        export_task("toy_free", registry(), tmp_path / "task")
    with pytest.raises(KkwarmError, match=r"unknown benchmark 'toi'.*toy"):
        export_task("toi", registry(), tmp_path / "other")
    with pytest.raises(KkwarmError, match=r"unknown protocol of toy 'papr'.*paper"):
        export_task("toy", registry(), tmp_path / "other", protocol="papr")
    with pytest.raises(KkwarmError, match="is no name for a task"):
        export_task("toy", registry(), tmp_path / "other", task="two words")
    assert not (tmp_path / "other").exists()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kkwarm.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["export", "domain", "mini_math", "--to", "lm-eval", "-o", str(tmp_path / "t"), "--json"])
    assert stopped.value.code in (0, None)
    document = json.loads(capsys.readouterr().out)
    assert document["task"] == "mini_math" and document["questions"] > 10
    assert {p.name for p in (tmp_path / "t").iterdir()} == {"mini_math.yaml", "mini_math.jsonl", "utils.py"}


@pytest.mark.slow  # starts lm-eval's own command
def test_lm_evals_own_command(tiny: Path, tmp_path: Path) -> None:
    export_task("mini_math", registry(), tmp_path / "task")
    arguments = ["--model", "hf", "--model_args", f"pretrained={tiny},dtype=float32", "--device", "cpu", "--limit", "2"]
    arguments += ["--include_path", str(tmp_path / "task"), "--tasks", "mini_math", "--gen_kwargs", "max_gen_toks=8"]
    command = [sys.executable, "-m", "lm_eval", *arguments, "--output_path", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(file.read_text())["results"]["mini_math"]["acc,none"] == 0.0
