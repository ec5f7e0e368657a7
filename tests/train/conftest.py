import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kkwarm.plugins

sys.path.insert(0, str(Path(__file__).parent))
import toy_task as toy_domain


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    """The toy domain is registered."""
    load = kkwarm.plugins.load
    toy_domain.install()
    yield
    kkwarm.plugins.load = load
    kkwarm.plugins.registry.cache_clear()


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint whose vocabulary is the toy domain's."""
    return toy_domain.checkpoint(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="session")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 traces of the symbolic teacher."""
    from kkwarm.train import write_traces

    path = tmp_path_factory.mktemp("traces") / "traces.jsonl"
    write_traces(path, toy_domain._teach(48, 0))
    return path
