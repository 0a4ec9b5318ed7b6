"""Which images share a request, and when it is sent."""

import math
from collections import deque
from typing import Final, Generic, TypeVar

from convscope.client._calls.batch_size import BatchSize
from convscope.client._connection.channel import MIB

__all__ = ["LINGER_SECONDS", "MAX_BATCH_BYTES", "Batcher"]

T = TypeVar("T")

MAX_BATCH_BYTES: Final = 4 * MIB
LINGER_SECONDS: Final = 0.005


class Batcher(Generic[T]):
    """Collects images until a batch of them should be sent.

    It does no I/O and reads no clock: a driver adds images, passes the time, and
    sends the batches that it gets. A batch is sent when it is full, when the
    images have lingered, or at once while few batches are in flight.

    Args:
        size: How many images a batch may hold.
        free_batches: While fewer batches than this are in flight, images don't linger.
        linger_seconds: How long images wait for others.
        deadline_slack_seconds: How far apart the deadlines of a batch may be.
    """

    def __init__(
        self,
        size: BatchSize,
        *,
        free_batches: int = 0,
        linger_seconds: float = LINGER_SECONDS,
        deadline_slack_seconds: float = math.inf,
    ) -> None:
        self._size = size
        self._free_batches = free_batches
        self._linger_seconds = linger_seconds
        self._deadline_slack_seconds = deadline_slack_seconds
        # Images with their sizes and deadlines.
        self._waiting: deque[tuple[T, int, float]] = deque()
        self._waiting_bytes = 0
        self._linger_since = 0.0
        self.in_flight = 0

    @property
    def has_waiting(self) -> bool:
        """Whether any image waits for its batch."""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many images wait for their batch."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether no image waits and no batch is in flight."""
        return not self._waiting and not self.in_flight

    def add(self, item: T, size_bytes: int, deadline: float = 0.0) -> None:
        """Add an image."""
        self._waiting.append((item, size_bytes, deadline))
        self._waiting_bytes += size_bytes

    def restart_linger(self, now: float) -> None:
        """Count the time for which images linger from now."""
        self._linger_since = now

    def wait_seconds(self, now: float) -> float | None:
        """Return in how many seconds a batch is ready; None if no image waits."""
        if not self._waiting:
            return None
        if self._is_full() or self.in_flight < self._free_batches:
            return 0.0
        return max(0.0, self._linger_since + self._linger_seconds - now)

    def ready(self, now: float) -> list[list[T]]:
        """Remove and return the batches that should be sent now."""
        has_lingered = now >= self._linger_since + self._linger_seconds
        takes_all = has_lingered or self.in_flight < self._free_batches
        batches = []
        while self._waiting and (takes_all or self._is_full()):
            batches.append(self._take())
        if batches:
            self.restart_linger(now)
        return batches

    def flush(self) -> list[list[T]]:
        """Remove and return all waiting images, in batches."""
        batches = []
        while self._waiting:
            batches.append(self._take())
        return batches

    def completed(self) -> None:
        """Called when a batch is no longer in flight."""
        self.in_flight -= 1

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._size.images or self._waiting_bytes >= MAX_BATCH_BYTES

    def _take(self) -> list[T]:
        """Remove the oldest images, up to a full batch."""
        waiting = self._waiting
        _, _, oldest = waiting[0]
        batch: list[T] = []
        batch_bytes = 0
        while waiting and len(batch) < self._size.images:
            item, size_bytes, deadline = waiting[0]
            is_near = abs(deadline - oldest) <= self._deadline_slack_seconds
            if batch and not (is_near and batch_bytes + size_bytes <= MAX_BATCH_BYTES):
                break
            waiting.popleft()
            batch.append(item)
            batch_bytes += size_bytes
        self._waiting_bytes -= batch_bytes
        self.in_flight += 1
        return batch
