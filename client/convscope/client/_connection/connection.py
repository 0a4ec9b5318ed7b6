"""What all clients share: target, options, errors and pickles."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol, TypeAlias

import grpc

from convscope.client._connection.diagnosis import Diagnosis
from convscope.client._connection.forks import CONNECTING
from convscope.client._connection.options import ConnectionOptions
from convscope.client._connection.targets import check_target, has_several_addresses
from convscope.client._connection.translate import closed_client, translate_errors
from convscope.client._inputs.checks import (
    CheckedMetadata,
    Metadata,
    check_timeout,
    merge_metadata,
)
from convscope.client.errors import InternalError

__all__ = ["Connection"]


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
    _local_models = ""

    def _open(self, target: str, options: ConnectionOptions) -> None:
        """Set the arguments; the subclass calls it, and so do a pickle and a forked process."""
        self._target = check_target(target)
        self._options = options
        self._timeout_seconds = check_timeout(options.timeout_seconds, self._timeout_name)
        self._credentials = options.channel_credentials()
        self._diagnosis = Diagnosis(self._target, options.tls_files())
        self._tokens = options.token_source(self._target)
        self._default_model = options.model
        self._is_closed = False
        self._age_seconds = _age_seconds(self._target, options)
        self._connected_at = 0.0
        self._previous: Any = None
        self._local_server: ClosedAfterwards | None = None
        self._made: tuple[Channel | None, Any] = None, None

    def _is_old(self) -> bool:
        return time.monotonic() - self._connected_at > self._age_seconds

    def _check_open(self) -> None:
        """Check that the client can still be used.

        Raises:
            UnavailableError: It was closed.
        """
        if self._is_closed:
            raise closed_client(self._server_name)

    def _stub_of(self, channel: Channel, kind: Callable[[Any], Any]) -> Any:
        """Return the methods of a service, made once for each channel."""
        made_of, stub = self._made  # one attribute, which another thread replaces as a whole
        if made_of is not channel:
            with CONNECTING:
                self._check_open()  # gRPC crashes if methods are made of a closed channel
                stub = kind(channel)
                self._made = channel, stub
        return stub

    def __reduce__(self) -> tuple[Any, ...]:
        if self._local_server is not None:
            raise TypeError("a local client can't be pickled: its models are in this process")
        return _reopen, (type(self), self._target, self._options)

    def __repr__(self) -> str:
        name, shown = type(self).__name__, self._target
        if self._local_models:
            name, shown = f"{name}.local", self._local_models
        model = f", model={self._default_model!r}" if self._default_model else ""
        return f"{name}({shown!r}{model})"

    @property
    def _server_name(self) -> str:
        """What messages call the server: its address, or what is served in this process."""
        if self._local_models:
            return f"the local server of {self._local_models!r}"
        return self._target

    def _timeout(self, timeout_seconds: float | None) -> float:
        if timeout_seconds is None:
            return self._timeout_seconds
        return check_timeout(timeout_seconds, self._timeout_name)

    def _metadata(self, metadata: Metadata) -> CheckedMetadata:
        return merge_metadata(self._options.metadata, metadata)

    @contextmanager
    def _translate_errors(self, timeout_seconds: float) -> Iterator[None]:
        try:
            with translate_errors(
                self._server_name,
                timeout_seconds,
                self._timeout_name,
                self._token_name,
                self._diagnosis.problem,
                admin=self._is_admin,
            ):
                yield
        except (InternalError, asyncio.CancelledError) as error:
            if self._is_closed and _is_cancelled_by_grpc(error):
                raise closed_client(self._server_name) from None
            raise


def _is_cancelled_by_grpc(error: InternalError | asyncio.CancelledError) -> bool:
    """Report whether gRPC cancelled a call, and not a caller the task that waits for it."""
    if isinstance(error, InternalError):
        return error.code is grpc.StatusCode.CANCELLED
    task = asyncio.current_task()
    return task is not None and not task.cancelling()


def _reopen(kind: type[Connection], target: str, options: ConnectionOptions) -> Connection:
    client = kind.__new__(kind)
    client._open(target, options)
    return client


def _age_seconds(target: str, options: ConnectionOptions) -> float:
    """Return how long a channel is used; forever if its target has only one address."""
    if options.connection_age_seconds is None or not has_several_addresses(target):
        return math.inf
    return options.connection_age_seconds
