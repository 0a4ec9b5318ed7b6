"""The budget of both transports, as the metrics show it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from support.http2 import SECONDS, until

from convscope.server.frontend.ordering import Place, in_order
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.frontend.transport.calls import Transport, UnaryCall
from convscope.server.frontend.transport.memory_budget import MemoryBudget
from convscope.server.frontend.transport.selection import make_transport
from convscope.server.observability.metrics import Metrics

BYTES = "convscope_request_memory_bytes"
REJECTIONS = "convscope_request_memory_rejections_total"


class Budgeted:
    """A transport with a budget of 1 MB, and its metrics."""

    def __init__(self, transport: str) -> None:
        self.metrics, budget = Metrics(), MemoryBudget(1_000_000)
        budget.on_rejected = self.metrics.request_memory(lambda: budget.used)
        self.server = make_transport(FrontendSettings(transport=transport), budget)

    def value(self, name: str) -> float:
        found: float = self.metrics.registry.get_sample_value(name) or 0.0
        return found

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[Any]:
        """Serve for the duration of a with block."""
        port = self.server.bind("127.0.0.1:0")
        await self.server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
        finally:
            await self.server.stop(None)


@pytest.mark.parametrize("transport", ["http2", "grpc-aio"])
async def test_bytes_and_rejections_are_counted(transport: str) -> None:
    """A call that is rejected before its method is in no other metric and in no log."""
    waiting = list[UnaryCall]()

    def wait(calls: Sequence[UnaryCall]) -> None:
        waiting.extend(calls)

    served = Budgeted(transport)
    value = served.value
    served.server.add_group_methods("test.Service", {"wait": wait})
    async with served.channel() as channel:
        call: Any = channel.unary_unary("/test.Service/wait")
        first = call(bytes(900_000), timeout=SECONDS)
        await until(lambda: waiting)
        assert value(BYTES) >= 900_000
        assert value(REJECTIONS) == 0
        second = call(bytes(900_000), timeout=SECONDS)
        assert await second.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert value(REJECTIONS) == 1
        waiting[0].reply(b"")
        assert await first.code() is grpc.StatusCode.OK
        await until(lambda: value(BYTES) == 0)


class Held:
    """A stream whose replies a test sends."""

    def __init__(self) -> None:
        self.places: list[Place[bytes]] = []

    async def hold(self, requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        def begin(request: bytes, place: Place[bytes]) -> None:
            self.places.append(place)

        async for reply in in_order(begin, requests, 16):
            yield reply

    def add_to(self, server: Transport) -> None:
        handlers: dict[str, Any] = {"hold": grpc.stream_stream_rpc_method_handler(self.hold)}
        server.add_registered_method_handlers("test.Service", handlers)


@pytest.mark.parametrize("transport", ["http2", "grpc-aio"])
async def test_messages_of_a_stream_count_until_their_replies(transport: str) -> None:
    """Otherwise a few streams of large images could fill the memory."""
    served, held = Budgeted(transport), Held()
    held.add_to(served.server)
    async with served.channel() as channel:
        call: Any = channel.stream_stream("/test.Service/hold")(timeout=SECONDS)
        for _ in range(3):
            await call.write(bytes(300_000))
        await until(lambda: len(held.places) == 3)
        assert 900_000 <= served.value(BYTES) < 1_000_000
        rejected: Any = channel.stream_stream("/test.Service/hold")(timeout=SECONDS)
        await rejected.write(bytes(300_000))
        assert await rejected.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(await rejected.trailing_metadata())["grpc-retry-pushback-ms"] == "100"
        assert served.value(REJECTIONS) == 1
        held.places[0].set(b"first")
        assert await call.read() == b"first"
        await until(lambda: 600_000 <= served.value(BYTES) < 700_000)
        call.cancel()
        await until(lambda: served.value(BYTES) == 0)


@pytest.mark.parametrize("transport", ["http2", "grpc-aio"])
async def test_a_stream_is_not_read_while_its_messages_fill_the_memory(transport: str) -> None:
    served, held = Budgeted(transport), Held()
    held.add_to(served.server)
    async with served.channel() as channel:
        other: Any = channel.stream_stream("/test.Service/hold")(timeout=SECONDS)
        await other.write(bytes(400_000))
        await until(lambda: len(held.places) == 1)
        call: Any = channel.stream_stream("/test.Service/hold")(timeout=SECONDS)

        async def send() -> None:
            for _ in range(16):
                await call.write(bytes(400_000))

        sending = asyncio.ensure_future(send())
        await until(lambda: served.value(BYTES) > 1_000_000)
        await asyncio.sleep(0.3)
        assert served.value(BYTES) < 3_000_000
        for index in range(17):
            await until(lambda index=index: len(held.places) > index)
            held.places[index].set(b"%d" % index)
            if index:
                assert await call.read() == b"%d" % index
        await sending
        call.cancel()
        other.cancel()
        await until(lambda: served.value(BYTES) == 0)
