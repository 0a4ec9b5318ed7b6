"""Callers without credentials, half-finished handshakes, and SIGHUP."""

import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import grpc
from support.access import PolicyFile
from support.calls import image_request
from support.certificates import make_certificate

from bench.attacks.results import Result
from bench.attacks.run import Run, repeat, reply, reporting
from bench.attacks.server import Server

__all__ = ["access_control"]

ROW = "access"
HANDSHAKES = 400
INVALID_TOKEN = (("authorization", "Bearer " + "x" * 43),)
# The beginning of a TLS record with a ClientHello of 512 bytes.
HALF_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def access_control(run: Run) -> Iterator[Result]:
    """Attack a server with a policy, and one with TLS."""
    policy = PolicyFile(run.scratch, {"robot": ""})
    options = {"token": policy.tokens["robot"]} if run.checkout.has("--policy") else {}
    with run.serving("--policy", str(policy.path)) as server:
        with reporting(run, server, ROW, **options) as report:
            report.attack("calls without a token", partial(_call, server, run.seconds, ()))
            report.attack(
                "calls with invalid tokens", partial(_call, server, run.seconds, INVALID_TOKEN)
            )
            report.attack("SIGHUP", partial(_reload, server, run.seconds))
        yield from report.results()
    chain, key = make_certificate(run.scratch, "server")
    with run.serving("--tls-certificate", str(chain), "--tls-key", str(key)) as server:
        with reporting(run, server, ROW, roots=str(chain)) as report:
            attack = f"{HANDSHAKES} TLS handshakes without their end"
            report.attack(attack, partial(_half_open, server, run.seconds))
        yield from report.results()


def _call(server: Server, seconds: float, metadata: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    codes, cpu = Counter[str](), server.cpu_seconds()
    message = image_request().SerializeToString()
    with grpc.insecure_channel(server.target) as channel:

        def call() -> None:
            codes[reply(channel, message, metadata=metadata).partition(":")[0]] += 1

        sent = repeat(call, seconds, 0.002)
    used = server.cpu_seconds() - cpu
    return {"sent": sent, "reply": " ".join(codes), "cpu_seconds": used}


def _reload(server: Server, seconds: float) -> dict[str, Any]:
    def reload() -> None:
        if server.is_running:
            server.process.send_signal(signal.SIGHUP)

    repeat(reload, seconds, 0.5)
    return {"reply": "server runs" if server.is_running else "server ended"}


def _half_open(server: Server, seconds: float) -> dict[str, Any]:
    """Begin handshakes; return how many connections the server keeps after some seconds."""
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
            for _ in range(HANDSHAKES)
        ]
        for connection in connections:
            connection.sendall(HALF_HELLO)
        for _ in range(round(seconds)):
            time.sleep(1)
        return {"open": sum(map(_is_open, connections))}


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    with suppress(BlockingIOError):
        try:
            return bool(connection.recv(1))
        except ConnectionError:
            return False
    return True
