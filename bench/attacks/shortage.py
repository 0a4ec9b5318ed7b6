"""Valid images while the server has almost no memory left."""

import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from support.attack_images import ATTACKS
from support.calls import image_request

from bench.attacks.results import Result
from bench.attacks.run import Run, repeat, reply
from bench.attacks.server import Server

__all__ = ["low_memory"]

SPARE_BYTES = 40 * 2**20
IMAGE = "WebP, lossy of 16 megapixels"


def low_memory(run: Run) -> Iterator[Result]:
    """Attack one server."""
    with run.serving() as server:
        message = image_request(ATTACKS[IMAGE]()).SerializeToString()
        attack = "valid WebPs of 16 megapixels with 40 MB of memory left"
        yield run.beside(
            server, "low-memory", attack, lambda: _starve(server, message, run.seconds)
        )


def _starve(server: Server, message: bytes, seconds: float) -> dict[str, Any]:
    replies = Counter[str]()
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[0])
    before = resource.prlimit(server.pid, resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + SPARE_BYTES
    with grpc.insecure_channel(server.target) as channel:

        def send() -> None:
            replies[reply(channel, message)[:90].partition("; ")[0]] += 1

        resource.prlimit(server.pid, resource.RLIMIT_AS, (limit, before[1]))
        repeat(send, seconds, 0.2)
    if server.is_running:
        resource.prlimit(server.pid, resource.RLIMIT_AS, before)
    return {"reply": ", ".join(f"{count} x {text}" for text, count in replies.items())}
