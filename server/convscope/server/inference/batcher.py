"""A work-conserving queue that gathers entries into batches.

A batch is taken when a runner is free, never before. Whatever arrived while all
runners were busy becomes the next batch, so batches grow with the load, and a
single entry never waits. Each runner is a thread that takes its next batch itself,
so it is idle only when nothing waits.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from threading import Condition, Thread, get_ident
from time import perf_counter
from typing import Any, Generic, TypeVar

from convscope.server.inference.moving_average import MovingAverage
from convscope.server.inference.queue import (
    BatchQueue,
    ClosedError,
    Entry,
    ExpiredError,
    Owner,
)

__all__ = ["Batcher"]

# Smoothing factors for the time of a run. A slow run may have had a reason that has
# passed; a fast run shows what is possible.
_RISE, _FALL = 0.1, 0.5
# After so many iterations of the loop without a new entry, the batch is complete.
_QUIET_ITERATIONS = 1

E = TypeVar("E", bound="Entry[Any]")
R = TypeVar("R")


class Batcher(Generic[E, R]):
    """Gathers submitted entries and passes them to `run`, one batch per runner.

    Args:
        run: Takes a batch and returns what is to be delivered, or None for nothing. It
            is called in a thread, by at most `runners` at a time.
        deliver: Called on the event loop with a batch and what `run` returned for it.
        fail: Called on the event loop with entries that have no result, and the
            reason: the error that `run` or `deliver` raised, ExpiredError or
            ClosedError. After a failed `deliver`, some of them may be done.
        max_batch: The largest batch, as the sum of its entries' sizes. An entry
            that is larger runs alone.
        max_queue: How much may wait, as the sum of the sizes, and as much again
            of bulk entries.
        max_delay: Seconds that a free runner waits for a fuller batch, counted
            from the oldest entry.
        runners: How many batches run at once; a thread starts when it is first
            needed. With 0, all batches run on the event loop itself.
        inline_seconds: A batch that probably takes no longer than this runs on the
            event loop while no runner has one, at the end of the iteration in which
            it was submitted. This is for runs that take less time than a switch to
            a thread and back.
        name: The prefix of the threads' names.
        max_work: How much work may wait; see `BatchQueue`.
        may_start: Whether an entry can run now, next to the batches that run. If it
            can't, it waits until one of them has ended.
        parallel: How many batches run at once if many wait; as many as `runners` by default.
    """

    def __init__(
        self,
        run: Callable[[list[E]], R | None],
        deliver: Callable[[list[E], R], None],
        fail: Callable[[Sequence[E], BaseException], None],
        *,
        max_batch: int,
        max_queue: int,
        max_delay: float = 0.0,
        runners: int = 1,
        inline_seconds: float = 0.0,
        name: str = "runner",
        max_work: float = math.inf,
        may_start: Callable[[E], bool] = lambda entry: True,
        parallel: int | None = None,
    ) -> None:
        self._run = run
        self._deliver = deliver
        self._fail = fail
        self._max_batch = max_batch
        self._max_delay = max_delay
        self._runners = runners
        self._inline_seconds = inline_seconds if runners else math.inf
        self._name = name
        self._may_start = may_start
        self._parallel = max(1, runners if parallel is None else parallel)
        self._entries = BatchQueue[E](max_queue, max_work)
        self._changed = Condition()  # guards the entries and the counts, and wakes a runner
        self.running = 0  # batches in threads
        self._idle = 0  # threads that wait
        self._threads: list[Thread] = []
        self._seconds_per_unit = MovingAverage(rise=_RISE, fall=_FALL)
        self._closed = True
        self._inline_run_scheduled = False

    @property
    def waiting(self) -> int:
        """The sum of the sizes of the waiting entries."""
        return self._entries.size()

    @property
    def fill_ratio(self) -> float:
        """The fill level of the fuller of the two queues."""
        return self._entries.fill_ratio

    @property
    def concurrent(self) -> bool:
        """Whether a running batch competes with others that run or wait."""
        return self.running > 1 or bool(self._entries.size())

    @property
    def busy(self) -> bool:
        """Whether anything runs in a thread or waits."""
        return self.running > 0 or bool(self._entries.size())

    def waiting_before(self, *, bulk: bool) -> int:
        """The size of the entries that would run before one that is submitted now."""
        return self._entries.size(bulk=bulk)

    def seconds_until_done(
        self, size: int, work: int | None = None, *, bulk: bool = False
    ) -> float:
        """Estimate how long entries that are submitted now take, from the runs so far.

        Args:
            size: The sum of their sizes.
            work: The sum of their work; their size by default.
            bulk: Whether they are bulk entries.
        """
        batches = math.ceil((size + self._entries.size(bulk=bulk)) / self._max_batch)
        parallel = min(self._parallel, batches)
        units = (size if work is None else work) + self._entries.work(bulk=bulk)
        return units / parallel * self._seconds_per_unit.value

    def start(self) -> None:
        """Start to run entries, on the running event loop."""
        self._loop, self._loop_thread = asyncio.get_running_loop(), get_ident()
        self._closed = False

    def submit(self, groups: Sequence[Sequence[E]]) -> list[Sequence[E]]:
        """Queue the entries of several requests, from any thread.

        Args:
            groups: For each request its entries, of which all or none are queued.

        Returns:
            The groups that the queue has no room for.

        Raises:
            ClosedError: The batcher is closed; nothing was queued.
            RuntimeError: No thread can be started, and none runs; nothing was queued.
        """
        with self._changed:
            if self._closed:
                raise ClosedError
            rejected = [group for group in groups if not self._push(group)]
            if self._inline_seconds and not self.running and len(self._entries):
                self._schedule_inline_run()
        return rejected

    def discard(self, request: Owner) -> None:
        """Remove the entries of a request that is done, unless they already run."""
        with self._changed:
            self._entries.discard(request)

    async def close(self) -> None:
        """Reject the waiting entries, and wait for the running batches."""
        if self._closed:
            return
        with self._changed:
            self._closed = True
            waiting = self._entries.clear()
            self._changed.notify_all()
        if waiting:
            self._fail(waiting, ClosedError())
        await asyncio.to_thread(self._join)
        # They may hold a model, or the owner of this batcher.
        del self._run, self._deliver, self._fail, self._may_start

    def _push(self, group: Sequence[E]) -> bool:
        """Queue the entries of one request, under the lock; report whether there was room."""
        if not group or group[0].request.done:  # it was cancelled while another thread decoded it
            return True
        if not self._entries.has_room(group):
            return False
        for entry in group:
            if not self._inline_seconds:
                self._wake_runner()
            self._entries.push(entry)
        return True

    def _wake_runner(self) -> None:
        """Let a runner take the next entry, under the lock."""
        if len(self._threads) < self._runners and len(self._entries) >= self._idle:
            self._start_runner()
        self._changed.notify()

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
            self._loop.call_soon_threadsafe(self._fail, late, ExpiredError())
        if batch:
            started_at = perf_counter()
            try:
                outcome = self._run(batch)
            except BaseException as error:  # noqa: BLE001 - the requests receive it
                self._ended(batch, None)
                self._loop.call_soon_threadsafe(self._fail, batch, _exception(error))
                return True
            self._ended(batch, perf_counter() - started_at)
            if outcome is not None:
                self._loop.call_soon_threadsafe(self._finish, batch, outcome)
        return True

    def _ended(self, batch: list[E], seconds: float | None) -> None:
        with self._changed:
            self.running -= 1
            if seconds is not None:
                self._learn(batch, seconds)
            if self._idle and len(self._entries):  # large entries waited for this
                self._changed.notify_all()

    def _learn(self, batch: list[E], seconds: float) -> None:
        self._seconds_per_unit.add(seconds / sum(entry.work for entry in batch))

    def _take(self) -> tuple[list[E], list[E]] | None:
        """Wait for the next batch, and for late entries; return None when closed."""
        with self._changed:
            while not self._closed:
                pause = self._seconds_to_gather()
                if pause is not None and pause <= 0:
                    batch, late = self._entries.take(self._max_batch, self._may_start)
                    if batch or late:
                        self.running += bool(batch)
                        return batch, late
                    pause = None  # until a batch ends, or another entry arrives
                self._idle += 1
                self._changed.wait(pause)
                self._idle -= 1
        return None

    def _seconds_to_gather(self) -> float | None:
        """How long a free runner waits for a fuller batch; None: until the first entry."""
        waiting = self._entries.size()
        if not waiting:
            return None
        if not self._max_delay or waiting >= self._max_batch:
            return 0.0
        return self._entries.oldest() + self._max_delay - perf_counter()

    def _schedule_inline_run(self) -> None:
        """Run what waits at the end of this iteration of the loop; called from any thread."""
        if self._inline_run_scheduled:
            return
        self._inline_run_scheduled = True
        on_loop = get_ident() == self._loop_thread
        schedule = self._loop.call_soon if on_loop else self._loop.call_soon_threadsafe
        schedule(self._gather_inline, self.waiting, 0)

    def _gather_inline(self, seen: int, quiet: int) -> None:
        """Wait while iterations of the loop bring more: concurrent calls may come one by one."""
        quiet = 0 if self.waiting > seen else quiet + 1
        if quiet < _QUIET_ITERATIONS and self.waiting < self._max_batch:
            self._loop.call_soon(self._gather_inline, self.waiting, quiet)
        else:
            self._run_inline()

    def _run_inline(self) -> None:
        """Run what waits on the loop, or wake a runner for it."""
        with self._changed:
            self._inline_run_scheduled = False
        while self.waiting:
            with self._changed:
                if self._passes_to_runner():
                    return
                batch, late = self._entries.take(self._max_batch)
            if late:
                self._fail(late, ExpiredError())
            if not batch:
                continue
            started_at = perf_counter()
            try:
                outcome = self._run(batch)
            except BaseException as error:  # noqa: BLE001 - the requests receive it
                self._fail(batch, _exception(error))
                continue
            self._learn(batch, perf_counter() - started_at)
            if outcome is not None:
                self._finish(batch, outcome)

    def _passes_to_runner(self) -> bool:
        """Report whether a runner takes what waits, under the lock; wake one if it takes long."""
        if self.running:
            return True
        if self._entries.work() * self._seconds_per_unit.value <= self._inline_seconds:
            return False
        try:
            self._wake_runner()
        except RuntimeError:  # the system has no thread left
            return False
        return True

    def _finish(self, batch: list[E], outcome: R) -> None:
        try:
            self._deliver(batch, outcome)
        except BaseException as error:  # noqa: BLE001 - the requests receive it
            self._fail(batch, _exception(error))


def _exception(error: BaseException) -> Exception:
    """Return what callers may receive: SystemExit would end their loop."""
    if isinstance(error, Exception):
        return error
    return RuntimeError(f"the runner ended: {error!r}")
