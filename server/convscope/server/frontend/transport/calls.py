"""The interface between the transports and the methods of the services.

A transport hands over the unary calls of a method in groups: all calls whose
messages arrived in one iteration of the event loop. A handler answers each call
exactly once, in this iteration or later, and without a task or a future per call.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import grpc

from convscope.server.errors import ServingError
from convscope.server.frontend.access.control import Admission

__all__ = ["GroupHandler", "Metadata", "RejectionReason", "Transport", "UnaryCall", "pushback"]

Metadata = Sequence[tuple[str, str | bytes]]

# Why a call ends before its method counts it.
RejectionReason = Literal["expired", "invalid", "refused", "stalled", "too_large", "unimplemented"]


class UnaryCall(Protocol):
    """One unary call, whose message has arrived completely.

    Everything is used on the event loop's thread only.

    Args:
        message: The serialized request.
        deadline: The `loop.time()` after which the caller no longer waits; None
            without a deadline.
        on_cancel: Called once if the caller leaves, the connection ends or the
            deadline passes before the call was answered. The handler sets it.
        admission: Who makes the call; None for a server without a policy.
    """

    message: bytes | memoryview
    deadline: float | None
    on_cancel: Callable[[], None] | None
    admission: Admission | None

    @property
    def metadata(self) -> Metadata:
        """The metadata that the caller sent, decoded on demand."""

    @property
    def peer(self) -> str:
        """The address of the caller, such as "ipv4:127.0.0.1:57284"."""

    @property
    def ended(self) -> bool:
        """Whether the call was answered or cancelled; further answers are dropped."""

    @property
    def ended_with(self) -> grpc.StatusCode | None:
        """The status that the transport has ended the call with, if it has."""

    def reply(self, message: bytes, trailing: Metadata = ()) -> None:
        """Send the serialized reply, and OK."""

    def fail(self, code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> None:
        """End the call with an error."""


def pushback(error: ServingError) -> Metadata:
    """Return the metadata that states when to retry a call that ended with an error."""
    milliseconds = error.retry_pushback_ms
    return () if milliseconds is None else (("grpc-retry-pushback-ms", str(milliseconds)),)


GroupHandler = Callable[[Sequence[UnaryCall]], None]


class Transport(Protocol):
    """A listener for gRPC.

    Args:
        name: Its name among the values of --transport.
    """

    name: str

    def add_group_methods(self, service: str, methods: Mapping[str, GroupHandler]) -> None:
        """Add unary methods that take their calls in groups."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
    ) -> None:
        """Add methods that run in a task of their own, with a context like grpc.aio's."""

    def bind(self, address: str) -> int:
        """Bind an address; return its port, or 1 for a Unix socket.

        Raises:
            StartError: The address can't be bound.
        """

    async def start(self) -> None:
        """Accept connections."""

    def reload(self) -> None:
        """Use the files of TLS again if they have changed."""

    @property
    def open_calls(self) -> int | None:
        """The calls that have begun and not ended; None if it doesn't count them."""

    async def stop(self, grace: float | None) -> None:
        """Accept no more calls, wait for the others for some seconds, and end the rest."""
