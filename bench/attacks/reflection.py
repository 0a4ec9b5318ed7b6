"""Requests of reflection that can't be parsed."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
from support import abuse

from bench.attacks.results import Result
from bench.attacks.run import Run, repeat
from bench.attacks.server import Server

__all__ = ["reflection"]

INVALID = b"\xff\xff\xff\xff"


def reflection(run: Run) -> Iterator[Result]:
    """Attack one server."""
    with run.serving() as server:
        act = partial(_ask, server, run.seconds)
        yield run.beside(server, "reflection", "bytes that are no message", act)


def _ask(server: Server, seconds: float) -> dict[str, Any]:
    found = ""
    with grpc.insecure_channel(server.target) as channel:
        method: Any = channel.stream_stream(abuse.REFLECTION)

        def ask() -> None:
            nonlocal found
            try:
                list(method(iter([INVALID]), timeout=5))
                found = "OK"
            except grpc.RpcError as error:
                found = f"{error.code().name}: {error.details()}"

        count = repeat(ask, seconds, 0.05)
    return {"sent": count, "reply": found[:100]}
