"""`benchmarks/gpu/run_all.py`: which parts start, stop, are left out, and resume."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu" / "run_all.py"


@pytest.fixture
def run_all(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPT.parents[1] / "speed")
    spec = importlib.util.spec_from_file_location("run_all", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "run_all", module)
    spec.loader.exec_module(module)
    return module


def test_stores_each_result_at_once_and_keeps_to_the_budget(run_all: ModuleType, tmp_path: Path) -> None:
    def part(name: str, code: str, seconds: int = 0) -> object:
        script = tmp_path / f"{name}.py"
        script.write_text(
            f"import sys, time, pathlib\nout = pathlib.Path(sys.argv[sys.argv.index('-o') + 1])\n{code}\n"
        )
        return run_all.Part(name, (str(script),), seconds)

    parts = [
        part("good", "out.write_text('{}')"),
        part("bad", "sys.exit('no such device')"),
        part("large", "out.write_text('{}')", 10_000),
        part("slow", "time.sleep(60)"),
        part("last", "out.write_text('{}')", 1),
    ]
    out = tmp_path / "out"
    out.mkdir()
    started = time.monotonic()
    states = {row["part"]: row["state"] for row in run_all.run(parts, out, 4, tmp_path / "logs")}
    assert time.monotonic() - started < 30
    assert states == {"good": "done", "bad": "failed", "large": "left out", "slow": "too long", "last": "left out"}
    summary = json.loads((out / run_all.SUMMARY).read_text())
    assert {row["part"]: row["state"] for row in summary["parts"]} == states and summary["environment"]["versions"]
    assert next(row["why"] for row in summary["parts"] if row["part"] == "bad") == "no such device"
    resumed = run_all.run([parts[0], parts[4]], out, 60, tmp_path / "logs")
    assert [row["state"] for row in resumed] == ["before", "done"]


def test_stops_a_part_that_hangs(run_all: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_all, "_TIMEOUT_FACTOR", 1 / 60)
    for name, code in (("hangs", "import time; time.sleep(60)"), ("good", "")):
        (tmp_path / f"{name}.py").write_text(code)
    parts = [run_all.Part(name, (str(tmp_path / f"{name}.py"),), 0) for name in ("hangs", "good")]
    started = time.monotonic()
    rows = run_all.run(parts, tmp_path, 600, tmp_path / "logs")
    assert rows[0]["state"] == "too long" and time.monotonic() - started < 30


def test_the_parts_fit_into_half_an_hour(run_all: ModuleType) -> None:
    """All but the long bench fit into the default budget, and each fits into ten minutes."""
    short = [part for part in run_all.PARTS if part.name != "bench_1.5B_full"]
    assert sum(part.seconds for part in short) <= 1500 and max(part.seconds for part in short) <= 560
    assert len({part.name for part in run_all.PARTS}) == len(run_all.PARTS)
    assert all(Path(part.command[0]).is_file() for part in run_all.PARTS)


def test_flops_of_a_token() -> None:
    """1.5B: 1.54 billion weights in matrix products, including the tied head; attention at 4k adds a tenth."""
    sys.path.append(str(SCRIPT.parent))
    from gpu_common import SHAPES

    shape = SHAPES["1.5B"]
    weights = shape.flops(0, 151_936) / 6
    assert weights == 28 * (1536 * 1536 * 2 + 1536 * 256 * 2 + 3 * 1536 * 8960) + 1536 * 151_936
    assert shape.flops(4096, 151_936) - 6 * weights == 6 * 28 * 1536 * 4096
