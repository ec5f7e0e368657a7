from pathlib import Path

import pytest

from kkwarm.testing.checkpoint import tiny_checkpoint


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint with a byte-level vocabulary."""
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model")
