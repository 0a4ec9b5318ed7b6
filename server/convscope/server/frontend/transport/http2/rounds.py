"""Rounds of reading: how much of one iteration of the event loop a connection may take.

An event loop reads as much as has arrived, of one connection after the other, and everything else
waits. Here a connection that has more when it has used its share of a round continues in a later
one, with what it has read and not processed. A connection whose bytes were all processed never
waits.
"""

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Sized
from time import thread_time
from typing import Protocol

__all__ = ["FIRST_INPUT_BYTES", "INPUT_BYTES", "MAX_READERS", "SHARE_SECONDS", "Reader", "Rounds"]

# What one connection that has more may take of one round.
SHARE_SECONDS = 0.5e-3
# Connections that continue in one round; the others have their turn in the next ones.
MAX_READERS = 2
# What all connections may take of it: as much as 64 small calls, which then are one batch.
ROUND_SECONDS = MAX_READERS * SHARE_SECONDS
# What is read at once; when the round is over, it is less. Many connections may have waited for
# nothing, and receive at the same time.
INPUT_BYTES, FIRST_INPUT_BYTES = 256 * 1024, 4 * 1024
# What connections that wait may have read and not processed. Above this, they read little.
MAX_KEPT_BYTES = 16 * 1024 * 1024
# Less than this of a round may count in the next one, which saves its beginning for small calls.
NEGLIGIBLE_SECONDS = ROUND_SECONDS / 8


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
        self._last: Reader | None = None  # that had more, in this round
        self._last_seconds = 0.0  # its part of the round
        self._waiting: deque[Reader] = deque()
        self._scheduled = False

    def may_read_all(self) -> bool:
        """Return whether a connection may read `INPUT_BYTES` rather than `FIRST_INPUT_BYTES`."""
        return self._seconds < ROUND_SECONDS and self.kept_bytes <= MAX_KEPT_BYTES

    def received(self, reader: Reader, seconds: float, has_more: bool, rest: Sized) -> None:
        """Count the time of a connection; it pauses if it has more and its share is used.

        Args:
            reader: The connection.
            seconds: How long it has read and processed.
            has_more: Whether it has more to read or to process.
            rest: What it has read and not processed.
        """
        self._seconds += seconds
        if has_more:
            self._schedule()
            if reader is not self._last:  # an event loop may read several times of one
                self._last, self._last_seconds = reader, 0.0
            self._last_seconds += seconds
            if rest or self._last_seconds >= SHARE_SECONDS or self._seconds >= ROUND_SECONDS:
                reader.pause_reading()
                self._waiting.append(reader)
        elif self._seconds > NEGLIGIBLE_SECONDS:
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Begin the next round, with the connections that waited longest."""
        self._scheduled = False
        self._seconds = 0.0
        self._last = None
        for _ in range(min(len(self._waiting), MAX_READERS)):
            self._waiting.popleft().resume_reading()
        if self._waiting:
            self._schedule()
