"""The connections of the listener for Prometheus: few, and none for long."""

import asyncio
import ssl
from http import HTTPStatus
from typing import cast

from convscope.server.observability.metrics.scrape import HttpReply, Scrapes, error_reply

__all__ = ["Connection", "Connections"]

MAX_CONNECTIONS = 64
# Each may hold a whole reply, of megabytes.
MAX_SLOW_READERS = 8
READ_SECONDS = 5.0
WRITE_SECONDS = 10.0
MAX_HEAD_BYTES = 8192
_END = b"\r\n\r\n"


class Connections:
    """The open connections. At a limit, the oldest one ends, and never the new one.

    A scraper sends its request at once, so those that wait for nothing can't keep it out.

    Args:
        scrapes: Replies to the requests.
        tls: Returns the context of TLS for the next handshake; None for no TLS.
    """

    def __init__(self, scrapes: Scrapes, tls: ssl.SSLContext | None) -> None:
        self.scrapes = scrapes
        self.tls = tls
        self._reading: dict[Connection, None] = {}
        self._writing: dict[Connection, None] = {}

    def add(self, connection: "Connection") -> None:
        """Add a new connection."""
        self._reading[connection] = None
        if len(self._reading) > MAX_CONNECTIONS:
            next(iter(self._reading)).abort()

    def replied(self, connection: "Connection") -> None:
        """Count a connection whose reply must be read."""
        self._reading.pop(connection, None)
        self._writing[connection] = None
        if len(self._writing) > MAX_SLOW_READERS:
            next(iter(self._writing)).abort()

    def remove(self, connection: "Connection") -> None:
        """Remove a connection."""
        self._reading.pop(connection, None)
        self._writing.pop(connection, None)

    def close(self) -> None:
        """End all connections."""
        for connection in (*self._reading, *self._writing):
            connection.abort()


class Connection(asyncio.Protocol):
    """One connection, with one request."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._received = bytearray()
        self._has_replied = False
        self._is_securing = connections.tls is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called with the new connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)
        self._limit(READ_SECONDS)
        if self._connections.tls is not None:
            self._transport.pause_reading()
            self._handshake = asyncio.ensure_future(
                self._secure(self._transport, self._connections.tls)
            )

    def data_received(self, data: bytes) -> None:
        """Called with a part of the request."""
        if not self._has_replied:
            self._received += data
            self._parse()

    def _parse(self) -> None:
        """Reply if the request is complete."""
        if self._is_securing:  # the handshake's end sets the transport, perhaps after the data
            return
        head, end, _ = self._received.partition(_END)
        if end:
            self._reply(self._connections.scrapes.reply(bytes(head)))
        elif len(self._received) > MAX_HEAD_BYTES:
            message = f"the headers have more than {MAX_HEAD_BYTES:,} bytes"
            self._reply(error_reply(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message))

    def connection_lost(self, error: Exception | None) -> None:
        """Called at the end of the connection."""
        self._connections.remove(self)
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """End the connection without waiting for the other side."""
        self._connections.remove(self)
        if self._handshake is not None:
            self._handshake.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _reply(self, reply: HttpReply) -> None:
        if self._transport is None:
            return
        self._has_replied = True
        self._received.clear()
        self._connections.replied(self)
        self._limit(WRITE_SECONDS)
        self._transport.write(reply.encode())
        self._transport.close()  # when everything is written

    def _limit(self, seconds: float) -> None:
        """End the connection unless it goes on within some seconds."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)

    async def _secure(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._transport = await loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=READ_SECONDS
            )
        except OSError:  # ssl.SSLError is one
            self.abort()
        else:
            self._is_securing = False
            self._parse()
