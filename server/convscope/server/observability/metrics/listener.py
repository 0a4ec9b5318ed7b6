"""The HTTP listener that Prometheus scrapes."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from threading import Thread

from prometheus_client import CollectorRegistry

from convscope.server.observability.metrics.connections import Connection, Connections
from convscope.server.observability.metrics.scrape import Scrapes

__all__ = ["MetricsServer"]

BACKLOG = 256


class MetricsServer:
    """Serves the metrics on a listener, until it is closed.

    One thread of its own serves all connections, so that a scrape succeeds while the event
    loop of the server is busy, and so that no number of connections makes more threads.

    Args:
        registry: The metrics.
        host: Where to listen.
        port: The port; 0 for any.
        authorized: Reports whether the value of an Authorization header allows a scrape; None
            to allow all.
        tls: The context of TLS; None for no TLS.

    Raises:
        OSError: The address can't be bound.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        host: str,
        port: int,
        *,
        authorized: Callable[[str], bool] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._connections = Connections(Scrapes(registry, authorized), tls)
        self._socket = _bind(host.strip("[]"), port)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.SelectorEventLoop()
        self._stopping = asyncio.Event()
        self._thread = Thread(target=self._run, name="metrics listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the listener and its connections, and end the thread."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await self._loop.create_server(
            lambda: Connection(self._connections), sock=self._socket, backlog=BACKLOG
        )
        await self._stopping.wait()
        server.close()
        self._connections.close()
        await asyncio.sleep(0)  # the sockets close in the next iteration


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)  # now, and not only when the thread runs
    except OSError:
        bound.close()
        raise
    return bound
