"""A work-conserving queue that gathers items into batches.

A batch is taken when a runner is free, never before: what has gathered while
all runners were busy is the next batch, so that load alone makes batches grow
and a lone item never waits. Items come from one event loop; each runner is a
thread that takes its next batch itself, so that it stands still only when
nothing waits.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from time import perf_counter
from typing import Generic, TypeVar

from convscope.server.inference.queue import BatchQueue, Completed, Entry

__all__ = ["Batcher", "ClosedError", "Completed", "ExpiredError", "QueueFullError"]

# How much the newest run counts in the estimate of how long one takes.
_NEWS = 0.1
# A slow run may have had a reason that has passed; a fast one shows what can be.
_GOOD_NEWS = 0.5
# So many turns of the loop without a new item end the gathering of a batch.
_QUIET_TURNS = 1

T = TypeVar("T")
R = TypeVar("R")
# The results of a batch, and when its run began and ended.
_Outcome = tuple[Sequence[R], float, float]


class QueueFullError(Exception):
    """The queue can't take the item."""


class ExpiredError(Exception):
    """The item's deadline passed while it waited."""


class ClosedError(Exception):
    """The batcher no longer runs anything."""


class Batcher(Generic[T, R]):
    """Gathers submitted items and hands them to `run`, one batch a runner.

    Args:
        run: Takes the items of a batch and returns one result for each, in
            order. It is called in a thread, by at most `runners` at a time.
        max_batch: The largest batch, as the sum of its items' sizes. An item
            that is larger runs alone.
        max_queue: How much may wait, as the sum of the sizes; as much again of
            bulk items.
        max_delay: Seconds that a free runner waits for a fuller batch, counted
            from the oldest item.
        runners: How many batches run at once. With 0 they run on the event loop
            itself, at the end of the turn that they were submitted in: for runs
            that are shorter than the way to a thread and back.
        on_batch: Called on the event loop with the size of each batch that ran.
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
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_delay = max_delay
        self._runners = runners
        self._on_batch = on_batch
        self._items = BatchQueue[T, R](max_queue)
        self._changed = Condition()  # guards the items, and wakes a runner
        self.running = 0  # batches, in threads
        self._threads: list[Thread] = []
        self._seconds_per_unit = 0.0
        self._closed = True
        self._will_run_here = False

    @property
    def waiting(self) -> int:
        """The sum of the sizes of the items that wait."""
        return self._items.size()

    @property
    def fill_ratio(self) -> float:
        """How much of its bound the fuller of the two queues holds."""
        return self._items.fill_ratio

    @property
    def concurrent(self) -> bool:
        """Whether a batch that runs isn't alone: others run beside it, or wait."""
        return self.running > 1 or bool(self._items.size())

    def seconds_until_done(self, size: int, *, bulk: bool = False) -> float:
        """Estimate how long an item that is submitted now takes, from the runs so far."""
        units = size + self._items.size(bulk=bulk)
        at_once = min(max(1, self._runners), math.ceil(units / self._max_batch))
        return units / at_once * self._seconds_per_unit

    def has_room(self, size: int, *, bulk: bool = False) -> bool:
        """Whether items of that size fit into the queue; an empty one takes any."""
        return self._items.has_room(size, bulk=bulk)

    def start(self) -> None:
        """Begin to run, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._threads = [
            Thread(target=self._keep_running, name=f"runner-{index}", daemon=True)
            for index in range(self._runners)
        ]
        for thread in self._threads:
            thread.start()

    async def submit(
        self,
        item: T,
        *,
        size: int = 1,
        deadline: float | None = None,
        bulk: bool = False,
        admitted: bool = False,
    ) -> Completed[R]:
        """Wait for the item's result.

        Args:
            item: What `run` gets.
            size: How much of a batch it fills.
            deadline: The `loop.time()` after which it must not start.
            bulk: Whether it waits until nothing else does.
            admitted: Whether the caller has asked `has_room` for it, as part of
                something larger.

        Raises:
            QueueFullError: It doesn't fit into the queue; nothing was queued.
            ExpiredError: Its deadline passed before a runner was free.
            ClosedError: The batcher is closed, or closed while it waited.
            Exception: Whatever `run` raised for its batch.
        """
        if self._closed:
            raise ClosedError
        # An idle batcher takes an item of any size: it doesn't wait.
        if not admitted and not self.has_room(size, bulk=bulk):
            raise QueueFullError
        entry: Entry[T, R] = Entry(item, size, deadline, self._loop.create_future())
        with self._changed:
            self._items.push(entry, bulk=bulk)
            self._changed.notify()
        if not self._runners and not self._will_run_here:  # the first of this turn of the loop
            self._will_run_here = True
            self._loop.call_soon(self._gather_here, self.waiting, 0)
        try:
            return await entry.future
        except asyncio.CancelledError:
            with self._changed:
                self._items.forget(entry)
            raise

    async def close(self) -> None:
        """Refuse what waits, and wait for what runs."""
        if self._closed:
            return
        self._closed = True
        with self._changed:
            refused = self._items.clear()
            self._changed.notify_all()
        self._fail(refused, ClosedError())
        await asyncio.to_thread(self._join)
        # What runs holds a model; and whoever made this batcher may be held by it.
        del self._run

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _keep_running(self) -> None:
        """Be a runner: take a batch, run it, hand its results to the loop, and so on."""
        while (batch := self._next()) is not None:
            outcome = self._call(batch)
            with self._changed:
                self.running -= 1
            self._loop.call_soon_threadsafe(self._finish, batch, outcome)

    def _next(self) -> list[Entry[T, R]] | None:
        """Wait for the next batch; None when the batcher is closed."""
        with self._changed:
            while not self._closed:
                pause = self._seconds_to_gather()
                if pause is None or pause > 0:
                    self._changed.wait(pause)
                    continue
                batch, late = self._items.take(self._max_batch)
                if late:
                    self._loop.call_soon_threadsafe(self._fail, late, ExpiredError())
                if batch:
                    self.running += 1
                    return batch
        return None

    def _seconds_to_gather(self) -> float | None:
        """How long a free runner should still wait for a fuller batch; None for the first item."""
        waiting = self._items.size()
        if not waiting:
            return None
        if not self._max_delay or waiting >= self._max_batch:
            return 0.0
        return self._items.oldest() + self._max_delay - perf_counter()

    def _gather_here(self, seen: int, quiet_turns: int) -> None:
        """Wait as long as the turns of the loop bring more: a crowd comes one by one."""
        quiet_turns = 0 if self.waiting > seen else quiet_turns + 1
        if quiet_turns < _QUIET_TURNS and self.waiting < self._max_batch:
            self._loop.call_soon(self._gather_here, self.waiting, quiet_turns)
        else:
            self._run_here()

    def _run_here(self) -> None:
        """Run what has gathered."""
        self._will_run_here = False
        while self.waiting:
            batch, late = self._items.take(self._max_batch)
            self._fail(late, ExpiredError())
            if not batch:
                continue
            self._finish(batch, self._call(batch))

    def _call(self, batch: list[Entry[T, R]]) -> _Outcome[R] | BaseException:
        """Run one batch; an error is an outcome too."""
        started_at = perf_counter()
        try:
            results = self._run([entry.item for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"the run of {len(batch)} items returned {len(results)} results")
        except BaseException as error:  # noqa: BLE001 - the callers must hear of it
            return error
        return results, started_at, perf_counter()

    def _finish(self, batch: list[Entry[T, R]], outcome: _Outcome[R] | BaseException) -> None:
        """Answer the callers of a batch, on the loop."""
        try:
            self._on_batch(sum(entry.size for entry in batch))
            if isinstance(outcome, BaseException):
                raise outcome
            self._deliver(batch, *outcome)
        except BaseException as error:  # noqa: BLE001 - the callers must hear of it
            self._fail(batch, error)

    def _deliver(
        self,
        batch: list[Entry[T, R]],
        results: Sequence[R],
        started_at: float,
        ended_at: float,
    ) -> None:
        seconds = ended_at - started_at
        self._learn(seconds / sum(entry.size for entry in batch))
        for entry, result in zip(batch, results, strict=True):
            if not entry.future.done():
                entry.future.set_result(Completed(result, started_at - entry.queued_at, seconds))

    def _fail(self, batch: list[Entry[T, R]], error: BaseException) -> None:
        if not isinstance(error, Exception):  # SystemExit would end the caller's loop
            error = RuntimeError(f"the runner ended: {error!r}")
        for entry in batch:
            if not entry.future.done():
                entry.future.set_exception(error)

    def _learn(self, seconds_per_unit: float) -> None:
        known = self._seconds_per_unit or seconds_per_unit
        news = _GOOD_NEWS if seconds_per_unit < known else _NEWS
        self._seconds_per_unit = known + news * (seconds_per_unit - known)
