import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kkwarm import plugins
from kkwarm.testing.checkpoint import tiny_checkpoint

sys.path.insert(0, str(Path(__file__).parent))

from toy_benchmark import Toy, registry


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Toy]:
    """The toy plugin, loaded beside the installed ones."""
    made = Toy()
    loaded = registry(made)
    with monkeypatch.context() as patched:  # `registry` itself is held by name in modules: its cache is filled
        patched.setattr(plugins, "load", lambda: loaded)
        plugins.registry.cache_clear()
        plugins.registry()
    yield made
    plugins.registry.cache_clear()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model")
