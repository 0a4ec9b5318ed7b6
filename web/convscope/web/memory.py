"""The bytes of requests that the process may hold. A request that doesn't fit waits its turn."""

import asyncio
from collections import OrderedDict
from types import TracebackType
from typing import Self

from grpc import StatusCode

from convscope.web.errors import HttpError
from convscope.web.lingering import CLOSE

__all__ = ["MemoryBudget", "Reservation"]

MAX_WAITING = 4096
FULL = "the web server's memory for requests is in use; retry later, or send smaller requests"


class MemoryBudget:
    """Counts the bytes of unfinished requests.

    Nothing of the body of a waiting request is read, so its connection holds only what the
    kernel and the HTTP parser buffer.

    Args:
        limit: The number of bytes. A single request may have more.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: OrderedDict[asyncio.Future[None], int] = OrderedDict()

    def reserve(self, size: int, wait_seconds: float) -> "Reservation":
        """Return a reservation, to be used in an async with block."""
        return Reservation(self, size, wait_seconds)

    async def take(self, size: int, wait_seconds: float) -> None:
        """Count bytes, as soon as they fit.

        Raises:
            HttpError: They don't fit within that time, or too many requests wait already.
        """
        if not self._waiting and self.grow(size):
            return
        if len(self._waiting) >= MAX_WAITING:
            raise HttpError(StatusCode.RESOURCE_EXHAUSTED, FULL)
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = size
        try:
            async with asyncio.timeout(wait_seconds):
                await turn
        except BaseException as error:
            if self._waiting.pop(turn, None) is None:  # its turn came at the same time
                self.release(size)
            if isinstance(error, TimeoutError):
                raise HttpError(StatusCode.RESOURCE_EXHAUSTED, FULL) from error
            raise

    def grow(self, size: int) -> bool:
        """Count bytes if they fit now; report whether they do."""
        if self.used and self.used + size > self.limit:
            return False
        self.used += size
        return True

    def hold(self, size: int) -> None:
        """Count bytes that exist already."""
        self.used += size

    def release(self, size: int) -> None:
        """Count bytes no longer, and admit the requests that wait."""
        self.used -= size
        while self._waiting:
            turn, needed = next(iter(self._waiting.items()))
            if not turn.done() and not self.grow(needed):
                return
            del self._waiting[turn]
            if not turn.done():
                turn.set_result(None)


class Reservation:
    """The bytes of one request."""

    def __init__(self, budget: MemoryBudget, size: int, wait_seconds: float) -> None:
        self._budget = budget
        self._wait_seconds = wait_seconds
        self._size = size

    async def __aenter__(self) -> Self:
        await self._budget.take(self._size, self._wait_seconds)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._budget.release(self._size)

    def grow_to(self, size: int, *, is_read: bool = False) -> None:
        """Count that many bytes at least.

        Args:
            size: The number of bytes.
            is_read: Whether the body was read to its end; otherwise an error ends the connection.

        Raises:
            HttpError: They don't fit. A request that waited here could block all others.
        """
        if size > self._size:
            is_alone = self._budget.used == self._size
            if is_alone:
                self._budget.hold(size - self._size)
            elif not self._budget.grow(size - self._size):
                headers = {} if is_read else CLOSE
                raise HttpError(StatusCode.RESOURCE_EXHAUSTED, FULL, headers=headers)
            self._size = size
