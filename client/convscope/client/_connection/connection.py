"""What all clients share: target, timeout and errors, and opening and closing."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, ClassVar, Self

import grpc

from convscope.client._connection.channel import check_target, check_timeout
from convscope.client._connection.options import ConnectionOptions
from convscope.client._connection.translate import translate_errors
from convscope.client._inputs.checks import Metadata, check_metadata

__all__ = ["BlockingConnection", "Connection"]


class Connection:
    """The checked arguments of a client."""

    _is_admin: ClassVar[bool] = False
    _timeout_name: ClassVar[str] = "timeout_seconds"
    _token_name: ClassVar[str] = "token or token_file"

    def __init__(self, target: str, timeout_seconds: float, options: ConnectionOptions) -> None:
        self._target = check_target(target)
        self._timeout_seconds = self._timeout(timeout_seconds)
        self._credentials = options.channel_credentials()
        self._tokens = options.token_source(self._target)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r})"

    def _timeout(self, timeout_seconds: float | None) -> float:
        if timeout_seconds is None:
            return self._timeout_seconds
        return check_timeout(timeout_seconds, self._timeout_name)

    def _translate_errors(self, timeout_seconds: float) -> AbstractContextManager[None]:
        return translate_errors(
            self._target,
            timeout_seconds,
            self._timeout_name,
            self._token_name,
            admin=self._is_admin,
        )


class BlockingConnection(Connection):
    """A connection whose calls block. A subclass makes the channel."""

    _channel: grpc.Channel

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
        self._channel.close()

    def _call(
        self,
        method: Any,
        request: Any,
        timeout_seconds: float | None = None,
        metadata: Metadata = (),
    ) -> Any:
        timeout, sent = self._timeout(timeout_seconds), check_metadata(metadata)
        with self._translate_errors(timeout):
            return method(request, timeout=timeout, metadata=sent)
