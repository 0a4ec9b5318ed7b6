"""The deadlines of all calls, in buckets of a few milliseconds with one timer for all."""

from asyncio import AbstractEventLoop, TimerHandle
from heapq import heappop, heappush
from time import perf_counter
from typing import Protocol

import structlog

from convscope.server.frontend.transport.unexpected import unexpected_error

__all__ = ["Bucket", "Deadlines", "Expiring"]

log = structlog.get_logger(__name__)

TICK_SECONDS = 0.01
# Deadlines further away are looked at again by then, so that the number of buckets is bounded.
HORIZON_SECONDS = 60.0
# Thousands of calls may have the same deadline. So long they may take in one iteration of the event
# loop.
EXPIRE_SECONDS = 0.5e-3


class Expiring(Protocol):
    """A call with a deadline."""

    deadline: float | None
    bucket: "Bucket | None"

    def expire(self) -> None:
        """Called when the deadline has passed."""


Bucket = set[Expiring]


class Deadlines:
    """Calls `expire` of calls whose deadline has passed.

    A call that ends before removes itself from its bucket.

    Args:
        loop: The event loop.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, Bucket] = {}
        self._ticks: list[int] = []
        self._timer: TimerHandle | None = None
        self._timer_tick = 0

    def add(self, call: Expiring, deadline: float, now: float) -> None:
        """Add a call.

        Args:
            call: The call.
            deadline: Its deadline, as `loop.time()`.
            now: The time.
        """
        tick = int(min(deadline, now + HORIZON_SECONDS) / TICK_SECONDS) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = set()
            heappush(self._ticks, tick)
            if self._timer is None or tick < self._timer_tick:
                self._schedule()
        bucket.add(call)
        call.bucket = bucket

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._buckets.clear()
        self._ticks.clear()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_tick = self._ticks[0]
        self._timer = self._loop.call_at(self._timer_tick * TICK_SECONDS, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now, end = self._loop.time(), perf_counter() + EXPIRE_SECONDS
        while self._ticks and self._ticks[0] * TICK_SECONDS <= now:
            tick = self._ticks[0]
            bucket = self._buckets[tick]
            while bucket:  # a call that ends may end others
                call = bucket.pop()
                call.bucket = None
                if call.deadline is not None and call.deadline > now:
                    self.add(call, call.deadline, now)
                else:
                    _expire(call)
                if bucket and perf_counter() > end:
                    self._schedule()
                    return
            if self._ticks[0] == tick:  # no call has added an earlier one
                del self._buckets[heappop(self._ticks)]
        if self._ticks and self._timer is None:
            self._schedule()


def _expire(call: Expiring) -> None:
    try:
        call.expire()
    except Exception:  # noqa: BLE001 - the deadlines of other calls are enforced all the same
        unexpected_error(log)
