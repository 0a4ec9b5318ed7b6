"""The bytes of requests that one process may hold."""

from collections.abc import Callable

__all__ = ["FULL_MESSAGE", "PUSHBACK_MS", "SMALL_BYTES", "MemoryBudget"]

FULL_MESSAGE = "the server's memory for requests is in use; retry later, or send smaller requests"
PUSHBACK_MS = 100
# Requests up to this size may also use the reserve, which large requests never fill. Otherwise
# a few callers with large requests would keep all others out.
SMALL_BYTES = 256 * 1024
RESERVED_SHARE = 8


class MemoryBudget:
    """Counts the bytes of unfinished uploads and of messages that are not answered yet.

    Both transports share one budget per process. It counts only: what happens at
    the limit is up to its users.

    Args:
        limit: The number of bytes.
        has_reserve: Whether small requests may use another eighth of the limit above it.
    """

    __slots__ = ("_has_reserve", "_waiting", "limit", "on_rejected", "used")

    def __init__(self, limit: int, *, has_reserve: bool = True) -> None:
        self.limit = limit
        self._has_reserve = has_reserve
        self.used = 0
        self.on_rejected: Callable[[], None] = lambda: None
        """Called with each call that a transport rejects because its bytes don't fit."""
        self._waiting: list[Callable[[], None]] = []

    def admits(self, size: int) -> bool:
        """Report whether a message of this size fits; a single one always does."""
        return self.used + size <= self.limit_of(size) or self.used == 0

    def limit_of(self, size: int) -> int:
        """Return the limit for a request of this size."""
        if self._has_reserve and size <= SMALL_BYTES:
            return self.limit + self.limit // RESERVED_SHARE
        return self.limit

    def take(self, size: int) -> None:
        """Count bytes, even above the limit: they are in memory already."""
        self.used += size

    def release(self, size: int) -> None:
        """Count bytes no longer, and call those that wait for room."""
        self.used -= size
        if self._waiting and self.used < self.limit:
            waiting, self._waiting = self._waiting, []
            for call in waiting:
                call()

    def when_room(self, call: Callable[[], None]) -> None:
        """Call once when bytes are released and the limit is no longer reached."""
        if call not in self._waiting:
            self._waiting.append(call)
