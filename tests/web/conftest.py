"""One server and one web process for the tests of the web app."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.explained import write_explained
from support.server import ServerProcess
from support.tiny import write_extractor, write_signal, write_tiny
from support.web_process import WebProcess, fresh


@pytest.fixture(scope="session")
def web_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models: "tiny" with an alias, "seen" with explanations, "signal", "bank"."""
    root = tmp_path_factory.mktemp("web")
    write_tiny(root)
    (root / "tiny" / "aliases.json").write_text('{"champion": 1}')
    write_explained(root, "seen")
    write_signal(root)
    write_extractor(root, "bank")
    return root


@pytest.fixture(scope="session")
def grpc_server(web_repository: Path) -> Iterator[ServerProcess]:
    """A server that no test changes."""
    with ServerProcess(web_repository) as server:
        yield server


@pytest.fixture(scope="session")
def web(grpc_server: ServerProcess) -> Iterator[WebProcess]:
    """A web process that no test changes."""
    with WebProcess(grpc_server.target, command=fresh(grpc_server.target)) as process:
        yield process
