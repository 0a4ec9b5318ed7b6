"""Rounds of reading: how much of one iteration of the event loop a connection may take.

An event loop reads as much as has arrived, of one connection after the other, and everything else
waits. Here a connection that has more than it may read at once, or process in its share of a round,
continues in a later one. Each round begins with one of them. A connection that has read and
processed everything never waits.
"""

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from time import thread_time
from typing import Protocol

__all__ = ["FIRST_INPUT_BYTES", "INPUT_BYTES", "SHARE_SECONDS", "Reader", "Rounds"]

# What one connection may take of one round: as much as 64 small calls, which then are one batch.
SHARE_SECONDS = 0.5e-3
# What is read at once; when the round is over, it is less. Many connections may have waited for
# nothing, and receive at the same time.
INPUT_BYTES, FIRST_INPUT_BYTES = 256 * 1024, 4 * 1024
# What connections that wait may have read and not processed. Above this, they read little.
MAX_KEPT_BYTES = 16 * 1024 * 1024
# Less than this of a round may count in the next one, which saves its beginning for small calls.
NEGLIGIBLE_SECONDS = SHARE_SECONDS / 8


class Reader(Protocol):
    """A connection that reads."""

    def pause_reading(self) -> None:
        """Leave what arrives in the socket."""

    def resume_reading(self) -> None:
        """Process what was read before, then read again."""


class Rounds:
    """Divides the time for reading among the connections that have more to read.

    Args:
        loop: The event loop.
        clock: Returns the time in seconds. That of the processor is not longer if other threads or
            programs have run meanwhile, for which a connection would have to wait.
    """

    def __init__(self, loop: AbstractEventLoop, clock: Callable[[], float] = thread_time) -> None:
        self.clock = clock
        self.kept_bytes = 0
        """What connections have read and not processed."""
        self._loop = loop
        self._seconds = 0.0  # of this round
        self._waiting: deque[Reader] = deque()
        self._scheduled = False

    def may_read_all(self) -> bool:
        """Return whether a connection may read `INPUT_BYTES` rather than `FIRST_INPUT_BYTES`."""
        return self._seconds < SHARE_SECONDS and self.kept_bytes <= MAX_KEPT_BYTES

    def received(self, reader: Reader, seconds: float, has_more: bool) -> None:
        """Count the time of a connection, which waits for a later round if it has more.

        Args:
            reader: The connection.
            seconds: How long it has read and processed.
            has_more: Whether it has more to read or to process.
        """
        self._seconds += seconds
        if has_more:
            reader.pause_reading()
            self._waiting.append(reader)
            self._schedule()
        elif self._seconds > NEGLIGIBLE_SECONDS:
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Begin the next round, with the connection that waited longest."""
        self._scheduled = False
        self._seconds = 0.0
        if self._waiting:
            self._waiting.popleft().resume_reading()
        if self._waiting:
            self._schedule()
