"""The listening sockets of a server, with TLS that follows its files."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence

import structlog

from convscope.server.frontend.transport.http2.handshakes import AcceptedProtocol, Handshakes
from convscope.server.frontend.transport.http2.limits import Limits
from convscope.server.frontend.transport.http2.sockets import close
from convscope.server.frontend.transport.tls import TlsFiles

__all__ = ["Listener"]

log = structlog.get_logger(__name__)


class Listener:
    """Accepts connections on sockets.

    When a file of TLS changes, new connections get a new context; those that are
    open keep theirs.

    Args:
        sockets: The sockets; the listener closes them.
        protocol: Makes the protocol of a connection.
        tls: The files of TLS; None for no TLS.
        limits: The limits of TLS's handshakes.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        protocol: Callable[[], asyncio.Protocol],
        tls: TlsFiles | None,
        limits: Limits,
    ) -> None:
        self._sockets = sockets
        self._protocol = protocol
        self._tls = tls
        loop = asyncio.get_running_loop()
        self.handshakes = Handshakes(
            loop, limits.max_handshakes, limits.handshake_seconds, protocol
        )
        self._tls_state = tls.state() if tls else ()
        self._context = tls.context() if tls else None
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Accept connections, on duplicates of the sockets: an asyncio server closes its own."""
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            is_unix = one.family == socket.AF_UNIX
            create = loop.create_unix_server if is_unix else loop.create_server
            self._servers.append(await create(self._accept, sock=one.dup()))

    def _accept(self) -> asyncio.Protocol:
        context = self._context
        if context is None:
            return self._protocol()
        return AcceptedProtocol(lambda transport: self.handshakes.begin(transport, context))

    def close(self) -> None:
        """Accept no more connections."""
        for server in self._servers:
            server.close()
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
            log.warning("the changed TLS files can't be used", error=str(error))
            return
        log.info("TLS files reloaded", certificate=str(tls.certificate))
