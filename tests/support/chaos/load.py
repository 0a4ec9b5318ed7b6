"""Callers of the SDK who go on at a steady rate, whatever happens to the server. Loopback only."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from convscope.client import AsyncClient, ConvscopeError
from support.images import encode, picture

__all__ = ["Load", "capacity", "load"]

# Both of the measurement and, while the server can't be reached, of the load. A lost connection
# uses up a part of the SDK's budget of retries for each of its calls.
IN_FLIGHT = 32
MEASURED_SECONDS = 1.0


class Load:
    """Calls at a steady rate, and how they ended.

    Args:
        target: The server, or several as gRPC's targets state them.
        rate: Calls per second.
        timeout_seconds: How long a call may take.
    """

    def __init__(self, target: str, rate: float, timeout_seconds: float = 30.0) -> None:
        self.ends = Counter[str]()
        self.errors: list[ConvscopeError] = []
        self._target = target
        self._interval = 1.0 / rate
        self._timeout_seconds = timeout_seconds
        self._stopped = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._call_all()))

    def start(self) -> None:
        """Begin to call."""
        self._thread.start()

    def stop(self) -> None:
        """Call no more, and wait until all calls have ended."""
        self._stopped.set()
        self._thread.join()

    def wait_for(self, count: int) -> None:
        """Wait until this many further calls have succeeded.

        Raises:
            TimeoutError: They don't.
        """
        wanted, end = self.ends["OK"] + count, time.monotonic() + 60
        while self.ends["OK"] < wanted:
            if time.monotonic() > end:
                raise TimeoutError(f"no call succeeds: {self}")
            time.sleep(0.01)

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self.ends.most_common())

    async def _call_all(self) -> None:
        image = encode(picture())
        running: set[asyncio.Task[None]] = set()
        async with AsyncClient(
            self._target, timeout_seconds=self._timeout_seconds, coalesce=False
        ) as client:
            due = time.monotonic()
            while not self._stopped.is_set():
                due = max(due + self._interval, time.monotonic() - 1)
                await asyncio.sleep(due - time.monotonic())
                if len(running) < IN_FLIGHT:
                    call = asyncio.create_task(self._call(client, image))
                    running.add(call)
                    call.add_done_callback(running.discard)
            await asyncio.gather(*running)

    async def _call(self, client: AsyncClient, image: bytes) -> None:
        try:
            await client.classify(image, model="tiny")
        except ConvscopeError as error:
            self.ends[type(error).__name__] += 1
            self.errors.append(error)
        else:
            self.ends["OK"] += 1


@contextmanager
def load(target: str, rate: float, timeout_seconds: float = 30.0) -> Iterator[Load]:
    """Call a server for the duration of a with block."""
    callers = Load(target, rate, timeout_seconds)
    callers.start()
    try:
        yield callers
    finally:
        callers.stop()


def capacity(target: str) -> float:
    """Measure how many calls per second the callers get answered."""
    return asyncio.run(_capacity(target))


async def _capacity(target: str) -> float:
    image, answered, end = encode(picture()), 0, time.monotonic() + MEASURED_SECONDS
    async with AsyncClient(target, coalesce=False) as client:

        async def call() -> None:
            nonlocal answered
            while time.monotonic() < end:
                await client.classify(image, model="tiny")
                answered += 1

        await asyncio.gather(*(call() for _ in range(IN_FLIGHT)))
    return answered / MEASURED_SECONDS
