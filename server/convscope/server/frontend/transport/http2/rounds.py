"""Rounds of reading: how much of one iteration of the event loop a connection may take.

An event loop reads as much as has arrived, up to megabytes of one connection after the other,
and everything else waits. Here a connection that leaves bytes unread when it has used its share
of a round continues in a later one. A connection whose bytes were all read never waits.
"""

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from time import thread_time
from typing import Protocol

__all__ = ["FIRST_INPUT_BYTES", "MAX_INPUT_BYTES", "MAX_READERS", "Reader", "Rounds"]

# What one connection that has more to read may take of one round.
SHARE_SECONDS = 0.5e-3
# Connections that continue in one round; the others have their turn in the next ones.
MAX_READERS = 2
# What all connections may take of it: as much as 64 small calls, which then are one batch.
ROUND_SECONDS = MAX_READERS * SHARE_SECONDS
# What is read at once. The same number of bytes may be one chunk of an image or hundreds of
# requests, so the size follows the time that the bytes before took. Images take 0.1 to 0.2 ms for
# the largest size, and much more if they are read in smaller parts.
FIRST_INPUT_BYTES, MIN_INPUT_BYTES, MAX_INPUT_BYTES = 4 * 1024, 2 * 1024, 256 * 1024
# By how much the size changes at most.
GROWTH, SHRINKAGE = 2.0, 0.125
# Less than this of a round may count in the next one, which saves its beginning for small calls.
NEGLIGIBLE_SECONDS = ROUND_SECONDS / 8


class Reader(Protocol):
    """A connection that reads."""

    input_bytes: int
    round: int
    round_seconds: float

    def pause_reading(self) -> None:
        """Leave what arrives in the socket."""

    def resume_reading(self) -> None:
        """Read again."""


class Rounds:
    """Divides the time for reading among the connections that have more to read.

    Args:
        loop: The event loop.
        clock: Returns the time in seconds. That of the processor is not longer if other threads or
            programs have run meanwhile, which smaller reads would not change.
    """

    def __init__(self, loop: AbstractEventLoop, clock: Callable[[], float] = thread_time) -> None:
        self.clock = clock
        self._loop = loop
        self._round = 0
        self._seconds = 0.0  # of this round
        self._waiting: deque[Reader] = deque()
        self._scheduled = False

    def size_for(self, reader: Reader) -> int:
        """Return how much a connection may read at once; little when the round is over.

        Many connections may have waited for nothing, and receive at the same time.
        """
        if self._seconds < ROUND_SECONDS:
            return reader.input_bytes
        return min(reader.input_bytes, FIRST_INPUT_BYTES)

    def received(self, reader: Reader, size: int, allowed: int, seconds: float) -> None:
        """Count what a connection has read; it pauses if it has more and its share is used.

        Args:
            reader: The connection.
            size: The bytes that it has read.
            allowed: The bytes that it could have read.
            seconds: How long they took.
        """
        self._seconds += seconds
        if size < allowed:  # nothing is left
            if self._seconds > NEGLIGIBLE_SECONDS and not self._scheduled:
                self._schedule()
            return
        self._schedule()
        if reader.round != self._round:
            reader.round, reader.round_seconds = self._round, 0.0
        reader.round_seconds += seconds
        factor = min(GROWTH, max(SHRINKAGE, SHARE_SECONDS / max(seconds, 1e-9)))
        if size == reader.input_bytes:
            reader.input_bytes = min(MAX_INPUT_BYTES, max(MIN_INPUT_BYTES, int(size * factor)))
        if reader.round_seconds >= SHARE_SECONDS or self._seconds >= ROUND_SECONDS:
            reader.pause_reading()
            self._waiting.append(reader)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Begin the next round, with the connections that waited longest."""
        self._scheduled = False
        self._round += 1
        self._seconds = 0.0
        readers = min(len(self._waiting), MAX_READERS)
        for _ in range(readers):
            self._waiting.popleft().resume_reading()
        if self._waiting:
            self._schedule()
