"""The HTTP listener that Prometheus scrapes."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from threading import Thread

from prometheus_client import CollectorRegistry

from convscope.server.observability.metrics.connections import Connection, Connections
from convscope.server.observability.metrics.scrape import Scrapes

__all__ = ["MetricsServer"]

BACKLOG = 256
# Connections that are accepted at once, and the pause after them. Thousands of connections would
# otherwise take the interpreter's lock from the calls.
ACCEPTED, PAUSE_SECONDS = 4, 0.005
# The pause if the system has no file descriptor or memory left.
SHORTAGE_SECONDS = 0.5
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


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
        self._connecting: set[asyncio.Task[None]] = set()
        self._pause: asyncio.Handle = self._loop.call_soon(lambda: None)
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
        self._socket.setblocking(False)
        self._watch()
        await self._stopping.wait()
        self._pause.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        await asyncio.gather(*self._connecting)
        self._connections.close()
        await asyncio.sleep(0)  # the sockets close in the next iteration

    def _watch(self) -> None:
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        """Accept a few connections; if there are more, go on after a pause."""
        seconds = PAUSE_SECONDS
        try:
            for _ in range(ACCEPTED):
                accepted, _ = self._socket.accept()
                connecting = self._loop.create_task(self._connect(accepted))
                self._connecting.add(connecting)
                connecting.add_done_callback(self._connecting.discard)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in SHORTAGES:  # of one connection, which the client has given up
                return
            seconds = SHORTAGE_SECONDS
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(seconds, self._watch)

    async def _connect(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(
                lambda: Connection(self._connections), accepted
            )
        except OSError:  # it has been closed
            accepted.close()


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
