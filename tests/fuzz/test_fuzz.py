"""Damaged files and answers: every command ends with one line, never with a traceback."""

import json
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fuzz_cases import TARGETS, Case, run_case, run_command
from fuzz_inputs import make_inputs

SECONDS = 100  # for each target, at most
CASES = 15


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undamaged inputs."""
    folder = tmp_path_factory.mktemp("fuzz") / "inputs"
    make_inputs(folder)
    return folder


@pytest.fixture
def here(inputs: Path, tmp_path: Path) -> Path:
    """A copy of the inputs."""
    folder = tmp_path / "in"
    shutil.copytree(inputs, folder, symlinks=True)
    (folder / "out").mkdir()
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("target", TARGETS)
def test_damaged_files_end_in_one_line(target: str, inputs: Path) -> None:
    end = time.monotonic() + SECONDS
    problems = []
    for seed in range(CASES):
        case = Case(target, seed)
        outcome = run_case(case, inputs)
        if outcome.problem:
            command = " ".join(case.command)
            problems.append(f"fuzz.py --case {target}:{seed}: {command} on {case.file}: {outcome.problem}")
        if time.monotonic() > end:
            break
    assert not problems, "\n".join(problems)


@pytest.mark.slow
def test_undamaged_inputs_are_read(inputs: Path, here: Path) -> None:
    """Otherwise the fuzzers would test the message of a first, constant problem."""
    refused = 0
    for _, commands in TARGETS.values():
        outcome = run_command(tuple(part.replace("{file}", "recipe.toml") for part in commands[0]), here)
        shutil.rmtree(here / "out")
        (here / "out").mkdir()
        if "{url}" not in commands[0]:
            assert not outcome.problem
            refused += outcome.code == 2
    assert refused == 0


# -- faults that once ended in a traceback ----------------------------------------------------------------------------

Edit = Callable[[Any], None]


def put(keys: str, value: Any) -> Edit:
    """Sets the value at a path of keys such as ``plan.steps.0``."""

    def edit(document: Any) -> None:
        *parents, last = keys.split(".")
        for key in parents:
            document = document[int(key) if isinstance(document, list) else key]
        document[int(last) if isinstance(document, list) else last] = value

    return edit


def edit_json(path: Path, edit: Edit) -> None:
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def edit_line(path: Path, edit: Edit) -> None:
    """Edits the second line of a JSON-lines file; the checksum of a sample is made right again."""
    lines = path.read_text().splitlines()
    row = json.loads(lines[1])
    if "crc" in row:
        edit(row["sample"])
        text = json.dumps(row["sample"], ensure_ascii=True, separators=(",", ":"))
        lines[1] = f'{{"crc":{zlib.crc32(text.encode())},"sample":{text}}}'
    else:
        edit(row)
        lines[1] = json.dumps(row)
    path.write_text("".join(f"{line}\n" for line in lines))


RUN_MANIFEST: list[tuple[Edit, str]] = [
    (put("verifiers.mini_math", 3.5), "verifiers.mini_math must be a mapping"),
    (put("verifiers.mini_math.libraries", [1]), "verifiers.mini_math.libraries must be a mapping"),
    (put("contamination", [{"domain": "mini_math"}]), "contamination.0.id is missing"),
    (put("environment.versions", "x"), "environment.versions must be a mapping"),
    (put("config.protocols", {"mini_math": 3}), "config.protocols.mini_math must be text"),
    (put("config.seed", 10**400), "config.seed"),
    (put("results.benchmarks.mini_math.accuracy", float("nan")), "accuracy must be a finite number"),
    (put("wall_s", float("inf")), "wall_s must be a finite number"),
    (put("stopped", {"mini_math": {"rule": "decided"}}), "stopped.mini_math"),
    (put("alarms", [{"kind": 1, "step": -1}]), "alarms.0.kind must be text"),
    (put("evaluation_version", -1), "evaluation_version is too small"),
    (put("labels", {"a": [[[[[[[[[[]]]]]]]]]]} | {"b": json.loads("[" * 70 + "]" * 70)}), "nested too deeply"),
]


@pytest.mark.parametrize(("edit", "message"), RUN_MANIFEST, ids=[m for _, m in RUN_MANIFEST])
def test_manifests(here: Path, edit: Edit, message: str) -> None:
    edit_json(here / "a" / "manifest.json", edit)
    for command in (("report", "a", "b"), ("verify", "a", "--json"), ("rescore", "a", "--alone")):
        outcome = run_command(command, here)
        assert (outcome.code, outcome.problem) == (2, "")
        assert "a/manifest.json" in outcome.err and message in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1


SAMPLES: list[tuple[Edit, str]] = [
    (put("benchmark", 3), "benchmark is a whole number, not text"),
    (put("id", None), "id is null, not text"),
    (put("index", -1), "index is out of range"),
    (put("index", True), "index is true or false, not a whole number"),
    (put("meta", 1), "meta is a whole number, not an object"),
    (put("completion", []), "completion is a list, not an object"),
    (put("completion.token_ids", ["x"]), "completion.token_ids holds something else than whole numbers"),
    (put("completion.n_tokens", 2**40), "completion.n_tokens is out of range"),
    (put("verdict.status", "right"), "verdict.status 'right' is none of correct, wrong"),
    (put("verdict.metrics", {"base": {}}), "verdict.metrics.base is no finite number"),
    (put("verdict.metrics", {"base": float("nan")}), "verdict.metrics.base is no finite number"),
    (put("verdict.answer", {"a": 1}), "verdict.answer is an object, not text or null"),
    (put("extra", 1), "'extra' is unknown"),
    (lambda sample: sample.pop("prompt_hash"), "prompt_hash is missing"),
    (put("meta", {"a": json.loads("[" * 70 + "]" * 70)}), "nested too deeply"),
]


@pytest.mark.parametrize(("edit", "message"), SAMPLES, ids=[m for _, m in SAMPLES])
def test_samples(here: Path, edit: Edit, message: str) -> None:
    edit_line(here / "a" / "samples.jsonl", edit)
    for command in (("report", "a", "b"), ("rescore", "a", "--alone"), ("compare", "b", "a")):
        outcome = run_command(command, here)
        assert (outcome.code, outcome.problem) == (2, "")
        assert "a/samples.jsonl, line 2: " in outcome.err and message in outcome.err
    outcome = run_command(("verify", "a", "--json"), here)
    assert (outcome.code, outcome.problem) == (1, "")
    findings = {f["what"]: f for f in json.loads(outcome.out)["findings"]}
    assert findings["checksums"]["lines"] == [2] and message in findings["checksums"]["detail"]


STUDY: list[tuple[str, Edit, str]] = [
    ("manifest.json", put("plan.margin", float("nan")), "plan.margin must be a finite number"),
    ("manifest.json", put("plan.conditions.1.baseline", "nobody"), "baseline 'nobody' is none of the conditions"),
    ("manifest.json", put("plan.conditions.1.name", "base"), "two conditions are named 'base'"),
    ("manifest.json", put("plan.rows", {}), "rows.'base' is missing"),
    ("manifest.json", put("plan.rows.base.0", {}), "rows.'base'.0.bench is missing"),
    ("manifest.json", put("plan.claims.0", {"base": 0.0}), "plan.claims.0.base must be text"),
    ("manifest.json", put("plan.conditions.0.chain", []), "plan.conditions.0.chain is empty"),
    ("manifest.json", put("plan.steps.0", "../x"), "plan.steps.0 is not a valid name"),
    ("manifest.json", put("plan.grids", {"rlvr": {"x": "base"}}), "is not a valid name"),
    ("steps/rlvr-s0/log.jsonl", put("step", "x"), "log.jsonl, line 2: its step is not a whole number"),
    ("steps/rlvr-s0/evals.jsonl", put("accuracy", [1]), "accuracy of step 3 is not made of fractions by domain"),
    ("steps/rlvr-s0/evals.jsonl", put("correct.mini_math", [[]]), "correct of step 3 is not made of lists of 0 and 1"),
]


@pytest.mark.parametrize(("file", "edit", "message"), STUDY, ids=[m for *_, m in STUDY])
def test_studies(here: Path, file: str, edit: Edit, message: str) -> None:
    (edit_json if file.endswith(".json") else edit_line)(here / "study" / file, edit)
    outcome = run_command(("report", "study"), here)
    assert (outcome.code, outcome.problem) == (2, "")
    assert message in outcome.err and len(outcome.err.strip().splitlines()) == 1


@pytest.mark.parametrize("value", ["x", None, [], float("nan"), 10**400, True])
def test_a_step_without_a_reward_is_left_out(here: Path, value: Any) -> None:
    edit_line(here / "study" / "steps" / "rlvr-s0" / "log.jsonl", put("reward", value))
    outcome = run_command(("report", "study", "--json"), here)
    assert (outcome.code, outcome.problem) == (0, "")
    assert [c["steps"] for c in json.loads(outcome.out)["curves"]] == [[1, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7]]
