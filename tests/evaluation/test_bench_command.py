"""`kkwarm bench` on the command line."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_benchmark import N, Toy

from kkwarm.cli import main
from kkwarm.store import Run

SCRIPT = Path(__file__).parent / "toy_benchmark.py"


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_table_json_and_dry_run(toy: Toy, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [
        "bench",
        tiny,
        "--on",
        "toy,toy_free",
        "--samples",
        2,
        "--limit",
        4,
        "--device",
        "cpu",
        "-o",
        tmp_path / "r",
    ]
    code, out, _ = called(capsys, *common, "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0 and not (tmp_path / "r").exists()
    assert [(b["benchmark"], b["questions"], b["samples"], b["stored"]) for b in plan["benchmarks"]] == [
        ("toy", 4, 8, 0),
        ("toy_free", 4, 8, 0),
    ]
    code, out, _ = called(capsys, *common, "--label", "condition=base", "--json")
    document = json.loads(out)
    assert code == 0 and document["labels"] == {"condition": "base"}
    assert {"n", "samples", "accuracy", "stderr", "pass@1", "status", "metrics"} <= set(document["benchmarks"]["toy"])
    code, out, _ = called(capsys, *(a if a != "toy,toy_free" else "toy_free,toy" for a in common[:-1]), tmp_path / "o")
    code, again, _ = called(
        capsys, *(a if a != "toy,toy_free" else "toy_free,toy" for a in common[:-1]), tmp_path / "o"
    )
    assert out.index("toy_free") < out.index("toy ") and again == out, "a repeated command prints the same"
    code, out, _ = called(capsys, *common)
    assert code == 0 and "toy_free" in out and "accuracy" in out and "tokens/s" in out
    code, out, _ = called(capsys, *common, "--dry-run")
    table = [line.split() for line in out.splitlines() if line.startswith("toy")]
    assert code == 0 and [row[:4] for row in table] == [["toy", "4", "8", "8"], ["toy_free", "4", "8", "8"]]
    assert str(tiny) in out.replace("\n", "")


def test_default_folder_is_named_by_content(toy: Toy, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = set()
    for more in ([], [], ["--seed", 1]):
        _, out, _ = called(capsys, "bench", tiny, "--on", "toy", "--dry-run", "--json", *more)
        seen.add(json.loads(out)["run"])
    assert len(seen) == 2 and all("/bench/model-" in run for run in seen)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["NOWHERE", "--on", "toy"], "does not exist"),
        (["TINY", "--on", "toyy"], "did you mean toy"),
        (["TINY", "--on", "toy:prime"], "unknown parity of toy 'prime'"),
        (["TINY", "--on", "toy", "--label", "x"], "not of the form KEY=VALUE"),
        (["TINY", "--on", "toy", "--chat", "on"], "no chat template"),
        (["m", "--on", "toy", "--backend", "openai", "--base-url", "http://127.0.0.1:9/v1"], "no server responds"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], says: str, toy: Toy, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"NOWHERE": str(tmp_path / "nowhere"), "TINY": str(tiny)}
    code, out, err = called(capsys, "bench", *[places.get(a, a) for a in arguments], "-o", tmp_path / "r")
    assert code == 2 and not out and says in err and err.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_interrupt_leaves_a_resumable_run(tiny: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(SCRIPT),
        "bench",
        str(tiny),
        "--on",
        "toy",
        "--samples",
        "4000",
        "--max-tokens",
        "20",
    ]
    command += ["--batch-size", "8", "--device", "cpu", "-o", str(tmp_path / "r")]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = tmp_path / "r" / "samples.jsonl"
    try:
        deadline = time.monotonic() + 200
        while not (lines.exists() and lines.read_bytes().count(b"\n") >= 1):
            assert started.poll() is None and time.monotonic() < deadline, started.communicate()[1][-2000:]
            time.sleep(0.02)
        started.send_signal(signal.SIGINT)
        _, err = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode == 130 and "repeat the command to resume" in err and "Traceback" not in err
    run = Run.read(tmp_path / "r")
    assert run.manifest.state == "interrupted" and 0 < len(list(run.samples())) < 4000 * N
