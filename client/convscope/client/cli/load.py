"""A load on a server: requests at a concurrency or at a rate, and what became of each."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import NamedTuple

from convscope.client._calls.async_client import AsyncClient
from convscope.client.errors import ConvscopeError, InvalidInputError
from convscope.client.types import Classification, StageSeconds

__all__ = ["Load", "LoadImage", "LoadResult", "run_load"]

# At a rate, how many requests may be unanswered; those beyond are counted, and not sent.
MAX_UNANSWERED = 10_000


class LoadImage(NamedTuple):
    """An encoded image, and its name in messages."""

    name: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is sent.

    Args:
        images: The images, which are sent in turn.
        model: The model's name.
        version: The version; None for the server's default.
        alias: The version, by one of its aliases.
        concurrency: How many requests are in flight.
        rate: The requests of a second, whatever their latency; None for as many as
            the concurrency allows.
        duration: How long to send, in seconds; None until all requests are sent.
        requests: How many requests to send; None for no limit.
    """

    images: Sequence[LoadImage]
    model: str
    version: int | None = None
    alias: str | None = None
    concurrency: int = 1
    rate: float | None = None
    duration: float | None = 10.0
    requests: int | None = None


@dataclass
class LoadResult:
    """What became of a load.

    Args:
        first: The result of a request before the load, which connected.
        latencies: The seconds of each request that succeeded. At a rate, they count from when
            the request was due, so that the wait behind slow requests counts.
        stages: The server's times for the same requests.
        errors: The failed requests, by code.
        unsent: The requests that were due while too many were unanswered.
        seconds: How long the load took.
        client_cpu_seconds: The CPU time of this process in it.
        message: The message of the first error.
    """

    first: Classification
    latencies: list[float] = field(default_factory=list)
    stages: list[StageSeconds] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    unsent: int = 0
    seconds: float = 0.0
    client_cpu_seconds: float = 0.0
    message: str = ""

    @property
    def done(self) -> int:
        """How many requests have ended."""
        return len(self.latencies) + self.errors.total()


async def run_load(
    client: AsyncClient, load: Load, on_start: Callable[[LoadResult], None]
) -> LoadResult:
    """Send a load, and return what became of it; a cancellation ends it early.

    Args:
        client: The client.
        load: The load.
        on_start: Receives the result, which is updated while the load is sent.

    Raises:
        ConvscopeError: The request before the load failed.
    """
    result = LoadResult(await _classify(client, load, load.images[0]))
    sender = _Sender(client, load, result)
    on_start(result)
    started, cpu = time.perf_counter(), time.process_time()
    try:
        await (sender.at_rate(load.rate) if load.rate is not None else sender.closed_loop())
    except asyncio.CancelledError:
        pass
    finally:
        result.seconds = time.perf_counter() - started
        result.client_cpu_seconds = time.process_time() - cpu
    return result


class _Sender:
    def __init__(self, client: AsyncClient, load: Load, result: LoadResult) -> None:
        self._client = client
        self._load = load
        self._result = result
        self._images = cycle(load.images)
        self._end = time.perf_counter() + (load.duration or float("inf"))
        self._left = load.requests if load.requests is not None else float("inf")

    async def closed_loop(self) -> None:
        """Send a request whenever one is answered."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(int(min(self._load.concurrency, self._left))):
                tasks.create_task(self._send_one_after_another())

    async def at_rate(self, rate: float) -> None:
        """Send a request whenever one is due."""
        due, unanswered = time.perf_counter(), set[asyncio.Task[None]]()
        async with asyncio.TaskGroup() as tasks:
            while self._take():
                due += 1 / rate
                if (pause := due - time.perf_counter()) > 0:
                    await asyncio.sleep(pause)
                elif self._result.done % 16 == 0:
                    await asyncio.sleep(0)  # replies are read although this is late
                if len(unanswered) >= MAX_UNANSWERED:
                    self._result.unsent += 1
                    continue
                task = tasks.create_task(self._send(due))
                unanswered.add(task)
                task.add_done_callback(unanswered.discard)

    def _take(self) -> bool:
        """Report whether another request is to be sent."""
        self._left -= 1
        return self._left >= 0 and time.perf_counter() < self._end

    async def _send_one_after_another(self) -> None:
        while self._take():
            await self._send(time.perf_counter())

    async def _send(self, since: float) -> None:
        result = self._result
        try:
            classified = await _classify(self._client, self._load, next(self._images))
        except ConvscopeError as error:
            result.errors[error.code.name] += 1
            result.message = result.message or error.message
            return
        result.latencies.append(time.perf_counter() - since)
        result.stages.append(classified.stage_seconds)


async def _classify(client: AsyncClient, load: Load, image: LoadImage) -> Classification:
    try:
        return await client.classify(
            image.content, model=load.model, version=load.version, alias=load.alias, top_k=1
        )
    except InvalidInputError as error:
        raise InvalidInputError(f"{image.name}: {error.message}") from error
