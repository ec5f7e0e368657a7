"""Other tools' results as runs. The folders under ``recorded/`` were written by those tools: see record.py."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from kkwarm.analysis.cells import tally_samples
from kkwarm.analysis.compare import compare
from kkwarm.cli import main
from kkwarm.errors import KkwarmError
from kkwarm.importers import evalplus, import_results, lm_eval
from kkwarm.plugins import Registry, load, registry
from kkwarm.protocols import BUILT_IN
from kkwarm.store import Run
from kkwarm.types import Benchmark, Completion, Example, Sample, Status, Verdict

RECORDED = Path(__file__).parent / "recorded"
LM_EVAL, EVALPLUS = RECORDED / "lm_eval", RECORDED / "evalplus"
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def reg() -> Registry:
    """The installed plugins without data of their own for HumanEval+: its ids need none of it."""
    made = load()
    examples = [Example(f"HumanEval/{i}", f"q{i}", {}, "train" if i < 50 else "test") for i in range(164)]
    made.benchmarks["humaneval_plus"] = Benchmark("humaneval_plus", lambda: examples[50:], lambda: examples, "x")
    return made


# -- lm-eval -----------------------------------------------------------------------------------------------------------


def test_lm_eval_samples_become_a_run(tmp_path: Path) -> None:
    run = import_results(lm_eval.read(LM_EVAL), registry(), names={}, out=tmp_path / "r")
    samples = list(Run.read(run.path).samples())
    assert {s.benchmark for s in samples} == {"lm_eval:sums_gen", "lm_eval:sums_mc"}
    document = json.loads(next(LM_EVAL.rglob("results_*.json")).read_text())
    for task, metric in (("sums_gen", "exact_match,strict"), ("sums_mc", "acc,none")):
        ours = run.manifest.benchmarks[f"lm_eval:{task}"]
        assert ours["accuracy"] == pytest.approx(document["results"][task][metric])
        assert ours["n"] == document["n-samples"][task]["effective"]
    choices = [s for s in samples if s.benchmark == "lm_eval:sums_mc"]
    assert all(s.completion.text.strip() in set("0123456789") for s in choices)
    assert run.done and run.manifest.kind == "import"


def test_its_protocol_is_what_was_asked_for(tmp_path: Path) -> None:
    tasks = {t.task: t for t in lm_eval.read(LM_EVAL).tasks}
    generated, chosen = tasks["sums_gen"].settings, tasks["sums_mc"].settings
    assert (generated["temperature"], generated["top_p"], generated["max_tokens"]) == (1.0, 1.0, 64)
    assert (generated["few_shot"], chosen["few_shot"]) == (0, 1)
    assert "temperature" not in chosen  # it compares likelihoods
    assert any("2 samples per question" in note for note in tasks["sums_gen"].notes)


def test_documents_are_matched_with_a_benchmark_by_id_and_by_text(tmp_path: Path) -> None:
    results = lm_eval.read(LM_EVAL)
    run = import_results(results, registry(), names={"sums_gen": "mini_math"}, out=tmp_path / "a")
    ids = {s.id for s in run.samples("mini_math")}
    assert ids == {f"mini_math/test/{i}" for i in range(8)}
    folder = shutil.copytree(LM_EVAL, tmp_path / "copy")
    for file in folder.rglob("samples_sums_gen*"):  # without the field `id`, the question's text tells
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows:
            row["doc"]["id"] = "lost"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = import_results(lm_eval.read(folder), registry(), names={"sums_gen": "mini_math"}, out=tmp_path / "b")
    assert {s.id for s in run.samples("mini_math")} == ids


def test_differences_from_our_protocol_are_named(tmp_path: Path) -> None:
    run = import_results(lm_eval.read(LM_EVAL), registry(), names={"sums_gen": "mini_math"}, out=tmp_path / "r")
    differs = {d["what"]: (d["theirs"], d["ours"]) for d in run.manifest.differs["mini_math"]}
    assert differs == {"max_tokens": (64, 128), "scorer": ("lm-eval", "kkwarm")}  # the prompts are the same
    few = import_results(lm_eval.read(LM_EVAL), registry(), names={"sums_mc": "mini_math"}, out=tmp_path / "s")
    differs = {d["what"]: d["theirs"] for d in few.manifest.differs["mini_math"]}
    assert differs["few_shot"] == 1
    assert differs["prompt"] == "different in 8 of 8 questions"


def test_judging_anew_gives_the_verdicts_of_our_verifier_on_every_sample(tmp_path: Path) -> None:
    results = lm_eval.read(LM_EVAL)
    with pytest.raises(KkwarmError, match="no benchmark lm_eval:sums_mc to verify with"):
        import_results(results, registry(), names={"sums_gen": "mini_math"}, reverify=True, out=tmp_path / "x")
    both = {"sums_gen": "mini_math", "sums_mc": "mini_math"}
    with pytest.raises(KkwarmError, match="two tasks become mini_math"):
        import_results(results, registry(), names=both, reverify=True, out=tmp_path / "x")
    only = shutil.copytree(LM_EVAL, tmp_path / "copy")
    _without(only, "sums_mc")
    run = import_results(
        lm_eval.read(only), registry(), names={"sums_gen": "mini_math"}, reverify=True, out=tmp_path / "r"
    )
    samples = list(run.samples("mini_math"))
    assert len(samples) == 16
    gold = {e.id: str(e.answer) for e in registry().benchmark("mini_math").load_all()}
    for sample in samples:  # lm-eval cut `</answer>` off; without it nothing could be right
        assert sample.verdict.correct == (sample.verdict.answer == gold[sample.id])
    assert any(s.verdict.status in (Status.CORRECT, Status.WRONG) for s in samples)


def test_lm_eval_without_samples_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(LM_EVAL, tmp_path / "copy")
    for file in folder.rglob("samples_*"):
        file.unlink()
    with pytest.raises(SystemExit) as ended:
        main(["import", "lm-eval", str(folder)])
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and out == ""
    assert len(err.strip().splitlines()) == 1
    assert "--log_samples" in err


@pytest.mark.slow
def test_other_folders_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(KkwarmError, match="does not exist"):
        lm_eval.read(tmp_path / "nowhere")
    with pytest.raises(KkwarmError, match="no results_"):
        lm_eval.read(EVALPLUS)
    folder = shutil.copytree(LM_EVAL, tmp_path / "copy")
    file = next(folder.rglob("samples_sums_gen*"))
    file.write_text(file.read_text()[:-40])
    with pytest.raises(KkwarmError, match="line 16: not JSON"):
        lm_eval.read(folder)
    with pytest.raises(KkwarmError, match="did you mean strict"):
        lm_eval.read(LM_EVAL, filter_name="stict")
    with pytest.raises(KkwarmError, match="unknown task 'sums_x'"):
        import_results(lm_eval.read(LM_EVAL), registry(), names={"sums_x": "mini_math"}, out=tmp_path / "r")
    with pytest.raises(KkwarmError, match="8 of 8 documents of sums_gen match no question of mini_kk"):
        import_results(lm_eval.read(LM_EVAL), registry(), names={"sums_gen": "mini_kk"}, out=tmp_path / "r")


def test_two_models_in_one_folder_are_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(LM_EVAL, tmp_path / "copy")
    other = shutil.copytree(folder / "base", folder / "other")
    file = next(other.glob("results_*"))
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {"model_name": "another"}))
    with pytest.raises(KkwarmError, match="several models: another, base"):
        lm_eval.read(folder)


# -- evalplus ----------------------------------------------------------------------------------------------------------


def test_evalplus_verdicts_become_a_run(tmp_path: Path, reg: Registry) -> None:
    run = import_results(evalplus.read(EVALPLUS), reg, names={}, out=tmp_path / "r")
    figures = run.manifest.benchmarks["humaneval_plus"]
    wrong, half = len(range(0, 164, 3)), sum(i % 5 == 0 and i % 3 != 0 for i in range(164))
    assert (figures["n"], figures["samples"]) == (164, 328)
    assert figures["accuracy"] == pytest.approx(1 - (wrong + half) / 328)
    assert figures["metrics"]["base"] == pytest.approx(1 - wrong / 328)
    assert figures["metrics"]["plus"] == pytest.approx(figures["accuracy"])
    assert run.manifest.model.name == "made/up"
    settings = run.manifest.config["evaluation"]["humaneval_plus"]
    assert (settings["temperature"], settings["samples"]) == (0.8, 2)
    assert any("50 of its 164 questions" in note for note in run.manifest.notes)


def test_evalplus_without_verdicts_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text("{}\n")
    with pytest.raises(KkwarmError, match=r"no \*eval_results.json") as refused:
        evalplus.read(tmp_path)
    assert "kkwarm score" in refused.value.hint
    with pytest.raises(KkwarmError, match="is not a"):
        evalplus.read(tmp_path / "samples.jsonl")
    for name in ("a_eval_results.json", "b_eval_results.json"):
        (tmp_path / name).write_text('{"eval": {}}')
    with pytest.raises(KkwarmError, match="2 evaluations"):
        evalplus.read(tmp_path)
    with pytest.raises(KkwarmError, match="no verdicts"):
        evalplus.read(tmp_path / "a_eval_results.json")
    (tmp_path / "a_eval_results.json").write_text('{"eval": {"HumanEval/0": {"nfiles": 1}}}')
    with pytest.raises(KkwarmError, match="not in the format of evalplus"):
        evalplus.read(tmp_path / "a_eval_results.json")


# -- beside our own runs -----------------------------------------------------------------------------------------------


def _ours(path: Path, name: str, ids: list[str], samples: int = 2) -> Path:
    config = {"samples": samples, "sampling": {name: {"temperature": 0.7, "top_p": 0.95, "max_tokens": 4096}}}
    with Run.open(path, kind="bench", config=config) as run:
        verdict = Verdict(Status.CORRECT)
        run.append(Sample(name, i, n, Completion("x"), verdict, f"hash {i}") for i in ids for n in range(samples))
        run.finish()
    return path


def test_an_imported_run_compares_with_ours_and_says_where_they_differ(tmp_path: Path, reg: Registry) -> None:
    theirs = import_results(evalplus.read(EVALPLUS), reg, names={}, out=tmp_path / "a").path
    ours = _ours(tmp_path / "b", "humaneval_plus", [f"HumanEval/{i}" for i in range(50, 164)])
    with pytest.raises(KkwarmError, match="50 questions are in one only"):
        compare(theirs, ours, common=False)
    row = compare(theirs, ours, common=True).benchmarks["humaneval_plus"]
    assert row.change.questions == 114
    assert "the prompts of one are unknown" in row.settings_differences
    assert "temperature 0.8 and 0.7" in row.settings_differences
    assert "scorer evalplus and kkwarm" in row.settings_differences
    assert "max_tokens unknown and 4096" in row.settings_differences


def test_of_imported_code_no_format_tells_whether_it_shows_work(tmp_path: Path, reg: Registry) -> None:
    theirs = import_results(evalplus.read(EVALPLUS), reg, names={}, out=tmp_path / "a")
    assert tally_samples(theirs, lambda name: BUILT_IN["paper"])["humaneval_plus"].checked_for_reasoning == 0


def test_the_command_keeps_stdout_to_one_json_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["import", "lm-eval", str(LM_EVAL), "--as", "sums_gen=mini_math", "-o", str(tmp_path / "r"), "--json"])
    out, err = capsys.readouterr()
    assert ended.value.code == 0
    document = json.loads(out)
    assert set(document["benchmarks"]) == {"mini_math", "lm_eval:sums_mc"}
    assert [d["what"] for d in document["differs"]["mini_math"]] == ["max_tokens", "scorer"]
    assert "warning: mini_math" in err
    with pytest.raises(SystemExit):  # the same again: nothing is stored twice
        main(["import", "lm-eval", str(LM_EVAL), "--as", "sums_gen=mini_math", "-o", str(tmp_path / "r")])
    assert len(list(Run.read(tmp_path / "r").samples())) == 16
    with pytest.raises(SystemExit) as ended:
        main(["import", "lm-eval", str(LM_EVAL), "--as", "sums_gen"])
    assert ended.value.code == 2
    assert "TASK=BENCHMARK" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_the_installed_tools_write_today_is_read(tmp_path: Path, reg: Registry) -> None:
    from record import record_evalplus, record_lm_eval

    record_lm_eval(tmp_path / "lm_eval")
    record_evalplus(tmp_path / "evalplus")
    tasks = {t.task: t for t in lm_eval.read(tmp_path / "lm_eval").tasks}
    assert [len(t.answers) for t in tasks.values()] == [8, 8]
    new, old = evalplus.read(tmp_path / "evalplus"), evalplus.read(EVALPLUS)
    assert [a.verdicts for a in new.tasks[0].answers] == [a.verdicts for a in old.tasks[0].answers]


def _without(folder: Path, task: str) -> None:
    for file in folder.rglob(f"samples_{task}*"):
        file.unlink()
    for file in folder.rglob("results_*"):
        document = json.loads(file.read_text())
        del document["configs"][task]
        file.write_text(json.dumps(document))
