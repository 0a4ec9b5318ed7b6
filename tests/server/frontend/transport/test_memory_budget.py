"""The budget of both transports, as the metrics show it."""

from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from support.http2 import SECONDS, until

from convscope.server.frontend.settings import FrontendSettings
from convscope.server.frontend.transport.calls import UnaryCall
from convscope.server.frontend.transport.memory_budget import MemoryBudget
from convscope.server.frontend.transport.selection import make_transport
from convscope.server.observability.metrics import Metrics

BYTES = "convscope_request_memory_bytes"
REJECTIONS = "convscope_request_memory_rejections_total"


@pytest.mark.parametrize("transport", ["http2", "grpc-aio"])
async def test_bytes_and_rejections_are_counted(transport: str) -> None:
    """A call that is rejected before its method is in no other metric and in no log."""
    metrics, budget, waiting = Metrics(), MemoryBudget(1_000_000), list[UnaryCall]()
    budget.on_rejected = metrics.request_memory(lambda: budget.used)

    def wait(calls: Sequence[UnaryCall]) -> None:
        waiting.extend(calls)

    def value(name: str) -> float:
        found: float = metrics.registry.get_sample_value(name) or 0.0
        return found

    server = make_transport(FrontendSettings(transport=transport), budget)
    server.add_group_methods("test.Service", {"wait": wait})
    port = server.bind("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
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
    finally:
        await server.stop(None)
