"""The connection of a client whose calls block."""

import os
import time
from types import TracebackType
from typing import Any, Self

import grpc

from convscope.client._connection.channel import sync_channel
from convscope.client._connection.connection import Connection
from convscope.client._connection.forks import CALLS, CONNECTING
from convscope.client._connection.options import ConnectionOptions
from convscope.client._inputs.checks import Metadata

__all__ = ["BlockingConnection"]


class BlockingConnection(Connection):
    """A connection whose calls block. A forked process connects again."""

    def _open(self, target: str, options: ConnectionOptions) -> None:
        super()._open(target, options)
        self._connected = self._new_channel()
        self._process = os.getpid()  # the last one: from then on, other threads use the client

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
        """Close the connection; calls in flight are cancelled.

        Example:
            >>> client = Client("localhost:8001")
            >>> client.close()
        """
        with CONNECTING:
            self._is_closed = True
            if self._process == os.getpid():
                for channel in filter(None, (self._previous, self._connected)):
                    channel.close()
        if self._local_server is not None:
            self._local_server.close()

    @property
    def _channel(self) -> grpc.Channel:
        self._check_open()
        self._follow_fork()
        if self._is_old():
            with CONNECTING:
                if self._is_old() and not self._is_closed:
                    # The earlier one stays open for the calls in flight.
                    self._previous, self._connected = self._connected, self._new_channel()
        return self._connected

    def _follow_fork(self) -> None:
        """Connect again in a forked process.

        Both processes have the parent's connection. It must not be used here, and not be closed,
        which the parent's server would notice.
        """
        if self._process == os.getpid():
            return
        with CONNECTING:
            if self._process != os.getpid() and not self._is_closed:
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
        with self._translate_errors(timeout), CALLS:
            return method(request, timeout=timeout, metadata=sent)
