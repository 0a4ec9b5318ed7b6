"""Uploads that stop: their bytes return to the budget."""

import asyncio

import pytest
from support.http2 import RawClient, framed, raw_client, serving_http2, until

from convscope.server.frontend.transport.http2.limits import Limits
from convscope.server.frontend.transport.http2.uploads import PAUSE_SECONDS

RESOURCE_EXHAUSTED = b"8"


async def begin(client: RawClient, size: int, sent: int) -> int:
    """Send the beginning of a message."""
    stream = client.call("echo", None)
    client.engine.send_data(stream, framed(bytes(size))[:sent])
    client.send()
    return stream


@pytest.mark.parametrize("sent", [10, 900_000])
async def test_an_upload_that_stops_ends_however_much_of_it_came(sent: int) -> None:
    """Otherwise a few callers could hold the whole budget for hours."""
    limits = Limits(stalled_seconds=0.2)
    async with serving_http2(limits) as serving, raw_client(serving.port) as client:
        stream = await begin(client, 1_000_000, sent)
        status = await client.status(stream)
        assert status[b"grpc-status"] == RESOURCE_EXHAUSTED
        await serving.until_idle()


async def test_uploads_that_hold_the_budget_give_way_to_others() -> None:
    limits, budget = Limits(stalled_seconds=0.2), 1_000_000
    async with (
        serving_http2(limits, budget_bytes=budget) as serving,
        raw_client(serving.port) as client,
    ):
        await begin(client, 990_000, 980_000)
        await until(lambda: serving.server.open_state.request_bytes > 970_000)
        await until(lambda: serving.server.open_state.request_bytes == 0)
        assert await serving.call("echo", bytes(100_000)) == bytes(100_000)


async def test_a_slow_upload_that_goes_on_does_not_end() -> None:
    limits = Limits(stalled_seconds=1.0)
    async with serving_http2(limits) as serving, raw_client(serving.port) as client:
        message = framed(bytes(30_000))
        stream = client.call("echo", None)
        for start in range(0, len(message), 1000):
            client.engine.send_data(stream, message[start : start + 1000])
            client.send()
            await asyncio.sleep(0.1)
        client.engine.end_stream(stream)
        client.send()
        assert (await client.status(stream))[b"grpc-status"] == b"0"


@pytest.mark.parametrize("size", [100, 500_000])
async def test_when_memory_is_short_uploads_that_pause_give_way(size: int) -> None:
    budget = 1_000_000
    async with (
        serving_http2(budget_bytes=budget) as serving,
        raw_client(serving.port) as client,
    ):
        paused = await begin(client, 2 * budget, budget)
        await until(lambda: serving.server.open_state.request_bytes == budget)
        await asyncio.sleep(PAUSE_SECONDS + 0.1)
        assert await serving.call("echo", bytes(size)) == bytes(size)
        assert (await client.status(paused))[b"grpc-status"] == RESOURCE_EXHAUSTED
        await serving.until_idle()
