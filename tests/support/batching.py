"""A batcher under test whose callers wait in coroutines, and runs that the test controls."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest

from convscope.server.inference.batcher import Batcher
from convscope.server.inference.queue import Entry

TIMEOUT_SECONDS = 20.0
# One runner, and short batches on the event loop.
MIXED = -1
ALL_RUNNERS = pytest.mark.parametrize("runners", [0, 1, 2, MIXED])

T = TypeVar("T")
R = TypeVar("R")


class QueueFullError(Exception):
    """The batcher had no room."""


@dataclass(frozen=True)
class Completed(Generic[R]):
    """The result of one item."""

    result: R


class Caller:
    """Owns the entries of one call."""

    def __init__(self, deadline: float | None, bulk: bool, entries: int) -> None:
        self.deadline = deadline
        self.bulk = bulk
        self.done = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.left = entries

    def end(self, error: BaseException | None = None) -> None:
        """End the call with its last result, or with an error; once."""
        self.left -= 1
        if self.ended.done() or (self.left and error is None):
            return
        self.done = True
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


class Job(Entry[Caller], Generic[T, R]):
    """An item that waits, and its result."""

    __slots__ = ("item", "result")

    def __init__(self, caller: Caller, item: T, size: int) -> None:
        super().__init__(caller, size)
        self.item = item
        self.result: R


class AwaitedBatcher(Generic[T, R]):
    """A batcher whose callers wait for their results.

    Args:
        run: Returns one result for each item of a batch.
        on_batch: Called with the size of each batch that ran.
        options: Those of the batcher; `runners` may be `MIXED`.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Sequence[R]],
        *,
        on_batch: Callable[[int], None] = lambda size: None,
        **options: Any,
    ) -> None:
        self._run_items = run
        self._on_batch = on_batch
        if options.get("runners") == MIXED:
            options |= {"runners": 1, "inline_seconds": 20e-6}
        self.batcher: Batcher[Job[T, R], Sequence[R]] = Batcher(
            self._run, self._deliver, self._fail, **({"max_batch": 4, "max_queue": 64} | options)
        )

    def _run(self, batch: list[Job[T, R]]) -> Sequence[R]:
        results = self._run_items([job.item for job in batch])
        if len(results) != len(batch):
            raise RuntimeError(f"{len(batch)} items have {len(results)} results")
        return results

    def _deliver(self, batch: list[Job[T, R]], results: Sequence[R]) -> None:
        self._on_batch(sum(job.size for job in batch))
        for job, result in zip(batch, results, strict=True):
            job.result = result
            job.request.end()

    def _fail(self, batch: Sequence[Job[T, R]], error: BaseException) -> None:
        for job in batch:
            job.request.end(error)

    async def submit(
        self, item: T, *, size: int = 1, deadline: float | None = None, bulk: bool = False
    ) -> Completed[R]:
        """Queue an item, and wait for its result."""
        (completed,) = await self.submit_all([item], [size], deadline=deadline, bulk=bulk)
        return completed

    async def submit_all(
        self,
        items: Sequence[T],
        sizes: Sequence[int],
        *,
        deadline: float | None = None,
        bulk: bool = False,
    ) -> list[Completed[R]]:
        """Queue all of several items or none, and wait for their results, in order."""
        caller = Caller(deadline, bulk, len(items))
        jobs = [Job[T, R](caller, item, size) for item, size in zip(items, sizes, strict=True)]
        if self.batcher.submit([jobs]):
            raise QueueFullError
        try:
            if jobs:
                await caller.ended
        except BaseException:
            caller.done = True
            self.batcher.discard(caller)
            raise
        return [Completed(job.result) for job in jobs]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batcher, name)


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
) -> AsyncIterator[AwaitedBatcher[int, int]]:
    batcher = AwaitedBatcher(run, **options)
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
    batcher: AwaitedBatcher[int, int], *items: int, **options: Any
) -> list[asyncio.Task[Completed[int]]]:
    """Submit items, each in its own task."""
    return [asyncio.create_task(batcher.submit(item, **options)) for item in items]


async def outcomes(tasks: Sequence[asyncio.Task[Completed[int]]]) -> list[int | type]:
    """Return the result of each task, or the type of its error."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        done = await asyncio.gather(*tasks, return_exceptions=True)
    return [x.result if isinstance(x, Completed) else type(x) for x in done]


async def hold_runner(
    batcher: AwaitedBatcher[int, int], run: GatedRun
) -> asyncio.Task[Completed[int]]:
    """Occupy the only runner with the item 0."""
    (task,) = submitted(batcher, 0)
    await until(lambda: run.batches == [[0]])
    return task
