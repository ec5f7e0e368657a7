"""`benchmarks/gpu/all.py`: which parts start, stop, are left out, and resume."""

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu" / "all.py"


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


def test_the_first_parts_fit_into_twelve_minutes(run_all: ModuleType) -> None:
    """A GRPO step, SFT, bench, decode steps and memory, each of which fits into ten minutes."""
    first = run_all.PARTS[:5]
    assert {part.name.partition("_")[0] for part in first} == {"grpo", "sft", "bench", "decode", "memory"}
    assert sum(part.seconds for part in first) <= 690 and max(part.seconds for part in first) <= 560


def test_wheels_are_packed_into_parts_of_limited_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import pack

    sizes = {"a": 50, "b": 30, "c": 29, "d": 1}
    wheels = []
    for name, size in sizes.items():
        wheels.append(tmp_path / f"{name}.whl")
        wheels[-1].write_bytes(b"x" * size)
    assert [[w.stem for w in part] for part in pack.fill_parts(wheels, 60)] == [["a", "d"], ["b", "c"]]
    with pytest.raises(SystemExit, match=r"a\.whl alone"):
        pack.fill_parts(wheels, 40)
    present, needed = pack.closure(pack.PRESENT), pack.closure(["kkwarm"])
    assert {"torch", "numpy", "tokenizers"} <= present.keys() <= needed.keys() and "trl" not in present


def test_missing_packages_are_one_line(run_all: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no wheels: make them with"):
        run_all.install_packages(tmp_path, tmp_path / "site")
    assert run_all.missing_modules() == []


def test_the_parts_are_distinct(run_all: ModuleType) -> None:
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
