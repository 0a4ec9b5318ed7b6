"""The context of a call that runs in a task of its own, with the methods of grpc.aio's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import grpc

from convscope.server.frontend.access.control import Admission
from convscope.server.frontend.transport.calls import Metadata

__all__ = ["Context", "ContextCall", "Peer"]

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Base = grpc.aio.ServicerContext[Any, Any]
else:
    Base = grpc.aio.ServicerContext


class Peer(Protocol):
    """The other end of a connection."""

    @property
    def peer(self) -> str:
        """Its address, as gRPC writes it."""

    @property
    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What TLS knows of it."""


class ContextCall(Protocol):
    """What a context needs of its call."""

    ended: bool
    deadline: float | None
    admission: Admission | None

    @property
    def metadata(self) -> Sequence[Any]:
        """The caller's metadata."""

    def time(self) -> float:
        """Return the time."""

    async def read(self) -> Any:
        """Return the next message, or `grpc.aio.EOF`."""

    async def write(self, message: Any) -> None:
        """Send a message."""

    def send_initial(self, metadata: Metadata) -> None:
        """Send the initial metadata."""

    def finish(self, code: grpc.StatusCode, details: str, trailing: Metadata) -> None:
        """Send the status."""


class Context(Base):
    """The context of one call.

    Args:
        call: The call.
        peer: The other end of its connection.
    """

    def __init__(self, call: ContextCall, peer: Peer) -> None:
        self._call = call
        self._peer = peer
        self._code = grpc.StatusCode.OK
        self._details = ""
        self._trailing: Metadata = ()
        self._callbacks: list[Callable[[Any], None]] = []
        self.is_cancelled = False

    async def read(self) -> Any:
        """Return the next message, or `grpc.aio.EOF` after the last one."""
        return await self._call.read()

    async def write(self, message: Any) -> None:
        """Send a message; wait while the client reads too slowly."""
        await self._call.write(message)

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send the initial metadata now instead of with the first message."""
        self._call.send_initial(tuple(initial_metadata))

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()
    ) -> NoReturn:
        """End the call with an error.

        Raises:
            grpc.aio.AbortError: Always.
        """
        if code is grpc.StatusCode.OK:
            raise ValueError("a call can't be aborted with OK")
        self._code, self._details = code, details
        if trailing_metadata:
            self._trailing = tuple(trailing_metadata)
        self._call.finish(code, details, self._trailing)
        raise grpc.aio.AbortError(details)

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """End the call with an error.

        Raises:
            grpc.aio.AbortError: Always.
        """
        await self.abort(status.code, status.details, status.trailing_metadata or ())

    def invocation_metadata(self) -> Any:
        """Return what the caller sent."""
        return self._call.metadata

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Set what is sent with the status."""
        self._trailing = tuple(trailing_metadata)

    def trailing_metadata(self) -> Any:
        """Return what is sent with the status."""
        return self._trailing

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the code of the status."""
        self._code = code

    def code(self) -> grpc.StatusCode:
        """Return the code of the status."""
        return self._code

    def set_details(self, details: str) -> None:
        """Set the message of the status."""
        self._details = details

    def details(self) -> str:
        """Return the message of the status."""
        return self._details

    def set_compression(self, compression: grpc.Compression) -> None:
        """Do nothing: replies are not compressed."""

    def disable_next_message_compression(self) -> None:
        """Do nothing: replies are not compressed."""

    def peer(self) -> str:
        """Return the address of the caller, such as ipv4:127.0.0.1:40000."""
        return self._peer.peer

    def peer_identities(self) -> Iterable[bytes] | None:
        """Return the names in the caller's certificate; None without one."""
        key = self.peer_identity_key()
        return None if key is None else self._peer.auth_context[key]

    def peer_identity_key(self) -> str | None:
        """Return the key of the identities in `auth_context`."""
        known = self._peer.auth_context
        keys = ("x509_subject_alternative_name", "x509_common_name")
        return next((key for key in keys if key in known), None)

    @property
    def admission(self) -> Admission | None:
        """Who makes the call; None for a server without a policy."""
        return self._call.admission

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return what TLS knows of the caller."""
        return self._peer.auth_context

    def time_remaining(self) -> Any:
        """Return the seconds until the deadline; None without one."""
        deadline = self._call.deadline
        return None if deadline is None else max(0.0, deadline - self._call.time())

    def add_done_callback(self, callback: Any) -> None:
        """Call a function with this context when the call has ended."""
        self._callbacks.append(callback)

    def cancelled(self) -> bool:
        """Report whether the caller left, or the deadline passed."""
        return self.is_cancelled

    def done(self) -> bool:
        """Report whether the call has ended."""
        return self._call.ended

    def run_done_callbacks(self) -> None:
        """Called once when the handler has ended."""
        for callback in self._callbacks:
            callback(self)
