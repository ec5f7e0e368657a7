"""`benchmarks/gpu/all.py`: what is begun, ended, left out and taken up again."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu" / "all.py"


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPT.parents[1] / "speed")
    spec = importlib.util.spec_from_file_location("gpu_all", SCRIPT)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_all", made)
    spec.loader.exec_module(made)
    return made


def test_each_part_is_kept_at_once_and_the_budget_holds(everything: ModuleType, tmp_path: Path) -> None:
    def part(name: str, code: str, seconds: int = 0) -> object:
        script = tmp_path / f"{name}.py"
        script.write_text(
            f"import sys, time, pathlib\nout = pathlib.Path(sys.argv[sys.argv.index('-o') + 1])\n{code}\n"
        )
        return everything.Part(name, (str(script),), seconds)

    parts = [
        part("good", "out.write_text('{}')"),
        part("bad", "sys.exit('no such device')"),
        part("large", "out.write_text('{}')", 10_000),
        part("slow", "time.sleep(60)"),
        part("last", "out.write_text('{}')", 1),
    ]
    out = tmp_path / "out"
    out.mkdir()
    began = time.monotonic()
    states = {row["part"]: row["state"] for row in everything.run(parts, out, 4, tmp_path / "logs")}
    assert time.monotonic() - began < 30
    assert states == {"good": "done", "bad": "failed", "large": "left out", "slow": "too long", "last": "left out"}
    told = json.loads((out / everything.SUMMARY).read_text())
    assert {row["part"]: row["state"] for row in told["parts"]} == states and told["environment"]["versions"]
    assert next(row["why"] for row in told["parts"] if row["part"] == "bad") == "no such device"
    again = everything.run([parts[0], parts[4]], out, 60, tmp_path / "logs")
    assert [row["state"] for row in again] == ["before", "done"]


def test_a_part_that_hangs_leaves_time_for_the_others(
    everything: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everything, "_PATIENCE", 1 / 60)
    for name, code in (("hangs", "import time; time.sleep(60)"), ("good", "")):
        (tmp_path / f"{name}.py").write_text(code)
    parts = [everything.Part(name, (str(tmp_path / f"{name}.py"),), 0) for name in ("hangs", "good")]
    began = time.monotonic()
    rows = everything.run(parts, tmp_path, 600, tmp_path / "logs")
    assert rows[0]["state"] == "too long" and time.monotonic() - began < 30


def test_the_parts_fit_a_lent_half_hour(everything: ModuleType) -> None:
    """All but the long bench within the budget that is the default, and each within ten minutes."""
    short = [part for part in everything.PARTS if part.name != "bench_1.5B_whole"]
    assert sum(part.seconds for part in short) <= 1500 and max(part.seconds for part in short) <= 560
    assert len({part.name for part in everything.PARTS}) == len(everything.PARTS)
    assert all(Path(part.command[0]).is_file() for part in everything.PARTS)


def test_flops_of_a_token() -> None:
    """Of 1.5B: 1.54 billion weights in matrix products, the tied head among them; attention at 4k adds a tenth."""
    sys.path.append(str(SCRIPT.parent))
    from subject import SHAPES

    shape = SHAPES["1.5B"]
    weights = shape.flops(0, 151_936) / 6
    assert weights == 28 * (1536 * 1536 * 2 + 1536 * 256 * 2 + 3 * 1536 * 8960) + 1536 * 151_936
    assert shape.flops(4096, 151_936) - 6 * weights == 6 * 28 * 1536 * 4096
