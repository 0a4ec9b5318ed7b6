"""Entries that wait for a runner: interactive entries before bulk ones, each kind in its order."""

import math
from collections import deque
from collections.abc import Callable, Sequence
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
        work: How long it takes, in any unit; its size by default.
        is_large: Whether it may have to wait until running entries leave room for it.
    """

    __slots__ = ("is_large", "queued_at", "request", "size", "work")

    def __init__(
        self, request: O, size: int, work: int | None = None, *, is_large: bool = False
    ) -> None:
        self.request = request
        self.size = size
        self.work = size if work is None else work
        self.is_large = is_large
        self.queued_at = perf_counter()
        """The `time.perf_counter()` of its arrival."""


E = TypeVar("E", bound="Entry[Any]")


class _Queue(Generic[E]):
    """Entries in their order, and the sums of their sizes and of their work."""

    def __init__(self) -> None:
        self.entries: deque[E] = deque()
        self.size = 0
        self.work = 0

    def push(self, entry: E) -> None:
        self.entries.append(entry)
        self._count(entry)

    def pop(self) -> E:
        entry = self.entries.popleft()
        self.size -= entry.size
        self.work -= entry.work
        return entry

    def put_back(self, entries: list[E]) -> None:
        """Insert entries before the others, in their order."""
        self.entries.extendleft(reversed(entries))
        for entry in entries:
            self._count(entry)

    def _count(self, entry: E) -> None:
        self.size += entry.size
        self.work += entry.work

    def remove(self, obsolete: Callable[[E], bool]) -> None:
        kept = [entry for entry in self.entries if not obsolete(entry)]
        if len(kept) < len(self.entries):
            self.entries = deque(kept)
            self.size = sum(entry.size for entry in kept)
            self.work = sum(entry.work for entry in kept)


class BatchQueue(Generic[E]):
    """Two bounded queues. Safe in one thread, or under one lock.

    Args:
        max_size: How much of each kind may wait, as the sum of the sizes.
        max_work: How much work of each kind may wait. It limits the entries that have more
            than their share of it, so that they leave room for the others.
    """

    def __init__(self, max_size: int, max_work: float = math.inf) -> None:
        self._max_size = max_size
        self._max_work = max_work
        self._interactive = _Queue[E]()
        self._bulk = _Queue[E]()

    def __len__(self) -> int:
        return len(self._interactive.entries) + len(self._bulk.entries)

    def size(self, *, bulk: bool = True) -> int:
        """The sum of the sizes; of the interactive entries alone unless bulk ones count too."""
        return self._interactive.size + (self._bulk.size if bulk else 0)

    def work(self, *, bulk: bool = True) -> int:
        """The sum of the work; of the interactive entries alone unless bulk ones count too."""
        return self._interactive.work + (self._bulk.work if bulk else 0)

    @property
    def fill_ratio(self) -> float:
        """The fill level of the fuller queue; above 1 if a single large entry was accepted."""
        queues = self._interactive, self._bulk
        return max(max(q.size / self._max_size, q.work / self._max_work) for q in queues)

    def has_room(self, entries: Sequence[E]) -> bool:
        """Whether the entries of one request fit into the queue; an empty queue accepts all."""
        queue = self._bulk if entries[0].request.bulk else self._interactive
        size = sum(entry.size for entry in entries)
        if not queue.entries or not size:
            return True
        if queue.size + size > self._max_size:
            return False
        if self._max_work == math.inf:
            return True
        work = sum(entry.work for entry in entries)
        share = self._max_work * size / self._max_size
        return work <= share or queue.work + work <= self._max_work

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

    def take(
        self, max_size: int, may_start: Callable[[E], bool] = lambda entry: True
    ) -> tuple[list[E], list[E]]:
        """Take the oldest entries, up to a full batch.

        Args:
            max_size: The largest batch.
            may_start: Whether an entry can run now. If a large one can't, it stays, together
                with all large entries after it, and the others overtake them. If another one
                can't, everything after it stays too.

        Returns:
            The batch, and the entries whose deadline has passed. Entries whose
            request is done are in neither.
        """
        batch: list[E] = []
        late: list[E] = []
        size, now = 0, monotonic()
        is_holding = False
        for queue in (self._interactive, self._bulk):
            entries = queue.entries
            held: list[E] = []
            while entries and (not batch or size + entries[0].size <= max_size):
                entry = queue.pop()
                request = entry.request
                if request.done:
                    continue
                if request.deadline is not None and request.deadline <= now:
                    late.append(entry)
                elif entry.is_large and (is_holding or not may_start(entry)):
                    held.append(entry)
                    is_holding = True
                elif not entry.is_large and not may_start(entry):
                    queue.put_back([*held, entry])
                    return batch, late
                else:
                    batch.append(entry)
                    size += entry.size
            if held:
                queue.put_back(held)
        return batch, late

    def clear(self) -> list[E]:
        """Take everything."""
        return [q.pop() for q in (self._interactive, self._bulk) for _ in range(len(q.entries))]
