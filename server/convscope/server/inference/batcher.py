"""A work-conserving queue that gathers items into batches.

A batch is taken when a runner is free, never before. Whatever arrived while all
runners were busy becomes the next batch, so batches grow with the load, and a
single item never waits. Items come from one event loop. Each runner is a thread
that takes its next batch itself, so it is idle only when nothing waits.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from time import perf_counter
from typing import Generic, TypeVar

from convscope.server.inference.delivery import Outcome, call, deliver, fail
from convscope.server.inference.moving_average import MovingAverage
from convscope.server.inference.queue import (
    BatchQueue,
    ClosedError,
    Completed,
    Entry,
    ExpiredError,
    QueueFullError,
)

__all__ = ["Batcher"]

# Smoothing factors for the time of a run. A slow run may have had a reason that has
# passed; a fast run shows what is possible.
_RISE, _FALL = 0.1, 0.5
# After so many iterations of the loop without a new item, the batch is complete.
_QUIET_ITERATIONS = 1

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Gathers submitted items and passes them to `run`, one batch per runner.

    Args:
        run: Takes the items of a batch and returns one result for each, in
            order. It is called in a thread, by at most `runners` at a time.
        max_batch: The largest batch, as the sum of its items' sizes. An item
            that is larger runs alone.
        max_queue: How much may wait, as the sum of the sizes, and as much again
            of bulk items.
        max_delay: Seconds that a free runner waits for a fuller batch, counted
            from the oldest item.
        runners: How many batches run at once; a thread starts when it is first
            needed. With 0, batches run on the event loop itself, at the end of
            the iteration in which they were submitted. This is for runs that
            take less time than a switch to a thread and back.
        on_batch: Called on the event loop with the size of each batch that ran.
        name: The prefix of the threads' names.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Sequence[R]],
        *,
        max_batch: int,
        max_queue: int,
        max_delay: float = 0.0,
        runners: int = 1,
        on_batch: Callable[[int], None] = lambda size: None,
        name: str = "runner",
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_delay = max_delay
        self._runners = runners
        self._on_batch = on_batch
        self._name = name
        self._items = BatchQueue[T, R](max_queue)
        self._changed = Condition()  # guards the items and the counts, and wakes a runner
        self.running = 0  # batches in threads
        self._idle = 0  # threads that wait
        self._threads: list[Thread] = []
        self._seconds_per_unit = MovingAverage(rise=_RISE, fall=_FALL)
        self._closed = True
        self._inline_run_scheduled = False

    @property
    def waiting(self) -> int:
        """The sum of the sizes of the waiting items."""
        return self._items.size()

    @property
    def fill_ratio(self) -> float:
        """The fill level of the fuller of the two queues."""
        return self._items.fill_ratio

    @property
    def concurrent(self) -> bool:
        """Whether a running batch competes with others that run or wait."""
        return self.running > 1 or bool(self._items.size())

    @property
    def busy(self) -> bool:
        """Whether anything runs in a thread or waits."""
        return self.running > 0 or bool(self._items.size())

    def waiting_before(self, *, bulk: bool) -> int:
        """The size of the items that would run before one that is submitted now."""
        return self._items.size(bulk=bulk)

    def seconds_until_done(self, size: int, *, bulk: bool = False) -> float:
        """Estimate how long an item that is submitted now takes, from the runs so far."""
        units = size + self._items.size(bulk=bulk)
        parallel = min(max(1, self._runners), math.ceil(units / self._max_batch))
        return units / parallel * self._seconds_per_unit.value

    def start(self) -> None:
        """Start to run items, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._closed = False

    async def submit(
        self, item: T, *, size: int = 1, deadline: float | None = None, bulk: bool = False
    ) -> Completed[R]:
        """Queue an item, and wait for its result.

        Args:
            item: What `run` receives.
            size: How much of a batch it fills.
            deadline: The `loop.time()` after which it must not start.
            bulk: Whether all interactive items run first.

        Raises:
            QueueFullError: The queue has no room; nothing was queued.
            ExpiredError: Its deadline passed before a runner was free.
            ClosedError: The batcher is closed, or was closed while the item waited.
            Exception: Whatever `run` raised for its batch.
        """
        self._check_room(size, bulk)
        entry = self._enqueue(item, size, deadline, bulk)
        try:
            return await entry.future
        except asyncio.CancelledError:
            self._discard(entry)
            raise

    async def submit_all(
        self,
        items: Sequence[T],
        sizes: Sequence[int],
        *,
        deadline: float | None = None,
        bulk: bool = False,
    ) -> list[Completed[R]]:
        """Queue all of several items or none, and wait for their results, in order.

        If one of them fails, those that still wait are removed, and its error is
        raised. Otherwise like `submit`.
        """
        self._check_room(sum(sizes), bulk)
        entries = [
            self._enqueue(item, size, deadline, bulk)
            for item, size in zip(items, sizes, strict=True)
        ]
        try:
            return await asyncio.gather(*(entry.future for entry in entries))
        except BaseException:  # cancelled, or the error of one item: the others are useless
            for entry in entries:
                self._discard(entry)
            raise

    def _check_room(self, size: int, bulk: bool) -> None:
        if self._closed:
            raise ClosedError
        if size and not self._items.has_room(size, bulk=bulk):
            raise QueueFullError

    def _enqueue(self, item: T, size: int, deadline: float | None, bulk: bool) -> Entry[T, R]:
        entry: Entry[T, R] = Entry(item, size, deadline, self._loop.create_future())
        with self._changed:
            if len(self._threads) < self._runners and len(self._items) >= self._idle:
                self._start_runner()
            self._items.push(entry, bulk=bulk)
            self._changed.notify()
        if not self._runners and not self._inline_run_scheduled:  # the first of this iteration
            self._inline_run_scheduled = True
            self._loop.call_soon(self._gather_inline, self.waiting, 0)
        return entry

    def _discard(self, entry: Entry[T, R]) -> None:
        """Remove an entry whose caller no longer waits, unless it already runs."""
        with self._changed:
            self._items.discard(entry)

    async def close(self) -> None:
        """Reject the waiting items, and wait for the running batches."""
        if self._closed:
            return
        self._closed = True
        with self._changed:
            waiting = self._items.clear()
            self._changed.notify_all()
        fail(waiting, ClosedError())
        await asyncio.to_thread(self._join)
        # `run` may hold a model, or the owner of this batcher.
        del self._run

    def _start_runner(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = Thread(target=self._keep_running, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _keep_running(self) -> None:
        """Run batches in a thread until the batcher is closed."""
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Run the next batch and pass its results to the loop; return False when closed.

        A runner that waits for its next batch must not keep the last one alive, so
        everything of a batch is local to this call.
        """
        taken = self._take()
        if taken is None:
            return False
        batch, late = taken
        if late:
            self._loop.call_soon_threadsafe(fail, late, ExpiredError())
        if batch:
            outcome = call(self._run, batch)
            with self._changed:
                self.running -= 1
            self._loop.call_soon_threadsafe(self._finish, batch, outcome)
        return True

    def _take(self) -> tuple[list[Entry[T, R]], list[Entry[T, R]]] | None:
        """Wait for the next batch, and for late entries; return None when closed."""
        with self._changed:
            while not self._closed:
                pause = self._seconds_to_gather()
                if pause is not None and pause <= 0:
                    batch, late = self._items.take(self._max_batch)
                    self.running += bool(batch)
                    return batch, late
                self._idle += 1
                self._changed.wait(pause)
                self._idle -= 1
        return None

    def _seconds_to_gather(self) -> float | None:
        """How long a free runner waits for a fuller batch; None: until the first item."""
        waiting = self._items.size()
        if not waiting:
            return None
        if not self._max_delay or waiting >= self._max_batch:
            return 0.0
        return self._items.oldest() + self._max_delay - perf_counter()

    def _gather_inline(self, seen: int, quiet: int) -> None:
        """Wait while iterations of the loop bring more: concurrent calls arrive one by one."""
        quiet = 0 if self.waiting > seen else quiet + 1
        if quiet < _QUIET_ITERATIONS and self.waiting < self._max_batch:
            self._loop.call_soon(self._gather_inline, self.waiting, quiet)
        else:
            self._run_inline()

    def _run_inline(self) -> None:
        """Run everything that waits, on the loop."""
        self._inline_run_scheduled = False
        while self.waiting:
            batch, late = self._items.take(self._max_batch)
            fail(late, ExpiredError())
            if batch:
                self._finish(batch, call(self._run, batch))

    def _finish(self, batch: list[Entry[T, R]], outcome: Outcome[R] | BaseException) -> None:
        """Resolve the futures of a batch, on the loop."""
        try:
            self._on_batch(sum(entry.size for entry in batch))
            if isinstance(outcome, BaseException):
                raise outcome
            seconds = outcome.ended_at - outcome.started_at
            self._seconds_per_unit.add(seconds / sum(entry.size for entry in batch))
            deliver(batch, outcome)
        except BaseException as error:  # noqa: BLE001 - the callers receive it
            fail(batch, error)
