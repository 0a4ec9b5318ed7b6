"""The end of both transports: what is idle ends at once, what is in progress is finished."""

import asyncio
import queue
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.calls import image_request
from support.http2 import SECONDS, until
from support.server import ServerProcess
from support.transports import COUNTED, Served, serving

from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
MESSAGE = "the server is shutting down; call another one"

pytestmark = pytest.mark.parametrize("transport", ["http2", "grpc-aio"])


def stream(served: Served, method: str = "each") -> Any:
    multi: Any = served.channel.stream_stream(f"/{COUNTED}/{method}")
    return multi(timeout=SECONDS)


async def test_idle_streams_do_not_delay_the_stop(transport: str) -> None:
    """Their clients learn that they should go on elsewhere."""
    async with serving(transport) as served:
        used, unused = stream(served), stream(served)
        await used.write(b"1")
        assert await used.read() == b"1"
        await unused.wait_for_connection()
        await served.until_started(2)
        async with asyncio.timeout(SECONDS / 2):
            await served.transport.stop(SECONDS)
        for call in (used, unused):
            assert (await call.code(), await call.details()) == (UNAVAILABLE, MESSAGE)
        counters = await served.counters()
        assert counters["handled each Unavailable"] == 2


async def test_a_stream_in_progress_ends_after_its_reply(transport: str) -> None:
    async with serving(transport) as served:
        call = stream(served, "hold")
        await call.write(b"1")
        await until(lambda: served.service.held)
        stopping = asyncio.ensure_future(served.transport.stop(SECONDS))
        await asyncio.sleep(0.1)
        served.service.held[0].set()
        assert await call.read() == b"1"
        assert (await call.code(), await call.details()) == (UNAVAILABLE, MESSAGE)
        async with asyncio.timeout(SECONDS / 2):
            await stopping
        assert (await served.counters())["handled hold Unavailable"] == 1


@pytest.mark.parametrize("method", ["wait", "hold"])
async def test_calls_are_unavailable_after_the_grace(transport: str, method: str) -> None:
    """On the wire and in the metrics."""
    async with serving(transport) as served:
        if method == "hold":
            call = stream(served, method)
            await call.write(b"1")
            await until(lambda: served.service.held)
        else:
            unary: Any = served.channel.unary_unary(f"/{COUNTED}/{method}")
            call = unary(b"", timeout=SECONDS)
            await until(lambda: served.service.contexts)
        await served.transport.stop(0.2)
        assert await call.code() is UNAVAILABLE
        assert (await served.counters())[f"handled {method} Unavailable"] == 1


def test_open_streams_do_not_delay_the_end_of_a_server(
    transport: str, tiny_repository: Path
) -> None:
    """A watch of health, and a stream of requests that waits for its next one."""
    flags = ("--transport", transport, "--grace-seconds", "600")
    with (
        ServerProcess(tiny_repository, *flags) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        requests = queue.SimpleQueue[pb.ClassifyStreamRequest | None]()
        stub = inference_pb2_grpc.ClassifierServiceStub(channel)
        replies = stub.ClassifyStream(iter(requests.get, None))
        requests.put(pb.ClassifyStreamRequest(request=image_request()))
        assert next(replies).response.model == "tiny"
        assert server.stop() == 0
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        for call in (watch, replies):
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            assert caught.value.code() is UNAVAILABLE
            assert caught.value.details() == MESSAGE
        requests.put(None)
