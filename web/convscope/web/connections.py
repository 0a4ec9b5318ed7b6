"""Connections that can't hold memory or a file descriptor for as long as they like."""

import asyncio
from typing import Any, ClassVar

import orjson
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from convscope.web.errors import JSON, HttpError, error_reply, invalid

__all__ = ["Connection", "connections"]

# All headers of a request. The parser has no limit of its own.
MAX_HEAD_BYTES = 64 * 1024
# A moving caller on a bad network reads slowly, and pauses.
READ_PAUSES = 3
_FRAMING = (b"content-length", b"transfer-encoding")


class Connection(HttpToolsProtocol):
    """One connection, which ends if the caller neither sends a whole head nor reads its reply."""

    pause_seconds: ClassVar[float] = 10.0

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._is_in_head = False
        self._is_resuming = False
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
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except HttpParserError:
            self._reject(invalid("the request is not valid HTTP/1.1"))
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
        if not self._is_resuming:
            super().on_message_begin()
            self._is_in_head = True

    def on_url(self, url: bytes) -> None:
        """Called with a part of the target."""
        if not self._is_resuming:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called with a header."""
        if not self._is_resuming:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called when a head is complete."""
        if self._is_resuming:
            return
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
        if not self.parser.should_upgrade():  # else its body follows
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

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])

    def _decline(self, rest: bytes) -> None:
        """Serve a request that offers another protocol, as the HTTP clients of Java and curl do.

        The parser takes all that follows its head as that protocol. Another parser, which gets
        only the framing of the head, reads the body.
        """
        framing = [b"%s: %s\r\n" % each for each in self.headers if each[0] in _FRAMING]
        self.parser = HttpRequestParser(self)
        self._is_resuming = True
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(framing))
        finally:
            self._is_resuming = False
        if rest:
            self._parse(rest)

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
    headers = f"content-type: {JSON}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return STATUS_LINE[error.status] + headers.encode() + body
