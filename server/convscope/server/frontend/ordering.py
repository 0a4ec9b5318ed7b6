"""Handles several messages of a stream at once, and returns the replies in order."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

__all__ = ["STREAM_WINDOW", "Place", "in_order"]

# The requests of one stream that are read before the first of them has its reply, and
# so the replies that a slow reader can make the server keep.
STREAM_WINDOW = 16

T = TypeVar("T")
R = TypeVar("R")


class Place(Generic[R]):
    """Where the reply to one message belongs. Used on the event loop only."""

    __slots__ = ("_is_set", "_reply", "_waiter", "on_cancel")

    def __init__(self) -> None:
        self._is_set = False
        self._reply: R | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.on_cancel: Callable[[], None] | None = None
        """Called if the stream ends before the reply is set."""

    def set(self, reply: R) -> None:
        """Set the reply; a later one is dropped."""
        if self._is_set:
            return
        self._is_set, self._reply = True, reply
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> R:
        """Wait for the reply, and return it."""
        if not self._is_set:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        reply, self._reply = self._reply, None
        return reply  # type: ignore[return-value] # it is set

    def cancel(self) -> None:
        """Report that the stream has ended, unless the reply is set."""
        if not self._is_set and self.on_cancel is not None:
            self.on_cancel()


async def in_order(
    begin: Callable[[T, Place[R]], None], messages: AsyncIterator[T], window: int
) -> AsyncIterator[R]:
    """Yield the reply to each message, in the order of the messages.

    Args:
        begin: Called with each message and the place of its reply, which it sets now
            or later.
        messages: The messages. They are read no further ahead than the window.
        window: How many messages may be in progress.

    Raises:
        Exception: Whatever `begin` or `messages` raised, after the earlier replies.
    """
    places: asyncio.Queue[Place[R] | None] = asyncio.Queue(window)
    in_progress: set[Place[R]] = set()

    async def read() -> None:
        async for message in messages:
            place = Place[R]()
            begin(message, place)
            in_progress.add(place)
            await places.put(place)

    def wake(_: object) -> None:
        if places.empty():
            places.put_nowait(None)

    reader = asyncio.create_task(read())
    reader.add_done_callback(wake)
    try:
        while not (reader.done() and places.empty()):
            place = await places.get()
            if place is not None:
                reply = await place.get()
                in_progress.discard(place)
                yield reply
        await reader
    finally:
        reader.cancel()
        for place in in_progress:
            place.cancel()
        await asyncio.gather(reader, return_exceptions=True)
