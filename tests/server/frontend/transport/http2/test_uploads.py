"""Uploads that stop: their bytes return to the budget."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import pytest
from ngh2 import NGH2Error
from support.frames import DATA, frame
from support.http2 import (
    SECONDS,
    SERVICE,
    RawClient,
    framed,
    raw_client,
    serving_http2,
    until,
)

from convscope.server.frontend.ordering import Place, in_order
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
        assert status[b"grpc-message"].startswith(b"the request arrived too slowly")
        assert b"grpc-retry-pushback-ms" not in status  # the memory is not full
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


async def test_when_memory_is_short_uploads_that_pause_give_way() -> None:
    budget = 1_000_000
    async with (
        serving_http2(budget_bytes=budget) as serving,
        raw_client(serving.port) as client,
    ):
        paused = await begin(client, 2 * budget, budget)
        await until(lambda: serving.server.open_state.request_bytes == budget)
        await asyncio.sleep(PAUSE_SECONDS + 0.1)
        assert await serving.call("echo", bytes(500_000)) == bytes(500_000)
        assert (await client.status(paused))[b"grpc-status"] == RESOURCE_EXHAUSTED
        await serving.until_idle()


async def test_small_requests_go_on_while_large_ones_fill_the_memory() -> None:
    """Otherwise one caller with large requests would keep all others out."""
    budget = 1_000_000
    async with (
        serving_http2(budget_bytes=budget) as serving,
        raw_client(serving.port) as client,
    ):
        large = await begin(client, 2 * budget, budget + 10)
        await until(lambda: serving.server.open_state.request_bytes > budget)
        for size in (0, 100, 60_000):
            assert await serving.call("echo", bytes(size)) == bytes(size)
        parts = framed(bytes(60_000))
        stream = client.call("echo", None)
        for part in (parts[:30_000], parts[30_000:]):
            client.engine.send_data(stream, part)
            client.send()
            await asyncio.sleep(0.05)
        client.engine.end_stream(stream)
        client.send()
        assert (await client.status(stream))[b"grpc-status"] == b"0"
        assert serving.server.open_state.request_bytes > budget
        client.engine.reset_stream(large, 8)
        client.send()
        await serving.until_idle()


async def test_small_requests_fill_no_more_than_their_reserve() -> None:
    budget = 1_000_000
    async with (
        serving_http2(budget_bytes=budget) as serving,
        raw_client(serving.port) as client,
    ):
        await begin(client, 2 * budget, budget + 10)
        await until(lambda: serving.server.open_state.request_bytes > budget)
        waiting = [client.call("never", framed(bytes(40_000))) for _ in range(8)]
        client.send()
        await until(lambda: len(serving.service.waiting) == 3)
        for stream in waiting[3:]:
            assert (await client.status(stream))[b"grpc-status"] == RESOURCE_EXHAUSTED
        assert serving.server.open_state.request_bytes < budget * 9 // 8 + 40_000


@pytest.mark.parametrize("method", ["echo", "unary"])
@pytest.mark.parametrize("data", [b"", framed(b"whole")])
async def test_a_unary_call_whose_request_never_ends_is_given_up(method: str, data: bytes) -> None:
    """Otherwise a few connections could use up the calls of the server."""
    limits = Limits(stalled_seconds=0.2)
    async with serving_http2(limits) as serving, raw_client(serving.port) as client:
        stream = client.call(method, None)
        if data:
            client.engine.send_data(stream, data)
            client.send()
        assert (await client.status(stream))[b"grpc-status"] == RESOURCE_EXHAUSTED
        await serving.until_idle()


async def test_empty_frames_do_not_keep_a_unary_call_open() -> None:
    limits = Limits(stalled_seconds=0.2)
    async with serving_http2(limits) as serving, raw_client(serving.port) as client:
        stream = client.call("echo", None)
        client.engine.send_data(stream, framed(b"whole"))
        async with asyncio.timeout(SECONDS):
            while not client.fields(stream):
                client.send(frame(DATA, 0, stream))
                await asyncio.sleep(0.02)
        assert client.fields(stream)[b"grpc-status"] == RESOURCE_EXHAUSTED


async def test_a_stream_may_wait_between_messages() -> None:
    async with serving_http2(Limits(stalled_seconds=0.2)) as serving:
        call = serving.channel.stream_stream(f"/{SERVICE}/each")(timeout=SECONDS)
        for message in (b"1", b"2"):
            await call.write(message)
            assert await call.read() == message
            await asyncio.sleep(1.0)
        call.cancel()


@pytest.mark.parametrize("method", ["later", "wait"])
async def test_a_call_that_runs_long_is_no_upload(method: str) -> None:
    """Its request came late, but it came."""
    limits = Limits(stalled_seconds=2.0)
    async with serving_http2(limits) as serving, raw_client(serving.port) as client:
        stream = client.call(method, None, (b"grpc-timeout", b"5S"))
        await until(lambda: serving.server.open_state.uploads == 1)
        client.engine.send_data(stream, framed(b"x"), end_stream=True)
        client.send()
        status = (await client.status(stream))[b"grpc-status"]
        assert status == (b"0" if method == "later" else b"4")


async def test_messages_of_a_stream_are_in_the_budget_until_their_replies() -> None:
    """Otherwise a few streams of large images could fill the memory."""
    places: list[Place[bytes]] = []

    async def ahead(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        def begin(request: bytes, place: Place[bytes]) -> None:
            places.append(place)

        async for reply in in_order(begin, requests, 16):
            yield reply

    async with serving_http2(budget_bytes=1_000_000) as serving:
        handlers: dict[str, Any] = {"ahead": grpc.stream_stream_rpc_method_handler(ahead)}
        serving.server.add_registered_method_handlers("test.Ahead", handlers)
        call: Any = serving.channel.stream_stream("/test.Ahead/ahead")(timeout=SECONDS)
        for _ in range(3):
            await call.write(bytes(300_000))
        await until(lambda: len(places) == 3)
        assert serving.server.open_state.request_bytes >= 900_000
        fourth = asyncio.ensure_future(call.write(bytes(300_000)))
        await until(lambda: serving.server.open_state.request_bytes > 1_000_000)
        for index in range(4):
            await until(lambda index=index: len(places) > index)
            places[index].set(b"%d" % index)
            assert await call.read() == b"%d" % index
        await fourth
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        await serving.until_idle()


async def test_a_single_stream_is_not_read_ahead_of_its_handler_without_limit() -> None:
    async def never(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def send(call: Any) -> None:
        while True:
            await call.write(bytes(200_000))

    async with serving_http2(budget_bytes=500_000) as serving:
        handlers: dict[str, Any] = {"never": grpc.stream_stream_rpc_method_handler(never)}
        serving.server.add_registered_method_handlers("test.Never", handlers)
        call: Any = serving.channel.stream_stream("/test.Never/never")(timeout=SECONDS)
        sending = asyncio.ensure_future(send(call))
        try:
            await until(lambda: serving.server.open_state.request_bytes > 200_000)
            await asyncio.sleep(0.3)
            held = serving.server.open_state.request_bytes
        finally:
            call.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        assert held < 600_000
        await serving.until_idle()


async def test_after_a_shortage_the_room_of_admitted_uploads_is_not_given_to_others() -> None:
    """Otherwise new uploads take it again and again, and none is ever completed."""
    size, message = 400_000, framed(bytes(400_000))
    async with (
        serving_http2(budget_bytes=1_000_000) as serving,
        raw_client(serving.port) as client,
    ):
        streams = [await begin(client, size, 10_000) for _ in range(6)]
        await until(lambda: serving.server.open_state.request_bytes >= 60_000)
        for stream in streams:
            with suppress(NGH2Error):  # it may have been rejected already
                client.engine.send_data(stream, message[10_000:240_000])
            client.send()
        await until(lambda: sum(bool(client.fields(stream)) for stream in streams) == 4)
        going_on = [stream for stream in streams if not client.fields(stream)]
        await until(lambda: serving.server.open_state.request_bytes == 480_000)
        late = await begin(client, size, 10_000)
        assert (await client.status(late))[b"grpc-status"] == RESOURCE_EXHAUSTED
        for stream in going_on:
            client.engine.send_data(stream, message[240_000:], end_stream=True)
            client.send()
        for stream in going_on:
            assert (await client.status(stream))[b"grpc-status"] == b"0"
        await serving.until_idle()


async def test_a_single_message_above_the_budget_goes_on_however_slowly() -> None:
    limits, message = Limits(stalled_seconds=1.0), framed(bytes(250_000))
    async with (
        serving_http2(limits, budget_bytes=100_000) as serving,
        raw_client(serving.port) as client,
    ):
        stream = await begin(client, 250_000, 150_000)
        await until(lambda: serving.server.open_state.request_bytes == 150_000)
        for start in range(150_000, len(message), 5_000):
            await asyncio.sleep(0.1)
            client.engine.send_data(stream, message[start : start + 5_000])
            client.send()
        client.engine.end_stream(stream)
        client.send()
        assert (await client.status(stream))[b"grpc-status"] == b"0"


async def test_uploads_whose_frames_are_mixed_keep_their_bytes() -> None:
    """The server reads several frames at once, and joins those of each message."""
    sizes = [0, 1, 16_379, 16_384, 65_531, 100_000, 262_139, 300_000, (1 << 20) + 1] * 3
    messages = [bytes([number]) * size for number, size in enumerate(sizes)]
    async with serving_http2() as serving:
        replies = await asyncio.gather(*(serving.call("echo", each) for each in messages))
        assert replies == messages
        assert await serving.unary("unary")(messages[-1], timeout=SECONDS) is not None
        await serving.until_idle()
