"""TLS handshakes in progress, of which a listener allows a limited number."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

__all__ = ["AcceptedProtocol", "Handshakes"]


class Handshakes:
    """Makes connections of those whose handshake succeeds.

    At the limit, the handshake that has taken the longest ends: an honest one takes
    milliseconds, and the ones that never end must not keep it out.

    Args:
        loop: The event loop.
        limit: Handshakes at once.
        seconds: How long one may take.
        protocol: Makes the protocol of a connection, after its handshake.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        seconds: float,
        protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._seconds = seconds
        self._protocol = protocol
        self._open: dict[asyncio.Transport, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        """Begin the handshake of an accepted connection."""
        if len(self._open) >= self._limit:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.abort()
        self._open[transport] = self._loop.create_task(self._run(transport, context))

    def close(self) -> None:
        """End all handshakes."""
        for transport in self._open:
            transport.abort()

    async def _run(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        early = _EarlyData()
        try:
            if transport.is_closing():  # there would be no end of the handshake
                return
            secure = await self._loop.start_tls(
                transport,
                early,
                context,
                server_side=True,
                ssl_handshake_timeout=self._seconds,
            )
        except OSError:  # ssl.SSLError and timeouts are among them
            secure = None
        finally:
            self._open.pop(transport, None)
        if secure is None or early.is_lost:
            transport.abort()
        else:
            early.pass_on(secure, self._protocol())


class _EarlyData(asyncio.Protocol):
    """Keeps what arrives between the end of a handshake and the connection's beginning."""

    def __init__(self) -> None:
        self._received: list[bytes] = []
        self.is_lost = False

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self._received.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that there will be no connection."""
        self.is_lost = True

    def pass_on(self, transport: Any, protocol: asyncio.Protocol) -> None:
        """Replace this protocol."""
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        for data in self._received:
            protocol.data_received(data)


class AcceptedProtocol(asyncio.Protocol):
    """An accepted connection, before its handshake.

    Args:
        begin: Begins the handshake.
    """

    def __init__(self, begin: Callable[[asyncio.Transport], None]) -> None:
        self._begin = begin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake; what arrives from here on belongs to it."""
        if isinstance(transport, asyncio.Transport):
            transport.pause_reading()
            self._begin(transport)
