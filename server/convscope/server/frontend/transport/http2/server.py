"""The transport `http2`; a `Transport`."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from convscope.server.errors import ShuttingDownError, StartError
from convscope.server.frontend.access.control import AccessControl
from convscope.server.frontend.transport.calls import GroupHandler, RejectionReason
from convscope.server.frontend.transport.http2.connection import Connection
from convscope.server.frontend.transport.http2.group_call import GroupMethod
from convscope.server.frontend.transport.http2.limits import Limits
from convscope.server.frontend.transport.http2.listener import Listener
from convscope.server.frontend.transport.http2.shared import Shared
from convscope.server.frontend.transport.http2.sockets import allow_descriptors, listen
from convscope.server.frontend.transport.http2.sweep import check, sweep_seconds
from convscope.server.frontend.transport.http2.task_call import TaskMethod
from convscope.server.frontend.transport.http2.tasks import Tasks
from convscope.server.frontend.transport.memory_budget import MemoryBudget
from convscope.server.frontend.transport.tls import UNUSABLE_MESSAGE, TlsFiles

__all__ = ["Http2Server", "OpenState"]

# How long the end of a connection may take when the grace is over.
END_SECONDS = 1.0
# How long the checks of connections may take in one iteration of the event loop: those of thousands
# of calls take some milliseconds.
CHECK_SECONDS = 0.5e-3
# File descriptors for everything but the connections.
SPARE_DESCRIPTORS = 512

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Handler = grpc.RpcMethodHandler[Any, Any]


class OpenState(NamedTuple):
    """What a server holds; everything is 0 when no call is open.

    Args:
        connections: Open connections.
        streams: Open calls.
        tasks: Tasks of calls that run.
        uploads: Messages that have arrived in part.
        request_bytes: Bytes of the budget that are in use.
    """

    connections: int
    streams: int
    tasks: int
    uploads: int
    request_bytes: int


class CallDetails(NamedTuple):
    """A method that a generic handler is asked for."""

    method: str
    invocation_metadata: Sequence[tuple[str, str]] = ()


class Http2Server:
    """Serves gRPC over HTTP/2.

    Args:
        budget: The bytes of requests that the process may hold.
        limits: The limits of its connections.
        flag: The flag that sets its address, for errors.
        tls: The files of TLS; None for no TLS.
        share_port: Whether other processes listen on its port too.
        on_rejected: Called with each call that ends before its method counts it.
        access: Admits the calls; None admits all.
        on_reload: Called when changed files of TLS were loaded, or could not be.
    """

    name = "http2"

    def __init__(
        self,
        budget: MemoryBudget,
        limits: Limits | None = None,
        *,
        flag: str = "--grpc-address",
        tls: TlsFiles | None = None,
        share_port: bool = False,
        on_rejected: Callable[[RejectionReason], None] = lambda _: None,
        access: AccessControl | None = None,
        on_reload: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._on_reload = on_reload
        self._loop = asyncio.get_running_loop()
        self._limits = limits or Limits()
        self._budget = budget
        self._flag = flag
        self._tls = tls
        self._share_port = share_port
        self._methods: dict[str, GroupMethod | TaskMethod] = {}
        self._generic: list[Any] = []
        self._listeners: list[Listener] = []
        self._connections: set[Connection] = set()
        self._tasks = Tasks(self._loop)
        self._shared = Shared(
            self._loop,
            self._limits,
            budget,
            self._tasks,
            self._find_method,
            on_rejected,
            secure=tls is not None,
            access=access,
        )
        self._sweeping: asyncio.TimerHandle | None = None
        self._unchecked: list[Connection] = []  # of this sweep
        self._is_empty = asyncio.Event()
        self._is_stopping = False

    @property
    def open_calls(self) -> int:
        """The calls that have begun and not ended."""
        return self._shared.calls

    @property
    def open_state(self) -> OpenState:
        """What the server holds now."""
        return OpenState(
            connections=len(self._connections),
            streams=self.open_calls,
            tasks=len(self._tasks),
            uploads=len(self._shared.uploads),
            request_bytes=self._budget.used,
        )

    # Methods

    def add_group_methods(self, service: str, methods: Mapping[str, GroupHandler]) -> None:
        """Add unary methods that take their calls in groups."""
        for name, handler in methods.items():
            path = f"/{service}/{name}"
            self._methods[path] = GroupMethod(path, handler)

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, "Handler"]
    ) -> None:
        """Add methods that run in a task of their own."""
        for name, handler in handlers.items():
            path = f"/{service}/{name}"
            self._methods[path] = TaskMethod(path, handler, self._tasks)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[Any]) -> None:
        """Add methods that are looked up at their first call."""
        self._generic += generic_rpc_handlers

    def _find_method(self, path: str) -> GroupMethod | TaskMethod | None:
        found = self._methods.get(path)
        if found is not None:
            return found
        for generic in self._generic:
            handler = generic.service(CallDetails(path))
            if handler is not None:
                method = self._methods[path] = TaskMethod(path, handler, self._tasks)
                return method
        return None

    # Listening

    def bind(self, address: str) -> int:
        """Bind an address; return its port, or 1 for a Unix socket.

        Raises:
            StartError: The address can't be bound, or the files of TLS can't be used.
        """
        try:
            sockets, port = listen(address, share_port=self._share_port)
        except (OSError, ValueError) as error:
            message = f"{self._flag} {address} can't be bound; does another server use it?"
            raise StartError(message) from error
        try:
            listener = Listener(sockets, self._accept, self._tls, self._limits, self._on_reload)
        except OSError as error:  # ssl.SSLError is one
            for one in sockets:
                one.close()
            raise StartError(UNUSABLE_MESSAGE) from error
        self._listeners.append(listener)
        return port

    async def start(self) -> None:
        """Accept connections."""
        limits = self._limits
        allow_descriptors(limits.max_connections + limits.max_handshakes + SPARE_DESCRIPTORS)
        for listener in self._listeners:
            await listener.start()
        self._sweep()

    def _accept(self) -> asyncio.BaseProtocol:
        if self._tls is None and not self._has_room():
            return _Refusal()
        return Connection(self._shared, self._opened, self._forget)

    def _opened(self, connection: Connection) -> None:
        # With TLS, a client that has not completed its handshake takes no other one's place.
        if self._tls is not None and not self._has_room():
            connection.abort()
            return
        self._connections.add(connection)
        self._shared.connections = len(self._connections)
        if self._is_stopping:  # it was accepted before, and its handshake took a while
            self._loop.call_soon(connection.drain)

    def _has_room(self) -> bool:
        """Return whether another connection may be opened, perhaps in the place of an idle one."""
        return len(self._connections) < self._limits.max_connections or self._make_room()

    def _make_room(self) -> bool:
        """End the connection that is idle for the longest time; return False if none is idle.

        Those whose client has not even sent its preface are the first.
        """
        idle = (c for c in self._connections if not c.streams and c.closing_at is None)
        longest = min(idle, key=lambda c: (c.is_established, c.active_at), default=None)
        if longest is None:
            return False
        longest.give_way()
        return True

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._shared.connections = len(self._connections)
        if not self._connections:
            self._is_empty.set()

    def _sweep(self) -> None:
        self._sweeping = self._loop.call_later(sweep_seconds(self._limits), self._sweep)
        if not self._unchecked:
            self._unchecked = list(self._connections)
            self._check_connections()
        if self._is_stopping:
            self._end_idle_streams()
        self._shared.uploads.end_stalled(self._limits.stalled_seconds)
        self.reload()

    def _check_connections(self) -> None:
        """Check connections; the rest in the next iterations of the loop if they take long."""
        end = perf_counter() + CHECK_SECONDS
        while self._unchecked:
            connection = self._unchecked.pop()
            if connection in self._connections:
                check(connection, self._limits, self._loop.time())
            if perf_counter() > end:
                self._loop.call_soon(self._check_connections)
                return

    def reload(self) -> None:
        """Use the files of TLS again if they have changed."""
        for listener in self._listeners:
            listener.reload_if_changed()

    # Stopping

    async def stop(self, grace: float | None) -> None:
        """Accept no more calls, wait for the others for some seconds, and end the rest."""
        self._is_stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.drain()
        self._end_idle_streams()
        await self._wait_until_empty(grace or 0.0)
        error = ShuttingDownError()
        for connection in list(self._connections):
            connection.end_calls(error.code, error.message)
        await self._wait_until_empty(END_SECONDS)
        for connection in list(self._connections):
            connection.abort()
        await self._wait_until_empty(END_SECONDS)
        await self._tasks.wait(END_SECONDS)
        for listener in self._listeners:
            listener.handshakes.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._shared.deadlines.close()
        self._shared.inflater.close()

    def _end_idle_streams(self) -> None:
        error = ShuttingDownError()
        for connection in list(self._connections):
            connection.end_idle_streams(error.code, error.message)

    async def _wait_until_empty(self, seconds: float) -> None:
        if not self._connections or not seconds:
            return
        self._is_empty.clear()
        try:
            await asyncio.wait_for(self._is_empty.wait(), seconds)
        except TimeoutError:
            return


class _Refusal(asyncio.Protocol):
    """Closes a connection above the limit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.abort()  # type: ignore[attr-defined] # every transport of a socket has it
