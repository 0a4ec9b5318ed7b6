"""The metrics listener and the workers."""

import itertools
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from threading import Event, Thread
from typing import Any

from bench.attacks.results import Result
from bench.attacks.run import Run, repeat
from bench.attacks.scrapes import metrics, status
from bench.attacks.server import Server
from bench.errors import BenchError

__all__ = ["metrics_listener", "workers"]

IDLE = 1000
KILLS = 2
# A worker that ends earlier is replaced with a delay, because it may end again.
SETTLE_SECONDS = 11.0
REPLACE_SECONDS = 20.0
OTHER_PATH = "/admin/anything"
COUNTER = re.compile(r"^convscope_requests_total\{.*\} (\S+)", re.MULTILINE)


def metrics_listener(run: Run) -> Iterator[Result]:
    """Attack one server."""
    with run.serving() as server:
        attack = f"{IDLE:,} connections with half a request"
        yield run.beside(server, "metrics", attack, lambda: _idle(server, run.seconds), run.rounds)
        code = status(server.metrics_port, OTHER_PATH)
        reply = f"status {code}" if code else "no reply"
        yield Result("metrics", "a path that does not exist", {"reply": reply})


def _idle(server: Server, seconds: float) -> dict[str, Any]:
    with ExitStack() as stack:
        for _ in range(IDLE):
            address = ("127.0.0.1", server.metrics_port)
            one = stack.enter_context(socket.create_connection(address, 20))
            one.sendall(b"GET /metrics HTTP/1.1\r\n")
        longest: float | None = 0.0

        def scrape() -> None:
            nonlocal longest
            began = time.perf_counter()
            try:
                metrics(server.metrics_port)
            except OSError:
                longest = None
            if longest is not None:
                longest = max(longest, 1000 * (time.perf_counter() - began))

        repeat(scrape, seconds, 0.2)
        return {"threads": server.threads(), "scrape_ms": longest}


def workers(run: Run) -> Iterator[Result]:
    """Attack one server with two workers."""
    run = replace(run, seconds=max(run.seconds, SETTLE_SECONDS))
    with run.serving("--workers", "2") as server:
        attack = f"{KILLS} workers killed, one after the other"
        yield run.beside(server, "workers", attack, lambda: _kill(server), run.rounds)


def _kill(server: Server) -> dict[str, Any]:
    counts, stopped = [0.0], Event()

    def scrape() -> None:
        while not stopped.wait(0.05):
            try:
                counts.append(sum(map(float, COUNTER.findall(metrics(server.metrics_port)))))
            except OSError:
                continue

    scraping = Thread(target=scrape)
    scraping.start()
    try:
        seconds = [_kill_one(server) for _ in range(KILLS)]
    finally:
        stopped.set()
        scraping.join()
    drops = sum(after < before for before, after in itertools.pairwise(counts))
    never = any(each is None for each in seconds)
    return {
        "replaced_seconds": None if never else max(each for each in seconds if each is not None),
        "drops": drops,
    }


def _kill_one(server: Server) -> float | None:
    """Kill a worker; return after how long another one serves, None if that takes too long."""
    before = len(server.events("worker replaced"))
    os.kill(_oldest_worker(server), signal.SIGKILL)
    began = time.monotonic()
    while len(server.events("worker replaced")) == before:
        if time.monotonic() > began + REPLACE_SECONDS:
            return None
        time.sleep(0.01)
    seconds = time.monotonic() - began
    time.sleep(1.5)
    return seconds


def _oldest_worker(server: Server) -> int:
    ended = {line["pid"] for line in server.events("worker ended")}
    (serving,) = server.events("serving")
    started = [*serving["workers"], *(line["pid"] for line in server.events("worker replaced"))]
    for pid in started:
        if pid not in ended:
            return int(pid)
    raise BenchError("no worker is left")
