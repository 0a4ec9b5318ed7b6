"""Calls without a socket: a program of its own receives them, and awaits the services' replies."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc

from convscope.server.frontend.access.control import Admission
from convscope.server.frontend.transport.calls import GroupHandler, Metadata

__all__ = ["Ended", "InProcessTransport"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended.

    Args:
        code: Its status.
        details: What is wrong; empty for OK.
        trailing: The metadata that goes with the status.
        message: The serialized reply; empty unless the status is OK.
    """

    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""
    trailing: Metadata = ()
    message: bytes = b""


class InProcessTransport:
    """A transport that listens nowhere; its calls are made with its own methods.

    They must be made on the event loop of the server. To cancel a call, cancel the task that
    awaits it. Who receives the calls also bounds their number and their size in memory, and
    finishes them before the server stops.
    """

    name = "in-process"

    def __init__(self) -> None:
        self._groups: dict[str, GroupHandler] = {}
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_group_methods(self, service: str, methods: Mapping[str, GroupHandler]) -> None:
        """Add unary methods that take their calls in groups."""
        self._groups |= {f"/{service}/{name}": method for name, method in methods.items()}

    def add_registered_method_handlers(
        self, service: str, handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None:
        """Add methods that run in a task of their own."""
        self._handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}

    def bind(self, address: str) -> int:
        """Bind nothing; return the port 0."""
        return 0

    async def start(self) -> None:
        """Do nothing: calls can be made from the beginning."""

    def reload(self) -> None:
        """Do nothing: there are no files."""

    @property
    def open_calls(self) -> None:
        """Always None: who makes the calls counts them."""
        return None

    async def stop(self, grace: float | None) -> None:
        """Do nothing: who made the calls has finished them."""

    async def unary(
        self, path: str, message: bytes, metadata: Metadata = (), peer: str = ""
    ) -> Ended:
        """Make a call with one request and one reply.

        Args:
            path: /SERVICE/METHOD.
            message: The serialized request.
            metadata: What the caller sent with it.
            peer: The address of the caller, for traces.
        """
        if (group := self._groups.get(path)) is not None:
            return await _in_group(group, message, metadata, peer)
        handler = self._handlers.get(path)
        if handler is None or handler.unary_unary is None:
            return _unimplemented(path)
        context = _Context(metadata, peer)
        behavior: Any = handler.unary_unary
        serialize = handler.response_serializer or bytes
        try:
            reply = serialize(await behavior(message, context))
        except grpc.aio.AbortError:
            reply = b""
        return context.ended(reply)

    async def stream(
        self,
        path: str,
        messages: AsyncIterator[bytes],
        metadata: Metadata = (),
        peer: str = "",
    ) -> AsyncIterator[bytes | Ended]:
        """Make a call with a stream of requests and a stream of replies.

        Args:
            path: /SERVICE/METHOD.
            messages: The serialized requests.
            metadata: What the caller sent with the call.
            peer: The address of the caller, for traces.

        Yields:
            The serialized replies, and at last how the call ended.
        """
        handler = self._handlers.get(path)
        if handler is None or handler.stream_stream is None:
            yield _unimplemented(path)
            return
        replies: asyncio.Queue[bytes | Ended] = asyncio.Queue(maxsize=1)
        context = _Context(metadata, peer, replies)
        behavior: Any = handler.stream_stream
        task = asyncio.create_task(_to_end(behavior(messages, context), context, replies))
        try:
            while not isinstance(reply := await replies.get(), Ended):
                yield reply
            await task
            yield reply
        finally:
            task.cancel()


async def _in_group(group: GroupHandler, message: bytes, metadata: Metadata, peer: str) -> Ended:
    call = _GroupCall(message, metadata, peer)
    group([call])
    try:
        return await call.ending
    except asyncio.CancelledError:
        call.cancel()
        raise


async def _to_end(running: Any, context: "_Context", replies: asyncio.Queue[Any]) -> None:
    """Run the handler of a stream, and put how it ended after its replies."""
    with suppress(grpc.aio.AbortError):  # the context knows the status
        await running
    await replies.put(context.ended(b""))


def _unimplemented(path: str) -> Ended:
    return Ended(grpc.StatusCode.UNIMPLEMENTED, f"no method {path[:200]!r}")


class _GroupCall:
    """A unary call that awaits its end; a `UnaryCall`."""

    __slots__ = (
        "admission",
        "deadline",
        "ended",
        "ended_with",
        "ending",
        "message",
        "metadata",
        "on_cancel",
        "peer",
    )

    def __init__(self, message: bytes, metadata: Metadata, peer: str) -> None:
        self.message: bytes | memoryview = message
        self.metadata = metadata
        self.peer = peer
        self.admission: Admission | None = None
        # Who receives the call cancels it when its deadline passes.
        self.deadline: float | None = None
        self.on_cancel: Callable[[], None] | None = None
        self.ending: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self.ended = False
        self.ended_with: grpc.StatusCode | None = None

    def reply(self, message: bytes, trailing: Metadata = ()) -> None:
        """End the call with its reply."""
        self._end(Ended(message=message, trailing=trailing))

    def fail(self, code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> None:
        """End the call with an error."""
        self._end(Ended(code, details, trailing))

    def cancel(self) -> None:
        """Report that the caller has left."""
        if not self.ended:
            self.ended = True
            if self.on_cancel is not None:
                self.on_cancel()

    def _end(self, ended: Ended) -> None:
        if not self.ended:
            self.ended = True
            if not self.ending.done():  # cancelled, and who awaits it has not been woken up yet
                self.ending.set_result(ended)


class _Context:
    """The context of a call that runs in a task, with the methods of grpc.aio's that are used."""

    def __init__(
        self, metadata: Metadata, peer: str, replies: asyncio.Queue[Any] | None = None
    ) -> None:
        self._metadata = metadata
        self._peer = peer
        self._replies = replies
        self._code = grpc.StatusCode.OK
        self._details = ""
        self._trailing: Metadata = ()

    def ended(self, message: bytes) -> Ended:
        """Return how the call ended, with its reply."""
        return Ended(self._code, self._details, self._trailing, message)

    def invocation_metadata(self) -> Metadata:
        """Return what the caller sent."""
        return self._metadata

    def peer(self) -> str:
        """Return the address of the caller."""
        return self._peer

    def time_remaining(self) -> None:
        """Return None: who receives the call cancels it when its deadline passes."""

    def code(self) -> grpc.StatusCode:
        """Return the status."""
        return self._code

    def details(self) -> str:
        """Return the details of the status."""
        return self._details

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Set what is sent with the status."""
        self._trailing = tuple(trailing_metadata)

    async def write(self, message: bytes) -> None:
        """Send a reply of a stream; wait while its caller reads too slowly."""
        if self._replies is not None:
            await self._replies.put(message)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()
    ) -> NoReturn:
        """End the call with an error.

        Raises:
            grpc.aio.AbortError: Always.
        """
        self._code, self._details = code, details
        if trailing_metadata:
            self._trailing = tuple(trailing_metadata)
        raise grpc.aio.AbortError(details)
