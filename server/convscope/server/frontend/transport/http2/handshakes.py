"""TLS handshakes in progress, of which a listener allows a limited number."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Handshakes"]


class Handshakes:
    """Begins the handshakes of accepted sockets.

    At the limit, the handshake that has taken the longest ends: an honest one takes
    milliseconds, and the ones that never end must not keep it out.

    Args:
        limit: Handshakes at once.
        seconds: How long one may take.
        protocol: Makes the protocol of a connection.
    """

    def __init__(
        self, limit: int, seconds: float, protocol: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._protocol = protocol
        self._open: dict[asyncio.Task[None], None] = {}

    def begin(self, accepted: socket.socket, context: ssl.SSLContext) -> None:
        """Begin a handshake; the connection is made when it succeeds."""
        if len(self._open) >= self._limit:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        task = asyncio.get_running_loop().create_task(self._run(accepted, context))
        self._open[task] = None
        task.add_done_callback(self._done)

    def close(self) -> None:
        """End all handshakes."""
        for task in self._open:
            task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)

    async def _run(self, accepted: socket.socket, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # ssl.SSLError and timeouts are among them; it is closed then
            await loop.connect_accepted_socket(
                self._protocol, accepted, ssl=context, ssl_handshake_timeout=self._seconds
            )
