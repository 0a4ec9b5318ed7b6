"""Requests whose bytes fill the memory: large ones, unfinished ones, compressed ones."""

import gzip
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from support.calls import image_request

from bench.attacks.results import Result
from bench.attacks.run import Run
from bench.attacks.server import Memory, Server
from bench.attacks.uploads import Upload, body_frames

__all__ = ["LARGE", "in_flight", "send_large"]

CALLS, CONNECTIONS = 500, 10
LARGE = f"{CALLS} calls of 8 MB at once"
PACKED_CALLS = 40
LARGE_BYTES = 8_000_000
SEND_SECONDS = 12.0
SETTLE_SECONDS = 2.0


def in_flight(run: Run) -> Iterator[Result]:
    """Attack a server with each, a new one each time, because memory may stay."""
    large = _large_request()
    packed = gzip.compress(large)
    attacks: dict[str, Callable[[int], Upload]] = {
        f"{CALLS} bodies of 8 MB without their end": lambda port: Upload(
            port, body_frames(large[:-1], size=len(large)), CALLS // CONNECTIONS, ends=False
        ),
        f"{PACKED_CALLS} calls of {len(packed) // 1000} KB that inflate to 8 MB": lambda port: (
            Upload(
                *(port, body_frames(packed, b"\1"), PACKED_CALLS // CONNECTIONS),
                headers=[(b"grpc-encoding", b"gzip")],
            )
        ),
    }
    acts: dict[str, Callable[[Server], dict[str, Any]]] = {
        LARGE: send_large,
        **{attack: partial(_upload, upload=upload) for attack, upload in attacks.items()},
    }
    for attack, act in acts.items():
        with run.serving() as server:
            yield run.beside(server, "memory", attack, partial(act, server), run.rounds)


def send_large(server: Server) -> dict[str, Any]:
    """Make 500 calls of 8 MB at once."""
    frames = body_frames(_large_request())
    return _upload(server, lambda port: Upload(port, frames, CALLS // CONNECTIONS))


def _large_request() -> bytes:
    return image_request(bytes(LARGE_BYTES)).SerializeToString()


def _upload(server: Server, upload: Callable[[int], Upload]) -> dict[str, Any]:
    memory, cpu = Memory(server), server.cpu_seconds()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in range(CONNECTIONS):
            pool.submit(upload(server.port).run, SEND_SECONDS)
    peak = memory.peak_mb()
    time.sleep(SETTLE_SECONDS)
    if peak is None:
        return {"growth_mb": None}
    used = server.cpu_seconds() - cpu
    return {"growth_mb": peak, "kept_mb": memory.now_mb(), "cpu_seconds": used}
