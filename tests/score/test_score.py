"""`kkwarm score` and `kkwarm rescore` as a user runs them."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kkwarm.cli import main
from kkwarm.store import Run
from kkwarm.types import Completion, Sample, Status, Verdict


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in args])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, " ".join(err.split())


def scored(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    code, out, err = run(capsys, "score", *args, "--json")
    assert (code, err) == (0, "")
    document: dict[str, Any] = json.loads(out)
    return document


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """Six completions of three questions, each with its reference."""
    rows = [
        {"id": "a", "completion": [r"\boxed{5}", r"\boxed{6}", None], "reference": "5"},
        {"id": "b", "completion": "so it is unclear", "reference": 7},
        {"id": "b", "completion": r"\boxed{7}", "reference": 7},
        {"id": "a", "completion": r"\boxed{6}", "reference": "6"},
    ]
    return write(tmp_path / "outputs.jsonl", rows)


def test_json_and_samples(capsys: pytest.CaptureFixture[str], references: Path, tmp_path: Path) -> None:
    document = scored(capsys, references, "--benchmark", "math", "--samples-out", tmp_path / "s.jsonl")
    figures = document["benchmarks"]["math"]
    assert (figures["n"], figures["samples"]) == (3, 6)
    assert figures["accuracy"] == figures["pass@1"] == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert figures["status"] == {"correct": 3, "wrong": 1, "unparsed": 2}
    assert figures["stderr"] == pytest.approx(0.2003, abs=1e-4)
    samples = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [s["id"] for s in samples] == ["a", "a", "a", "b", "b", "a"]
    assert [s["status"] for s in samples] == ["correct", "wrong", "unparsed", "unparsed", "correct", "correct"]
    assert [s["reward"] for s in samples] == [2.0, -0.5, -1.0, -1.0, 2.0, 2.0]
    assert [s["answer"] for s in samples] == ["5", "6", None, "unclear", "7", "6"]
    assert set(samples[0]) == {"id", "status", "answer", "reward", "reason"}


def test_a_question_beside_a_reference_is_known_to_the_reader(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    row = {"id": "a", "completion": r"There are $\boxed{6}$ matches in each group.", "reference": "6"}
    question = {"question": "How many matches were there in each group?"}
    file = write(tmp_path / "outputs.jsonl", [row, row | {"id": "b"} | question])
    document = scored(capsys, file, "--benchmark", "math", "-o", tmp_path / "run")
    assert document["benchmarks"]["math"]["status"] == {"correct": 1, "unparsed": 1}
    samples = Run.read(tmp_path / "run").samples()
    assert [s.meta.get("question") for s in samples] == [None, question["question"]]
    code, out, _ = run(capsys, "rescore", tmp_path / "run", "--json")
    assert code == 0 and json.loads(out)["benchmarks"]["math"]["flips"] == {}
    code, _, err = run(capsys, "score", write(tmp_path / "bad.jsonl", [row | {"question": 3}]), "--benchmark", "math")
    assert code == 2 and 'line 1: "question" is 3, not a string' in err


def test_table_fits_80_columns(
    capsys: pytest.CaptureFixture[str], references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(capsys, "score", references, "--benchmark", "math")
    assert code == 0 and "61.1 ±" in out
    assert max(map(len, out.splitlines())) <= 80


def test_tagged_outputs_are_held_to_the_format(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [
        {"id": "1", "completion": "r </think> <answer> 5 </answer>", "reference": "5"},
        {"id": "2", "completion": "5 </think> <answer> 6", "reference": "5"},
        {"id": "3", "completion": "5 </think> <answer> 6", "reference": "5", "finish_reason": "length"},
        {"id": "4", "completion": r"<think> \boxed{6} </think> It is \boxed{5}.", "reference": "5"},
        {"id": "5", "completion": "a\0b\ud800", "reference": "5"},
    ]
    out = tmp_path / "s.jsonl"
    scored(capsys, write(tmp_path / "o.jsonl", rows), "--benchmark", "math", "--samples-out", out)
    statuses = [json.loads(line)["status"] for line in out.read_text().splitlines()]
    assert statuses == ["correct", "malformed", "truncated", "correct", "unparsed"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": "x", "completion": "a", "reference": 1}\n{"id": "y", "comp', "line 2: not JSON"),
        (b'{"id": "x", "completion": "\xff"}\n', "line 1: not UTF-8"),
        (b'{"id": "x"}\n', 'line 1: key "completion" is missing'),
        (b'{"completion": "x"}\n', 'line 1: key "id" is missing'),
        (b'{"id": null, "completion": "x"}\n', '"id" is null'),
        (b'{"id": "x", "completion": []}\n', "empty list"),
        (b"[1]\n", "line 1: a list"),
        (b"", "no completions"),
    ],
)
def test_bad_files(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    code, out, err = run(capsys, "score", path, "--benchmark", "math")
    assert (code, out) == (2, "")
    assert message in err and str(path) in err and "Traceback" not in err


def test_bad_names(capsys: pytest.CaptureFixture[str], references: Path, tmp_path: Path) -> None:
    for args, message in (
        ((tmp_path / "none.jsonl", "--benchmark", "math"), "No such file"),
        ((references, "--benchmark", "maht"), "did you mean math"),
        ((references, "--benchmark", "math", "--protocol", "nope"), "unknown protocol"),
        ((references, "--benchmark", "math", "--samples-out", tmp_path / "no" / "s"), "cannot be written"),
        ((references, "--benchmark", "math", "--samples-out", references), "is the file to score"),
    ):
        code, out, err = run(capsys, "score", *args)
        assert (code, out) == (2, "") and message in err
    assert references.read_text()


def test_unknown_ids_are_counted_and_near_ones_offered(
    capsys: pytest.CaptureFixture[str], shared_data: Path, tmp_path: Path
) -> None:
    rows = [{"id": i, "completion": "x"} for i in ("test/precalculus/807.json", "test/precalculus/807", "nonsense")]
    code, _, err = run(capsys, "score", write(tmp_path / "o.jsonl", rows), "--benchmark", "math")
    assert code == 2
    assert "line 2" in err and "1 further" in err and "'test/precalculus/807.json'" in err


def test_real_outputs_by_id_with_facets(capsys: pytest.CaptureFixture[str], shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "model_outputs/mmlu_pro/Meta-Llama-3_1-8B_5shots.jsonl.gz"
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    path = write(tmp_path / "o.jsonl", [{"id": str(r["question_id"]), "completion": r["output"]} for r in rows])
    figures = scored(capsys, path, "--benchmark", "mmlu_pro", "--protocol", "official")["benchmarks"]["mmlu_pro"]
    assert (figures["n"], round(figures["accuracy"], 4), figures["status"]["unparsed"]) == (12032, 0.3596, 775)
    assert sum(part["n"] for part in figures["by"]["category"].values()) == 12032
    assert len(figures["by"]["category"]) == 14


# -- runs and rescoring -----------------------------------------------------------------------------------------------


def test_a_run_is_kept_once_and_rescored(capsys: pytest.CaptureFixture[str], references: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for _ in range(2):  # the second time it is already there
        assert scored(capsys, references, "--benchmark", "math", "-o", folder)["run"] == str(folder)
    assert len(list(Run.read(folder).samples())) == 6
    code, out, _ = run(capsys, "rescore", folder, "--json")
    assert (code, json.loads(out)["flipped"]) == (0, 0)


def test_flips_are_shown_and_written_beside(
    capsys: pytest.CaptureFixture[str], references: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    scored(capsys, references, "--benchmark", "math", "-o", folder)
    stored = list(Run.read(folder).samples())
    lenient = tmp_path / "lenient"
    with Run.open(lenient, kind="score", config={"benchmark": "math", "protocol": "auto"}) as old:
        old.append(replace(s, verdict=Verdict(Status.CORRECT, s.verdict.answer)) for s in stored)
        old.record(notes=["kept"])
        old.finish(results={"benchmarks": {"math": {"worked": 0.5, "accuracy": 1.0}}})
    code, out, _ = run(capsys, "rescore", lenient, "--write", "--json")
    document = json.loads(out)
    figures = document["benchmarks"]["math"]
    assert code == 0 and document["flipped"] == 3
    assert figures["flips"] == {"correct -> unparsed": 2, "correct -> wrong": 1}
    assert figures["accuracy"] == {"before": 1.0, "after": pytest.approx(0.6111, abs=1e-4)}
    assert {e["after"]["status"] for e in figures["examples"]} == {"unparsed", "wrong"}
    written = Run.read(document["written"])
    assert written.path == tmp_path / "lenient-rescored" and written.done
    assert (written.manifest.notes, written.manifest.rescored_from) == (["kept"], str(lenient))
    assert [s.verdict.status for s in written.samples()] == [s.verdict.status for s in stored]
    assert all(s.verdict.correct for s in Run.read(lenient).samples())  # the old run is as it was
    assert written.manifest.benchmarks["math"]["worked"] == 0.5
    code, out, _ = run(capsys, "rescore", lenient)
    assert code == 0 and "3 verdicts changed" in out and "a[1]: correct -> wrong" in out


def test_rescore_of_what_is_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no run folder" in run(capsys, "rescore", tmp_path)[2]
    with Run.open(tmp_path / "empty", kind="bench", config={}):
        pass
    code, _, err = run(capsys, "rescore", tmp_path / "empty")
    assert code == 2 and "holds no samples" in err


def test_rescore_of_a_bench_run(capsys: pytest.CaptureFixture[str], shared_data: Path, tmp_path: Path) -> None:
    """Split by the format that bench used, under the names that bench uses; what nobody knows is passed over."""
    texts = {"math": "</think> <answer> 5 </answer>", "math+forced": "5", "lm_eval:gone": "5"}
    config = {"protocols": {"math": "paper", "math+forced": "plain"}}
    with Run.open(tmp_path / "bench", kind="bench", config=config) as old:
        for name, text in texts.items():
            id_ = "test/algebra/2584.json"
            old.append([Sample(name, id_, 0, Completion(text), Verdict(Status.ERROR))])
    code, out, _ = run(capsys, "rescore", tmp_path / "bench", "--json")
    document = json.loads(out)
    assert code == 0 and set(document["skipped"]) == {"lm_eval:gone"}
    answers = {name: figures["examples"][0]["after"]["answer"] for name, figures in document["benchmarks"].items()}
    assert answers["math"] == "5" and set(answers) == {"math", "math+forced"}


def test_an_interrupted_score_resumes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completions verified before an interrupt are not verified again, and the result is the same."""
    from kkwarm.scoring import files, score
    from kkwarm.verify.judge import Judge

    monkeypatch.setattr(score, "CHUNK", 3)
    rows = [{"id": str(i % 4), "completion": str(i % 3), "reference": "1"} for i in range(10)]
    file, out = write(tmp_path / "o.jsonl", rows), tmp_path / "run"
    whole = scored(capsys, file, "--benchmark", "mini_math")["benchmarks"]
    verified: list[int] = []
    real = Judge.verify

    def counted(self: Judge, verifier: Any, protocol: Any, pairs: Any) -> Any:
        if sum(verified) >= 6 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        verdicts = real(self, verifier, protocol, pairs)
        verified.append(len(verdicts))
        return verdicts

    stopped: list[bool] = []
    monkeypatch.setattr(Judge, "verify", counted)
    monkeypatch.setattr(files, "check_references", lambda *args: None)
    code, out_text, err = run(capsys, "score", file, "--benchmark", "mini_math", "-o", out)
    assert (code, out_text) == (130, "")
    assert f"stored in {out}: repeat the command to resume" in err
    assert len(list(Run.read(out).samples())) == 6
    assert scored(capsys, file, "--benchmark", "mini_math", "-o", out)["benchmarks"] == whole
    assert [n for n in verified if n] == [3, 3, 3, 1]
    stored = [(s.id, s.index, s.completion.text) for s in Run.read(out).samples()]
    assert stored == [(str(i % 4), i // 4, str(i % 3)) for i in range(10)]


def test_a_run_of_another_verifier_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = write(tmp_path / "o.jsonl", [{"id": "a", "completion": "1", "reference": "1"}])
    scored(capsys, file, "--benchmark", "mini_math", "-o", tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["verifiers"]["mini_math"]["code"] = "0" * 16
    path.write_text(json.dumps(manifest))
    code, _, err = run(capsys, "score", file, "--benchmark", "mini_math", "-o", tmp_path / "run")
    assert code == 2
    assert "come from another version of the verifier (run `kkwarm rescore" in err


def test_rewards_of_a_narrowed_benchmark() -> None:
    from kkwarm.plugins import registry
    from kkwarm.types import Rewards

    reg = registry()
    assert reg.reward_of(reg.benchmark("humaneval_plus")).table.wrong == -1.0
    assert reg.reward_of(reg.benchmark("mini_math:1")).table == reg.tasks["mini_math"].rewards
    assert reg.reward_of(replace(reg.benchmark("kk"), name="no such task")).table == Rewards()
