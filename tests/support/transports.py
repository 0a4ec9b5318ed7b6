"""The same services behind each of the transports."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from convscope.server.frontend.accounting import Accounting
from convscope.server.frontend.reflection import add_reflection
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.frontend.transport import selection
from convscope.server.frontend.transport.calls import Transport
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
        transport: The transport.
        port: Its port.
        channel: A channel of grpcio to it.
        service: Handles the calls of `SERVICE` and, counted, those of `COUNTED`.
        metrics: The metrics of the calls of `COUNTED` and of health.
    """

    def __init__(
        self,
        transport: Transport,
        port: int,
        channel: grpc.aio.Channel,
        service: Service,
        metrics: Metrics,
    ) -> None:
        self.transport = transport
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

    async def until_started(self, count: int) -> None:
        """Wait until as many calls have begun."""
        await until(lambda: self._count("started") == count)

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
    listener = selection.make_transport(settings, MemoryBudget(256 * MIB))
    service, metrics = Service(), Metrics()
    service.add_to(listener)
    accounting = Accounting(
        listener, metrics, max_request_bytes=MAX_REQUEST_BYTES, access_log=False
    )
    accounting.add_registered_method_handlers(COUNTED, _counted_handlers(service))
    health_pb2_grpc.add_HealthServicer_to_server(
        health.aio.HealthServicer(), cast("grpc.aio.Server", accounting)
    )
    add_reflection([HEALTH], listener, MAX_REQUEST_BYTES)
    port = listener.bind(settings.grpc_address)
    await listener.start()
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options)
    try:
        yield Served(listener, port, channel, service, metrics)
    finally:
        await channel.close()
        await listener.stop(None)


def _counted_handlers(service: Service) -> dict[str, Any]:
    unary = ("unary", "abort", "bug", "wait")
    return {
        **{name: grpc.unary_unary_rpc_method_handler(getattr(service, name)) for name in unary},
        "each": grpc.stream_stream_rpc_method_handler(service.each),
        "hold": grpc.stream_stream_rpc_method_handler(service.hold),
    }
