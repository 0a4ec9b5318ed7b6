"""Connections that can't hold memory or a file descriptor for as long as they like."""

import asyncio
from typing import Any, ClassVar

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from convscope.web.errors import JSON, HttpError, error_reply, invalid

__all__ = ["Connection", "connections"]

# All headers of a request. The parser has no limit of its own.
MAX_HEAD_BYTES = 64 * 1024
# A moving caller on a bad network reads slowly, and pauses.
READ_PAUSES = 3


class Connection(HttpToolsProtocol):
    """One connection, which ends if the caller neither sends a whole head nor reads its reply."""

    pause_seconds: ClassVar[float] = 10.0

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._is_in_head = False
        self._has_progressed = False
        self._held_bytes = 0
        self._late_head: asyncio.TimerHandle | None = None
        self._late_reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called with a new connection, which may be idle for as long as a used one."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Called with the end of the connection."""
        self._cancel_late_head()
        self._cancel_late_reader()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes; reject a request whose head, or trailer, is too large or too slow."""
        self._has_progressed = False
        super().data_received(data)
        self._held_bytes = 0 if self._has_progressed else self._held_bytes + len(data)
        if self.transport.is_closing():
            return
        if self._held_bytes > MAX_HEAD_BYTES:
            message = f"the headers have more than {MAX_HEAD_BYTES:,} bytes; send fewer"
            self._reject(invalid(message, status=431))
        elif self._is_in_head and self._late_head is None:
            self._late_head = self.loop.call_later(self.pause_seconds, self._on_late_head)

    def on_message_begin(self) -> None:
        """Called with the first byte of a request."""
        super().on_message_begin()
        self._is_in_head = True

    def on_headers_complete(self) -> None:
        """Called when a head is complete."""
        self._is_in_head, self._has_progressed = False, True
        self._cancel_late_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called with a part of a body."""
        self._has_progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called with the end of a request."""
        self._has_progressed = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Called when the caller doesn't read as fast as we write."""
        super().pause_writing()
        self._late_reader = self.loop.call_later(
            READ_PAUSES * self.pause_seconds, self.transport.abort
        )

    def resume_writing(self) -> None:
        """Called when the caller has read enough."""
        self._cancel_late_reader()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Reject what is no HTTP, in the form of all other errors."""
        self._reject(invalid("the request is not valid HTTP/1.1"))

    def _unsupported_upgrade_warning(self) -> None:
        """Called when a caller offers HTTP/2; the reply in HTTP/1.1 is enough."""

    def _on_late_head(self) -> None:
        self._reject(
            invalid(f"the headers did not arrive within {self.pause_seconds:g} s", status=408)
        )

    def _cancel_late_head(self) -> None:
        if self._late_head is not None:
            self._late_head.cancel()
            self._late_head = None

    def _cancel_late_reader(self) -> None:
        if self._late_reader is not None:
            self._late_reader.cancel()
            self._late_reader = None

    def _reject(self, error: HttpError) -> None:
        if self.transport.is_closing():
            return
        is_replying = self.cycle is not None and not self.cycle.response_complete
        if not (is_replying and self.cycle.response_started):  # else it would be within a reply
            self.transport.write(_encode(error))
        self.transport.close()


def connections(pause_seconds: float) -> type[Connection]:
    """Return the class of the connections.

    Args:
        pause_seconds: How long a head may take, and a third of how long a caller may not read.
    """
    return type("TimedConnection", (Connection,), {"pause_seconds": pause_seconds})


def _encode(error: HttpError) -> bytes:
    body = orjson.dumps(error_reply(error))
    head = (
        f"HTTP/1.1 {error.status} \r\ncontent-type: {JSON}\r\ncontent-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body
