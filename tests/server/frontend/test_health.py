"""Health, and its watches, on both transports."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.http2 import MIB, SECONDS, RawClient, framed, raw_client, request_headers, until

from convscope.server.frontend.accounting import Accounting
from convscope.server.frontend.health import StartupHealth
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.frontend.transport.calls import Transport
from convscope.server.frontend.transport.memory_budget import MemoryBudget
from convscope.server.frontend.transport.selection import make_transport
from convscope.server.observability.metrics import Metrics

SERVING, NOT_SERVING, UNKNOWN = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
)

pytestmark = pytest.mark.parametrize("transport", ["http2", "grpc-aio"])


@asynccontextmanager
async def reporting(transport: str) -> AsyncIterator[tuple[StartupHealth, Transport, int]]:
    """Serve health only; return it, the transport and its port."""
    listener = make_transport(FrontendSettings(transport=transport), MemoryBudget(MIB))
    health = StartupHealth()
    await health.start([""])
    accounting = Accounting(listener, Metrics(), max_request_bytes=MIB, access_log=False)
    health_pb2_grpc.add_HealthServicer_to_server(health, cast("grpc.aio.Server", accounting))
    port = listener.bind("127.0.0.1:0")
    await listener.start()
    try:
        yield health, listener, port
    finally:
        await listener.stop(None)


def watch(channel: grpc.aio.Channel, service: str = "") -> Any:
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Watch(request, timeout=SECONDS)


async def test_watches_follow_every_change_and_end_with_the_server(transport: str) -> None:
    async with (
        reporting(transport) as (health, _, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        overall, model = watch(channel), watch(channel, "tiny")
        assert (await overall.read()).status == NOT_SERVING
        assert (await model.read()).status == UNKNOWN
        await health.set("tiny", SERVING)
        await health.set("", SERVING)
        await health.open()
        assert (await overall.read()).status == SERVING
        assert (await model.read()).status == SERVING
        await health.enter_graceful_shutdown()
        await health.set("", SERVING)
        assert (await overall.read()).status == NOT_SERVING
        assert (await model.read()).status == NOT_SERVING
        health.end_watches()
        for call in (overall, model):
            assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_error_for_an_unknown_service_names_it(transport: str) -> None:
    async with (
        reporting(transport) as (health, _, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        await health.open()
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError, match="no service or model 'none'") as failure:
            await stub.Check(health_pb2.HealthCheckRequest(service="none"))
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_message_that_cannot_be_parsed_is_an_invalid_argument(transport: str) -> None:
    async with (
        reporting(transport) as (_, _, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        method: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(b"\xff\xff", timeout=SECONDS).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "2 bytes can't be parsed" in (caught.value.details() or "")


async def test_all_are_listed(transport: str) -> None:
    async with (
        reporting(transport) as (health, _, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        await health.open()
        await health.set("tiny", SERVING)
        reply = await health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest())
        listed = {service: health.status for service, health in reply.statuses.items()}
        assert listed == {"": NOT_SERVING, "tiny": SERVING}


async def watch_without_reading(client: RawClient) -> None:
    """Begin a watch on a connection whose window is 0."""
    path = (b":path", b"/grpc.health.v1.Health/Watch")
    headers = [path if pair[0] == b":path" else pair for pair in request_headers("")]
    stream = client.engine.send_request(headers)
    client.engine.send_data(stream, framed(b""), end_stream=True)
    client.send()
    await until(lambda: client.fields(stream))


async def test_a_watch_that_is_not_read_stops_no_change(transport: str) -> None:
    """The server would never learn that a model is ready, and never drain."""
    async with (
        reporting(transport) as (health, _, port),
        raw_client(port, window=0) as client,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        await health.open()
        await watch_without_reading(client)
        other = watch(channel)
        assert (await other.read()).status == NOT_SERVING
        async with asyncio.timeout(SECONDS):
            await health.set("", SERVING)
            assert (await other.read()).status == SERVING
            await health.enter_graceful_shutdown()
            assert (await other.read()).status == NOT_SERVING


async def test_a_watch_that_is_not_read_ends_with_the_server(transport: str) -> None:
    mistakes: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, mistake: mistakes.append(mistake))
    async with (
        reporting(transport) as (health, listener, port),
        raw_client(port, window=0) as client,
    ):
        await health.open()
        await watch_without_reading(client)
        health.end_watches()
        await asyncio.sleep(0.1)
        async with asyncio.timeout(SECONDS):
            await listener.stop(0.2)
        await until(lambda: client.is_closed)
        gc.collect()  # the errors that were not retrieved
    assert mistakes == []
