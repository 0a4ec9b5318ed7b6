"""Entries that wait for a runner: interactive entries before bulk ones, each kind in its order."""

from collections import deque
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any, Generic, Protocol, TypeVar

__all__ = [
    "BatchQueue",
    "ClosedError",
    "Entry",
    "ExpiredError",
    "Owner",
]


class ExpiredError(Exception):
    """The deadline of the entry passed while it waited."""


class ClosedError(Exception):
    """The batcher no longer runs anything."""


class Owner(Protocol):
    """The request that an entry is a part of."""

    @property
    def deadline(self) -> float | None:
        """The `time.monotonic()` after which it must not start."""

    @property
    def bulk(self) -> bool:
        """Whether all interactive entries run first."""

    @property
    def done(self) -> bool:
        """Whether it was completed, and its entries are useless."""


O = TypeVar("O", bound=Owner)  # noqa: E741


class Entry(Generic[O]):
    """A part of a request that waits.

    Args:
        request: The request.
        size: How much of a batch it fills.
    """

    __slots__ = ("queued_at", "request", "size")

    def __init__(self, request: O, size: int) -> None:
        self.request = request
        self.size = size
        self.queued_at = perf_counter()
        """The `time.perf_counter()` of its arrival."""


E = TypeVar("E", bound="Entry[Any]")


class _Queue(Generic[E]):
    """Entries in their order, and the sum of their sizes."""

    def __init__(self) -> None:
        self.entries: deque[E] = deque()
        self.size = 0

    def push(self, entry: E) -> None:
        self.entries.append(entry)
        self.size += entry.size

    def pop(self) -> E:
        entry = self.entries.popleft()
        self.size -= entry.size
        return entry

    def remove(self, obsolete: Callable[[E], bool]) -> None:
        kept = [entry for entry in self.entries if not obsolete(entry)]
        if len(kept) < len(self.entries):
            self.entries = deque(kept)
            self.size = sum(entry.size for entry in kept)


class BatchQueue(Generic[E]):
    """Two bounded queues. Safe in one thread, or under one lock.

    Args:
        max_size: How much of each kind may wait, as the sum of the sizes.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._interactive = _Queue[E]()
        self._bulk = _Queue[E]()

    def __len__(self) -> int:
        return len(self._interactive.entries) + len(self._bulk.entries)

    def size(self, *, bulk: bool = True) -> int:
        """The sum of the sizes; of the interactive entries alone unless bulk ones count too."""
        return self._interactive.size + (self._bulk.size if bulk else 0)

    @property
    def fill_ratio(self) -> float:
        """The fill level of the fuller queue; above 1 if a single large entry was accepted."""
        return max(self._interactive.size, self._bulk.size) / self._max_size

    def has_room(self, size: int, *, bulk: bool) -> bool:
        """Whether entries of that size fit into the queue; an empty queue accepts any size."""
        queue = self._bulk if bulk else self._interactive
        return not queue.entries or queue.size + size <= self._max_size

    def push(self, entry: E) -> None:
        """Append an entry to the queue of its kind."""
        (self._bulk if entry.request.bulk else self._interactive).push(entry)

    def discard(self, request: Owner) -> None:
        """Remove the entries of a request that still wait."""
        queue = self._bulk if request.bulk else self._interactive
        queue.remove(lambda entry: entry.request is request)

    def oldest(self) -> float:
        """The arrival of the entry that has waited longest; the queue must not be empty."""
        return min(q.entries[0].queued_at for q in (self._interactive, self._bulk) if q.entries)

    def take(self, max_size: int) -> tuple[list[E], list[E]]:
        """Take the oldest entries, up to a full batch.

        Returns:
            The batch, and the entries whose deadline has passed. Entries whose
            request is done are in neither.
        """
        batch: list[E] = []
        late: list[E] = []
        size, now = 0, monotonic()
        for queue in (self._interactive, self._bulk):
            entries = queue.entries
            while entries and (not batch or size + entries[0].size <= max_size):
                entry = queue.pop()
                request = entry.request
                if request.done:
                    continue
                if request.deadline is not None and request.deadline <= now:
                    late.append(entry)
                else:
                    batch.append(entry)
                    size += entry.size
        return batch, late

    def clear(self) -> list[E]:
        """Take everything."""
        return [q.pop() for q in (self._interactive, self._bulk) for _ in range(len(q.entries))]
