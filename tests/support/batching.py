"""A batcher under test, and runs that the test controls."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from convscope.server.inference.batcher import Batcher
from convscope.server.inference.queue import Completed

TIMEOUT_SECONDS = 20.0
ALL_RUNNERS = pytest.mark.parametrize("runners", [0, 1, 2])


class GatedRun:
    """A run that records its batches, and waits at a gate in each of them."""

    def __init__(self, *, opened: bool = False) -> None:
        self.batches: list[list[int]] = []
        self._gate = threading.Semaphore(10**6 if opened else 0)

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        if not self._gate.acquire(timeout=TIMEOUT_SECONDS):
            raise TimeoutError("the gate stayed closed")
        return [10 * item for item in items]

    def open_gate(self, batches: int = 1) -> None:
        """Let batches end."""
        self._gate.release(batches)

    @property
    def items(self) -> list[int]:
        """The items of all batches."""
        return [item for batch in self.batches for item in batch]


@asynccontextmanager
async def started(
    run: Callable[[list[int]], Sequence[int]], **options: Any
) -> AsyncIterator[Batcher[int, int]]:
    batcher = Batcher(run, **({"max_batch": 4, "max_queue": 64} | options))
    batcher.start()
    try:
        yield batcher
    finally:
        if isinstance(run, GatedRun):
            run.open_gate(1000)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await batcher.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


def submitted(
    batcher: Batcher[int, int], *items: int, **options: Any
) -> list[asyncio.Task[Completed[int]]]:
    """Submit items, each in its own task."""
    return [asyncio.create_task(batcher.submit(item, **options)) for item in items]


async def outcomes(tasks: Sequence[asyncio.Task[Completed[int]]]) -> list[int | type]:
    """Return the result of each task, or the type of its error."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        done = await asyncio.gather(*tasks, return_exceptions=True)
    return [x.result if isinstance(x, Completed) else type(x) for x in done]


async def hold_runner(batcher: Batcher[int, int], run: GatedRun) -> asyncio.Task[Completed[int]]:
    """Occupy the only runner with the item 0."""
    (task,) = submitted(batcher, 0)
    await until(lambda: run.batches == [[0]])
    return task
