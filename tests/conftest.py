"""Fixtures for the tests of every room."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.server import ServerProcess
from support.tiny import write_signal, write_tiny


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of two small models: "tiny" looks at images, "signal" at float32 tensors."""
    root = tmp_path_factory.mktemp("tiny")
    write_tiny(root)
    write_signal(root)
    return root


@pytest.fixture(scope="session")
def tiny_server(tiny_repository: Path) -> Iterator[ServerProcess]:
    """A server of the small models, shared by all tests that leave it as it is."""
    with ServerProcess(tiny_repository) as server:
        yield server
