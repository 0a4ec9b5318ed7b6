"""Triton's and KServe's HTTP clients against the real web process."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.explained import write_explained
from support.server import ServerProcess
from support.tiny import write_signal, write_tiny
from support.venvs import OTHER_CLIENTS, python_with, run_suite
from support.web_process import WebProcess

SUITES = Path(__file__).parent / "clients"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    root = tmp_path_factory.mktemp("rest")
    write_tiny(root)
    write_signal(root)
    write_explained(root, "seen")
    with ServerProcess(root) as server, WebProcess(server.target) as process:
        yield process


@pytest.mark.slow(seconds=4)
@pytest.mark.timeout(600)  # the first run installs
def test_tritonclient_is_served(web: WebProcess) -> None:
    # It requires an older protobuf than the server, so it has a separate environment.
    python = python_with(*OTHER_CLIENTS)
    target = web.url.removeprefix("http://")
    closing = run_suite(python, SUITES / "triton_http_suite.py", CONVSCOPE_TARGET=target)
    assert re.match(r"25 passed in ", closing), closing


@pytest.mark.slow(seconds=4)
@pytest.mark.timeout(600)  # the first run installs
def test_kserve_client_is_served(web: WebProcess) -> None:
    python = python_with(*OTHER_CLIENTS)
    closing = run_suite(python, SUITES / "kserve_rest_suite.py", CONVSCOPE_TARGET=web.url)
    assert re.match(r"11 passed(, \d+ warnings?)? in ", closing), closing
