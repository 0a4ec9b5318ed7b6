"""Fixtures for the tests of the Open Inference Protocol."""

from collections.abc import Iterator

import pytest
from support.oip import Stub, oip_connected
from support.server import ServerProcess


@pytest.fixture(scope="session")
def oip(tiny_server: ServerProcess) -> Iterator[Stub]:
    """Every method of the protocol, of the server of the small models."""
    with oip_connected(tiny_server) as stub:
        yield stub
