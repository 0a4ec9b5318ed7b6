"""The connection of a client for asyncio."""

import asyncio
import os
import time
from functools import cache
from types import TracebackType
from typing import Any, Self

import grpc

from convscope._grpc_messages import is_no_server
from convscope.client._connection.channel import async_channel
from convscope.client._connection.connection import Connection
from convscope.client._connection.options import ConnectionOptions
from convscope.client._inputs.checks import CheckedMetadata, Metadata
from convscope.client.errors import UnavailableError

__all__ = ["AsyncConnection"]


class AsyncConnection(Connection):
    """A connection for asyncio. It belongs to an event loop until that is closed."""

    def _open(self, target: str, options: ConnectionOptions) -> None:
        super()._open(target, options)
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connected: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled.

        Example:
            >>> client = AsyncClient("localhost:8001")
            >>> await client.close()
        """
        self._is_closed = True
        if self._connected is not None and self._is_own_loop(asyncio.get_running_loop()):
            for channel in filter(None, (self._previous, self._connected)):
                await channel.close()
        if self._local_server is not None:
            await asyncio.to_thread(self._local_server.close)

    @property
    def _channel(self) -> grpc.aio.Channel:
        self._check_open()
        loop = asyncio.get_running_loop()
        if self._connected is None or not self._is_own_loop(loop):
            self._connect(loop)
        elif self._is_old():
            earlier = self._connected
            self._connect(loop)
            self._previous = earlier  # it stays open for the calls in flight
        return self._connected  # type: ignore[return-value] # it was just set

    def _is_own_loop(self, loop: asyncio.AbstractEventLoop) -> bool:
        return self._loop is loop and self._process == os.getpid()

    def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connect in an event loop, on first use or after the earlier loop was closed."""
        if _process_of_asyncio() != os.getpid():
            raise UnavailableError(
                "gRPC for asyncio doesn't work in a process that was forked after its parent had "
                "used it; use Client there, or start processes with spawn or forkserver"
            )
        if not (self._loop is None or self._loop is loop or self._loop.is_closed()):
            raise UnavailableError(
                f"the client of {self._server_name} belongs to another event loop, which isn't "
                "closed; make one client for each event loop"
            )
        self._loop, self._process, self._connected_at = loop, os.getpid(), time.monotonic()
        self._previous = None  # it belongs to a loop that was closed
        self._connected = async_channel(
            self._target, self._options, self._credentials, self._tokens
        )

    async def _call(
        self, method: Any, request: Any, timeout_seconds: float | None, metadata: Metadata
    ) -> Any:
        timeout, sent = self._timeout(timeout_seconds), self._metadata(metadata)
        return await self._send(method, request, timeout, sent)

    async def _send(
        self,
        method: Any,
        request: Any,
        timeout_seconds: float,
        metadata: CheckedMetadata,
        remaining_seconds: float | None = None,
    ) -> Any:
        """Make a call within its timeout, or within what remains of it."""
        timeout = timeout_seconds if remaining_seconds is None else remaining_seconds
        with self._translate_errors(timeout_seconds):
            try:
                return await method(request, timeout=timeout, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                await self._diagnose(error)
                raise

    async def _diagnose(self, error: grpc.aio.AioRpcError) -> None:
        """Find out in a thread why there is no connection, so that the message has it at once."""
        details = error.details() or ""
        if error.code() is grpc.StatusCode.UNAVAILABLE and is_no_server(details):
            await asyncio.to_thread(self._diagnosis.problem, details)


@cache
def _process_of_asyncio() -> int:
    """Return the process that was the first to use gRPC for asyncio; a forked one keeps it.

    gRPC's thread for asyncio doesn't exist in a forked process, which hangs or crashes.
    """
    return os.getpid()
