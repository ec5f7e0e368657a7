"""Mistakes of users: each ends in one line on stderr that says what is wrong and how to fix it, and in exit code 2."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kkwarm
from kkwarm.cli import main
from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry
from kkwarm.store import Run
from kkwarm.types import Completion, Sample, Status, Verdict

GOOD = '{"id": "a", "completion": "3", "reference": "3"}\n'
DEEP = b"[" * 100_000 + b"]" * 100_000


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """The one line on stderr of a command that is refused."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in args])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, ""), err
    assert len(err.strip().splitlines()) == 1, err
    return str(err.strip())


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a file of outputs, and two runs ``first`` and ``second`` of one question each."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.jsonl").write_text(GOOD)
    example = next(iter(registry().benchmark("mini_math").load()))
    sample = Sample("mini_math", example.id, 0, Completion("3"), Verdict(Status.WRONG))
    for name in ("first", "second"):
        with Run.open(name, kind="bench", config={"benchmarks": ["mini_math"], "protocols": {}}) as run:
            run.append([sample])
            run.finish(results={"benchmarks": {"mini_math": {"n": 1}}})
    return tmp_path


# -- saved outputs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b"", "it holds no completions"),
        ("x.jsonl", b"\n \n", "it holds no completions"),
        ("x.jsonl", GOOD.encode() * 2 + b'{"id": 1,\n', "line 3: not JSON"),
        ("x.jsonl", GOOD.encode() + b'{"id": "b", "compl', "line 2: not JSON (Unterminated string starting at, column"),
        ("x.jsonl", GOOD.encode() + b'{"id": "b", "compl', "the last line is incomplete: remove it"),
        ("x.json", b'[\n {"id": "a"}\n]\n', "write one object per line, as `jq -c` does"),
        ("x.jsonl", b'{"id": "a", "completion": ' + DEEP + b"}\n", "line 1: nested too deeply"),
        ("x.jsonl", GOOD.encode("utf-16"), "line 1: not UTF-8"),
        ("x.jsonl", bytes(range(256)), "line 1: not JSON"),
        ("x.jsonl", b"[1, 2]\n", "line 1: a list, not a JSON object"),
        ("x.jsonl", b"7\n", "line 1: a number or truth value, not a JSON object"),
        ("x.jsonl.gz", GOOD.encode(), "Not a gzipped file"),
        ("x.jsonl.gz", gzip.compress(GOOD.encode() * 99, mtime=0)[:40], "ended before the end-of-stream marker"),
        ("x.jsonl.gz", gzip.compress(GOOD.encode() * 99, mtime=0)[:14] + b"\xff" * 60, "download or compress it again"),
        (
            "x.jsonl",
            b'\n\n{"task_id": "a", "completion": "b"}\n',
            'line 3: key "id" is missing (its keys: completion, task_id)',
        ),
        ("x.jsonl", b'{"id": null, "completion": "b"}\n', '"id" is null, not a string'),
        ("x.jsonl", b'{"id": "a", "completion": []}\n', '"completion" is an empty list'),
        ("x.jsonl", b'\n{"id": "mini_math/test/1x", "completion": "3"}\n', "line 2: mini_math has no id"),
    ],
)
def test_files_of_outputs(
    there: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    (there / name).write_bytes(content)
    before = sorted(p.name for p in there.iterdir())
    assert message in refused(
        capsys, "score", name, "--benchmark", "mini_math", "--samples-out", "s.jsonl", "-o", "run"
    )
    assert sorted(p.name for p in there.iterdir()) == before  # nothing half written


def test_files_written_on_windows_are_read(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (there / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode() * 2)
    with pytest.raises(SystemExit) as ended:
        main(["score", "x.jsonl", "--benchmark", "mini_math", "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["benchmarks"]["mini_math"]["samples"] == 2


@pytest.mark.parametrize(
    ("benchmark", "reference"),
    [("kk", '"Zoey is a knight"'), ("mmlu_pro", "0"), ("mmlu_pro", '"Paris"'), ("math", '""')],
)
def test_a_reference_without_any_correct_answer(
    there: Path, capsys: pytest.CaptureFixture[str], benchmark: str, reference: str
) -> None:
    (there / "x.jsonl").write_text(f'{{"id": "a", "completion": "The answer is (A).", "reference": {reference}}}\n')
    message = refused(capsys, "score", "x.jsonl", "--benchmark", benchmark)
    assert f"x.jsonl, line 1: {benchmark} accepts no answer to the reference {reference}" in message


# -- arguments --------------------------------------------------------------------------------------------------------

SCORE = ("score", "good.jsonl", "--benchmark", "mini_math")
TEACH = ("distill", "--domain", "mini_kk", "-n", "2", "-o", "o", "--teacher")
ARGUMENTS: list[tuple[tuple[str, ...], str]] = [
    (("scor",), "did you mean score"),
    (("score", "good.jsonl"), "Missing option '--benchmark' (see `kkwarm score --help`)"),
    (("score", "good.jsonl", "--benchmrk", "x"), "Did you mean '--benchmark'?"),
    (("score", "none.jsonl", "--benchmark", "mini_math"), "none.jsonl: No such file"),
    (("score", ".", "--benchmark", "mini_math"), ".: Is a directory"),
    (("score", "good.jsonl", "--benchmark", "mini_mat"), "did you mean mini_math"),
    (("power", "--on", "mini_math:9"), "unknown level of mini_math '9'"),
    ((*SCORE, "--protocol", "mni"), "did you mean mini"),
    *(((*SCORE, "--workers", n), f"{n} is not in the range x>=1") for n in ("0", "-1")),
    *(((*SCORE, "--workers", n), f"'{n}' is not a valid integer") for n in ("1.5", "nan", "many")),
    ((*SCORE, "--samples-out", "none/s.jsonl"), "none/s.jsonl cannot be written: No such file"),
    ((*SCORE, "--samples-out", "first"), "first cannot be written: Is a directory"),
    ((*SCORE, "--samples-out", "good.jsonl"), "is the file to score"),
    ((*SCORE, "--samples-out", "/dev/full"), "No space left on device"),
    ((*SCORE, "-o", "good.jsonl"), "good.jsonl cannot be written: File exists"),
    ((*SCORE, "-o", "first"), "first already holds a run of bench, not of score"),
    (("domains", "mni_math"), "did you mean mini_math"),
    (("domains", "mini_math", "--examples", "-1"), "-1 is not in the range"),
    (("check", "mini_math", "--examples", "0"), "0 is not in the range"),
    (("try", "mini_math", "--id", "mini_math/test/x", "3"), "did you mean mini_math/test/"),
    (("power", "--on", ","), "no benchmark is named"),
    (("power", "--on", "mini_math", "--samples", "0"), "0 is not in the range"),
    (("power", "--on", "mini_math", "--accuracy", "nan"), "'nan' is not a finite number"),
    (("power", "--on", "mini_math", "--detect", "nan"), "'nan' is not a finite number"),
    (("power", "--on", "mini_math", "--detect", "1e-300"), "is not in the range"),
    (("power", "--on", "mini_math", "--prior", "frst"), "there is no run frst (did you mean first?)"),
    (("bench", "m", "--on", "mini_math", "--temperature", "nan"), "--temperature: must be a finite number, not 'nan'"),
    (("bench", "m", "--on", "mini_math", "--until", "inf"), "--until: must be a finite number, not 'inf'"),
    (
        ("rlvr", "m", "--domain", "mini_math", "--learning-rate", "nan", "-o", "o"),
        "--learning-rate: must be a finite number",
    ),
    (("warmup", "m", "--traces", "t", "--max-steps", str(10**30), "-o", "o"), "is too large; at most 2147483647"),
    (("warmup", "m", "--traces", "t", "--max-steps", "2147483647", "-o", "o"), "traces are too many"),
    (
        ("warmup", "m", "--traces", "t", "--epochs", "1e30", "-o", "o"),
        "--epochs: 1e+30 is too large; at most 2147483647",
    ),
    (("warmup", "m", "--traces", "t", "--threads", "99999", "-o", "o"), "--threads: 99999 is too large; at most 1024"),
    (("warmup", "m", "--traces", "t", "--seed", "-1", "-o", "o"), "--seed: -1 is too small; at least 0"),
    (("warmup", "~nosuchuser/m", "--traces", "t", "-o", "o"), "~nosuchuser/m: no such user on this machine"),
    (("rlvr", "m", "--domain", "mini_math", "--beta", "-1", "-o", "o"), "--beta: -1.0 is too small; at least 0"),
    (("rlvr", "m", "--domain", "mini_math", "--temperature", "1e-320", "-o", "o"), "--temperature: must be 0, or from"),
    (("rlvr", "m", "--domain", "mini_math", "--generations", "2147483647", "-o", "o"), "completions are too many"),
    (("distill", "--domain", "mini_math", "--teacher", "m", "-n", "2147483647", "-o", "o"), "completions are too many"),
    (("bench", "kkwarm_mini:BASE", "--on", "mini_math", "--samples", "2147483647"), "completions are too many"),
    (("bench", "m", "--on", "mini_math", "--seed", "-1"), "--seed: -1 is too small; at least 0"),
    ((*TEACH, "symbolic", "--seed", str(2**32)), "--seed: 4294967296 is too large; at most 4294967295"),
    ((*TEACH, "symbolic", "--seed", "9" * 4000), "--seed: 9999"),
    ((*TEACH, "symbolic", "--temperature", "0.3"), "symbolic is a registered teacher of mini_kk: temperature is for"),
    ((*TEACH, "symbolic", "--concurrency", "3"), "concurrency is for models (leave it out)"),
    ((*TEACH, "symbolic", "--engine", "dtype=float32", "--max-tokens", "5", "--dry-run"), "max_tokens, dtype are for"),
    ((*TEACH, ""), "--teacher: is empty: give a registered teacher"),
    ((*TEACH, "symbolic", "--protocol", "zzz"), "protocol is for models"),
    ((*TEACH, "symbolic", "--preset", "paper"), "leave out --samples, or --preset paper"),
    ((*TEACH, "symbolic", "--backend", "hf"), "mini_kk: no backend runs it (leave out --backend)"),
    ((*TEACH, "kkwarm_mini:BASE", "--decontaminate-against", "mini_kk,zzz", "--dry-run"), "unknown benchmark 'zzz'"),
    ((*TEACH, "kkwarm_mini:BASE", "--base-url", "here"), "the server's address, not 'here' (--base-url http"),
    ((*TEACH, "kkwarm_mini:BASE", "--base-url", ""), "--backend openai needs the server's address"),
    (
        (*TEACH, "kkwarm_mini:BASE", "--engine", "batch_size=x"),
        "batch_size must be a whole number of at least 1, not 'x'",
    ),
    ((*TEACH, "kkwarm_mini:BASE", "--engine", "dtype=5"), "dtype must be text, not 5"),
    (
        (*TEACH, "m", "--base-url", "http://127.0.0.1:9/v1", "--engine", "timeout=NaN"),
        "timeout must be a number of at least 1",
    ),
    (("study", "."), ". is a folder, not a recipe"),
    (("compare", "first", "frst"), "there is no run frst (did you mean first?)"),
    (("compare", "first", "."), ". is no run folder (manifest.json is missing) (it holds runs, such as"),
    (("compare", "first", "good.jsonl"), "good.jsonl is a file, not a run folder"),
    (("compare", "first", "second", "--margin", "nan"), "'nan' is not a finite number"),
    (("report", "first", "--json", "--markdown"), "print to stdout: choose one"),
    (("report", "first", "--png", "x.jpg"), "images are PNG"),
    (("report", "first", "--svg", "/dev/full"), "/dev/full cannot be written: No space left on device"),
    (("report", "first", "--html", "/dev/full"), "/dev/full cannot be written: No space left on device"),
    (("verify", "thrid"), "there is no run thrid"),
    (("rescore", "first", "--compare-to", "secnd"), "there is no run secnd (did you mean second?)"),
    (("rescore", "first", "--alone", "--compare-to", "second"), "leave out one of them"),
    (("rescore", "first", "-o", "second"), "second is not empty"),
    (("rescore", "first", "-o", "good.jsonl"), "good.jsonl is a file"),
    (("import", "lmeval", "first"), "Did you mean 'lm-eval'"),
    (("import", "lm-eval", "none"), "none does not exist"),
    (("import", "evalplus", "first"), "run evalplus.evaluate on the samples"),
    (("new", "Bad name"), "use lower-case letters, digits and _"),
    (("study", "minni"), "did you mean mini?"),
    (("study", "mini", "--executor", "slurm"), "'slurm' is not one of"),
]


@pytest.mark.parametrize(("args", "message"), ARGUMENTS, ids=[" ".join(a)[:60] for a, _ in ARGUMENTS])
def test_arguments(there: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], message: str) -> None:
    assert message in refused(capsys, *args)


@pytest.mark.parametrize(
    "option", ["--teacher", "--domain", "--decontaminate-against", "-o", "--protocol", "--base-url", "--engine"]
)
def test_long_names_are_shortened_in_messages(there: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    teacher = "kkwarm_mini:BASE" if option in ("--protocol", "--base-url", "--engine") else "symbolic"
    message = refused(capsys, *TEACH[:-1], "--teacher", teacher, option, "x" * 5000)
    assert len(message) < 420 and "xxxxx" in message and "characters)" in message


@pytest.mark.parametrize("name", ["traces.jsonl", "samples.jsonl", "log.jsonl"])
def test_files_outside_of_runs_are_not_overwritten(there: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (there / "o").mkdir()
    (there / "o" / name).write_text("mine\n")
    message = refused(capsys, *TEACH, "symbolic", "--json")
    assert f"o/{name} already exists, but o is no run folder (manifest.json is missing) (use another --out" in message
    assert (there / "o" / name).read_text() == "mine\n"


def test_distillation_without_traces_names_a_fix(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, *TEACH, "kkwarm_mini:BASE", "--max-tokens", "1", "--json")
    assert "none of 2 completions became a trace (2 truncated) (see o/samples.jsonl; other settings" in message
    assert "need another folder (-o)" in message


def test_settings_of_a_recipe(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key, message in (
        ("stages.warm.lora_rank", "-1 is too small; at least 1"),
        ("evaluate.margin", "-1 is too small; at least 0"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["study", "mini", "--dry-run", "--set", f"{key}=-1"])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


def test_a_mistake_does_not_claim_the_folder(there: Path) -> None:
    """The corrected command may use the folder with other settings, unless it has samples already."""
    with pytest.raises(KkwarmError), Run.open("new", kind="bench", config={"a": 1}):
        raise KkwarmError("the checkpoint is damaged")
    with Run.open("new", kind="bench", config={"a": 2}) as run:
        run.append(Run.read("first").samples())
    with pytest.raises(KkwarmError), Run.open("new", kind="bench", config={"a": 2}):
        raise KkwarmError("the disk is full")
    with pytest.raises(KkwarmError, match=r"different settings \(a: 2 there, 3 here\)"):
        Run.open("new", kind="bench", config={"a": 3})


# -- runs edited by hand ----------------------------------------------------------------------------------------------


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        *tables, key = path.split(".")
        for name in tables:
            manifest = manifest[name]
        manifest[key] = value

    return change


@pytest.mark.parametrize("command", ["verify", "rescore", "report", "compare second"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read: not JSON (Expecting value"),
        (b'{"kind": "bench",', "cannot be read: not JSON (Expecting property name"),
        (b"\xff\xfe\x00", "cannot be read: not UTF-8"),
        (b"[]", "is not the manifest of a run"),
        (b'{"kind": ' + DEEP + b"}", "nested too deeply"),
        (_set("kind", "bensh"), "kind is 'bensh', not 'bench', 'score'"),
        (_set("kind", 5), "kind is 5, not 'bench'"),
        (_set("config", [1]), "config must be a mapping"),
        (_set("config.protocols", ["x"]), "config.protocols must be a mapping"),
        (_set("config.benchmarks", 7), "config.benchmarks must be a list"),
        (_set("inputs", ["a"]), "inputs must be a mapping"),
        (_set("results", 3), "results must be a mapping"),
        (_set("results.benchmarks", [1]), "results.benchmarks must be a mapping"),
        (_set("results.benchmarks.mini_math", "x"), "results.benchmarks.mini_math must be a mapping"),
        (_set("verifiers", 4), "verifiers must be a mapping"),
        (_set("state", 1), "state is 1, not 'running'"),
        (b'{"kind": "bench"}', "has no schema version; this version of kkwarm reads version 1"),
        (_set("schema_version", 7), "has schema version 7; this version of kkwarm reads version 1"),
        (_set("resullts", {}), "resullts is unknown"),
        (_set("contamination", 3), "contamination must be a list"),
    ],
)
def test_manifests_edited_by_hand(
    there: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    content: bytes | Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    path = there / "first" / "manifest.json"
    if callable(content):
        manifest = json.loads(path.read_text())
        content(manifest)
        path.write_text(json.dumps(manifest))
    else:
        path.write_bytes(content)
    printed = refused(capsys, *command.split(), "first")
    assert "first/manifest.json" in printed
    assert message in printed


def test_a_manifest_of_an_older_version(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = there / "first" / "manifest.json"
    manifest = json.loads(path.read_text()) | {"protocol": 1}
    manifest["environment"]["versions"]["kkwarm"] = "0.0.9"
    path.write_text(json.dumps(manifest))
    message = refused(capsys, "verify", "first")
    assert f"was written by kkwarm 0.0.9; kkwarm {kkwarm.__version__} cannot read it: protocol is unknown" in message
    assert "make the run again" in message and "damaged" not in message


def test_all_problems_of_a_manifest_are_listed(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = there / "first" / "manifest.json"
    changes = {"inputs": 3, "resumed": "often", "config": {"protocols": 1, "benchmarks": 2}}
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    message = refused(capsys, "verify", "first")
    assert "inputs must be a mapping; " in message and "resumed must be a whole number" in message
    assert "config.protocols must be a mapping; config.benchmarks must be a list" in message


def test_results_removed_from_a_manifest(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = there / "first" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["results"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(SystemExit) as ended:
        main(["verify", "first", "--json"])
    assert ended.value.code == 1
    rows = {f["what"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert rows["figures: mini_math"]["detail"] == "the run is done, but its manifest has no figures for it"


# -- data -------------------------------------------------------------------------------------------------------------


def test_data_with_an_unexpected_shape(
    there: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (there / "data" / "math").mkdir(parents=True)
    for name in ("math500", "train_pool"):
        (there / "data" / "math" / f"{name}.jsonl.gz").write_bytes(gzip.compress(b'{"problem": "1 + 1?"}\n', mtime=0))
    monkeypatch.setenv("KKWARM_DATA", str(there / "data"))
    message = refused(capsys, "try", "math", "2")
    assert "the data of math cannot be loaded: KeyError: 'subject'" in message
    shutil.rmtree(there / "data" / "math")
    assert "math500.jsonl.gz is missing (complete the folder" in refused(capsys, "try", "math", "2")
    monkeypatch.setenv("KKWARM_DATA", str(there / "nowhere"))
    assert "nowhere is not a folder (unset it" in refused(capsys, "try", "math", "2")
