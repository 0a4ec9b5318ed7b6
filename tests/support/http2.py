"""A server of the http2 transport with methods of every kind, and a client of raw frames."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
from ngh2 import Configuration, Connection, NGH2Error, Role, events

from convscope.server.frontend.transport.calls import Transport, UnaryCall
from convscope.server.frontend.transport.http2.limits import Limits
from convscope.server.frontend.transport.http2.server import Http2Server
from convscope.server.frontend.transport.memory_budget import MemoryBudget
from convscope.server.frontend.transport.tls import TlsFiles

SECONDS = 20.0
SERVICE = "test.Service"
MIB = 2**20


class Service:
    """Methods of every kind; it remembers what happened to their calls."""

    def __init__(self) -> None:
        self.groups: list[int] = []  # the sizes of the groups
        self.waiting: list[UnaryCall] = []
        self.cancelled: list[str] = []
        self.contexts: list[Any] = []
        self.held: list[asyncio.Event] = []

    # In groups

    def echo(self, calls: Sequence[UnaryCall]) -> None:
        self.groups.append(len(calls))
        for call in calls:
            call.reply(bytes(call.message))

    def size(self, calls: Sequence[UnaryCall]) -> None:
        self.groups.append(len(calls))
        for call in calls:
            call.reply(b"%d" % len(call.message))

    def later(self, calls: Sequence[UnaryCall]) -> None:
        for call in calls:
            asyncio.get_running_loop().call_later(0.01, call.reply, bytes(call.message))

    def never(self, calls: Sequence[UnaryCall]) -> None:
        for call in calls:
            call.on_cancel = lambda: self.cancelled.append("group")
            self.waiting.append(call)

    def metadata(self, calls: Sequence[UnaryCall]) -> None:
        for call in calls:
            call.reply(b"", [pair for pair in call.metadata if pair[0].startswith("x-")])

    def fail(self, calls: Sequence[UnaryCall]) -> None:
        for call in calls:
            call.fail(grpc.StatusCode.NOT_FOUND, bytes(call.message).decode(), (("x-why", "so"),))
            call.reply(b"too late")

    def crash(self, calls: Sequence[UnaryCall]) -> None:
        raise RuntimeError("a mistake")

    # In tasks

    async def unary(self, request: bytes, context: Any) -> bytes:
        self.contexts.append(context)
        found = context.invocation_metadata()
        await context.send_initial_metadata((("x-initial", "first"),))
        context.set_trailing_metadata([pair for pair in found if pair[0].startswith("x-")])
        return request

    async def count(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for index in range(int(request)):
            yield b"%d" % index

    async def flood(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(int(request))
        finally:
            self.cancelled.append("flood")

    async def join(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([request async for request in requests])

    async def each(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def hold(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            self.held.append(asyncio.Event())
            await self.held[-1].wait()
            yield request

    async def by_context(self, _: AsyncIterator[bytes], context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(request)

    async def abort(self, request: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.NOT_FOUND, request.decode(), (("x-why", "so"),))

    async def set_code(self, request: bytes, context: Any) -> bytes:
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("lost")
        return b""

    async def bug(self, request: bytes, context: Any) -> bytes:
        raise RuntimeError("a mistake")

    async def wait(self, request: bytes, context: Any) -> bytes:
        self.contexts.append(context)
        context.add_done_callback(lambda _: self.cancelled.append("callback"))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append("task")
            raise
        return b""

    def add_to(self, server: Transport) -> None:
        groups = ("echo", "size", "later", "never", "metadata", "fail", "crash")
        server.add_group_methods(SERVICE, {name: getattr(self, name) for name in groups})
        unary = ("unary", "abort", "set_code", "bug", "wait")
        handlers: dict[str, Any] = {
            **{name: grpc.unary_unary_rpc_method_handler(getattr(self, name)) for name in unary},
            "count": grpc.unary_stream_rpc_method_handler(self.count),
            "flood": grpc.unary_stream_rpc_method_handler(self.flood),
            "join": grpc.stream_unary_rpc_method_handler(self.join),
            "each": grpc.stream_stream_rpc_method_handler(self.each),
            "by_context": grpc.stream_stream_rpc_method_handler(self.by_context),
        }
        server.add_registered_method_handlers(SERVICE, handlers)


class Serving:
    """A running server, and a channel to it."""

    def __init__(self, server: Http2Server, service: Service, port: int, target: str) -> None:
        self.server = server
        self.service = service
        self.port = port
        self.target = target
        self.rejections: list[str] = []  # of calls that no method counts
        self.channel: Any  # its type arguments can't be inferred from bytes

    def unary(self, name: str) -> Any:
        return self.channel.unary_unary(f"/{SERVICE}/{name}")

    async def call(self, name: str, request: bytes = b"", **options: Any) -> Any:
        """Call a unary method."""
        return await self.unary(name)(request, timeout=SECONDS, **options)

    async def failure(self, name: str, request: bytes = b"", **options: Any) -> Any:
        """Return the error that a unary call ends with."""
        try:
            await self.unary(name)(request, **{"timeout": SECONDS, **options})
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError("the call succeeded")

    async def until_idle(self) -> None:
        """Wait until nothing is left of the calls."""
        await until(lambda: not any(self.server.open_state[1:]))


async def until(condition: Any) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving_http2(
    limits: Limits | None = None,
    *,
    budget_bytes: int = 256 * MIB,
    address: str = "127.0.0.1:0",
    tls: TlsFiles | None = None,
    options: Sequence[tuple[str, Any]] = (),
    credentials: grpc.ChannelCredentials | None = None,
) -> AsyncIterator[Serving]:
    """Serve for the duration of a with block."""
    rejections: list[str] = []
    server = Http2Server(MemoryBudget(budget_bytes), limits, tls=tls, on_rejected=rejections.append)
    service = Service()
    service.add_to(server)
    port = server.bind(address)
    await server.start()
    target = address if address.startswith("unix:") else f"localhost:{port}"
    serving = Serving(server, service, port, target.replace("localhost", "127.0.0.1"))
    serving.rejections = rejections
    if credentials is None:
        channel = grpc.aio.insecure_channel(serving.target, options)
    else:
        channel = grpc.aio.secure_channel(f"localhost:{port}", credentials, options)
    serving.channel = channel
    try:
        yield serving
    finally:
        await channel.close()
        await server.stop(None)


def request_headers(path: str, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The headers of a call."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"test"),
        (b":path", f"/{SERVICE}/{path}".encode()),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *more,
    ]


class RawClient:
    """A connection whose frames a test chooses.

    Args:
        window: Bytes of each reply that it takes; None to take everything.
    """

    def __init__(self, window: int | None = None) -> None:
        configuration = Configuration(
            auto_window_update=window is None, max_send_header_block_length=MIB
        )
        self.engine = Connection(Role.CLIENT, configuration)
        self.engine.initiate_connection({} if window is None else {4: window})
        self.events: list[events.Event] = []
        self.is_closed = False
        self._reading: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter

    async def connect(self, port: int, context: ssl.SSLContext | None = None) -> None:
        reader, self._writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        self.send()
        self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(65536):
                with suppress(NGH2Error):  # it has seen the end already
                    self.engine.receive_data(data)
                    self.events += self.engine.events()
                    self.send()
        except OSError:
            pass
        self.is_closed = True

    def send(self, data: bytes = b"") -> None:
        """Send what the engine has queued, then bytes of any kind."""
        self._writer.write(self.engine.data_to_send() + data)

    def call(self, path: str, data: bytes | None, *more: tuple[bytes, bytes]) -> int:
        """Begin a call; with data it is complete."""
        stream = self.engine.send_request(request_headers(path, *more))
        if data is not None:
            self.engine.send_data(stream, data, end_stream=True)
        self.send()
        return stream

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the events of a kind."""
        return [event for event in self.events if type(event) is kind]

    def fields(self, stream: int) -> dict[bytes, bytes]:
        """Return all headers and trailers of a response."""
        found: dict[bytes, bytes] = {}
        for event in self.of(events.ResponseReceived) + self.of(events.TrailersReceived):
            if event.stream_id == stream:
                found.update(event.headers)
        return found

    async def status(self, stream: int) -> dict[bytes, bytes]:
        """Wait for the end of a call; return its headers and trailers."""
        await until(lambda: any(e.stream_id == stream for e in self.of(events.StreamClosed)))
        return self.fields(stream)

    async def goaway(self) -> events.GoAwayReceived:
        """Wait until the server ends the connection."""
        await until(lambda: self.of(events.GoAwayReceived))
        found: events.GoAwayReceived = self.of(events.GoAwayReceived)[-1]
        return found

    async def close(self) -> None:
        self._writer.close()
        if self._reading is not None:
            self._reading.cancel()


@asynccontextmanager
async def raw_client(port: int, window: int | None = None) -> AsyncIterator[RawClient]:
    """Connect for the duration of a with block."""
    client = RawClient(window)
    await client.connect(port)
    try:
        yield client
    finally:
        await client.close()


def framed(message: bytes, compressed: int = 0) -> bytes:
    """A length-prefixed message."""
    return bytes([compressed]) + len(message).to_bytes(4, "big") + message
