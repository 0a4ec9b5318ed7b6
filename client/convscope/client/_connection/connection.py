"""What all clients share: target, options and errors, and opening and closing."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self, TypeAlias

import grpc

from convscope.client._connection.channel import async_channel, sync_channel
from convscope.client._connection.options import ConnectionOptions
from convscope.client._connection.targets import check_target, has_several_addresses
from convscope.client._connection.translate import closed_client, translate_errors
from convscope.client._inputs.checks import (
    CheckedMetadata,
    Metadata,
    check_timeout,
    merge_metadata,
)
from convscope.client.errors import UnavailableError

__all__ = ["AsyncConnection", "BlockingConnection", "Connection"]


class ClosedAfterwards(Protocol):
    """What is closed with a client: the server in its process."""

    def close(self) -> None:
        """Close it."""


Channel: TypeAlias = grpc.Channel | grpc.aio.Channel


class Connection:
    """The checked arguments of a client. Pickles contain these, and connect again."""

    _is_admin: ClassVar[bool] = False
    _timeout_name: ClassVar[str] = "timeout_seconds"
    _token_name: ClassVar[str] = "token or token_file"

    def _open(self, target: str, options: ConnectionOptions) -> None:
        """Set the arguments; the subclass calls it, and so do a pickle and a forked process."""
        self._target = check_target(target)
        self._options = options
        self._timeout_seconds = check_timeout(options.timeout_seconds, self._timeout_name)
        self._credentials = options.channel_credentials()
        self._tokens = options.token_source(self._target)
        self._default_model = options.model
        self._process = os.getpid()
        self._is_closed = False
        self._age_seconds = _age_seconds(self._target, options)
        self._connected_at = 0.0
        self._previous: Any = None
        self._local_server: ClosedAfterwards | None = None
        self._stub_channel: Channel | None = None
        self._made_stub: Any = None

    def _is_old(self) -> bool:
        return time.monotonic() - self._connected_at > self._age_seconds

    def _stub_of(self, channel: Channel, kind: Callable[[Any], Any]) -> Any:
        """Return the methods of a service, made once for each channel."""
        if self._stub_channel is not channel:
            self._stub_channel, self._made_stub = channel, kind(channel)
        return self._made_stub

    def __reduce__(self) -> tuple[Any, ...]:
        if self._local_server is not None:
            raise TypeError("a local client can't be pickled: its models are in this process")
        return _reopen, (type(self), self._target, self._options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r})"

    def _timeout(self, timeout_seconds: float | None) -> float:
        if timeout_seconds is None:
            return self._timeout_seconds
        return check_timeout(timeout_seconds, self._timeout_name)

    def _metadata(self, metadata: Metadata) -> CheckedMetadata:
        return merge_metadata(self._options.metadata, metadata)

    def _translate_errors(self, timeout_seconds: float) -> AbstractContextManager[None]:
        return translate_errors(
            self._target,
            timeout_seconds,
            self._timeout_name,
            self._token_name,
            admin=self._is_admin,
        )


def _reopen(kind: type[Connection], target: str, options: ConnectionOptions) -> Connection:
    client = kind.__new__(kind)
    client._open(target, options)
    return client


def _age_seconds(target: str, options: ConnectionOptions) -> float:
    """Return how long a channel is used; forever if its target has only one address."""
    if options.connection_age_seconds is None or not has_several_addresses(target):
        return math.inf
    return options.connection_age_seconds


class BlockingConnection(Connection):
    """A connection whose calls block. A forked process connects again."""

    def _open(self, target: str, options: ConnectionOptions) -> None:
        super()._open(target, options)
        self._connected = self._new_channel()

    def _new_channel(self) -> grpc.Channel:
        self._connected_at = time.monotonic()
        return sync_channel(self._target, self._options, self._credentials, self._tokens)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._is_closed = True
        if self._process == os.getpid():
            for channel in filter(None, (self._previous, self._connected)):
                channel.close()
        if self._local_server is not None:
            self._local_server.close()

    @property
    def _channel(self) -> grpc.Channel:
        if self._process != os.getpid():
            self._reconnect()
        elif self._is_old() and not self._is_closed:
            # The earlier one stays open for the calls in flight.
            self._previous, self._connected = self._connected, self._new_channel()
        return self._connected

    def _reconnect(self) -> None:
        """Connect in a forked process.

        Both processes have the parent's connection. It must not be used here, and not be closed,
        which the parent's server would notice.
        """
        if self._is_closed:
            raise closed_client(self._target)
        self._of_parent = self._connected, self._local_server
        self._open(self._target, self._options)

    def _call(
        self,
        method: Any,
        request: Any,
        timeout_seconds: float | None = None,
        metadata: Metadata = (),
    ) -> Any:
        timeout, sent = self._timeout(timeout_seconds), self._metadata(metadata)
        with self._translate_errors(timeout):
            return method(request, timeout=timeout, metadata=sent)


class AsyncConnection(Connection):
    """A connection for asyncio. It belongs to an event loop until that is closed."""

    def _open(self, target: str, options: ConnectionOptions) -> None:
        super()._open(target, options)
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
        """Close the connection; calls in flight are cancelled."""
        self._is_closed = True
        if self._connected is not None and self._is_own_loop(asyncio.get_running_loop()):
            for channel in filter(None, (self._previous, self._connected)):
                await channel.close()
        if self._local_server is not None:
            await asyncio.to_thread(self._local_server.close)

    @property
    def _channel(self) -> grpc.aio.Channel:
        loop = asyncio.get_running_loop()
        if self._connected is None or not self._is_own_loop(loop):
            self._connect(loop)
        elif self._is_old():
            self._previous = self._connected  # it stays open for the calls in flight
            self._connect(loop)
        return self._connected  # type: ignore[return-value] # it was just set

    def _is_own_loop(self, loop: asyncio.AbstractEventLoop) -> bool:
        return self._loop is loop and self._process == os.getpid()

    def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connect in an event loop, on first use or after the earlier loop was closed."""
        if self._is_closed:
            raise closed_client(self._target)
        if _process_of_asyncio() != os.getpid():
            raise UnavailableError(
                "gRPC for asyncio doesn't work in a process that was forked after its parent had "
                "used it; use Client there, or start processes with spawn or forkserver"
            )
        if not (self._loop is None or self._loop is loop or self._loop.is_closed()):
            raise UnavailableError(
                f"the client of {self._target} belongs to another event loop, which isn't closed; "
                "make one client for each event loop"
            )
        self._loop, self._process, self._connected_at = loop, os.getpid(), time.monotonic()
        self._connected = async_channel(
            self._target, self._options, self._credentials, self._tokens
        )

    async def _call(
        self, method: Any, request: Any, timeout_seconds: float | None, metadata: Metadata
    ) -> Any:
        timeout, sent = self._timeout(timeout_seconds), self._metadata(metadata)
        with self._translate_errors(timeout):
            return await method(request, timeout=timeout, metadata=sent)


@cache
def _process_of_asyncio() -> int:
    """Return the process that was the first to use gRPC for asyncio; a forked one keeps it.

    gRPC's thread for asyncio doesn't exist in a forked process, which hangs or crashes.
    """
    return os.getpid()
