"""The listening sockets of a server, with TLS that follows its files."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import structlog

from convscope.server.frontend.transport.http2.handshakes import Handshakes
from convscope.server.frontend.transport.http2.limits import Limits
from convscope.server.frontend.transport.http2.sockets import close
from convscope.server.frontend.transport.tls import TlsFiles

__all__ = ["Listener"]

log = structlog.get_logger(__name__)

ACCEPT_PAUSE_SECONDS = 0.5
# Connections that are accepted in one iteration of the event loop.
ACCEPTED_AT_ONCE = 4


class Listener:
    """Accepts connections on sockets.

    When a file of TLS changes, new connections get a new context; those that are
    open keep theirs.

    Args:
        sockets: The sockets; the listener closes them.
        protocol: Makes the protocol of a connection.
        tls: The files of TLS; None for no TLS.
        limits: The limits of TLS's handshakes.
        on_reload: Called when changed files of TLS were loaded, or could not be.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        protocol: Callable[[], asyncio.BaseProtocol],
        tls: TlsFiles | None,
        limits: Limits,
        on_reload: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._sockets = sockets
        self._protocol = protocol
        self._tls = tls
        self._on_reload = on_reload
        self.handshakes = Handshakes(limits.max_handshakes, limits.handshake_seconds, protocol)
        self._tls_state = tls.state() if tls else ()
        self._context = tls.context() if tls else None
        self._servers: list[asyncio.Server] = []
        self._accepting: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            if self._context is not None:
                self._accepting.append(loop.create_task(self._accept(one)))
                continue
            is_unix = one.family == socket.AF_UNIX
            create = loop.create_unix_server if is_unix else loop.create_server
            # A duplicate, because asyncio's server closes its socket.
            self._servers.append(await create(self._protocol, sock=one.dup()))

    async def _accept(self, listening: socket.socket) -> None:
        """Accept connections with TLS; asyncio's server would not limit their handshakes."""
        loop = asyncio.get_running_loop()
        while self._context is not None:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:  # such as too many open files
                log.warning("a connection can't be accepted", error=str(error))
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            for one in (accepted, *_waiting(listening)):
                self.handshakes.begin(one, self._context)
            await asyncio.sleep(0)  # the other connections have their turn

    def close(self) -> None:
        """Accept no more connections."""
        for server in self._servers:
            server.close()
        for task in self._accepting:
            task.cancel()
        for one in self._sockets:
            close(one)

    def reload_if_changed(self) -> None:
        """Use the files of TLS again if one has changed."""
        tls = self._tls
        if tls is None or tls.state() == self._tls_state:
            return
        self._tls_state = tls.state()
        try:
            self._context = tls.context()
        except (OSError, ssl.SSLError) as error:
            # The files are being replaced one after the other, perhaps.
            log.error("the changed TLS files can't be used", error=str(error))
            self._on_reload(False)
            return
        self._on_reload(True)
        log.info("TLS files reloaded", certificate=str(tls.certificate))


def _waiting(listening: socket.socket) -> Iterator[socket.socket]:
    """Accept further connections, as far as they wait."""
    with suppress(OSError):  # it would block
        for _ in range(ACCEPTED_AT_ONCE - 1):
            accepted, _ = listening.accept()
            accepted.setblocking(False)
            yield accepted
