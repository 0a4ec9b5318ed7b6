"""Answers the messages of a stream several at a time, and in their order."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol, TypeVar

__all__ = ["STREAM_WINDOW", "in_order"]

# Requests of one stream that are read before the first of them is answered, and
# so replies that a slow reader can make the server keep.
STREAM_WINDOW = 16

T = TypeVar("T", contravariant=True)
R = TypeVar("R", covariant=True)


class _Answer(Protocol[T, R]):
    def __call__(self, message: T, /) -> Coroutine[Any, Any, R]: ...


async def in_order(
    answer: _Answer[T, R], messages: AsyncIterator[T], window: int
) -> AsyncIterator[R]:
    """Give the answer to each message, in the order of the messages.

    Args:
        answer: Answers one message.
        messages: What is answered. It is read no further ahead than the window.
        window: How many messages may be under way.

    Raises:
        Exception: Whatever `answer` or `messages` raised, after the answers before it.
    """
    under_way: asyncio.Queue[asyncio.Task[R] | None] = asyncio.Queue(window)
    tasks: set[asyncio.Task[Any]] = set()

    async def read() -> None:
        async for message in messages:
            task = asyncio.create_task(answer(message))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await under_way.put(task)

    def wake(_: object) -> None:
        if under_way.empty():
            under_way.put_nowait(None)

    reader = asyncio.create_task(read())
    reader.add_done_callback(wake)
    try:
        while not (reader.done() and under_way.empty()):
            task = await under_way.get()
            if task is not None:
                yield await task
        await reader
    finally:
        for pending in (reader, *tasks):
            pending.cancel()
        await asyncio.gather(reader, *tasks, return_exceptions=True)
