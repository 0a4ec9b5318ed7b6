"""Items that wait for a runner: interactive items before bulk items, each kind in its order."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import Generic, TypeVar

__all__ = [
    "BatchQueue",
    "ClosedError",
    "Completed",
    "Entry",
    "ExpiredError",
    "QueueFullError",
]

T = TypeVar("T")
R = TypeVar("R")


class QueueFullError(Exception):
    """The queue has no room for the item."""


class ExpiredError(Exception):
    """The item's deadline passed while it waited."""


class ClosedError(Exception):
    """The batcher no longer runs anything."""


@dataclass(frozen=True, slots=True)
class Completed(Generic[R]):
    """The result of one item, and the seconds that it waited and ran."""

    result: R
    queue_seconds: float
    run_seconds: float


@dataclass(slots=True, eq=False)
class Entry(Generic[T, R]):
    """One waiting item.

    Args:
        item: What is run.
        size: How much of a batch it fills.
        deadline: The `time.monotonic()` after which it must not start.
        future: Where its caller waits.
        queued_at: The `time.perf_counter()` of its arrival.
    """

    item: T
    size: int
    deadline: float | None
    future: "asyncio.Future[Completed[R]]"
    queued_at: float = field(default_factory=perf_counter)


class _Queue(Generic[T, R]):
    """Entries in their order, and the sum of their sizes."""

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

    def discard(self, entry: Entry[T, R]) -> None:
        if entry in self.entries:
            self.entries.remove(entry)
            self.size -= entry.size


class BatchQueue(Generic[T, R]):
    """Two bounded queues. Safe in one thread, or under one lock.

    Args:
        max_size: How much of each kind may wait, as the sum of the sizes.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._interactive = _Queue[T, R]()
        self._bulk = _Queue[T, R]()

    def __len__(self) -> int:
        return len(self._interactive.entries) + len(self._bulk.entries)

    def size(self, *, bulk: bool = True) -> int:
        """The sum of the sizes; of the interactive items alone unless bulk items count too."""
        return self._interactive.size + (self._bulk.size if bulk else 0)

    @property
    def fill_ratio(self) -> float:
        """The fill level of the fuller queue; above 1 if a single large item was accepted."""
        return max(self._interactive.size, self._bulk.size) / self._max_size

    def has_room(self, size: int, *, bulk: bool) -> bool:
        """Whether items of that size fit into the queue; an empty queue accepts any size."""
        queue = self._bulk if bulk else self._interactive
        return not queue.entries or queue.size + size <= self._max_size

    def push(self, entry: Entry[T, R], *, bulk: bool) -> None:
        """Append an entry to the queue of its kind."""
        (self._bulk if bulk else self._interactive).push(entry)

    def discard(self, entry: Entry[T, R]) -> None:
        """Remove an entry whose caller has left, if it still waits."""
        self._interactive.discard(entry)
        self._bulk.discard(entry)

    def oldest(self) -> float:
        """The arrival of the entry that has waited longest; the queue must not be empty."""
        return min(q.entries[0].queued_at for q in (self._interactive, self._bulk) if q.entries)

    def take(self, max_size: int) -> tuple[list[Entry[T, R]], list[Entry[T, R]]]:
        """Take the oldest entries, up to a full batch.

        Returns:
            The batch, and the entries whose deadline has passed. Entries that
            were cancelled are in neither.
        """
        batch: list[Entry[T, R]] = []
        late: list[Entry[T, R]] = []
        size, now = 0, monotonic()
        for queue in (self._interactive, self._bulk):
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
        return [q.pop() for q in (self._interactive, self._bulk) for _ in range(len(q.entries))]
