"""Checks that tables in the documentation equal what their scripts make from the stored results."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def script(name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return module


@pytest.mark.parametrize("name", ["adversarial_probes", "adversarial_search", "paper_contamination"])
def test_the_table_in_the_documentation_equals_the_results(name: str) -> None:
    module = script(name)
    document = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    page = module.PAGE.read_text("utf-8")
    between = page.partition(module.BEGIN)[2].partition(module.END)[0]
    assert between.strip() == module.table(document).strip()
    assert document["environment"]["command"]


def test_no_adversarial_probe_is_accepted_by_a_verifier_of_kkwarm() -> None:
    rows = json.loads((RESULTS / "adversarial_probes.json").read_text("utf-8"))["scorers"]
    ours = {r["domain"]: r for r in rows if r["scorer"] == "kkwarm"}
    assert len(ours) == 8
    assert {(r["wrongly_accepted"], r["wrongly_rejected"], r["no_verdict"]) for r in ours.values()} == {(0, 0, 0)}
    assert all(r["probes_to_reject"] > 100 for r in ours.values())


def test_no_generated_case_gets_a_wrong_verdict_from_kkwarm() -> None:
    document = json.loads((RESULTS / "adversarial_search.json").read_text("utf-8"))
    ours = {r["domain"]: r for r in document["scorers"] if r["scorer"] == "kkwarm"}
    assert set(ours) == {"kk", "math", "mmlu_pro"}
    assert {(r["wrongly_accepted"], r["wrongly_rejected"], r["no_verdict"]) for r in ours.values()} == {(0, 0, 0)}
    assert all(r["cases_to_reject"] > 500 and r["cases_to_accept"] > 100 for r in ours.values())


def test_the_contamination_check_finds_the_overlap_of_the_papers_split() -> None:
    found = json.loads((RESULTS / "paper_contamination.json").read_text("utf-8"))["categories"]
    assert found["history"]["questions"] == 381 and found["physics"]["questions"] == 1299
    for r in found.values():
        assert r["shared_but_not_found"] == 0
        assert r["share_found"]["mean"] == pytest.approx(r["expected_share"], abs=0.03)
        assert r["kkwarm_split"]["found"].get("text", 0) == 0


def test_the_readme_has_the_measured_figures() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    comparison = script("comparison_table")
    assert comparison.BEGIN in text
    assert comparison.insert_table(text) == text, "run python benchmarks/comparison_table.py --write"


def test_the_tutorial_has_the_lines_of_the_three_domains() -> None:
    module = script("domain_lines")
    text = module.PAGE.read_text("utf-8")
    assert module.BEGIN in text
    assert module.insert_table(text) == text, "run python benchmarks/domain_lines.py --write"
