"""Triton's and KServe's clients against a server that asks for a token, over gRPC and HTTP."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.guarded import TOKEN, guarded
from support.server import ServerProcess
from support.venvs import OTHER_CLIENTS, python_with, run_suite
from support.web_process import WebProcess

SUITES = Path(__file__).parent / "clients"
PASSED = r"{} passed(, \d+ warnings?)? in "

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first run installs


@dataclass(frozen=True)
class Addresses:
    """A server that asks for a token, and a web process in front of it."""

    target: str
    url: str
    token: str


@pytest.fixture(scope="module")
def addresses(tiny_server: ServerProcess) -> Iterator[Addresses]:
    with guarded(tiny_server.target) as guard, WebProcess(guard.target) as web:
        yield Addresses(guard.target, web.url, TOKEN)


def test_tritonclient_sends_a_token(addresses: Addresses) -> None:
    closing = run_suite(
        python_with(*OTHER_CLIENTS),
        SUITES / "triton_token_suite.py",
        CONVSCOPE_TARGET=addresses.target,
        CONVSCOPE_HTTP_TARGET=addresses.url.removeprefix("http://"),
        CONVSCOPE_TOKEN=addresses.token,
    )
    assert re.match(PASSED.format(6), closing), closing


def test_kserve_clients_send_a_token(addresses: Addresses) -> None:
    closing = run_suite(
        python_with(*OTHER_CLIENTS),
        SUITES / "kserve_token_suite.py",
        CONVSCOPE_TARGET=addresses.target,
        CONVSCOPE_HTTP_TARGET=addresses.url,
        CONVSCOPE_TOKEN=addresses.token,
    )
    assert re.match(PASSED.format(4), closing), closing
