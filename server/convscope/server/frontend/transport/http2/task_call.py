"""Calls of any kind, each in a task of its own with a context like grpc.aio's."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import grpc
import structlog

from convscope.server.frontend.transport.calls import Metadata
from convscope.server.frontend.transport.http2.context import Context, Peer
from convscope.server.frontend.transport.http2.heads import Head
from convscope.server.frontend.transport.http2.messages import RawMessage
from convscope.server.frontend.transport.http2.stream import Link, Stream
from convscope.server.frontend.transport.http2.tasks import Tasks
from convscope.server.frontend.transport.http2.wire import (
    PREFIX_BYTES,
    RESPONSE_HEADERS,
    BadRequestError,
    Header,
    encode_metadata,
)
from convscope.server.frontend.transport.unexpected import status_of

__all__ = ["TaskCall", "TaskMethod"]

log = structlog.get_logger(__name__)

# Above so many bytes of a stream that the client has not read, `write` waits.
MAX_QUEUED_BYTES = 64 * 1024

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Handler = grpc.RpcMethodHandler[Any, Any]


class TaskMethod:
    """A method of any kind.

    Args:
        path: Its path.
        handler: Handles its calls.
        tasks: Runs them.
    """

    __slots__ = ("handler", "path", "tasks")

    def __init__(self, path: str, handler: "Handler", tasks: Tasks) -> None:
        self.path = path
        self.handler = handler
        self.tasks = tasks

    @property
    def behavior(self) -> Callable[..., Any]:
        """The function of the service."""
        handler = self.handler
        functions = (
            handler.unary_unary,
            handler.unary_stream,
            handler.stream_unary,
            handler.stream_stream,
        )
        return next(function for function in functions if function is not None)


class TaskCall(Stream):
    """One call.

    Args:
        link: Its connection.
        stream_id: Its number there.
        head: What its headers say.
        deadline: The `loop.time()` after which the caller no longer waits, or None.
        peer: The other end of the connection.
        queued_bytes: Returns how many bytes of a stream the client has not read.
        flushed: Returns a future that is done when some of them were read.
    """

    __slots__ = (
        "_context",
        "_flushed",
        "_messages",
        "_peer",
        "_queued_bytes",
        "_reading",
        "_unanswered",
        "task",
        "written",
    )

    def __init__(
        self,
        link: Link,
        stream_id: int,
        head: Head,
        deadline: float | None,
        peer: Peer,
        queued_bytes: Callable[[int], int],
        flushed: Callable[[], asyncio.Future[None]],
    ) -> None:
        super().__init__(link, stream_id, head, deadline)
        self._peer = peer
        # While its handler runs. The two refer to each other, and later would be garbage that only
        # a full collection finds.
        self._context: Context | None = None
        self._messages: deque[RawMessage] = deque()
        self._reading: asyncio.Future[None] | None = None
        self._unanswered: deque[int] = deque()  # the bytes of the messages that the handler has
        self._queued_bytes = queued_bytes
        self._flushed = flushed
        self.task: asyncio.Task[None] | None = None  # when it has begun
        self.written = 0
        if self._method.handler.request_streaming:
            self._start()

    @property
    def is_backlogged(self) -> bool:  # type: ignore[override] # it is a constant of other calls
        """Whether messages wait for the handler."""
        return bool(self._messages)

    @property
    def is_in_progress(self) -> bool:  # type: ignore[override] # it is a constant of other calls
        """Whether messages have no reply; the handler has them, or will read them."""
        return bool(self._unanswered or self._messages)

    @property
    def may_wait(self) -> bool:  # type: ignore[override] # it is a constant of other calls
        """Whether the request is a stream."""
        return bool(self._method.handler.request_streaming)

    @property
    def is_idle(self) -> bool:  # type: ignore[override] # it is a constant of other calls
        """Whether the caller may send more, and the handler has answered everything."""
        between = self._reader is None or self._reader.is_between_messages
        in_progress = self._messages or self._unanswered or self.received_all
        return self.may_wait and between and not in_progress

    @property
    def is_begun(self) -> bool:
        """Whether its handler runs."""
        return self.task is not None

    @property
    def _method(self) -> TaskMethod:
        method: TaskMethod = self.head.method
        return method

    def _start(self) -> None:
        self._method.tasks.start(self, self._link)

    # What the connection calls

    def take_messages(self, messages: Sequence[RawMessage]) -> None:
        """Queue messages for the handler."""
        self._messages += messages
        if not self._method.handler.request_streaming and len(self._messages) > 1:
            raise BadRequestError(
                grpc.StatusCode.INTERNAL, "the request of a unary call has several messages"
            )
        self._wake()

    def take_end(self) -> None:
        """Begin a call with one message; end the messages of others."""
        if self._method.handler.request_streaming:
            self._wake()
        elif not self._messages:
            raise BadRequestError(
                grpc.StatusCode.INTERNAL, "the request of a unary call has no message"
            )
        else:
            self._start()

    def cancelled(self) -> None:
        """Cancel the task; the status was sent, or can't be."""
        if self._context is not None:
            self._context.is_cancelled = True
        if self.task is not None and self.task is not asyncio.current_task(self._loop):
            self.task.cancel()

    def abandon(
        self,
        code: grpc.StatusCode,
        details: str,
        trailing: Metadata = (),
        headers: Sequence[Header] = (),
    ) -> None:
        """End the call with a status, which its handler's context shows."""
        if not self.ended and self._context is not None:
            self._context.set_code(code)
            self._context.set_details(details)
        super().abandon(code, details, trailing, headers)

    def end(self) -> None:
        """Release everything."""
        super().end()
        self._messages.clear()
        self._unanswered.clear()

    def _wake(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return self._method.tasks.loop

    # What the handler calls, by its context

    def time(self) -> float:
        """Return the time."""
        return self._loop.time()

    async def read(self) -> Any:
        """Return the next message, or `grpc.aio.EOF`."""
        handler = self._method.handler
        if not handler.response_streaming:
            self._release_oldest()
        while not await self._may_take():
            if self._messages:
                await self._flushed()  # nothing more begins until the client reads its replies
            elif self.received_all or self.ended:
                return grpc.aio.EOF
            else:
                self._reading = self._loop.create_future()
                try:
                    await self._reading
                finally:
                    self._reading = None
        raw = self._messages.popleft()
        if not (self._messages or self.is_starved):
            self.acknowledge_held_back()
        compressed, data = raw
        self._unanswered.append(len(data) + PREFIX_BYTES)
        data = await self._inflated(data) if compressed else bytes(data)
        deserialize = handler.request_deserializer
        return data if deserialize is None else deserialize(data)

    async def _may_take(self) -> bool:
        """Wait for the call's turn if there is a message; return whether it can be taken."""
        if self._has_next() and self.may_wait:  # the turn of other calls was their beginning
            await self._method.tasks.turn(self._link)
        return self._has_next()  # the call may have ended meanwhile

    def _has_next(self) -> bool:
        limit = self._link.limits.max_unread_bytes
        return bool(self._messages) and self._link.unread_bytes() <= limit

    async def _inflated(self, data: bytes | memoryview) -> bytes:
        """Return the newest message inflated."""
        inflater, encoding = self._link.inflater, self.head.encoding
        message = inflater.try_short(data, encoding)
        if message is None:
            try:
                message = await inflater.inflate(data, encoding, lambda: self.ended)
            except BadRequestError as error:
                self.reject(error)
                raise asyncio.CancelledError from error
            self._check_not_ended()
        grown = len(message) - len(data)
        self.grow(grown)
        if self._unanswered:
            self._unanswered[-1] += grown
        return bytes(message)

    def _release_oldest(self) -> None:
        """Release the oldest message that the handler has."""
        if self._unanswered and not self.ended:
            size = min(self._unanswered.popleft(), self.held)
            self.held -= size
            self._link.uploads.budget.release(size)
            if self.allowance is not None:
                self.allowance.release(size)

    async def write(self, message: Any) -> None:
        """Send a message."""
        self._check_not_ended()
        serialize = self._method.handler.response_serializer
        if self.may_wait:
            self._release_oldest()  # a reply in a stream answers the message that came first
        self.send_initial(())
        data = message if serialize is None else serialize(message)
        self.written += len(data)
        self._link.send_message(self, data)
        while not self.ended and self._queued_bytes(self.id) > MAX_QUEUED_BYTES:
            await self._flushed()

    def send_initial(self, metadata: Metadata) -> None:
        """Send the initial metadata, once."""
        if not self.has_sent_headers:
            self._check_not_ended()
            headers = (*RESPONSE_HEADERS, *encode_metadata(metadata))
            self.has_sent_headers = True
            self._link.send_headers(self.id, headers)

    def finish(self, code: grpc.StatusCode, details: str, trailing: Metadata) -> None:
        """Send the status."""
        if not self.ended:
            self.end()
            self._link.send_status(self, code, details, trailing)

    def _check_not_ended(self) -> None:
        if self.ended:
            raise asyncio.CancelledError

    # The task

    async def run(self) -> None:
        """Run the handler, and send what it returns."""
        self._context = context = Context(self, self._peer)
        try:
            await self._run(context)
        except grpc.aio.AbortError:
            pass  # the status is sent
        except asyncio.CancelledError:
            self.finish(grpc.StatusCode.CANCELLED, "the server cancelled the call", ())
        except Exception as error:  # noqa: BLE001 - the last resort; it is logged in full
            self.finish(*status_of(error, log, method=self._method.path), ())
        finally:
            context.run_done_callbacks()
            self._context = None

    async def _run(self, context: Context) -> None:
        handler = self._method.handler
        request = self._requests() if handler.request_streaming else await self.read()
        result = self._method.behavior(request, context)
        if hasattr(result, "__aiter__"):
            async for message in result:
                await self.write(message)
        elif isawaitable(result):
            result = await result
        if not handler.response_streaming and not self.ended:
            self._reply(result, context)
        self.finish(context.code(), context.details(), context.trailing_metadata())

    def _reply(self, result: Any, context: Context) -> None:
        """Send the one message of a response; none after an error that was set."""
        serialize = self._method.handler.response_serializer
        if context.code() is grpc.StatusCode.OK:
            message = result if serialize is None else serialize(result)
            if self.has_sent_headers:
                self._link.send_message(self, message)
            else:
                self.end()
                self._link.send_reply(self, message, context.trailing_metadata())

    async def _requests(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message
