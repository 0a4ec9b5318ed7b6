"""Servers and workers that end or stand still under load."""

import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from support.calls import sample, wait_until
from support.chaos.load import capacity, load
from support.chaos.rounds import rounds
from support.server import ServerProcess

from convscope.client import DeadlineExceededError, OverloadedError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.one_transport("grpcio cancels calls that arrive while it drains"),
]

SHARE_OF_CAPACITY = 0.8
# Meanwhile the SDK regains its budget of retries.
CALLS_BETWEEN = 400


def free_port() -> int:
    """Return a port that no process listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def ports() -> list[int]:
    return [free_port(), free_port()]


@contextmanager
def two_servers(models: Path, ports: list[int]) -> Iterator[dict[int, ServerProcess]]:
    """Two servers of the same models, by port, as behind one name."""
    servers: dict[int, ServerProcess] = {}
    try:
        for port in ports:
            servers[port] = start(models, port)
        yield servers
    finally:
        for server in servers.values():
            server.stop()


def start(models: Path, port: int) -> ServerProcess:
    return ServerProcess(models, "--grpc-address", f"127.0.0.1:{port}")


def target(ports: list[int]) -> str:
    return "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)


def test_no_call_is_lost_while_servers_are_restarted(
    tiny_repository: Path, ports: list[int]
) -> None:
    with two_servers(tiny_repository, ports) as servers:
        rate = SHARE_OF_CAPACITY * capacity(target(ports))
        with load(target(ports), rate) as callers:
            for turn in range(rounds(2)):
                port = ports[turn % 2]
                callers.wait_for(CALLS_BETWEEN)
                assert servers[port].stop() == 0
                servers[port] = start(tiny_repository, port)
    print(f"{rounds(2)} restarts at {rate:.0f} calls per second: {callers}")
    assert callers.errors == []


def test_no_call_is_lost_while_servers_are_killed(tiny_repository: Path, ports: list[int]) -> None:
    with two_servers(tiny_repository, ports) as servers:
        rate = SHARE_OF_CAPACITY * capacity(target(ports))
        with load(target(ports), rate) as callers:
            for turn in range(rounds(2)):
                port = ports[turn % 2]
                callers.wait_for(CALLS_BETWEEN)
                servers[port].process.kill()
                servers[port].stop()
                servers[port] = start(tiny_repository, port)
    print(f"{rounds(2)} kills at {rate:.0f} calls per second: {callers}")
    assert callers.errors == []


def test_no_call_is_lost_while_workers_are_killed(tiny_repository: Path) -> None:
    moments = random.Random(0)
    with ServerProcess(tiny_repository, "--workers", "2") as server:
        rate = SHARE_OF_CAPACITY * capacity(server.target)
        counted = partial(sample, server, "convscope_requests_total", code="OK")
        counts = [counted()]
        with load(server.target, rate) as callers:
            for _ in range(rounds(2)):
                callers.wait_for(CALLS_BETWEEN)
                killed = moments.choice(workers(server))
                os.kill(killed, signal.SIGKILL)
                wait_until(partial(is_replaced, server, killed))
                counts.append(counted())
        print(f"{rounds(2)} workers killed at {rate:.0f} calls per second: {callers}")
        assert callers.errors == []
        assert counts == sorted(counts)


def is_replaced(server: ServerProcess, killed: int) -> bool:
    running = workers(server)
    return killed not in running and len(running) == 2


def workers(server: ServerProcess) -> list[int]:
    """Return the process ids of the workers that run."""
    (serving,) = [line for line in server.log if line["event"] == "serving"]
    running = dict.fromkeys(serving["workers"])
    for line in list(server.log):
        if line["event"] == "worker ended":
            running.pop(line["pid"], None)
        elif line["event"] == "worker replaced":
            running[line["pid"]] = None
    return list(running)


def test_a_server_that_stood_still_goes_on(tiny_repository: Path) -> None:
    """What its callers gave up meanwhile isn't run; later calls are answered."""
    with ServerProcess(tiny_repository) as server:
        rate = SHARE_OF_CAPACITY * capacity(server.target)
        with load(server.target, rate, timeout_seconds=0.5) as callers:
            for _ in range(rounds(2)):
                callers.wait_for(CALLS_BETWEEN)
                before = len(callers.errors)
                server.process.send_signal(signal.SIGSTOP)
                time.sleep(2)
                server.process.send_signal(signal.SIGCONT)
                assert len(callers.errors) > before
                callers.wait_for(CALLS_BETWEEN)
    print(f"{rounds(2)} stops of two seconds at {rate:.0f} calls per second: {callers}")
    assert {type(error) for error in callers.errors} <= {DeadlineExceededError, OverloadedError}
