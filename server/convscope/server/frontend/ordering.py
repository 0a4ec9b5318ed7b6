"""Handles several messages of a stream at once, and returns the replies in order."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol, TypeVar

__all__ = ["STREAM_WINDOW", "in_order"]

# The requests of one stream that are read before the first of them has its reply, and
# so the replies that a slow reader can make the server keep.
STREAM_WINDOW = 16

T = TypeVar("T", contravariant=True)
R = TypeVar("R", covariant=True)


class _Handler(Protocol[T, R]):
    def __call__(self, message: T, /) -> Coroutine[Any, Any, R]: ...


async def in_order(
    handle: _Handler[T, R], messages: AsyncIterator[T], window: int
) -> AsyncIterator[R]:
    """Yield the reply to each message, in the order of the messages.

    Args:
        handle: Returns the reply to one message.
        messages: The messages. They are read no further ahead than the window.
        window: How many messages may be in progress.

    Raises:
        Exception: Whatever `handle` or `messages` raised, after the earlier replies.
    """
    in_progress: asyncio.Queue[asyncio.Task[R] | None] = asyncio.Queue(window)
    tasks: set[asyncio.Task[Any]] = set()

    async def read() -> None:
        async for message in messages:
            task = asyncio.create_task(handle(message))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await in_progress.put(task)

    def wake(_: object) -> None:
        if in_progress.empty():
            in_progress.put_nowait(None)

    reader = asyncio.create_task(read())
    reader.add_done_callback(wake)
    try:
        while not (reader.done() and in_progress.empty()):
            task = await in_progress.get()
            if task is not None:
                yield await task
        await reader
    finally:
        for pending in (reader, *tasks):
            pending.cancel()
        await asyncio.gather(reader, *tasks, return_exceptions=True)
