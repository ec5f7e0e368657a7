"""The official protocols render exactly the original's prompts, and read as the original does."""

import gzip
import importlib.metadata
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry
from kkwarm.protocols import PromptOptions, PromptRenderer, make_renderer
from kkwarm.types import Completion, Example, Protocol, Status
from kkwarm.verify import verify

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Trims contents and closes an empty reasoning block before the model's turn, so that the prefix of an assistant message
# and text after the generation prompt differ.
TRIMMED = (
    "{{ '<s>' }}{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}[/{{ m.role }}]{% endfor %}"
    "{% if add_generation_prompt %}[assistant]<think></think>{% endif %}"
)


def tokenizer(template: str | None) -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    made.chat_template = template
    return made


def renderer(benchmark: str, name: str, template: str | None = None, **options: Any) -> PromptRenderer:
    reg = registry()
    protocol = reg.protocols_of(benchmark)[name]
    return make_renderer(protocol, tokenizer(template), PromptOptions(**options), reg.task(benchmark))


def status_of(benchmark: str, name: str, example: Example, text: str) -> Status:
    reg = registry()
    protocol = reg.protocol(reg.benchmark(benchmark), name)
    return verify(reg.verifier_of(reg.benchmark(benchmark), protocol), protocol, [(example, Completion(text))])[
        0
    ].status


@pytest.mark.parametrize(
    ("benchmark", "name"),
    [
        ("math", "boxed"),
        ("humaneval_plus", "evalplus"),
        ("mbpp_plus", "evalplus"),
        ("mmlu_pro", "5-shot"),
        ("kk", "logic-rl"),
    ],
)
def test_official_selects_one_protocol_with_a_source(benchmark: str, name: str) -> None:
    reg = registry()
    protocol = reg.protocol(reg.benchmark(benchmark), "official")
    assert (protocol.name, protocol.official) == (name, True)
    assert protocol.source
    assert [p.name for p in reg.protocols_of(benchmark).values() if p.official] == [name]


@pytest.mark.parametrize("benchmark", ["math", "humaneval_plus", "mbpp_plus", "mmlu_pro", "kk"])
def test_every_protocol_of_a_benchmark_has_source_and_description(benchmark: str) -> None:
    own = [p for (of, _), p in registry().protocols.items() if of == benchmark]
    assert own
    assert all(p.source and p.description for p in own)


# -- MATH --------------------------------------------------------------------------------------------------------------

PROBLEM = Example("test/1", "What is $1+1$?", "2")


def test_boxed_is_qwens_prompt() -> None:
    asked = r"Please reason step by step, and put your final answer within \boxed{}."
    chat = f"<|im_start|>system\n{asked}<|im_end|>\n<|im_start|>user\nWhat is $1+1$?<|im_end|>\n<|im_start|>assistant\n"
    assert renderer("math", "boxed", CHATML)(PROBLEM) == chat
    assert renderer("math", "boxed")(PROBLEM) == f"User: What is $1+1$?\n{asked}\n\nAssistant:"


@pytest.fixture(scope="module")
def minerva() -> Iterator[Any]:
    """lm-eval's module, whose import demands a version of antlr that only its scoring needs."""
    version = importlib.metadata.version
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            importlib.metadata, "version", lambda name: "4.11.0" if name.startswith("antlr4") else version(name)
        )
        patch.delitem(sys.modules, "lm_eval.tasks.minerva_math.utils", raising=False)
        module = pytest.importorskip("lm_eval.tasks.minerva_math.utils")
        yield module


def test_minerva_is_lm_evals_prompt(minerva: Any) -> None:
    shots = "".join(f"{minerva.doc_to_text(s)} {s['solution']}\n\n" for s in minerva.list_fewshot_samples())
    expected = shots + minerva.doc_to_text({"problem": PROBLEM.question})
    assert renderer("math", "minerva")(PROBLEM) == expected


def test_minerva_is_the_prompt_that_lm_evals_task_builds(minerva: Any) -> None:
    from lm_eval.api.task import ConfigurableTask

    rows = [{"problem": PROBLEM.question, "solution": r"\boxed{2}", "answer": "2"}]
    task = ConfigurableTask(
        config={
            **lm_eval_config("minerva_math/minerva_math_algebra.yaml"),
            "task": "stand_in",
            "process_docs": None,
            "process_results": lambda doc, results: {},
            "doc_to_text": minerva.doc_to_text,
            "fewshot_config": {"sampler": "first_n", "samples": minerva.list_fewshot_samples()},
            "training_split": None,
            **local_rows(test=rows),
        }
    )
    task.set_fewshot_seed(0)
    expected = task.fewshot_context(rows[0], 4)
    config = lm_eval_config("minerva_math/minerva_math_algebra.yaml")
    protocol = renderer("math", "minerva").protocol
    assert renderer("math", "minerva")(PROBLEM) == expected
    assert list(protocol.stop) == config["generation_kwargs"]["until"]
    assert protocol.shots == config["num_fewshot"]


def test_minerva_reads_the_final_answer_before_the_next_problem() -> None:
    text = " One and one.\nFinal Answer: The final answer is $2$. I hope it is correct.\n\nProblem:"
    assert status_of("math", "minerva", PROBLEM, text) is Status.CORRECT
    assert status_of("math", "minerva", PROBLEM, text.replace("$2$", "$3$")) is Status.WRONG


@pytest.mark.parametrize("name", ["boxed", "minerva"])
def test_math_answers_of_these_protocols_are_read_back(name: str) -> None:
    protocol = registry().protocols_of("math")[name]
    for reasoning in (None, "Well."):
        assert status_of("math", name, PROBLEM, protocol.compose(reasoning, "2")) is Status.CORRECT
        assert status_of("math", name, PROBLEM, protocol.compose(reasoning, "3")) is Status.WRONG


def test_a_reasoning_that_ends_in_the_answer_is_a_whole_completion() -> None:
    """Traces of free text keep the text as reasoning; composing them again must not repeat the answer."""
    protocol = registry().protocols_of("math")["boxed"]
    text = protocol.compose("One and one.", "2")
    assert protocol.compose(text, "2") == text
    assert protocol.compose(text, "3") != text


# -- HumanEval+ and MBPP+ ----------------------------------------------------------------------------------------------

CODE = Example("HumanEval/999", '\nfrom typing import List\n\n\ndef f(x: int) -> int:\n    """ Twice x. """\n  ', {})


@pytest.mark.parametrize("benchmark", ["humaneval_plus", "mbpp_plus"])
@pytest.mark.parametrize("template", [CHATML, TRIMMED, None])
def test_evalplus_is_evalplus_prompt(benchmark: str, template: str | None) -> None:
    from evalplus import codegen
    from evalplus.provider.utility import make_raw_chat_prompt
    from kkwarm_humaneval_plus.protocols import INSTRUCTION, RESPONSE

    constants = codegen.run_codegen.__code__.co_consts
    assert INSTRUCTION in constants
    assert RESPONSE in constants
    task_prompt = CODE.question.strip() + "\n"  # as evalplus.codegen.codegen passes it
    expected = make_raw_chat_prompt(task_prompt, INSTRUCTION, RESPONSE, tokenizer(template))
    assert renderer(benchmark, "evalplus", template)(CODE) == expected


@pytest.mark.parametrize(("benchmark", "dataset"), [("humaneval_plus", "humaneval"), ("mbpp_plus", "mbpp")])
def test_evalplus_stops_where_evalplus_does(benchmark: str, dataset: str) -> None:
    from evalplus.provider import utility

    chat, text = (renderer(benchmark, "evalplus", t).protocol for t in (CHATML, None))
    assert list(chat.stop) == [*utility.EOS, "\n```\n"]
    assert list(text.stop) == [*utility.EOS, *utility.extra_eos_for_direct_completion(dataset)]


def test_evalplus_without_chat_although_there_is_a_template() -> None:
    assert renderer("humaneval_plus", "evalplus", CHATML, chat="off")(CODE) == CODE.question.strip() + "\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("    return 2 * x\n\n\ndef ", "    return 2 * x\n\n"),
        ("    return 2 * x\n\nprint(", "    return 2 * x\n"),
        ("def f(x):\n    return 2 * x\n```\n", "def f(x):\n    return 2 * x"),
        ("def f(x):\n    return 2 * x", "def f(x):\n    return 2 * x"),
        ("import math\nprint(1)\ndef f(x):\n    return 2 * x", "import math\nprint(1)\ndef f(x):\n    return 2 * x"),
    ],
)
def test_evalplus_reads_the_code_before_a_stop_string(text: str, code: str) -> None:
    for template in (CHATML, None):
        assert renderer("humaneval_plus", "evalplus", template).protocol.split(Completion(text)).answer == code


# -- MMLU-Pro ----------------------------------------------------------------------------------------------------------

CATEGORIES = (
    *("biology", "business", "chemistry", "computer science", "economics", "engineering", "health", "history", "law"),
    *("math", "other", "philosophy", "physics", "psychology"),
)


def question_row(number: int, category: str) -> dict[str, Any]:
    return {
        "question_id": number,
        "question": f" What is {number}? ",
        "options": [f"it is {number}", " nothing "],
        "answer": "A",
        "answer_index": 0,
        "cot_content": f"A: Let's think step by step. It is {number}. The answer is (A).",
        "category": category,
        "src": "stand-in",
    }


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unpinned: None) -> Path:
    """A data folder with stand-in rows of MMLU-Pro."""
    validation = [question_row(100 * k + i, c) for k, c in enumerate(CATEGORIES) for i in range(5)]
    write_rows(tmp_path / "data/mmlu_pro/validation.jsonl.gz", validation)
    test = [question_row(5000 + 200 * k + i, c) for k, c in enumerate(CATEGORIES) for i in range(102)]
    write_rows(tmp_path / "data/mmlu_pro/test.jsonl.gz", test)
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def lm_eval_config(path: str) -> dict[str, Any]:
    """The settings of one of lm-eval's task files, with its functions."""
    import lm_eval
    from lm_eval.tasks._yaml_loader import load_yaml

    loaded = load_yaml(Path(lm_eval.__file__).parent / "tasks" / path, resolve_func=False)
    return {k: v for k, v in loaded.items() if k not in ("dataset_path", "dataset_name", "include", "tag", "metadata")}


def local_rows(**splits: list[dict[str, Any]]) -> dict[str, Any]:
    import datasets

    rows = {name: datasets.Dataset.from_list(split) for name, split in splits.items()}
    return {"custom_dataset": lambda **_: rows}


@pytest.mark.parametrize("category", CATEGORIES)
def test_five_shot_is_lm_evals_prompt(category: str, stand_in: Path) -> None:
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks.mmlu_pro import utils

    name = category.replace(" ", "_")
    config = lm_eval_config(f"mmlu_pro/mmlu_pro_{name}.yaml")
    validation = [question_row(100 * k + i, c) for k, c in enumerate(CATEGORIES) for i in range(5)]
    row = question_row(7, category)
    task = ConfigurableTask(
        config={
            **config,
            "doc_to_text": utils.doc_to_text,
            "process_docs": getattr(utils, f"process_{name}"),
            "fewshot_config": {
                "sampler": "first_n",
                "doc_to_text": utils.fewshot_to_text,
                "doc_to_target": utils.fewshot_to_target,
            },
            **local_rows(test=[row], validation=validation),
        }
    )
    task.set_fewshot_seed(0)
    expected = task.fewshot_context(row, 5)
    from kkwarm_mmlu_pro.data import _example

    render = renderer("mmlu_pro", "5-shot")
    assert render(_example(row)) == expected
    assert expected.count("Question:") == 6
    assert list(render.protocol.stop) == config["generation_kwargs"]["until"]
    assert render.protocol.sampling is not None
    assert render.protocol.sampling.max_tokens == config["generation_kwargs"]["max_gen_toks"]
    assert render.protocol.shots == config["num_fewshot"]
    zero = task.fewshot_context(row, 0)
    assert renderer("mmlu_pro", "zero-shot")(_example(row)) == zero


def test_five_shot_needs_the_validation_rows(stand_in: Path) -> None:
    (stand_in / "mmlu_pro/validation.jsonl.gz").unlink()
    example = next(iter(registry().benchmark("mmlu_pro").load()))
    from kkwarm_mmlu_pro import data

    data._load_validation.cache_clear()
    with pytest.raises(KkwarmError, match="validation"):
        renderer("mmlu_pro", "5-shot")(example)


CHOICE = Example("1", "?", "C", meta={"options": ["x", "y", "z"], "category": "law"})


@pytest.mark.parametrize(
    ("text", "official", "strict"),
    [
        ("so the answer is (C).\n\nQuestion:", Status.CORRECT, Status.CORRECT),
        ("The answer is not A. So the answer is C", Status.CORRECT, Status.CORRECT),
        ("I doubt that the answer is (C)", Status.CORRECT, Status.UNPARSED),
        ("Answer: C", Status.UNPARSED, Status.CORRECT),
        ("C", Status.UNPARSED, Status.CORRECT),
        ("it could be C", Status.UNPARSED, Status.UNPARSED),
    ],
)
def test_only_the_official_protocol_reads_officially(text: str, official: Status, strict: Status) -> None:
    assert status_of("mmlu_pro", "5-shot", CHOICE, text) is official
    assert status_of("mmlu_pro", "zero-shot", CHOICE, text) is strict
    assert status_of("mmlu_pro", "auto", CHOICE, text) is strict


# -- K&K ---------------------------------------------------------------------------------------------------------------

PUZZLE = Example("1", "Who is who?", {"Zoey": "knight", "Al": "knave"})


def test_logic_rl_is_the_stored_prompt_of_the_published_puzzles(shared_data: Path) -> None:
    """Their files hold the rendered prompts of the template `qwen-instruct`."""
    from pyarrow import parquet

    render = renderer("kk", "logic-rl", CHATML)
    path = shared_data / "kk/logic-rl/5ppl/test.parquet"
    rows = parquet.read_table(path, columns=["quiz", "prompt"]).to_pylist()
    assert len(rows) == 100
    for row in rows:
        assert render(Example("1", row["quiz"], {})) == row["prompt"][0]["content"]


def test_logic_rl_for_base_models() -> None:
    prompt = renderer("kk", "logic-rl")(PUZZLE)
    assert prompt == (
        "The user asks a question, and the Assistant solves it.The assistant first thinks about the reasoning process "
        "in the mind and then provides the user with the final answer. The reasoning process and answer are enclosed "
        "within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process here "
        "</think><answer> answer here </answer>. Now the user asks you to solve a logical reasoning problem. After "
        "thinking, when you finally reach a conclusion, clearly state the identity of each character within <answer> "
        "</answer> tags. List the identity of each person one by one, for example, <answer> (1) Zoey is a knight\n(2) "
        "Oliver is a knight\n(3)... </answer>.\n\nUser:Who is who?\nAssistant: <think>"
    )


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("so</think>\n<answer>(1) Zoey is a knight\n(2) Al is a knave</answer>", Status.CORRECT),
        ("<think>so</think> thus <answer>zoey is a KNIGHT, Al is a knave</answer> done", Status.CORRECT),
        (
            "so</think><answer>it is false that Zoey is a knight; Al is a knave</answer>",
            Status.CORRECT,
        ),  # as the original
        ("so</think><answer>Zoey is a knave, Al is a knave</answer>", Status.WRONG),
        ("so</think><answer>Zoey is a knight</answer>", Status.UNPARSED),
        ("so</think><answer>Zoey: knight, Al: knave</answer>", Status.UNPARSED),
        ("so</think><answer>Zoey is a knight, Al is a knave, so one knight</answer>", Status.UNPARSED),
        ("so <answer>Zoey is a knight, Al is a knave</answer>", Status.MALFORMED),
        ("<answer>Zoey is a knight, Al is a knave</answer></think>", Status.MALFORMED),
        ("a</think><answer>x</answer><answer>Zoey is a knight, Al is a knave</answer>", Status.MALFORMED),
        ("<think><think></think><answer>Zoey is a knight, Al is a knave</answer>", Status.MALFORMED),
    ],
)
def test_logic_rl_reads_as_logic_rl(text: str, status: Status) -> None:
    assert status_of("kk", "logic-rl", PUZZLE, text) is status


# -- what protocols may be ---------------------------------------------------------------------------------------------


def test_a_template_that_drops_the_models_turn_is_reported() -> None:
    users_only = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    with pytest.raises(KkwarmError, match="drops the beginning"):
        renderer("humaneval_plus", "evalplus", users_only)(CODE)


def test_a_system_prompt_may_depend_on_the_question() -> None:
    example: Callable[[str], Example] = lambda kind: Example(kind, kind, "1")  # noqa: E731
    protocol = Protocol("p", registry().protocols_of("math")["boxed"].reader, system=lambda e: f"about {e.question}")
    render = make_renderer(protocol)
    assert render(example("x")) == "about x\n\nx"
    assert "system" not in render.settings()
    assert make_renderer(protocol, options=PromptOptions(system="short")).settings()["system"] == "short"


def test_solved_examples_that_are_evaluated_are_found() -> None:
    from kkwarm.evaluation.engine import solved_overlaps
    from kkwarm.evaluation.plan import EvalTask, Item
    from kkwarm.types import Sampling

    reg = registry()
    benchmark = reg.benchmark("math")
    render = renderer("math", "minerva")
    shown = render.solved(PROBLEM)[2]
    twin = Example("test/twin", shown.question, shown.answer)
    items = tuple(Item(e, render(e), "") for e in (PROBLEM, twin))
    task = EvalTask("math", benchmark, render, reg.verifier("math"), Sampling(), items)
    assert solved_overlaps(task) == ["test/twin"]
    zero = renderer("math", "boxed")
    assert solved_overlaps(EvalTask("math", benchmark, zero, reg.verifier("math"), Sampling(), items)) == []
