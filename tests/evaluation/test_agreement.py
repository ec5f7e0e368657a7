"""`kkwarm verify`: what no longer agrees is found and named; what cannot be compared is said, never passed over."""

import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy_benchmark
from toy_benchmark import Toy, registry

from kkwarm.backends.base import Request
from kkwarm.backends.replay import ReplayBackend
from kkwarm.cli import main
from kkwarm.evaluation import BenchConfig, bench
from kkwarm.scoring.verify_run import Finding, State, verify_run
from kkwarm.store import Run
from kkwarm.types import Completion, Example, Response, Status, Verdict

GOLD = {f"toy/{e.id}": e.answer for e in toy_benchmark.examples()}


def answered(request: Request, index: int) -> Completion:
    return Completion(f" easy </think> <answer> {GOLD[request.key] + index} </answer>", 5, "stop")


@pytest.fixture
def run(toy: Toy, tmp_path: Path) -> Path:
    """24 samples of 12 questions: every first one is right."""
    bench("m", ["toy"], tmp_path / "r", BenchConfig(samples=2), backend=ReplayBackend(answered), progress=False)
    return tmp_path / "r"


def found(path: Path) -> dict[str, Finding]:
    return {f.what: f for f in verify_run(Run.read(path), registry())}


def differing(path: Path) -> dict[str, str]:
    return {what: f.detail for what, f in found(path).items() if f.state is State.DIFFERS}


def edit(path: Path, number: int, change: Callable[[dict[str, Any]], None], *, fix_checksum: bool = False) -> None:
    """Changes the sample of a line; `fix_checksum` also updates the checksum, as a careful forger would."""
    lines = (path / "samples.jsonl").read_text().splitlines()
    line = json.loads(lines[number - 1])
    change(line["sample"])
    if fix_checksum:
        line["crc"] = zlib.crc32(json.dumps(line["sample"], separators=(",", ":")).encode())
    lines[number - 1] = json.dumps(line, separators=(",", ":"))
    (path / "samples.jsonl").write_text("\n".join(lines) + "\n")


def correct(sample: dict[str, Any]) -> None:
    sample["verdict"]["status"] = "correct"


def test_an_untouched_run_agrees(run: Path) -> None:
    states = {what: f.state for what, f in found(run).items()}
    assert states == {
        "settings": State.AGREES,
        "file samples.jsonl": State.AGREES,
        "checksums": State.AGREES,
        "data: toy": State.AGREES,
        "prompts: toy": State.AGREES,
        "checkpoint": State.UNCHECKED,  # a replayed one has no weights
        "verifier: toy": State.AGREES,
        "verdicts: toy": State.AGREES,
        "figures: toy": State.AGREES,
    }
    assert found(run)["verdicts: toy"].detail == "all 24 are the same today"


def test_an_edited_line_is_named(run: Path) -> None:
    edit(run, 8, correct)
    edit(run, 20, correct)
    checksums = found(run)["checksums"]
    assert checksums.state is State.DIFFERS
    assert checksums.lines == (8, 20)
    assert "line 8: its checksum does not match" in checksums.detail


def test_a_forged_verdict_is_named_although_its_checksum_fits(run: Path) -> None:
    edit(run, 8, correct, fix_checksum=True)
    wrong = differing(run)
    assert set(wrong) == {"file samples.jsonl", "verdicts: toy", "figures: toy"}
    assert wrong["verdicts: toy"].startswith("1 of 24 verdicts changed: line 8 (sum/")
    assert "correct stored, wrong today" in wrong["verdicts: toy"]
    assert "accuracy 0.5 recorded, 0.541" in wrong["figures: toy"]


def test_other_metrics_under_the_same_status_are_found(run: Path) -> None:
    edit(run, 1, lambda s: s["verdict"]["metrics"].update(near=0.5), fix_checksum=True)
    assert "with other metrics" in differing(run)["verdicts: toy"]


def test_removed_and_doubled_lines_are_found(run: Path) -> None:
    lines = (run / "samples.jsonl").read_text().splitlines(keepends=True)
    (run / "samples.jsonl").write_text("".join([*lines[:5], *lines[6:], lines[9]]))
    wrong = differing(run)
    assert {"file samples.jsonl", "samples", "figures: toy"} <= set(wrong)
    assert found(run)["samples"].lines == (9, 24)
    (run / "samples.jsonl").unlink()
    assert {
        "file samples.jsonl": "it is missing",
        "verdicts: toy": "the manifest has figures for it, but there are no samples",
    }.items() <= (differing(run).items())


def test_a_torn_last_line_is_said(run: Path) -> None:
    path = run / "samples.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    assert found(run)["last line"].lines == (24,)
    assert found(run)["last line"].state is State.DIFFERS  # nothing may be missing from a run that is done


def test_edited_figures_and_settings_are_found(run: Path) -> None:
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["results"]["benchmarks"]["toy"]["accuracy"] = 0.9
    manifest["config"]["sampling"]["toy"]["temperature"] = 0.0
    path.write_text(json.dumps(manifest))
    wrong = differing(run)
    assert set(wrong) == {"settings", "figures: toy"}
    assert "accuracy 0.9 recorded, 0.5 from the samples" in wrong["figures: toy"]


def test_changed_questions_are_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = toy_benchmark.examples()
    changed = [*asked[:3], replace(asked[3], question="What else?"), *asked[4:-1]]
    monkeypatch.setattr(toy_benchmark, "examples", lambda: changed)
    monkeypatch.setattr(Toy, "kkwarm_domains", _domains(lambda: changed, toy_benchmark.check))
    wrong = differing(run)
    assert set(wrong) == {"data: toy", "prompts: toy", "verdicts: toy"}
    assert "1 questions no longer exist: sum/11; 1 questions have a different prompt: sum/3" in wrong["data: toy"]


@pytest.mark.slow
def test_another_verifier_is_found_with_what_it_judges_otherwise(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def strict(example: Example, response: Response) -> Verdict:
        return Verdict(Status.WRONG, metrics=toy_benchmark.check(example, response).metrics)

    monkeypatch.setattr(Toy, "kkwarm_domains", _domains(toy_benchmark.examples, strict))
    wrong = differing(run)
    assert set(wrong) == {"verifier: toy", "verdicts: toy"}
    assert wrong["verdicts: toy"].startswith("12 of 24 verdicts changed")


def test_what_is_not_here_is_said(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    for key in ("products", "verifiers"):  # as runs before these were kept
        del manifest[key]
    (run / "manifest.json").write_text(json.dumps(manifest))
    findings = {f.what: f for f in verify_run(Run.read(run), registry())}
    assert findings["files"].detail == "no hashes were recorded"
    assert findings["verifier: toy"].state is State.UNCHECKED
    from kkwarm import plugins

    bare = {f.what: f for f in verify_run(Run.read(run), plugins.load())}  # the plugin is not installed here
    assert {f.state for w, f in bare.items() if "toy" in w and "figures" not in w} == {State.UNCHECKED}
    assert "unknown benchmark" in bare["verdicts: toy"].detail


def test_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def called(*args: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["verify", *args])
        return int(ended.value.code or 0), capsys.readouterr().out

    code, out = called(str(run), "--json")
    document = json.loads(out)
    assert (code, document["agrees"], document["counts"]) == (0, True, {"agrees": 8, "differs": 0, "unchecked": 1})
    edit(run, 4, correct)
    code, out = called(str(run), "--json")
    document = json.loads(out)
    assert (code, document["agrees"]) == (1, False)
    assert [f["lines"] for f in document["findings"] if f["what"] == "checksums"] == [[4]]
    code, out = called(str(run))
    assert code == 1 and "line 4: its checksum does not match" in " ".join(out.split())
    shutil.rmtree(run)
    assert called(str(run))[0] == 2


def _domains(load: Callable[[], list[Example]], check: Any) -> Any:
    from kkwarm.plugins import hookimpl
    from kkwarm.types import Domain, Sampling

    @hookimpl
    def kkwarm_domains(self: Toy) -> list[Domain]:
        return [Domain("toy", load, check, facet="parity", sampling=Sampling(1.0, 1.0, 24))]

    return kkwarm_domains
