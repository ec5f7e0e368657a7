"""`lm_eval:NAME`: tasks of lm-eval on kkwarm's backends, against lm-eval's own runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from lm_eval_folder import TASKS, mean, rows, write_tasks
from toy_benchmark import Toy

from kkwarm.backends import open_backend
from kkwarm.backends.base import Request
from kkwarm.errors import KkwarmError
from kkwarm.evaluation import BenchConfig, bench
from kkwarm.evaluation.lm_eval_index import find_lm_eval_task
from kkwarm.evaluation.plan import check_benchmark_name
from kkwarm.plugins import registry
from kkwarm.store import Run
from kkwarm.testing import ScriptedModel
from kkwarm.testing.checkpoint import tiny_checkpoint
from kkwarm.types import Completion, Sampling

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_tasks(tmp_path / "tasks")
    monkeypatch.setenv("KKWARM_LM_EVAL_TASKS", str(path))
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a chat template, and a context of 512 tokens."""
    texts = [f"{r['question']} {r['answer']} {r['choices']}" for r in rows(24)]
    return tiny_checkpoint(
        tmp_path_factory.mktemp("small") / "model", texts=texts, vocab=400, context=512, chat_template=TEMPLATE
    )


def lm_eval_run(model: Path, folder: Path, task: str, **arguments: Any) -> dict[str, Any]:
    """lm-eval's own run with its `hf` model."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    lm = HFLM(pretrained=str(model), device="cpu", dtype="float32", batch_size=4)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    results = simple_evaluate(lm, tasks=[task], task_manager=manager, bootstrap_iters=0, **arguments)
    assert results is not None
    return dict(results)


def figures_of(table: dict[str, Any]) -> dict[str, float]:
    skipped = ("stderr", "sample_len")
    return {k: v for k, v in table.items() if isinstance(v, float) and not any(s in k for s in skipped)}


# -- generation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"shots": 4}, {"shots": 1, "chat": "on", "system": "Be brief."}])
def test_generation_equals_lm_eval(folder: Path, small: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    config = BenchConfig(device="cpu", **options)
    run = bench(str(small), ["lm_eval:kkw_letters"], tmp_path / "r", config, progress=False)
    arguments = {"num_fewshot": options.get("shots"), "system_instruction": options.get("system")}
    chat = options.get("chat") == "on"
    theirs = lm_eval_run(small, folder, "kkw_letters", apply_chat_template=chat, fewshot_as_multiturn=chat, **arguments)
    logged = {str(row["doc_id"]): row for row in theirs["samples"]["kkw_letters"] if row["filter"] == "strict"}
    assert len(logged) == 24
    samples = list(run.samples())
    for sample in samples:
        row = logged[sample.id]
        assert sample.prompt_hash == row["prompt_hash"][:16]  # the prompts are lm-eval's
        cut = next(i for i in (*[sample.completion.text.find(s) for s in ("\n", "Q:")], 10**6) if i >= 0)
        assert sample.completion.text[:cut].split("Q:")[0] == row["resps"][0][0]
        assert sample.verdict.metrics["exact_match,strict"] == row["exact_match"]
    ours = run.manifest.benchmarks["lm_eval:kkw_letters"]
    expected = figures_of(theirs["results"]["kkw_letters"])
    assert figures_of(ours["lm_eval"]["kkw_letters"]) == pytest.approx(expected) and len(expected) == 2
    assert ours["metrics"] == pytest.approx(expected)
    assert ours["accuracy"] == pytest.approx(expected["exact_match,strict"])
    if not options:  # the comparison means something: some answers are right, some wrong, some missing
        assert 0 < ours["metrics"]["exact_match,flexible"] < 1
        assert {"unparsed", "truncated"} & set(ours["status"])


def test_each_sample_is_scored(folder: Path, tmp_path: Path) -> None:
    replies = ["the letter is b", "C c", "none", "x" * 40]

    def reply(prompt: str, index: int) -> Completion:
        return Completion(replies[index] + "\n", 5, "length" if index == 3 else "stop")

    config = BenchConfig(samples=4, temperature=1.0, limit=10)
    run = bench("scripted", ["lm_eval:kkw_letters"], tmp_path / "r", config, backend=ScriptedModel(reply))
    samples = list(run.samples())
    assert len(samples) == 40
    answers = {str(i): r["answer"] for i, r in enumerate(rows(24))}
    for sample in samples:
        right = {0: "b", 1: "c"}.get(sample.index) == answers[sample.id]
        expected = "correct" if right else ["wrong", "wrong", "unparsed", "truncated"][sample.index]
        if sample.index == 2:
            expected = "correct" if answers[sample.id] == "e" else "wrong"  # "none" ends in e
        assert sample.verdict.status == expected, (sample, answers[sample.id])
    figures = run.manifest.benchmarks["lm_eval:kkw_letters"]
    table = figures["lm_eval"]["kkw_letters"]
    assert figures["accuracy"] == pytest.approx(table["exact_match,strict"])
    assert figures["metrics"]["exact_match,flexible"] == pytest.approx(table["exact_match,flexible"])
    assert figures["stderr"] == pytest.approx(table["exact_match_stderr,strict"])  # clustered by question
    assert figures["n"] == 10 and figures["samples"] == 40


class Interrupted(ScriptedModel):
    """Stops after so many samples, and records what it was asked for."""

    def stop_after(self, count: int) -> Interrupted:
        self.remaining = count
        self.asked: list[tuple[str, int]] = []
        return self

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        for request in requests:
            for index in request.samples:
                if self.remaining == 0:
                    raise KeyboardInterrupt
                self.remaining -= 1
                self.asked.append((request.key, index))
                yield request, index, Completion("a", 1, "stop")


def test_an_interrupted_task_resumes_by_sample(folder: Path, tmp_path: Path) -> None:
    config = BenchConfig(samples=3, temperature=1.0)
    first = Interrupted(lambda *_: "").stop_after(41)
    with pytest.raises(KeyboardInterrupt):
        bench("scripted", ["lm_eval:kkw_letters"], tmp_path / "r", config, backend=first)
    assert len(list(Run.read(tmp_path / "r").samples())) == 41
    second = Interrupted(lambda *_: "").stop_after(-1)
    run = bench("scripted", ["lm_eval:kkw_letters"], tmp_path / "r", config, backend=second)
    assert len(second.asked) == 24 * 3 - 41 and not set(first.asked) & set(second.asked)
    assert run.manifest.benchmarks["lm_eval:kkw_letters"]["samples"] == 72
    third = Interrupted(lambda *_: "").stop_after(0)
    assert bench("scripted", ["lm_eval:kkw_letters"], tmp_path / "r", config, backend=third).done


def test_filters_that_combine_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = {"function": "regex", "regex_pattern": "([a-e])"}
    filters = [
        {"name": "first", "filter": [pattern, {"function": "take_first"}]},
        {"name": "maj@3", "filter": [
            {"function": "take_first_k", "k": 3}, pattern, {"function": "majority_vote"}, {"function": "take_first"}
        ]},
        {"name": "maj@64", "filter": [
            {"function": "take_first_k", "k": 64}, pattern, {"function": "majority_vote"}, {"function": "take_first"}
        ]},
    ]  # fmt: skip
    task = {**TASKS["kkw_letters"], "filter_list": filters, "repeats": 64, "metric_list": [mean("exact_match")]}
    folder = write_tasks(tmp_path / "tasks", 10, {"kkw_votes": task})
    monkeypatch.setenv("KKWARM_LM_EVAL_TASKS", str(folder))
    model = ScriptedModel(lambda prompt, index: "aab"[index])
    config = BenchConfig(samples=3, temperature=1.0)
    run = bench("scripted", ["lm_eval:kkw_votes"], tmp_path / "r", config, backend=model)
    figures = run.manifest.benchmarks["lm_eval:kkw_votes"]
    table = figures["lm_eval"]["kkw_votes"]
    assert figures["accuracy"] == pytest.approx((2 * 2 + 1 * 2) / 30) == pytest.approx(table["exact_match,first"])
    assert table["exact_match,maj@3"] == pytest.approx(0.2)  # the majority says a, which is right in 2 of 10 questions
    assert "exact_match,maj@64" not in table


def test_a_scorer_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tasks(tmp_path / "tasks", 6)
    (folder / "utils.py").write_text(
        "def score(doc, results):\n"
        "    if results[0].startswith('bad'):\n        raise ValueError('a bug of the task')\n"
        "    return {'exact_match': float(results[0] == doc['answer'])}\n"
    )
    lines = [line for line in (folder / "kkw_letters.yaml").read_text().splitlines() if "filter" not in line]
    text = "\n".join(lines).replace("kkw_letters", "kkw_own").partition("filter_list")[0]
    task = {k: v for k, v in TASKS["kkw_letters"].items() if k != "filter_list"}
    write_tasks(folder, 6, {"kkw_own": task})
    file = folder / "kkw_own.yaml"
    file.write_text(file.read_text() + "process_results: !function utils.score\n")
    assert text
    monkeypatch.setenv("KKWARM_LM_EVAL_TASKS", str(folder))
    replies = iter(["a", "bad", "c", "c", "d", "e"])
    model = ScriptedModel(lambda prompt, index: next(replies))
    run = bench("scripted", ["lm_eval:kkw_own"], tmp_path / "r", BenchConfig(), backend=model)
    figures = run.manifest.benchmarks["lm_eval:kkw_own"]
    assert figures["status"]["error"] == 1 and figures["lm_eval"] == {}
    assert any("a bug of the task" in s.verdict.reason for s in run.samples())


# -- log-likelihoods ---------------------------------------------------------------------------------------------------


def test_multiple_choice_equals_lm_eval(folder: Path, small: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"shots": 2, "chat": "on"}
    config = BenchConfig(device="cpu", **options)
    run = bench(str(small), ["lm_eval:kkw_choice"], tmp_path / "r", config, progress=False)
    theirs = lm_eval_run(
        small, folder, "kkw_choice", num_fewshot=2, apply_chat_template=True, fewshot_as_multiturn=True
    )
    check_likelihoods(run, theirs, "kkw_choice")
    assert 0 < run.manifest.benchmarks["lm_eval:kkw_choice"]["accuracy"] < 1


def test_last_words_equal_lm_eval(folder: Path, small: Path, tmp_path: Path) -> None:
    run = bench(str(small), ["lm_eval:kkw_last_word"], tmp_path / "r", BenchConfig(device="cpu"), progress=False)
    theirs = lm_eval_run(small, folder, "kkw_last_word")
    check_likelihoods(run, theirs, "kkw_last_word")


def check_likelihoods(run: Run, theirs: dict[str, Any], task: str) -> None:
    logged = {str(row["doc_id"]): row for row in theirs["samples"][task]}
    samples = list(run.samples())
    assert len(samples) == len(logged) == 24
    for sample in samples:
        row = logged[sample.id]
        assert sample.prompt_hash == row["prompt_hash"][:16]
        ours: Any = sample.meta["likelihoods"]
        for (value, greedy), response in zip(ours, row["resps"], strict=True):
            assert value == pytest.approx(response[0][0], abs=1e-4) and greedy == response[0][1]
    figures = run.manifest.benchmarks[f"lm_eval:{task}"]
    assert figures_of(figures["lm_eval"][task]) == pytest.approx(figures_of(theirs["results"][task]), rel=1e-4)
    assert figures["accuracy"] == pytest.approx(theirs["results"][task]["acc,none"])


def test_perplexity_equals_lm_eval(folder: Path, tmp_path: Path) -> None:
    short = tiny_checkpoint(tmp_path / "model", context=32)  # so that texts need several windows
    run = bench(
        str(short), ["lm_eval:kkw_text"], tmp_path / "r", BenchConfig(device="cpu", batch_size=3), progress=False
    )
    theirs = figures_of(lm_eval_run(short, folder, "kkw_text")["results"]["kkw_text"])
    figures = run.manifest.benchmarks["lm_eval:kkw_text"]
    assert figures["accuracy"] is None and figures["samples"] == 0 and figures["n"] == 24
    assert figures_of(figures["lm_eval"]["kkw_text"]) == pytest.approx(theirs, rel=1e-4)
    assert figures["metrics"]["bits_per_byte"] == pytest.approx(theirs["bits_per_byte,none"], rel=1e-4)
    assert "word_perplexity" not in figures["metrics"]  # of an untrained model it is too large for a manifest
    assert bench(str(short), ["lm_eval:kkw_text"], tmp_path / "r", BenchConfig(device="cpu", batch_size=3)).done


def test_likelihoods_do_not_depend_on_the_batch(small: Path) -> None:
    backend = open_backend("hf", str(small), device="cpu", dtype="float32")
    texts = [([5 + i, 7, 9 + i % 3] * (1 + i % 4), [11, 20 + i][: 1 + i % 2]) for i in range(12)]
    texts += [([5, 7, 9], [11, 30]), ([5, 7, 9, 11], [30])]  # the same tokens, split at two places
    texts += [([3] * 600, [4, 5])]  # longer than the context: its first tokens are left out
    together = backend.likelihoods(texts)  # type: ignore[attr-defined]
    backend.batch_size = 1  # type: ignore[attr-defined]
    for (value, greedy), (alone, alone_greedy) in zip(together, backend.likelihoods(texts), strict=True):  # type: ignore[attr-defined]
        assert value == pytest.approx(alone, abs=1e-4) and greedy == alone_greedy
    logprobs = backend.logprobs(texts[:13])  # type: ignore[attr-defined]
    assert [sum(p) for p in logprobs] == pytest.approx([v for v, _ in together[:13]], abs=1e-4)
    with pytest.raises(KkwarmError, match="a continuation has 600 tokens"):
        backend.likelihoods([([1], [2] * 600)])  # type: ignore[attr-defined]


def test_likelihoods_resume_by_question(
    folder: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kkwarm.evaluation.likelihood._PART", 5)
    backend: Any = open_backend("hf", str(small), device="cpu")
    asked: list[int] = []

    class Failing:
        name, checkpoint, fingerprint = "hf", str(small), "f"
        tokenizer, context = backend.tokenizer, backend.context
        limit = 2

        def generate(self, *_: Any) -> Any: ...
        def close(self) -> None: ...
        def likelihoods(self, texts: Any) -> Any:
            if len(asked) == self.limit:
                raise KeyboardInterrupt
            asked.append(len(texts))
            return backend.likelihoods(texts)

    model = Failing()
    with pytest.raises(KeyboardInterrupt):
        bench("m", ["lm_eval:kkw_choice"], tmp_path / "r", BenchConfig(), backend=model)
    assert len(list(Run.read(tmp_path / "r").samples())) == 10 and asked == [10, 10]
    model.limit = -1
    run = bench("m", ["lm_eval:kkw_choice"], tmp_path / "r", BenchConfig(), backend=model)
    assert sum(asked) == 48 and run.manifest.benchmarks["lm_eval:kkw_choice"]["samples"] == 24


def test_groups(folder: Path, small: Path, tmp_path: Path) -> None:
    names = ["lm_eval:kkw_choices", "lm_eval:kkw_choices_tag"]
    run = bench(str(small), names, tmp_path / "r", BenchConfig(device="cpu", limit=7, samples=2), progress=False)
    figures = run.manifest.benchmarks["lm_eval:kkw_choices"]
    assert figures["n"] == 14 == figures["samples"] and set(figures["by"]["task"]) == {"kkw_choice", "kkw_choice_again"}
    assert figures["accuracy"] == pytest.approx(figures["lm_eval"]["kkw_choices"]["acc,none"])
    assert run.manifest.benchmarks["lm_eval:kkw_choices_tag"]["n"] == 7
    with pytest.raises(KkwarmError, match=r"tasks of several kinds .*name tasks: lm_eval:kkw_"):
        bench(str(small), ["lm_eval:kkw_mixed"], tmp_path / "r2", BenchConfig(device="cpu"))


# -- names, options and bad input --------------------------------------------------------------------------------------


def test_names(folder: Path) -> None:
    assert find_lm_eval_task("lm_eval:kkw_choice").path == folder / "kkw_choice.yaml"
    assert find_lm_eval_task("lm_eval:kkw_choices").kind == "group"
    assert find_lm_eval_task("lm_eval:kkw_choices_tag").kind == "tag"
    assert find_lm_eval_task("lm_eval:gsm8k").path is not None
    assert find_lm_eval_task("lm_eval:mmlu").kind == "group"
    assert find_lm_eval_task("lm_eval:leaderboard_gpqa").kind == "group"


@pytest.mark.slow  # lm-eval reads thousands of files for its list
def test_a_misspelled_task(folder: Path) -> None:
    with pytest.raises(KkwarmError, match=r"unknown lm-eval task 'arc_eazy'.*lm_eval:arc_easy"):
        find_lm_eval_task("lm_eval:arc_eazy")


def test_a_name_of_lm_eval_without_its_prefix() -> None:
    with pytest.raises(KkwarmError, match=r"unknown benchmark 'gsm8k' \(did you mean lm_eval:gsm8k\?\)"):
        check_benchmark_name("gsm8k", registry())
    with pytest.raises(KkwarmError, match=r"unknown benchmark 'mmlu' \(did you mean .*mmlu_pro.* or lm_eval:mmlu\?"):
        check_benchmark_name("mmlu", registry())
    with pytest.raises(KkwarmError, match=r"unknown benchmark 'no such name' \(choose from: "):
        check_benchmark_name("no such name", registry())


@pytest.mark.slow  # as above
def test_all_names_of_lm_eval_are_found() -> None:
    from lm_eval.tasks import TaskManager

    from kkwarm.evaluation.lm_eval_index import _own_names

    manager, found = TaskManager(), _own_names()
    kinds = dict.fromkeys(manager.all_subtasks, "task") | dict.fromkeys(manager.all_groups, "group")
    kinds |= dict.fromkeys(manager.all_tags, "tag")
    assert len(set(kinds) - set(found)) < 0.02 * len(kinds)  # the others come from included files
    assert all(entry.kind == kinds[name] for name, entry in found.items() if name in kinds)
    tasks = [entry for entry in found.values() if entry.kind == "task" and entry.name in kinds]
    assert all(entry.path == manager.task_index[entry.name].yaml_path for entry in tasks)


def test_bad_input(
    toy: Toy, folder: Path, small: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def message(name: str, model: object = small, **options: Any) -> str:
        with pytest.raises(KkwarmError) as caught:
            bench(str(model), [name], tmp_path / "r", BenchConfig(device="cpu", **options))
        return str(caught.value)

    assert "there is no file" in message(f"lm_eval:{tmp_path}/no_such.yaml")
    assert "has no chat template" in message("lm_eval:kkw_letters", tiny, chat="on")
    assert "no text that forces reasoning" in message("lm_eval:kkw_letters", force=True)
    assert "cannot make the prompts" in message("lm_eval:kkw_letters", shots=50)  # there are 8 training documents
    assert "no scores of single questions" in message("lm_eval:kkw_text", until=5.0)
    unsafe = {**TASKS["kkw_letters"], "unsafe_code": True}
    bleu = {k: v for k, v in TASKS["kkw_letters"].items() if k != "filter_list"}
    bleu |= {"metric_list": [{"metric": "bleu"}]}
    gone = {**TASKS["kkw_letters"], "dataset_kwargs": {"data_files": {"test": "/no/such.jsonl"}}}
    write_tasks(folder, 6, {"kkw_unsafe": unsafe, "kkw_bleu": bleu, "kkw_gone": gone})
    assert "runs model-written code without a sandbox" in message("lm_eval:kkw_unsafe")
    assert "no score for single questions" in message("lm_eval:kkw_bleu")
    assert "lm-eval cannot load kkw_gone" in message("lm_eval:kkw_gone")
    with pytest.raises(KkwarmError, match=r"scores the likelihood of given texts, which --backend scripted cannot"):
        bench("m", ["lm_eval:kkw_choice"], tmp_path / "r", BenchConfig(), backend=ScriptedModel(lambda *_: ""))
    monkeypatch.setenv("KKWARM_LM_EVAL_TASKS", str(tmp_path / "missing"))
    assert "missing is not a folder" in message("lm_eval:kkw_letters")


@pytest.mark.slow
def test_a_template_without_system_turns(folder: Path, tmp_path: Path) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
    model = tiny_checkpoint(tmp_path / "model", context=512, chat_template=refusing)
    config = BenchConfig(device="cpu", chat="on", limit=3)
    run = bench(str(model), ["lm_eval:kkw_letters"], tmp_path / "r", config, progress=False)
    theirs = lm_eval_run(model, folder, "kkw_letters", apply_chat_template=True, fewshot_as_multiturn=True)
    hashes = {str(row["doc_id"]): row["prompt_hash"][:16] for row in theirs["samples"]["kkw_letters"]}
    # With --limit the solved examples are drawn for fewer documents, so only the first prompt is the same.
    first = min(run.samples(), key=lambda s: int(s.id))
    assert first.prompt_hash in hashes.values() or int(first.id) > 0
    with pytest.raises(KkwarmError, match="the chat template fails"):
        bench(str(model), ["lm_eval:kkw_letters"], tmp_path / "r2", config.replace(system="Be brief."))


def test_questions_are_compared_with_training_data(folder: Path, tmp_path: Path) -> None:
    from kkwarm.train.contamination_check import decontaminate
    from kkwarm.types import Example

    questions = [Example(f"t{i}", f"Q: {r['question']}\nA:", "a") for i, r in enumerate(rows(3))]
    questions.append(
        Example("new", "What is the capital of the country with the longest coast of all in the world?", "b")
    )
    kept = decontaminate(questions, ["kk"], ["lm_eval:kkw_letters"])
    assert [e.id for e in kept] == ["new"]


def test_contaminated_questions_are_marked(folder: Path, tiny: Path, tmp_path: Path) -> None:
    overlaps = [{"domain": "lm_eval:kkw_letters", "id": str(i), "trained": f"t{i}", "how": "text"} for i in (1, 3)]
    trained = tmp_path / "trained"
    with Run.open(trained, kind="warmup", config={}) as run:
        run.record(contamination=overlaps)
        run.finish(results={})
    (trained / "checkpoint").symlink_to(tiny)
    done = bench(str(trained / "checkpoint"), ["lm_eval:kkw_letters"], tmp_path / "r", BenchConfig(device="cpu"))
    assert done.manifest.benchmarks["lm_eval:kkw_letters"]["contaminated"] == 2


def test_two_runs_are_paired(folder: Path, tmp_path: Path) -> None:
    from kkwarm.analysis.compare import compare

    answers = {r["question"]: r["answer"] for r in rows(24)}
    config = BenchConfig(samples=2, temperature=0.5)

    def reply(right: int) -> Any:
        def function(prompt: str, index: int) -> str:
            question = prompt.rpartition("Q: ")[2].partition("\n")[0]
            number = int(question.split()[1].strip(":"))
            return answers[question] if number < right else "none at all"

        return function

    names = ["lm_eval:kkw_letters"]
    first = bench("a", names, tmp_path / "a", config, backend=ScriptedModel(reply(6)))
    second = bench("b", names, tmp_path / "b", config, backend=ScriptedModel(reply(18)))
    assert first.done and second.done
    row = compare(tmp_path / "a", tmp_path / "b").benchmarks[names[0]]
    assert row.change.estimate == pytest.approx(50.0) and row.change.verdict == "gain" and row.change.p < 0.01
    bench("b", names, tmp_path / "c", config.replace(shots=0), backend=ScriptedModel(reply(18)))
    with pytest.raises(KkwarmError, match="solved examples"):
        compare(tmp_path / "a", tmp_path / "c")


def test_a_stored_run_is_verified(folder: Path, tmp_path: Path) -> None:
    from kkwarm.plugins import registry
    from kkwarm.scoring.verify_run import State, verify_run

    model = ScriptedModel(lambda prompt, index: "a")
    run = bench("scripted", ["lm_eval:kkw_letters"], tmp_path / "r", BenchConfig(limit=5), backend=model)
    findings = list(verify_run(run, registry()))
    assert not [f for f in findings if f.state is State.DIFFERS and "checkpoint" not in f.what]
    assert any(f.what == "figures: lm_eval:kkw_letters" and f.state is State.AGREES for f in findings)
    (scored,) = [f for f in findings if f.what == "verdicts: lm_eval:kkw_letters"]
    assert scored.state is State.UNCHECKED and "lm-eval scored" in scored.detail


def test_equal_samples_are_pointed_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kkwarm.evaluation.lm_eval_tasks import load_lm_eval_task

    load_lm_eval_task("lm_eval:kkw_letters", BenchConfig(samples=2), None)
    assert "decodes greedily, so the 2 samples of a question are equal" in capsys.readouterr().err
    load_lm_eval_task("lm_eval:kkw_letters", BenchConfig(samples=2, temperature=1.0), None)
    load_lm_eval_task("lm_eval:kkw_choice", BenchConfig(samples=2), None)
    assert "greedily" not in capsys.readouterr().err


def test_power(folder: Path) -> None:
    from kkwarm.cli.power import power_analysis

    row = power_analysis(["lm_eval:kkw_letters"], 2, 20, (), None)["benchmarks"]["lm_eval:kkw_letters"]
    assert row["n"] == 20 and row["paired"] > 0


def test_dry_run(
    folder: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kkwarm.cli import main

    arguments = ["bench", str(small), "--on", "lm_eval:kkw_letters,lm_eval:kkw_choice", "--samples", "3"]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--temperature", "1", "--dry-run", "--json", "--out", str(tmp_path / "r")])
    assert stopped.value.code in (0, None)
    plan = {row["benchmark"]: row for row in json.loads(capsys.readouterr().out)["benchmarks"]}
    letters, choice = plan["lm_eval:kkw_letters"], plan["lm_eval:kkw_choice"]
    assert (letters["questions"], letters["samples"], letters["max_new_tokens"]) == (24, 72, 72 * 12)
    assert (choice["questions"], choice["samples"], choice["max_new_tokens"]) == (24, 24, 0)
