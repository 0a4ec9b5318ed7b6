"""Streams of requests on grpc.aio: counted in the byte budget, and ended when the server stops."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import grpc

from convscope.server.errors import ShuttingDownError
from convscope.server.frontend.transport.memory_budget import (
    FULL_MESSAGE,
    PUSHBACK_MS,
    MemoryBudget,
)

__all__ = ["Streams"]

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]


class Streams:
    """The open calls whose requests are streams.

    Args:
        budget: Counts their messages until they have their replies.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.is_stopping = False
        self._open: set[_Stream] = set()
        self._ending: set[asyncio.Task[None]] = set()

    def wrap(self, handler: Handler) -> Handler:
        """Return a handler that counts the messages of its calls."""

        async def call(_: object, context: Context) -> Any:
            stream = _Stream(self, context, handler.request_deserializer)
            self._open.add(stream)
            try:
                return await _run(handler, stream)
            finally:
                self._open.discard(stream)
                stream.close()

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                call, response_serializer=handler.response_serializer
            )
        return grpc.stream_unary_rpc_method_handler(
            call, response_serializer=handler.response_serializer
        )

    def stop(self) -> None:
        """End the streams with nothing in progress, now and when others become such."""
        self.is_stopping = True
        for stream in self._open:
            self.end_if_idle(stream)

    def end_if_idle(self, stream: _Stream) -> None:
        """End a stream if nothing is in progress; its client may begin another one elsewhere."""
        if self.is_stopping and stream.is_idle:
            self._end(stream)

    def end_all(self) -> None:
        """End all streams."""
        for stream in self._open:
            self._end(stream)

    def _end(self, stream: _Stream) -> None:
        task = asyncio.get_running_loop().create_task(stream.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _run(handler: Handler, stream: _Stream) -> Any:
    behavior: Any = handler.stream_stream or handler.stream_unary
    result = behavior(stream.messages(), stream)
    if hasattr(result, "__aiter__"):
        async for reply in result:
            await stream.write(reply)
        return None
    return await result if isawaitable(result) else result


class _Stream:
    """One call; the context of its handler, and its messages.

    Args:
        streams: All of them.
        context: The context of grpc.aio.
        deserialize: Parses a message; None for none.
    """

    def __init__(
        self, streams: Streams, context: Context, deserialize: Callable[[bytes], Any] | None
    ) -> None:
        self._streams = streams
        self._budget = streams.budget
        self._context = context
        self._deserialize = deserialize
        self._unanswered: deque[int] = deque()  # the bytes of the messages that the handler has
        self._held = 0  # their sum
        self._room: asyncio.Future[None] | None = None
        self._is_ended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    @property
    def is_idle(self) -> bool:
        """Whether the handler has no message without a reply."""
        return not self._unanswered

    async def read(self) -> Any:
        """Return the next message, or `grpc.aio.EOF`, when there is room for it."""
        await self._wait_for_room()
        data = await self._context.read()
        if self._is_ended:
            raise grpc.aio.AbortError
        if data is grpc.aio.EOF:
            return data
        size = len(data)
        if self.is_idle and not self._budget.admits(size):
            self._budget.on_rejected()
            pushback = (("grpc-retry-pushback-ms", str(PUSHBACK_MS)),)
            await self._context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, FULL_MESSAGE, pushback)
        self._budget.take(size)
        self._unanswered.append(size)
        self._held += size
        return data if self._deserialize is None else self._deserialize(data)

    async def messages(self) -> AsyncIterator[Any]:
        """Yield all messages."""
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    async def write(self, message: Any) -> None:
        """Send a message, which answers the one that came first."""
        if self._unanswered:
            size = self._unanswered.popleft()
            self._held -= size
            self._budget.release(size)
        await self._context.write(message)
        self._streams.end_if_idle(self)

    async def end(self) -> None:
        """End the call because the server stops."""
        if not self._is_ended:
            self._is_ended = True
            error = ShuttingDownError()
            with suppress(grpc.aio.AbortError, asyncio.CancelledError):  # it has ended
                await self._context.abort(error.code, error.message)

    def close(self) -> None:
        """Release everything."""
        self._unanswered.clear()
        held, self._held = self._held, 0
        self._budget.release(held)

    async def _wait_for_room(self) -> None:
        """Wait while the budget is used and replies of this stream will release a part of it."""
        budget = self._budget
        while self._unanswered and budget.used > budget.limit and budget.used != self._held:
            self._room = asyncio.get_running_loop().create_future()
            budget.when_room(self._wake)
            await self._room

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
