"""Fixtures for the tests of the server."""

from pathlib import Path

import pytest
from support.tiny import write_tiny


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository of its own with the model "good", which must be served whatever lies beside."""
    write_tiny(tmp_path, "good")
    return tmp_path
