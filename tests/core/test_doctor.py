"""`kkwarm doctor`: clashes between the libraries that must fit each other."""

from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from click.testing import CliRunner

from kkwarm.cli import doctor
from kkwarm.errors import KkwarmError


@dataclass
class Fake:
    version: str
    requires: list[str] = field(default_factory=list)


def clashes(monkeypatch: pytest.MonkeyPatch, **installed: Fake) -> list[doctor.Finding]:
    def distribution(name: str) -> Fake:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(doctor, "distribution", distribution)
    return list(doctor._check_compatibility())


def test_versions_that_do_not_fit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = clashes(
        monkeypatch,
        torch=Fake("2.12.1+cu130"),
        transformers=Fake("5.17.0", ["torch>=2.4; extra == 'torch'"]),
        vllm=Fake("0.31.0", ["torch==2.13.0", "transformers<5.18,>=5.10.4", "numpy"]),
    )
    assert (line.what, line.state) == ("vllm and torch", "missing")
    assert "needs torch ==2.13.0, but 2.12.1+cu130 is installed" in line.detail
    assert line.fix == "pip install 'torch==2.13.0', or another vllm"


def test_trl_says_which_vllm_it_drives(monkeypatch: pytest.MonkeyPatch) -> None:
    trl = Fake("1.16.0", ["vllm<=0.31.0,>=0.22.0; extra == 'vllm'", "transformers>=5"])
    ours = {"trl": trl, "transformers": Fake("5.17.0")}
    assert [line.what for line in clashes(monkeypatch, **ours, vllm=Fake("0.33.0"))] == ["trl and vllm"]
    assert clashes(monkeypatch, **ours, vllm=Fake("0.30.0+cpu")) == []
    assert clashes(monkeypatch, **ours) == []


def test_a_requirement_of_another_machine_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = Fake("0.31.0", ["torch==2.11.0; platform_machine == 'abacus'"])
    assert clashes(monkeypatch, vllm=vllm, torch=Fake("2.13.0")) == []


def test_what_is_installed_here_fits() -> None:
    assert list(doctor._check_compatibility()) == []


def test_what_is_installed_and_cannot_be_imported_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vllm.py").write_text("raise RuntimeError('the driver is too old')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    line = doctor._check_import("vllm")
    assert line is not None and line.state == "missing"
    assert line.detail == "installed, but cannot be imported: RuntimeError: the driver is too old"
    assert doctor._check_import("json") is None


def test_options_of_parity_alone_are_refused() -> None:
    done = CliRunner().invoke(doctor.command, ["--base-url", "http://x/v1"])
    assert isinstance(done.exception, KkwarmError) and "--parity" in str(done.exception)


def test_a_place_for_runs_that_cannot_be_written_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KKWARM_HOME", str(tmp_path / "file" / "runs"))
    (line,) = doctor._check_disk()
    assert (line.what, line.state) == ("runs", "note")
    assert "cannot be written" in line.detail and "KKWARM_HOME" in line.fix
