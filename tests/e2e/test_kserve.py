"""KServe's own client against the real server."""

import re
from pathlib import Path

import pytest
from support.server import ServerProcess
from support.venvs import OTHER_CLIENTS, python_with, run_suite

SUITE = Path(__file__).parent / "clients" / "kserve_suite.py"
TESTS = 12


@pytest.mark.slow(seconds=4)
@pytest.mark.timeout(600)  # the first run installs
def test_kserve_client_is_served(tiny_server: ServerProcess) -> None:
    # It requires an older protobuf than the server, so it has a separate environment.
    python = python_with(*OTHER_CLIENTS)
    closing = run_suite(python, SUITE, CONVSCOPE_TARGET=tiny_server.target)
    assert re.match(rf"{TESTS} passed(, \d+ warnings?)? in ", closing), closing
