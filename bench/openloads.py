"""Run the open and closed loops of `bench.openloop` in a separate process."""

from pathlib import Path
from typing import Any

from bench.processes import run_worker
from bench.servers import CLASSIFY, Server

__all__ = ["closed", "opened"]

TIMEOUT_SECONDS = 40.0


def opened(
    server: Server,
    message: bytes,
    scratch: Path,
    *,
    rate: float,
    seconds: float,
    deadline_seconds: float,
    seed: int = 0,
) -> dict[str, Any]:
    """Make calls at an average rate. Each deadline counts from the scheduled start."""
    extra = {"rate": rate, "seed": seed}
    return _run(server, message, scratch, seconds, deadline_seconds, extra)


def closed(
    server: Server,
    message: bytes,
    scratch: Path,
    *,
    in_flight: int,
    seconds: float,
    deadline_seconds: float,
) -> dict[str, Any]:
    """Keep a number of calls in flight, with the same client as the open loop."""
    return _run(server, message, scratch, seconds, deadline_seconds, {"in_flight": in_flight})


def _run(
    server: Server,
    message: bytes,
    scratch: Path,
    seconds: float,
    deadline_seconds: float,
    extra: dict[str, float],
) -> dict[str, Any]:
    body = scratch / "openloop.body"
    body.write_bytes(message)
    task = {
        "target": server.target,
        "method": CLASSIFY,
        "body": str(body),
        "seconds": seconds,
        "deadline_seconds": deadline_seconds,
        **extra,
    }
    timeout = seconds + deadline_seconds + TIMEOUT_SECONDS
    return run_worker("bench.openloop", task, seconds=timeout)
