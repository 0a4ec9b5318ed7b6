"""What waits for a runner: urgent items before bulk ones, each kind in its order."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import Generic, TypeVar

__all__ = ["BatchQueue", "Completed", "Entry"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Completed(Generic[R]):
    """What became of one item, with the seconds that it waited and ran."""

    result: R
    queue_seconds: float
    run_seconds: float


@dataclass(slots=True, eq=False)
class Entry(Generic[T, R]):
    """One item, with what its caller waits for.

    Args:
        item: What is run.
        size: How much of a batch it fills.
        deadline: The `time.monotonic()` after which it must not start.
        future: Where the caller waits.
        queued_at: The `time.perf_counter()` of its arrival.
    """

    item: T
    size: int
    deadline: float | None
    future: "asyncio.Future[Completed[R]]"
    queued_at: float = field(default_factory=perf_counter)


class _Queue(Generic[T, R]):
    """Items in their order, and the sum of their sizes."""

    def __init__(self) -> None:
        self.entries: deque[Entry[T, R]] = deque()
        self.size = 0

    def push(self, entry: Entry[T, R]) -> None:
        self.entries.append(entry)
        self.size += entry.size

    def pop(self) -> Entry[T, R]:
        entry = self.entries.popleft()
        self.size -= entry.size
        return entry

    def forget(self, entry: Entry[T, R]) -> None:
        if entry in self.entries:
            self.entries.remove(entry)
            self.size -= entry.size


class BatchQueue(Generic[T, R]):
    """Two bounded queues. Safe in one thread, or under one lock.

    Args:
        max_size: How much may wait of each kind, as the sum of the sizes.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._urgent = _Queue[T, R]()
        self._bulk = _Queue[T, R]()

    def size(self, *, bulk: bool = True) -> int:
        """The sum of the sizes; of the urgent items alone unless bulk ones count too."""
        return self._urgent.size + (self._bulk.size if bulk else 0)

    @property
    def fill_ratio(self) -> float:
        """How much of its bound the fuller queue holds; above 1 if a large item came alone."""
        return max(self._urgent.size, self._bulk.size) / self._max_size

    def has_room(self, size: int, *, bulk: bool) -> bool:
        """Whether items of that size fit into the queue; an empty one takes any."""
        queue = self._bulk if bulk else self._urgent
        return not queue.entries or queue.size + size <= self._max_size

    def push(self, entry: Entry[T, R], *, bulk: bool) -> None:
        """Put an item behind its like."""
        (self._bulk if bulk else self._urgent).push(entry)

    def forget(self, entry: Entry[T, R]) -> None:
        """Drop an item whose caller has gone, if it still waits."""
        self._urgent.forget(entry)
        self._bulk.forget(entry)

    def oldest(self) -> float:
        """When the item that waits longest came; there must be one."""
        return min(q.entries[0].queued_at for q in (self._urgent, self._bulk) if q.entries)

    def take(self, max_size: int) -> tuple[list[Entry[T, R]], list[Entry[T, R]]]:
        """Take the oldest items up to a full batch.

        Returns:
            The batch, and the items on the way to it that came too late; what
            was cancelled is in neither.
        """
        batch: list[Entry[T, R]] = []
        late: list[Entry[T, R]] = []
        size, now = 0, monotonic()
        for queue in (self._urgent, self._bulk):
            entries = queue.entries
            while entries and (not batch or size + entries[0].size <= max_size):
                entry = queue.pop()
                if entry.deadline is not None and entry.deadline <= now:
                    late.append(entry)
                elif not entry.future.done():
                    batch.append(entry)
                    size += entry.size
        return batch, late

    def clear(self) -> list[Entry[T, R]]:
        """Take everything."""
        return [q.pop() for q in (self._urgent, self._bulk) for _ in range(len(q.entries))]
