"""The same services behind each of the transports."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from convscope.server.frontend.accounting import Accounting
from convscope.server.frontend.reflection import add_reflection
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.frontend.transport import selection
from convscope.server.frontend.transport.calls import GroupHandler
from convscope.server.frontend.transport.memory_budget import MemoryBudget
from convscope.server.observability.metrics import Metrics
from support.http2 import MIB, RawClient, Service, raw_client, until

COUNTED = "test.Counted"
MAX_REQUEST_BYTES = MIB // 2
MAX_MESSAGE_BYTES = 2 * MAX_REQUEST_BYTES
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]


class Served:
    """A transport with services.

    Args:
        port: Its port.
        channel: A channel of grpcio to it.
        service: Handles the calls of `SERVICE` and, counted, those of `COUNTED`.
        metrics: The metrics of the calls of `COUNTED` and of health.
    """

    def __init__(
        self, port: int, channel: grpc.aio.Channel, service: Service, metrics: Metrics
    ) -> None:
        self.port = port
        self.channel = channel
        self.service = service
        self._metrics = metrics

    @asynccontextmanager
    async def raw(self, window: int | None = None) -> AsyncIterator[RawClient]:
        """A connection of raw frames."""
        async with raw_client(self.port, window) as client:
            yield client

    async def counters(self) -> dict[str, float]:
        """The counters of the calls, when all of them have ended."""
        await until(lambda: self._count("started") == self._count("handled"))
        samples = Counter[str]()
        for name in ("started", "handled"):
            for sample in self._samples(name):
                labels = sample.labels
                key = (name, labels["grpc_method"], labels.get("grpc_code", ""))
                samples[" ".join(key).strip()] += sample.value
        return {key: value for key, value in sorted(samples.items()) if value}

    def _count(self, name: str) -> float:
        return sum(float(sample.value) for sample in self._samples(name))

    def _samples(self, name: str) -> list[Any]:
        return [
            sample
            for family in self._metrics.registry.collect()
            if family.name == f"grpc_server_{name}"
            for sample in family.samples
            if sample.name.endswith("_total")
        ]


@asynccontextmanager
async def serving(transport: str) -> AsyncIterator[Served]:
    """Serve for the duration of a with block.

    Args:
        transport: http2 or grpc-aio.
    """
    settings = FrontendSettings(
        transport=transport, grpc_address="127.0.0.1:0", max_request_bytes=MAX_REQUEST_BYTES
    )
    server = selection.make_server(settings, MemoryBudget(256 * MIB))
    listener: Any = _InGroups(server) if isinstance(server, grpc.aio.Server) else server
    service, metrics = Service(), Metrics()
    service.add_to(listener)
    accounting = Accounting(
        listener, metrics, max_request_bytes=MAX_REQUEST_BYTES, access_log=False
    )
    accounting.add_registered_method_handlers(COUNTED, _counted_handlers(service))
    health_pb2_grpc.add_HealthServicer_to_server(
        health.aio.HealthServicer(), cast("grpc.aio.Server", accounting)
    )
    add_reflection([HEALTH], listener)
    port = selection.bind(server, settings)
    await server.start()
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options)
    try:
        yield Served(port, channel, service, metrics)
    finally:
        await channel.close()
        await server.stop(None)


def _counted_handlers(service: Service) -> dict[str, Any]:
    unary = ("unary", "abort", "bug", "wait")
    return {
        **{name: grpc.unary_unary_rpc_method_handler(getattr(service, name)) for name in unary},
        "each": grpc.stream_stream_rpc_method_handler(service.each),
    }


class _InGroups:
    """Hands over the calls of grpc.aio in groups of one."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        generic = grpc.method_handlers_generic_handler(service, dict(handlers))
        self._server.add_generic_rpc_handlers((generic,))

    def add_group_methods(self, service: str, methods: Mapping[str, GroupHandler]) -> None:
        handlers: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(_alone(handle))
            for name, handle in methods.items()
        }
        self.add_registered_method_handlers(service, handlers)


def _alone(handle: GroupHandler) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def call(message: bytes, context: Any) -> bytes:
        one = _Call(message, context)
        handle([one])
        try:
            reply, error, trailing = await one.end
        except asyncio.CancelledError:
            one.ended = True
            if one.on_cancel is not None:
                one.on_cancel()
            raise
        context.set_trailing_metadata(tuple(trailing))
        if error is not None:
            await context.abort(*error, trailing_metadata=tuple(trailing))
        return bytes(reply)

    return call


class _Call:
    """A call of grpc.aio as a `UnaryCall`."""

    def __init__(self, message: bytes, context: Any) -> None:
        remaining = context.time_remaining()
        loop = asyncio.get_running_loop()
        self.message: bytes | memoryview = message
        self.deadline = None if remaining is None else loop.time() + remaining
        self.on_cancel: Callable[[], None] | None = None
        self.metadata = context.invocation_metadata()
        self.peer = context.peer()
        self.ended = False
        self.end: asyncio.Future[Any] = loop.create_future()

    def reply(self, message: bytes, trailing: Any = ()) -> None:
        self._end(message, None, trailing)

    def fail(self, code: grpc.StatusCode, details: str, trailing: Any = ()) -> None:
        self._end(b"", (code, details), trailing)

    def _end(self, *result: Any) -> None:
        if not self.ended:
            self.ended = True
            self.end.set_result(result)
