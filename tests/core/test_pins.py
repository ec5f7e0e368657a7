"""Published data is pinned: other content is refused, or marked in every figure with --unpinned."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from kkwarm.cli import cli
from kkwarm.data import examples_digest, sources
from kkwarm.errors import KkwarmError
from kkwarm.evaluation import bench
from kkwarm.plugins import Registry, load, registry
from kkwarm.plugins import hookimpl as impl
from kkwarm.schema.settings import BenchConfig
from kkwarm.testing.scripted import ScriptedModel
from kkwarm.types import Domain, Example, Pin

FIRST = "test/precalculus/807.json"
MODEL = ScriptedModel(lambda prompt, index: "x")
PINNED = {"math", "kk", "mmlu_pro", "humaneval_plus"}


def invoke(*args: str) -> Any:
    return CliRunner().invoke(cli, args, catch_exceptions=True)


@pytest.fixture
def falsified(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of MATH in which the first gold answer is another one."""
    folder = tmp_path / "data" / "math"
    folder.mkdir(parents=True)
    (folder / "train_pool.jsonl.gz").write_bytes((shared_data / "math" / "train_pool.jsonl.gz").read_bytes())
    with gzip.open(shared_data / "math" / "math500.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    assert rows[0]["unique_id"] == FIRST
    rows[0]["answer"] = "42"
    with gzip.open(folder / "math500.jsonl.gz", "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path / "data"))
    outputs = tmp_path / "outputs.jsonl"
    outputs.write_text(json.dumps({"id": FIRST, "completion": "<think>x</think><answer>42</answer>"}) + "\n")
    return outputs


def test_the_published_data_has_the_pinned_hashes(shared_data: Path) -> None:
    for name in PINNED:
        benchmark, task = registry().benchmark(name), registry().task(name)
        for part in (benchmark, task):
            assert part.pin is not None and part.find_mismatch is not None
            assert part.find_mismatch() is None, name
            assert len(part.pin.content) == 64 and (part.pin.revision or part.pin.source)


def test_every_published_benchmark_is_pinned() -> None:
    """The miniature is made by code; the others are published data."""
    domains = load().domains  # tests may have added some to the registry
    assert {name for name, d in domains.items() if {"test", "train"} <= d.pins.keys()} >= {*PINNED, "mbpp_plus"}
    assert {name for name, d in domains.items() if not d.pins and not name.startswith("mini")} == set()


def test_a_falsified_answer_is_refused_with_both_hashes(falsified: Path) -> None:
    pin = registry().benchmark("math").pin
    assert pin is not None
    message = rf"math \(test split\) is not the published data: its hash is .*, the pinned hash is {pin.content[:16]} "
    for command in (["score", str(falsified), "--benchmark", "math"], ["try", "math", "42"], ["domains", "math"]):
        with pytest.raises(KkwarmError, match=message):
            CliRunner().invoke(cli, command, catch_exceptions=False, standalone_mode=False)
    with pytest.raises(KkwarmError, match=message):
        bench("scripted", ["math"], None, BenchConfig(limit=2), backend=MODEL)


def test_a_falsified_answer_is_marked_in_every_figure(falsified: Path, tmp_path: Path) -> None:
    run, phrase = tmp_path / "runs" / "scored", "‡ math: not the published data: its hash is "
    score = ["score", str(falsified), "--benchmark", "math", "--unpinned"]
    table = invoke(*score, "-o", str(run))
    assert table.exit_code == 0 and phrase in table.output and "±79.3‡" in table.output
    figures = json.loads(invoke(*score, "--json").output)["benchmarks"]["math"]
    pin = registry().benchmark("math").pin
    assert pin is not None and figures["unpinned"]["pinned"] == pin.content != figures["unpinned"]["content"]
    report = json.loads(invoke("report", str(run), "--json").output)
    (cell,) = (row["math"] for row in report["matrix"].values())
    assert any("not the published data" in text for text in cell["scoring"])
    page = tmp_path / "page.html"
    shown = invoke("report", str(run)).output
    assert "‡" in shown and "not the published data" in shown
    invoke("report", str(run), "--html", str(page))
    assert "not the published data" in page.read_text("utf-8")
    compared = invoke("compare", str(run), str(run)).output
    assert compared.count("‡") >= 4 and "‡ A on math: not the published data" in compared


def test_bench_marks_unpinned_data(falsified: Path, tmp_path: Path, unpinned: None) -> None:
    from kkwarm.cli.bench import show

    run = bench("scripted", ["math"], tmp_path / "run", BenchConfig(limit=2), backend=MODEL)
    assert run.manifest.unpinned["math"] == run.manifest.benchmarks["math"]["unpinned"]
    shown = CliRunner()
    with shown.isolation() as streams:
        show(run.manifest.results)
    assert "‡ math: not the published data" in streams[0].getvalue().decode()


def domain(pin: Pin, answer: str = "1") -> Registry:
    examples = [Example(f"{n}", f"{n}?", answer) for n in range(2)]
    made = Domain("pinned", lambda: examples, lambda example, response: True, pins={"test": pin})
    return load([("pinned", SimpleNamespace(kkwarm_domains=impl(specname="kkwarm_domains")(lambda: [made])))])


def test_a_plugin_can_pin_its_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))
    pin = Pin(examples_digest([Example(f"{n}", f"{n}?", "1") for n in range(2)]))
    assert len(list(domain(pin).benchmark("pinned").load())) == 2
    with pytest.raises(KkwarmError, match=r"the data of pinned.* is not the published data"):
        domain(pin, "2").benchmark("pinned").load()
    monkeypatch.delenv("KKWARM_DATA")
    with pytest.raises(KkwarmError, match=r"the data of pinned.* is not the published data"):
        domain(pin, "2").benchmark("pinned").load()
    of_hub = replace(pin, repo="some/data", revision="abc")  # its content has no known hash: the revision pins it
    assert len(list(domain(of_hub, "2").benchmark("pinned").load())) == 2


def test_the_hub_is_read_at_the_pinned_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = {}
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **options: asked.update(options) or [{"x": 1}])
    assert list(sources.hub_rows("some/data", "test", revision="abc")) == [{"x": 1}]
    assert asked == {"split": "test", "revision": "abc"}
