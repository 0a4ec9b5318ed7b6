"""An open-loop load: calls start on schedule, regardless of earlier calls.

A latency is measured from the scheduled start, so a client that waits for a
stalled server can't hide the stall. The module reads a task from stdin and
prints the figures to stdout.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop

__all__ = ["arrivals", "quantile"]

# The code of a call that could not be sent before its deadline.
LATE = "NOT_SENT_IN_TIME"
CHANNELS = 4
DRAIN_SECONDS = 1.0


@dataclass(slots=True)
class Tally:
    """The outcomes of the calls."""

    codes: Counter[str] = field(default_factory=Counter)
    ok_seconds: list[float] = field(default_factory=list)
    shed_seconds: list[float] = field(default_factory=list)
    lag_seconds: float = 0.0


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Return the scheduled starts in seconds: a Poisson process with the given rate."""
    random = np.random.default_rng(seed)
    gaps = random.exponential(1 / rate, size=round(rate * seconds * 1.5) + 20)
    times = np.cumsum(gaps)
    due: list[float] = times[times < seconds].tolist()
    return due


def quantile(values: list[float], share: float) -> float | None:
    """Return the quantile of the values, or None if there are none."""
    return float(np.quantile(values, share)) if values else None


class Generator:
    """The load generator of one task.

    Args:
        task: target, method, body (a path), rate, seconds, deadline_seconds and seed. For a
            closed loop, in_flight replaces rate. Optional is metadata, a dictionary.
    """

    def __init__(self, task: dict[str, Any]) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        self._channels = [
            grpc.aio.insecure_channel(task["target"], options=options) for _ in range(CHANNELS)
        ]
        self._calls: list[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = [
            channel.unary_unary(f"/{task['method']}") for channel in self._channels
        ]
        self._body = Path(task["body"]).read_bytes()
        self._deadline: float = task["deadline_seconds"]
        self._metadata = tuple(task.get("metadata", {}).items())
        self._task = task
        self.tally = Tally()

    async def run(self) -> dict[str, Any]:
        """Make all calls and return a summary of their outcomes."""
        for call in self._calls:
            await call(self._body, timeout=10, metadata=self._metadata)
        started_at, cpu_before = time.perf_counter(), time.process_time()
        if "in_flight" in self._task:
            await self._closed(started_at + self._task["seconds"])
        else:
            await self._open(started_at)
        elapsed = time.perf_counter() - started_at
        used = time.process_time() - cpu_before
        for channel in self._channels:
            await channel.close()
        return {**self._summary(), "generator_cores": used / elapsed}

    async def _open(self, started_at: float) -> None:
        running: set[asyncio.Task[None]] = set()
        due = arrivals(self._task["rate"], self._task["seconds"], self._task["seed"])
        for number, offset in enumerate(due):
            wait = started_at + offset - time.perf_counter()
            if wait > 0.0005 or number % 16 == 0:  # the loop must read replies even when it is late
                await asyncio.sleep(max(0.0, wait))
            self.tally.lag_seconds = max(self.tally.lag_seconds, -wait)
            task = asyncio.create_task(self._ask(number, started_at + offset))
            running.add(task)
            task.add_done_callback(running.discard)
        if running:
            await asyncio.wait(running, timeout=self._deadline + DRAIN_SECONDS)

    async def _closed(self, until: float) -> None:
        async def ask(number: int) -> None:
            while (now := time.perf_counter()) < until:
                await self._ask(number, now)

        await asyncio.gather(*(ask(n) for n in range(self._task["in_flight"])))

    async def _ask(self, number: int, due: float) -> None:
        left = due + self._deadline - time.perf_counter()
        if left <= 0:
            self.tally.codes[LATE] += 1
            return
        sent_at = time.perf_counter()
        try:
            call = self._calls[number % CHANNELS]
            await call(self._body, timeout=left, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            self.tally.codes[error.code().name] += 1
            now = time.perf_counter()
            # The server also rejects calls whose deadline it can't meet, before the deadline.
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED or (
                error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and now < due + self._deadline
            ):
                self.tally.shed_seconds.append(now - sent_at)
            return
        self.tally.codes["OK"] += 1
        self.tally.ok_seconds.append(time.perf_counter() - due)

    def _summary(self) -> dict[str, Any]:
        tally, ok = self.tally, self.tally.ok_seconds
        seconds: float = self._task["seconds"]
        in_time = sum(s <= self._deadline for s in ok)
        return {
            "codes": dict(tally.codes),
            "goodput": in_time / seconds,
            "p50_seconds": quantile(ok, 0.5),
            "p99_seconds": quantile(ok, 0.99),
            "shed": len(tally.shed_seconds),
            "shed_p50_seconds": quantile(tally.shed_seconds, 0.5),
            "shed_p99_seconds": quantile(tally.shed_seconds, 0.99),
            "largest_lag_seconds": tally.lag_seconds,
        }


def main() -> None:
    """Run the task from stdin; see `bench.processes.run_worker`."""
    task: dict[str, Any] = json.load(sys.stdin)

    async def run() -> dict[str, Any]:
        return await Generator(task).run()

    print(json.dumps(uvloop.run(run())))


if __name__ == "__main__":
    main()
