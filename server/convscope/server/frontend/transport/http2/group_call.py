"""Unary calls that are handed over in groups."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import structlog

from convscope.server.frontend.transport.calls import GroupHandler, Metadata
from convscope.server.frontend.transport.http2.heads import Head
from convscope.server.frontend.transport.http2.messages import RawMessage
from convscope.server.frontend.transport.http2.stream import Link, Stream
from convscope.server.frontend.transport.http2.wire import PREFIX_BYTES, BadRequestError
from convscope.server.frontend.transport.unexpected import status_of, unexpected_error

__all__ = ["GroupCall", "GroupMethod"]

log = structlog.get_logger(__name__)

# Smaller messages are copied out of the chunk that they came in.
MIN_VIEW_BYTES = 4096


class GroupMethod:
    """A method whose calls are handed over in groups.

    Args:
        path: Its path.
        handler: Receives the groups.
    """

    __slots__ = ("_handler", "path")

    def __init__(self, path: str, handler: GroupHandler) -> None:
        self.path = path
        self._handler = handler

    def handle(self, calls: Sequence["GroupCall"]) -> None:
        """Hand over a group; if the handler fails, its calls do."""
        try:
            self._handler(calls)
        except Exception as error:  # noqa: BLE001 - one method doesn't stop the others
            status = status_of(error, log, method=self.path)
            for call in calls:
                call.fail(*status)


class GroupCall(Stream):
    """One unary call; a `UnaryCall`.

    Args:
        link: Its connection.
        stream_id: Its number there.
        head: What its headers say.
        deadline: The `loop.time()` after which the caller no longer waits, or None.
        complete: Called when the message has arrived.
    """

    __slots__ = ("_complete", "_deflated", "_has_message", "message", "on_cancel")

    def __init__(
        self,
        link: Link,
        stream_id: int,
        head: Head,
        deadline: float | None,
        complete: Callable[["GroupCall"], Any],
    ) -> None:
        # As in the base class; a call of it takes a twentieth of a small call's time.
        self._link = link
        self.id = stream_id
        self.head = head
        self.deadline = deadline
        self.bucket = self._reader = self.ended_with = self.admission = self.allowance = None
        self.ended = self.received_all = self.has_sent_headers = False
        self.is_upload = self.is_starved = self._admitted = False
        self.upload_remaining = 0
        self.held = self.reply_bytes = self.unacknowledged = 0
        self.message: bytes | memoryview = b""
        self._deflated: bytes | memoryview | None = None  # what is to be inflated
        self.on_cancel: Callable[[], None] | None = None
        self._has_message = False
        self._complete = complete

    @property
    def is_begun(self) -> bool:
        """Whether its handler has it; it is notified then if the call is cancelled."""
        return self.on_cancel is not None

    def receive(self, data: bytes, is_last: bool) -> None:
        """Called with each chunk of the request."""
        reader = self._reader
        if reader is not None and not is_last and reader.append(data):
            self._link.uploads.arrived(self, len(data), reader.announced)
            return
        if is_last and reader is None and not self.is_upload:  # small requests come in one chunk
            size = len(data) - PREFIX_BYTES
            if size >= 0 and not data[0] and int.from_bytes(data[1:PREFIX_BYTES], "big") == size:
                self.received_all = True
                small = size < MIN_VIEW_BYTES
                self.message = data[PREFIX_BYTES:] if small else memoryview(data)[PREFIX_BYTES:]
                self._hand_over()
                return
        super().receive(data, is_last)

    def receive_all(self, chunks: Sequence[bytes], size: int, is_last: bool) -> None:
        """Called with chunks of the request that arrived together."""
        if is_last and self._reader is None:  # all of it is here
            self.receive(b"".join(chunks), True)
        else:
            super().receive_all(chunks, size, is_last)

    def take_messages(self, messages: Sequence[RawMessage]) -> None:
        """Take the one message."""
        for message in messages:
            if self._has_message:
                raise BadRequestError(
                    grpc.StatusCode.INTERNAL, "the request of a unary call has several messages"
                )
            self._has_message = True
            compressed, data = message
            if compressed:
                self._deflated = data
            else:
                self.message = data

    def take_end(self) -> None:
        """Hand the call over."""
        if not self._has_message:
            raise BadRequestError(
                grpc.StatusCode.INTERNAL, "the request of a unary call has no message"
            )
        if self._deflated is None:
            self._hand_over()
        else:
            self._inflate(self._deflated)

    def _inflate(self, data: bytes | memoryview) -> None:
        """Hand the call over when its message is inflated."""
        inflater, encoding = self._link.inflater, self.head.encoding
        message = inflater.try_short(data, encoding)
        if message is None:
            inflating = inflater.inflate(data, encoding, lambda: self.ended)
            inflating.add_done_callback(self._inflated)
        else:
            self._take_inflated(message)

    def _inflated(self, inflating: "asyncio.Future[bytes | memoryview]") -> None:
        if inflating.cancelled():
            return  # the server has stopped, and the call has ended
        try:
            self._take_inflated(inflating.result())
        except BadRequestError as error:
            self.reject(error)
        except Exception as error:  # noqa: BLE001 - the last resort; it is logged in full
            self.abandon(*status_of(error, log, method=self.head.method.path))

    def _take_inflated(self, message: bytes | memoryview) -> None:
        data, self._deflated = self._deflated, None
        if data is not None and not self.ended:
            self.grow(len(message) - len(data))
            self.message = message
            self._hand_over()

    def _hand_over(self) -> None:
        budget = self._link.uploads.budget
        if budget.used > budget.limit_of(self.held) and budget.used != self.held:
            self.reject_full()
        else:
            self._complete(self)

    def reply(self, message: bytes, trailing: Metadata = ()) -> None:
        """Send the reply, and OK."""
        if not self.ended:
            self.end()
            self._link.send_reply(self, message, trailing)

    def fail(self, code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> None:
        """End the call with an error."""
        if not self.ended:
            self.end()
            self._link.send_status(self, code, details, trailing)

    def end(self) -> None:
        """Release everything, the message among it."""
        super().end()
        self.message = b""
        self._deflated = None

    def cancelled(self) -> None:
        """Tell the handler."""
        call, self.on_cancel = self.on_cancel, None
        if call is not None:
            try:
                call()
            except Exception:  # noqa: BLE001 - one call doesn't stop the others
                unexpected_error(log, method=self.head.method.path)
