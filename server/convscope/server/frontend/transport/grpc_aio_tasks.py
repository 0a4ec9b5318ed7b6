"""Calls in tasks on grpc.aio: streams count in the byte budget, and all end with the server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import grpc

from convscope.server.errors import ShuttingDownError
from convscope.server.frontend.access.control import AccessControl, Admission
from convscope.server.frontend.transport.calls import pushback
from convscope.server.frontend.transport.grpc_aio_access import admit
from convscope.server.frontend.transport.memory_budget import (
    FULL_MESSAGE,
    PUSHBACK_MS,
    MemoryBudget,
)

__all__ = ["Tasks"]

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]


class Tasks:
    """The calls that run in a task of their own.

    Args:
        budget: Counts the messages of streams until they have their replies.
        access: Admits the calls; None admits all.
    """

    def __init__(self, budget: MemoryBudget, access: AccessControl | None = None) -> None:
        self.budget = budget
        self._access = access
        self._is_stopping = False
        self._open: set[_Call] = set()
        self._ending: set[asyncio.Task[None]] = set()

    def wrap(self, path: str, handler: Handler) -> Handler:
        """Return a handler whose calls are admitted and counted, and end when the server stops."""

        async def of_one(request: Any, context: Context) -> Any:
            call = _Call(context)
            call.admission = await admit(self._access, path, context)
            return await self._run(handler, request, call)

        async def of_stream(_: object, context: Context) -> Any:
            stream = _Stream(self, context, handler.request_deserializer)
            stream.admission = await admit(self._access, path, context)
            return await self._run(handler, stream.messages(), stream)

        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        if handler.request_streaming:
            return make(of_stream, response_serializer=handler.response_serializer)
        return make(of_one, handler.request_deserializer, handler.response_serializer)

    async def _run(self, handler: Handler, request: Any, call: _Call) -> Any:
        self._open.add(call)
        try:
            result = _behavior(handler)(request, call)
            if hasattr(result, "__aiter__"):
                async for reply in result:
                    await call.write(reply)
                return None
            return await result if isawaitable(result) else result
        finally:
            self._open.discard(call)
            call.close()

    def stop(self) -> None:
        """End the streams with nothing in progress, now and when others become such."""
        self._is_stopping = True
        for call in self._open:
            self.end_if_idle(call)

    def end_if_idle(self, call: _Call) -> None:
        """End a stream if nothing is in progress; its client may begin another one elsewhere."""
        if self._is_stopping and call.is_idle:
            self._end(call)

    def end_all(self) -> None:
        """End all calls."""
        for call in self._open:
            self._end(call)

    def _end(self, call: _Call) -> None:
        task = asyncio.get_running_loop().create_task(call.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _behavior(handler: Handler) -> Callable[..., Any]:
    functions = (
        handler.unary_unary,
        handler.unary_stream,
        handler.stream_unary,
        handler.stream_stream,
    )
    return next(function for function in functions if function is not None)


class _Call:
    """One call; the context of its handler.

    Args:
        context: The context of grpc.aio.
    """

    is_idle: bool = False
    admission: Admission | None = None

    def __init__(self, context: Context) -> None:
        self._context = context
        self._task = asyncio.current_task()
        self._is_ended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, message: Any) -> None:
        """Send a message."""
        await self._context.write(message)

    async def end(self) -> None:
        """End the call because the server stops."""
        if self._is_ended:
            return
        self._is_ended = True
        error = ShuttingDownError()
        # Its handler may have aborted it already, and wait for its client to read that.
        with suppress(grpc.aio.BaseError, asyncio.CancelledError):
            await self._context.abort(error.code, error.message)
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Release everything."""


class _Stream(_Call):
    """One call whose request is a stream; it counts the messages.

    Args:
        tasks: All of them.
        context: The context of grpc.aio.
        deserialize: Parses a message; None for none.
    """

    def __init__(
        self, tasks: Tasks, context: Context, deserialize: Callable[[bytes], Any] | None
    ) -> None:
        super().__init__(context)
        self._tasks = tasks
        self._budget = tasks.budget
        self._deserialize = deserialize
        self._unanswered: deque[int] = deque()  # the bytes of the messages that the handler has
        self._held = 0  # their sum
        self._room: asyncio.Future[None] | None = None

    @property
    def is_idle(self) -> bool:  # type: ignore[override] # it is a constant of other calls
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
            later = (("grpc-retry-pushback-ms", str(PUSHBACK_MS)),)
            await self._context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, FULL_MESSAGE, later)
        allowance = self._allowance
        if self.admission is not None and allowance is not None:
            if allowance.used and allowance.used != self._held and not allowance.admits(size):
                error = self.admission.caller.over_concurrent_bytes()
                await self._context.abort(error.code, error.message, tuple(pushback(error)))
            allowance.take(size)
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
            self._release(size)
        await self._context.write(message)
        self._tasks.end_if_idle(self)

    def close(self) -> None:
        """Release everything."""
        self._unanswered.clear()
        self._release(self._held)

    def _release(self, size: int) -> None:
        self._held -= size
        self._budget.release(size)
        if (allowance := self._allowance) is not None:
            allowance.release(size)

    @property
    def _allowance(self) -> MemoryBudget | None:
        """What its caller may have in flight."""
        return None if self.admission is None else self.admission.caller.in_flight

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
