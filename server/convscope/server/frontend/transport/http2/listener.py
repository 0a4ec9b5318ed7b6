"""The listening sockets of a server, with TLS that follows its files."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence

import structlog

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
        handshake_seconds: How long TLS's handshake may take.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        protocol: Callable[[], asyncio.Protocol],
        tls: TlsFiles | None,
        handshake_seconds: float,
    ) -> None:
        self._sockets = sockets
        self._protocol = protocol
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._tls_state = tls.state() if tls else ()
        self._context = tls.context() if tls else None
        self._servers: list[asyncio.Server] = []
        self._reloading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accept connections."""
        self._servers = await self._listen(self._context)

    def close(self) -> None:
        """Accept no more connections."""
        if self._reloading is not None:
            self._reloading.cancel()
        for server in self._servers:
            server.close()
        for one in self._sockets:
            close(one)

    def reload_if_changed(self) -> None:
        """Use the files of TLS again if one has changed."""
        if self._tls is None or self._tls.state() == self._tls_state:
            return
        if self._reloading is None or self._reloading.done():
            self._tls_state = self._tls.state()
            self._reloading = asyncio.get_running_loop().create_task(self._reload(self._tls))

    async def _reload(self, tls: TlsFiles) -> None:
        try:
            context = tls.context()
        except (OSError, ssl.SSLError) as error:
            # The files are being replaced one after the other, perhaps.
            log.warning("the changed TLS files can't be used", error=str(error))
            return
        before, self._servers = self._servers, await self._listen(context)
        for server in before:
            server.close()
        log.info("TLS files reloaded", certificate=str(tls.certificate))

    async def _listen(self, context: ssl.SSLContext | None) -> list[asyncio.Server]:
        """Accept on duplicates of the sockets, so that they outlive a change of the context."""
        timeout = self._handshake_seconds if context is not None else None
        loop = asyncio.get_running_loop()
        servers = []
        for one in self._sockets:
            is_unix = one.family == socket.AF_UNIX
            create = loop.create_unix_server if is_unix else loop.create_server
            servers.append(
                await create(
                    self._protocol, sock=one.dup(), ssl=context, ssl_handshake_timeout=timeout
                )
            )
        return servers
