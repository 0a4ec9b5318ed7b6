"""A work-conserving queue that gathers items into batches.

A batch is taken when a runner is free, never before: what has gathered while
all runners were busy is the next batch, so that load alone makes batches grow
and a lone item never waits. The queue belongs to one event loop; the runs
happen in threads of its own.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Generic, TypeVar

__all__ = ["Batcher", "ClosedError", "Completed", "ExpiredError", "QueueFullError"]

# How much the newest run counts in the estimate of how long one takes.
_NEWS = 0.1
# A slow run may have had a reason that has passed; a fast one shows what can be.
_GOOD_NEWS = 0.5
# So many turns of the loop without a new item end the gathering of a batch.
_QUIET_TURNS = 1

T = TypeVar("T")
R = TypeVar("R")


class QueueFullError(Exception):
    """The queue can't take the item."""


class ExpiredError(Exception):
    """The item's deadline passed while it waited."""


class ClosedError(Exception):
    """The batcher no longer runs anything."""


@dataclass(frozen=True, slots=True)
class Completed(Generic[R]):
    """What became of one item, with the seconds that it waited and ran."""

    result: R
    queue_seconds: float
    run_seconds: float


@dataclass(slots=True, eq=False)
class _Entry(Generic[T, R]):
    item: T
    size: int
    deadline: float | None
    future: "asyncio.Future[Completed[R]]"
    queued_at: float = field(default_factory=perf_counter)


class _Queue(Generic[T, R]):
    """Items in their order, and the sum of their sizes."""

    def __init__(self) -> None:
        self.entries: deque[_Entry[T, R]] = deque()
        self.size = 0

    def push(self, entry: _Entry[T, R]) -> None:
        self.entries.append(entry)
        self.size += entry.size

    def pop(self) -> _Entry[T, R]:
        entry = self.entries.popleft()
        self.size -= entry.size
        return entry

    def forget(self, entry: _Entry[T, R]) -> None:
        """Drop an item whose caller has gone, if it still waits."""
        if entry in self.entries:
            self.entries.remove(entry)
            self.size -= entry.size


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
        on_batch: Called with the size of each batch as it starts.
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
        self._max_queue = max_queue
        self._max_delay = max_delay
        self._runners = runners
        self._on_batch = on_batch
        self._urgent = _Queue[T, R]()
        self._bulk = _Queue[T, R]()
        self._seconds_per_unit = 0.0
        self._free_runners = 0
        self._closed = True
        self._will_run_here = False
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()

    @property
    def waiting(self) -> int:
        """The sum of the sizes of the items that wait."""
        return self._urgent.size + self._bulk.size

    def seconds_until_done(self, size: int, *, bulk: bool = False) -> float:
        """Estimate how long an item that is submitted now takes, from the runs so far."""
        units = size + (self.waiting if bulk else self._urgent.size)
        at_once = min(max(1, self._runners), math.ceil(units / self._max_batch))
        return units / at_once * self._seconds_per_unit

    def has_room(self, size: int, *, bulk: bool = False) -> bool:
        """Whether items of that size fit into the queue; an empty one takes any."""
        queue = self._bulk if bulk else self._urgent
        return not queue.entries or queue.size + size <= self._max_queue

    def start(self) -> None:
        """Begin to run, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(max(1, self._runners), thread_name_prefix="runner")
        self._free_runners = self._runners
        self._idle.set()
        self._closed = False

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
        queue = self._bulk if bulk else self._urgent
        entry = _Entry(item, size, deadline, self._loop.create_future())
        queue.push(entry)
        self._dispatch()
        try:
            return await entry.future
        except asyncio.CancelledError:
            queue.forget(entry)
            raise

    async def close(self) -> None:
        """Refuse what waits, and wait for what runs."""
        if self._closed:
            return
        self._closed = True
        self._stop_timer()
        for queue in (self._urgent, self._bulk):
            while queue.entries:
                self._fail([queue.pop()], ClosedError())
        await self._idle.wait()
        self._executor.shutdown(wait=False)

    def _dispatch(self) -> None:
        """Start as many batches as there are free runners and items for."""
        self._stop_timer()
        if not self._runners:
            if not self._will_run_here:  # the first of this turn of the loop
                self._will_run_here = True
                self._loop.call_soon(self._gather_here, self.waiting, 0)
            return
        while self.waiting and self._free_runners and not self._closed:
            if self._max_delay and (wait := self._seconds_to_gather()) > 0:
                self._timer = self._loop.call_later(wait, self._dispatch)
                return
            if batch := self._take():
                self._launch(batch)

    def _seconds_to_gather(self) -> float:
        """How long a free runner should still wait for a fuller batch."""
        if self.waiting >= self._max_batch:
            return 0.0
        queued_at = min(q.entries[0].queued_at for q in (self._urgent, self._bulk) if q.entries)
        return queued_at + self._max_delay - perf_counter()

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
            if batch := self._take():
                try:
                    self._on_batch(sum(entry.size for entry in batch))
                    self._deliver(batch, *self._call(batch))
                except BaseException as error:  # noqa: BLE001 - the callers must hear of it
                    self._fail(batch, error)

    def _take(self) -> list[_Entry[T, R]]:
        """Take the oldest items up to a full batch, without those that came too late."""
        batch: list[_Entry[T, R]] = []
        size = 0
        now = self._loop.time()
        for queue in (self._urgent, self._bulk):
            entries = queue.entries
            while entries and (not batch or size + entries[0].size <= self._max_batch):
                entry = queue.pop()
                if entry.deadline is not None and entry.deadline <= now:
                    self._fail([entry], ExpiredError())
                elif not entry.future.done():
                    batch.append(entry)
                    size += entry.size
        return batch

    def _launch(self, batch: list[_Entry[T, R]]) -> None:
        self._free_runners -= 1
        self._idle.clear()
        try:
            self._on_batch(sum(entry.size for entry in batch))
            call = self._executor.submit(self._call, batch)
        except Exception as error:  # noqa: BLE001 - the callers must hear of it
            self._free_runner()
            self._fail(batch, error)
        else:
            # Cheaper than a future of the loop's own, which would be asked whether it is one.
            call.add_done_callback(
                lambda done: self._loop.call_soon_threadsafe(self._finish, batch, done)
            )

    def _call(self, batch: list[_Entry[T, R]]) -> tuple[Sequence[R], float, float]:
        """Run one batch."""
        started_at = perf_counter()
        results = self._run([entry.item for entry in batch])
        if len(results) != len(batch):
            raise RuntimeError(f"the run of {len(batch)} items returned {len(results)} results")
        return results, started_at, perf_counter()

    def _finish(
        self, batch: list[_Entry[T, R]], done: "Future[tuple[Sequence[R], float, float]]"
    ) -> None:
        self._free_runner()
        try:
            self._deliver(batch, *done.result())
        except BaseException as error:  # noqa: BLE001 - the callers must hear of it
            self._fail(batch, error)
        self._dispatch()

    def _free_runner(self) -> None:
        self._free_runners += 1
        if self._free_runners == self._runners:
            self._idle.set()

    def _deliver(
        self,
        batch: list[_Entry[T, R]],
        results: Sequence[R],
        started_at: float,
        ended_at: float,
    ) -> None:
        seconds = ended_at - started_at
        self._learn(seconds / sum(entry.size for entry in batch))
        for entry, result in zip(batch, results, strict=True):
            if not entry.future.done():
                entry.future.set_result(Completed(result, started_at - entry.queued_at, seconds))

    def _fail(self, batch: list[_Entry[T, R]], error: BaseException) -> None:
        if not isinstance(error, Exception):  # SystemExit would end the caller's loop
            error = RuntimeError(f"the runner ended: {error!r}")
        for entry in batch:
            if not entry.future.done():
                entry.future.set_exception(error)

    def _learn(self, seconds_per_unit: float) -> None:
        known = self._seconds_per_unit or seconds_per_unit
        news = _GOOD_NEWS if seconds_per_unit < known else _NEWS
        self._seconds_per_unit = known + news * (seconds_per_unit - known)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
