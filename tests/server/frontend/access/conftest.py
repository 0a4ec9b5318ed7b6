"""Servers with policies, one for each transport."""

import pytest

TRANSPORTS = ("http2", "grpc-aio")


@pytest.fixture(scope="module", params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
