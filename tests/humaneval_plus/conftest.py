"""Sandbox and cache folder of these tests."""

from collections.abc import Iterator

import pytest

from kkwarm.verify.sandbox import ALLOW_UNSANDBOXED, Level, strongest_level


@pytest.fixture(autouse=True)
def _sandboxed(monkeypatch: pytest.MonkeyPatch) -> None:
    if strongest_level() is Level.PROCESS:
        monkeypatch.setenv(ALLOW_UNSANDBOXED, "1")  # what runs here is known


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
