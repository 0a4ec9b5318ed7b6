"""The tests that start a server are found, so that they run on each transport."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support import calls, server
from support.calls import run_to_end
from support.server import ServerProcess, serving
from support.starting import refers_to_server


class Restarted(ServerProcess):
    def again(self) -> None: ...


class Holder:
    @staticmethod
    def begin() -> Any:
        return serving("models")


def helper() -> Any:
    def nested() -> Any:
        return serving("models")

    return nested


def by_helper() -> None:
    helper()


def by_class() -> None:
    Holder.begin()


def by_subclass() -> None:
    Restarted("models")


def by_module() -> None:
    server.serving("models")


def by_command() -> list[str]:
    return [sys.executable, "-m", "convscope.server"]


def by_default(command: tuple[str, ...] = ("convscope-server",)) -> Any:
    return command


def by_comprehension() -> list[Any]:
    return [serving(str(number)) for number in range(2)]


def recursive() -> None:
    recursive()


def of_what_only_fails() -> None:
    run_to_end("--models", "none")
    calls.wait_until(lambda: True)


def of_a_running_server(running: ServerProcess) -> str:
    return running.metrics()


@pytest.mark.parametrize(
    "function",
    [by_helper, by_class, by_subclass, by_module, by_command, by_default, by_comprehension],
)
def test_functions_that_start_a_server_are_found(function: Any) -> None:
    assert refers_to_server(function)


@pytest.mark.parametrize("function", [recursive, of_what_only_fails, of_a_running_server, partial])
def test_other_functions_are_not(function: Any) -> None:
    assert not refers_to_server(function)


def test_fixtures_count(request: pytest.FixtureRequest, tiny_server: ServerProcess) -> None:
    assert request.node.get_closest_marker("server")


def test_other_tests_have_no_marker(request: pytest.FixtureRequest) -> None:
    assert not request.node.get_closest_marker("server")


def test_servers_run_on_the_transport_of_the_environment(tiny_server: ServerProcess) -> None:
    libraries = Path(f"/proc/{tiny_server.process.pid}/maps").read_text()
    chosen = os.environ.get("CONVSCOPE_TRANSPORT", "auto")
    assert ("ngh2" in libraries) == (chosen != "grpc-aio")
