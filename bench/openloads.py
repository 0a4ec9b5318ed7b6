"""Open and closed loops of `bench.openloop`, from outside."""

from pathlib import Path
from typing import Any

from bench.processes import run_worker
from bench.servers import CLASSIFY, Server

__all__ = ["closed", "opened"]

PATIENCE_SECONDS = 40.0


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
    """Make so many calls a second on average, each with a deadline from when it was due."""
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
    """Keep so many calls in flight, by the same client as the open loop's."""
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
    patience = seconds + deadline_seconds + PATIENCE_SECONDS
    return run_worker("bench.openloop", task, seconds=patience)
