"""Fixtures for all tests."""

import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

# Timing is no property of a test, and a loaded machine must not fail one.
settings.register_profile("kkwarm", deadline=None, derandomize=True)
settings.load_profile("kkwarm")

# A shell may start us in the background with Ctrl-C ignored; what tests start must not inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


def _shared() -> Path | None:
    named = os.environ.get("KKWARM_DATA")
    for path in [Path(named)] if named else [ROOT.parent / "shared" / "data"]:
        if path.is_dir():
            return path
    return None


@pytest.fixture(autouse=True)
def _quiet_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the user's runs, or reaches for the hub."""
    monkeypatch.setenv("KKWARM_HOME", str(tmp_path / "runs"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("KKWARM_UNPINNED", "")


@cache
def _installed() -> set[tuple[str, str]]:
    from kkwarm.plugins import load

    return set(load().origin)


@pytest.fixture(autouse=True, scope="module")
def _unchanged_registry() -> Iterator[None]:
    """What the tests of a module add to the registry, such as tables, does not reach the next module."""
    from kkwarm.plugins import registry

    yield
    if registry.cache_info().currsize and set(registry().origin) != _installed():
        registry.cache_clear()


@pytest.fixture
def unpinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-in data takes the place of published benchmarks, as with --unpinned; the figures are marked."""
    monkeypatch.setenv("KKWARM_UNPINNED", "1")


@pytest.fixture
def shared_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real data, with `KKWARM_DATA` set to it; the test skips where there is none."""
    path = _shared()
    if path is None:
        pytest.skip("needs real benchmark data: set KKWARM_DATA to a folder of the layout in kkwarm/data/sources.py")
    monkeypatch.setenv("KKWARM_DATA", str(path))
    return path
