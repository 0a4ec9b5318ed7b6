"""The portable transport, on grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import grpc
import structlog

from convscope.server.errors import ShuttingDownError, StartError
from convscope.server.frontend.access.control import AccessControl, Admission
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.frontend.transport.calls import GroupHandler, Metadata, UnaryCall, pushback
from convscope.server.frontend.transport.grpc_aio_access import HeadCheck, admit
from convscope.server.frontend.transport.grpc_aio_tasks import Tasks
from convscope.server.frontend.transport.memory_budget import (
    FULL_MESSAGE,
    PUSHBACK_MS,
    MemoryBudget,
)
from convscope.server.frontend.transport.tls import UNUSABLE_MESSAGE, TlsFiles
from convscope.server.frontend.transport.unexpected import status_of

__all__ = ["GrpcAioTransport"]

log = structlog.get_logger(__name__)

# A call of grpc.aio takes several iterations of the event loop to arrive, each of them short,
# and concurrent calls arrive one by one. After so many iterations without a further call a group
# is complete; for a lone call they take 2% of its time.
_QUIET_ITERATIONS = 12
# A group that is as large as the largest batch doesn't wait.
_MAX_GROUP = 64
# How long TLS and the client's preface may take, as with http2.
HANDSHAKE_MS = 20_000
# gRPC's value for no limit, INT_MAX.
NO_LIMIT_MS = 2**31 - 1
# How long the calls may take to end when the grace is over.
END_SECONDS = 1.0

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcAioTransport:
    """A listener for gRPC on grpc.aio; a `Transport`.

    Args:
        settings: The sizes of its messages.
        budget: The bytes of requests that the process may hold.
        flag: The flag that sets its address, for errors.
        tls: Whether it uses the certificate of the settings, if there is one.
        share_port: Whether other processes listen on its port too.
        min_ping_seconds: The shortest time between two pings of a client.
        access: Admits the calls; None admits all.
    """

    name = "grpc-aio"

    def __init__(
        self,
        settings: FrontendSettings,
        budget: MemoryBudget,
        *,
        flag: str = "--grpc-address",
        tls: bool = True,
        share_port: bool = False,
        min_ping_seconds: float = 300.0,
        access: AccessControl | None = None,
    ) -> None:
        self._access = access
        self._budget = budget
        self._flag = flag
        self._tls = TlsFiles.of(settings) if tls else None
        self._groups: list[_Group] = []
        self._tasks = Tasks(budget, access)
        self._server = grpc.aio.server(
            options=[
                # Twice the limit, so that a request just over it gets our message.
                ("grpc.max_receive_message_length", 2 * settings.max_request_bytes),
                ("grpc.max_send_message_length", settings.max_reply_bytes),
                ("grpc.so_reuseport", int(share_port)),
                ("grpc.http2.min_ping_interval_without_data_ms", int(1000 * min_ping_seconds)),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
                ("grpc.max_connection_age_ms", _milliseconds(settings.max_connection_age_seconds)),
                (
                    "grpc.max_connection_age_grace_ms",
                    _milliseconds(settings.max_connection_age_grace_seconds),
                ),
            ],
        )

    def add_group_methods(self, service: str, methods: Mapping[str, GroupHandler]) -> None:
        """Add unary methods that take their calls in groups."""
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for name, handle in methods.items():
            path = f"/{service}/{name}"
            group = _Group(path, handle, self._budget, self._access)
            self._groups.append(group)
            handlers[name] = grpc.unary_unary_rpc_method_handler(group.call)
        self._add(service, handlers)

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Add methods that run in a task of their own."""
        wrapped = {
            name: self._tasks.wrap(f"/{service}/{name}", handler)
            for name, handler in handlers.items()
        }
        self._add(service, wrapped)

    def _add(self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        generic: Any = grpc.method_handlers_generic_handler(service, dict(handlers))
        if self._access is not None:
            generic = HeadCheck(generic, self._access)
        self._server.add_generic_rpc_handlers((generic,))

    def bind(self, address: str) -> int:
        """Bind an address, with TLS if there is a certificate; return its port.

        Raises:
            StartError: The address can't be bound, or the files of TLS can't be used.
        """
        credentials = None if self._tls is None else _credentials(self._tls)
        try:
            if credentials is not None:
                return self._server.add_secure_port(address, credentials)
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            message = f"{self._flag} {address} can't be bound; does another server use it?"
            raise StartError(message) from error

    async def start(self) -> None:
        """Accept connections."""
        await self._server.start()

    def reload(self) -> None:
        """Do nothing: each handshake looks whether the files of TLS have changed."""

    @property
    def open_calls(self) -> None:
        """Always None: grpc.aio doesn't tell."""
        return None

    async def stop(self, grace: float | None) -> None:
        """Accept no more calls, wait for the others for some seconds, and end the rest."""
        self._tasks.stop()
        if grace:
            stopping = asyncio.ensure_future(self._server.stop(grace + END_SECONDS))
            await asyncio.wait((stopping,), timeout=grace)
            self._tasks.end_all()
            for group in self._groups:
                group.end_all()
            await stopping
        else:
            await self._server.stop(None)


def _milliseconds(seconds: float) -> int:
    """Return a limit as gRPC has it; 0 is no limit."""
    return max(1, min(round(1000 * seconds), NO_LIMIT_MS)) if seconds else NO_LIMIT_MS


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Return grpc's credentials, after a check by OpenSSL: grpc has one error for everything.

    Raises:
        StartError: The files can't be used.
    """
    try:
        tls.context()
        return tls.credentials()
    except OSError as error:  # ssl.SSLError is one
        raise StartError(UNUSABLE_MESSAGE) from error


class _Group:
    """Gathers the calls of a method that arrive in a few iterations of the event loop.

    Args:
        path: The path of the method.
        handle: Takes them.
        budget: Counts their messages until they have their replies.
        access: Admits them; None admits all.
    """

    def __init__(
        self,
        path: str,
        handle: GroupHandler,
        budget: MemoryBudget,
        access: AccessControl | None = None,
    ) -> None:
        self._path = path
        self._method = path.rpartition("/")[2]
        self._handle = handle
        self._budget = budget
        self._access = access
        self._calls: list[UnaryCall] = []
        self._open: set[_Call] = set()

    def end_all(self) -> None:
        """End all calls because the server stops."""
        error = ShuttingDownError()
        for call in list(self._open):
            call.abandon(error.code, error.message)

    async def call(self, message: bytes, context: Context) -> bytes:
        """Return the reply to a call, unless the memory for requests is in use."""
        size = len(message)
        admission = await admit(self._access, self._path, context)
        allowance = None if admission is None else admission.caller.in_flight
        if admission is not None and allowance is not None and not allowance.admits(size):
            error = admission.caller.over_concurrent_bytes()
            await context.abort(error.code, error.message, tuple(pushback(error)))
        if not self._budget.admits(size):
            self._budget.on_rejected()
            later = (("grpc-retry-pushback-ms", str(PUSHBACK_MS)),)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, FULL_MESSAGE, later)
        budgets = [each for each in (self._budget, allowance) if each is not None]
        for budget in budgets:
            budget.take(size)
        try:
            return await self._reply(message, context, admission)
        finally:
            for budget in budgets:
                budget.release(size)

    async def _reply(self, message: bytes, context: Context, admission: Admission | None) -> bytes:
        """Add a call to the group, and return its reply."""
        loop = asyncio.get_running_loop()
        call = _Call(message, context, loop)
        call.admission = admission
        if not self._calls:
            loop.call_soon(self._gather, loop, 0, 0)
        self._calls.append(call)
        self._open.add(call)
        try:
            await call.ending
        except asyncio.CancelledError:
            call.cancel()
            raise
        finally:
            self._open.discard(call)
        if call.trailing:
            context.set_trailing_metadata(tuple(call.trailing))
        if call.error is not None:
            await context.abort(*call.error, trailing_metadata=tuple(call.trailing))
        return call.response

    def _gather(self, loop: asyncio.AbstractEventLoop, seen: int, quiet: int) -> None:
        """Wait while iterations of the loop bring more calls, then hand them over."""
        quiet = 0 if len(self._calls) > seen else quiet + 1
        if quiet < _QUIET_ITERATIONS and len(self._calls) < _MAX_GROUP:
            loop.call_soon(self._gather, loop, len(self._calls), quiet)
        else:
            self._flush()

    def _flush(self) -> None:
        calls, self._calls = self._calls, []
        try:
            self._handle(calls)
        except Exception as error:  # noqa: BLE001 - its calls would wait for ever
            status = status_of(error, log, method=self._method)
            for call in calls:
                call.fail(*status)


class _Call:
    """A unary call of grpc.aio, whose coroutine waits for its end; a `UnaryCall`."""

    __slots__ = (
        "_context",
        "admission",
        "deadline",
        "ended",
        "ended_with",
        "ending",
        "error",
        "message",
        "on_cancel",
        "response",
        "trailing",
    )

    def __init__(self, message: bytes, context: Context, loop: asyncio.AbstractEventLoop) -> None:
        self.message: bytes | memoryview = message
        self._context = context
        self.admission: Admission | None = None
        remaining = context.time_remaining()
        self.deadline: float | None = None if remaining is None else loop.time() + remaining
        self.on_cancel: Callable[[], None] | None = None
        self.ending: asyncio.Future[None] = loop.create_future()
        self.ended = False
        self.ended_with: grpc.StatusCode | None = None
        self.response = b""
        self.error: tuple[grpc.StatusCode, str] | None = None
        self.trailing: Metadata = ()

    @property
    def metadata(self) -> Metadata:
        """The metadata that the caller sent."""
        return cast("Metadata", self._context.invocation_metadata() or ())

    @property
    def peer(self) -> str:
        """The address of the caller."""
        peer: str = self._context.peer()
        return peer

    def reply(self, message: bytes, trailing: Metadata = ()) -> None:
        """Return the reply from the coroutine."""
        if not self.ended:
            self.response, self.trailing = message, trailing
            self._end()

    def fail(self, code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> None:
        """Abort the call from the coroutine."""
        if not self.ended:
            self.error, self.trailing = (code, details), trailing
            self._end()

    def cancel(self) -> None:
        """Report that the caller has left."""
        if not self.ended:
            self.ended = True
            if self.on_cancel is not None:
                self.on_cancel()

    def abandon(self, code: grpc.StatusCode, details: str) -> None:
        """End the call with a status that isn't its handler's."""
        if not self.ended:
            self.error, self.ended_with = (code, details), code
            self.cancel()
            self._end()

    def _end(self) -> None:
        self.ended = True
        if not self.ending.done():
            self.ending.set_result(None)
