"""Triton's own client against the real server."""

import re
from pathlib import Path

import pytest
from support.explained import write_explained
from support.server import ServerProcess
from support.tiny import write_signal, write_tiny
from support.venvs import OTHER_CLIENTS, python_with, run_suite

SUITE = Path(__file__).parent / "clients" / "triton_suite.py"
TESTS = 21


@pytest.mark.slow(seconds=4)
@pytest.mark.timeout(600)  # the first run installs
def test_tritonclient_is_served(tmp_path: Path) -> None:
    # It requires an older protobuf than the server, so it has a separate environment.
    python = python_with(*OTHER_CLIENTS)
    write_tiny(tmp_path)
    write_signal(tmp_path)
    write_explained(tmp_path, "seen")
    with ServerProcess(tmp_path) as server:
        closing = run_suite(python, SUITE, CONVSCOPE_TARGET=server.target)
    assert re.match(rf"{TESTS} passed in ", closing), closing
