"""Connections end at their age, on both transports, and no call of a client fails."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
import pytest
from support.server import ServerProcess

from convscope.client import Client
from convscope.client._connection.health_check import health_request

RED = np.full((8, 8, 3), (200, 30, 20), np.uint8)
AGE = ("--max-connection-age-seconds", "0.3")
PATIENCE_SECONDS = 20.0


class Relay:
    """Passes connections on to a server, and counts them."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._server = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._sockets = [self._listener]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(self._server)
                self._sockets += client, server
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture(params=["http2", "grpc-aio"])
def transport(request: pytest.FixtureRequest) -> tuple[str, str]:
    if request.param == "http2":
        pytest.importorskip("ngh2")
    return "--transport", request.param


@pytest.mark.one_transport("it starts servers with each of them")
def test_a_client_connects_again_and_no_call_fails(
    tiny_repository: Path, transport: tuple[str, str]
) -> None:
    with (
        ServerProcess(tiny_repository, *transport, *AGE) as server,
        Relay(server.target) as relay,
        Client(relay.target, retries=0) as client,
    ):
        end = time.monotonic() + PATIENCE_SECONDS
        while relay.connections < 3 and time.monotonic() < end:
            assert client.classify(RED, model="tiny").top.label == "red"
        assert relay.connections >= 3


@pytest.mark.one_transport("it starts servers with each of them")
def test_an_endless_call_ends_after_the_grace(
    tiny_repository: Path, transport: tuple[str, str]
) -> None:
    flags = ("--max-connection-age-grace-seconds", "0.2")
    with (
        ServerProcess(tiny_repository, *transport, *AGE, *flags) as server,
        watching(server) as calls,
    ):
        next(calls)
        with pytest.raises(grpc.RpcError) as ended:
            next(calls)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.one_transport("it starts servers with each of them")
def test_without_a_grace_it_goes_on(tiny_repository: Path, transport: tuple[str, str]) -> None:
    with ServerProcess(tiny_repository, *transport, *AGE) as server, watching(server) as calls:
        next(calls)
        time.sleep(1.5)  # five times the age
        assert calls.is_active()


@contextmanager
def watching(server: ServerProcess) -> Iterator[Any]:
    """Watch the health of a server: a call that never ends."""
    with grpc.insecure_channel(server.target, [("grpc.enable_retries", 0)]) as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch", health_request, bytes)
        call = watch("", timeout=PATIENCE_SECONDS)
        yield call
        call.cancel()
