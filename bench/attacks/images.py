"""Images that are cheap to send and expensive to decode, sent to a running server."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import grpc
from support.attack_images import ATTACKS
from support.calls import image_request

from bench.attacks.results import Result
from bench.attacks.run import Run, repeat, reply
from bench.attacks.server import Memory, Server
from bench.errors import BenchError

__all__ = ["exif", "expensive"]

DEADLINE_SECONDS = 10.0
MAX_CPU_SECONDS = 10.0
MAX_SECONDS = 40.0
IDLE_SECONDS = 0.05
SENDERS = 2
EXIF = (
    "JPEG, 1 MB of Exif segments",
    "JPEG, 2 MB of Exif segments",
    "JPEG, Exif segments of 4 KB",
    "JPEG, 1 MB of small Exif segments",
    "JPEG, 16 MB of Exif segments",
    "JPEG, 16 MB of small Exif segments",
)
# Of each class of the findings, one that takes the most, and images that are accepted.
TYPICAL = (
    "JPEG, 8 MB of fill bytes",
    "JPEG, fill bytes in the scan",
    "JPEG, ICC segments",
    "JPEG, comments",
    "JPEG, quantization tables",
    "JPEG, 64 scans of 6 megapixels",
    "JPEG, 64 scans of 16 megapixels",
    "JPEG, restart markers",
    "PNG, RGBA of 16 megapixels",
    "PNG, empty chunks",
    "PNG, empty dynamic blocks",
    "WebP, lossy of 16 megapixels",
    "WebP, lossless of 16 megapixels",
    "WebP, animation of 16 megapixels",
    "WebP, 65,536 groups of codes",
    "GIF, extensions",
    "BMP, short runs",
)


def exif(run: Run) -> Iterator[Result]:
    """Many Exif segments."""
    yield from _attack(run, "exif", EXIF if run.every else EXIF[:4])


def expensive(run: Run) -> Iterator[Result]:
    """Other images."""
    others = [name for name in ATTACKS if name not in EXIF]
    yield from _attack(run, "images", others if run.every else TYPICAL)


def _attack(run: Run, row: str, names: Sequence[str]) -> Iterator[Result]:
    requests = {name: image_request(ATTACKS[name]()).SerializeToString() for name in names}
    stack, server = ExitStack(), None
    with stack:
        for name, message in requests.items():
            if server is None:
                server = stack.enter_context(run.serving())
                _warm_up(server)
            figures = _one(server, message)
            yield Result(row, name, figures)
            if "cpu_more_than" in figures or not server.is_running:
                stack.close()
                server = None
    attack = f"all of these, by {SENDERS} senders at once"
    with run.serving() as server:
        _warm_up(server)
        yield run.beside(
            server, row, attack, lambda: _all(server, requests.values(), run.seconds), run.rounds
        )


def _warm_up(server: Server) -> None:
    """Send images that make the server start the processes that it keeps."""
    with grpc.insecure_channel(server.target) as channel:
        for name in ("WebP, lossless noise", "JPEG, tiny data for 16 megapixels"):
            reply(channel, image_request(ATTACKS[name]()).SerializeToString())


def _one(server: Server, message: bytes) -> dict[str, Any]:
    """Send one image, alone."""
    memory, before = Memory(server), server.cpu_seconds()
    with grpc.insecure_channel(server.target) as channel:
        answer = reply(channel, message, timeout=DEADLINE_SECONDS)
    code = answer.partition(":")[0]
    is_done = code != "DEADLINE_EXCEEDED" or _ends(server, before)
    peak = memory.peak_mb()
    if peak is None:
        return {"growth_mb": None}
    cpu = {"cpu_seconds" if is_done else "cpu_more_than": server.cpu_seconds() - before}
    return {**cpu, "growth_mb": peak, "reply": code}


def _ends(server: Server, before: float) -> bool:
    """Wait for the end of a decoding that outlives its call; report whether it came soon."""
    end, cpu = time.monotonic() + MAX_SECONDS, 0.0
    while time.monotonic() < end and server.is_running:
        last, cpu = cpu, server.cpu_seconds() - before
        if cpu > MAX_CPU_SECONDS:
            return False
        if cpu - last < IDLE_SECONDS:
            return True
        time.sleep(1.0)
    return not server.is_running


def _all(server: Server, messages: Any, seconds: float) -> dict[str, Any]:
    """Send all images by several senders at once, each at least for some seconds."""
    order, lock, before = itertools.cycle(messages), threading.Lock(), server.cpu_seconds()

    def send(channel: grpc.Channel) -> None:
        with lock:
            message = next(order)
        reply(channel, message, timeout=5.0)

    with ThreadPoolExecutor(SENDERS) as pool, ExitStack() as stack:
        channels = [
            stack.enter_context(
                grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(SENDERS)
        ]
        work = [pool.submit(repeat, partial(send, channel), 2 * seconds) for channel in channels]
        sent = sum(each.result() for each in work)
    try:
        cpu = server.cpu_seconds() - before
    except BenchError:  # the server has ended
        return {"sent": sent, "growth_mb": None}
    return {"sent": sent, "cpu_seconds": cpu}
