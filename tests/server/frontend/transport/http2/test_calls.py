"""Calls of every kind over the http2 transport, by grpcio's client and by raw frames."""

import asyncio
import gzip
import re
from typing import Any

import grpc
import pytest
from ngh2 import events
from structlog.testing import capture_logs
from support.http2 import (
    MIB,
    SECONDS,
    SERVICE,
    framed,
    raw_client,
    request_headers,
    serving_http2,
    until,
)

from convscope.server.frontend.transport.http2.deadlines import Bucket, Deadlines


@pytest.mark.parametrize("method", ["echo", "later", "unary"])
@pytest.mark.parametrize("size", [0, 1, 5000, 100_000, 4_000_000])
async def test_messages_of_any_size(method: str, size: int) -> None:
    message = bytes(range(256)) * (size // 256 + 1)
    async with serving_http2() as serving:
        assert await serving.call(method, message[:size]) == message[:size]
        await serving.until_idle()


async def test_calls_that_arrive_together_are_handed_over_together() -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        streams = [client.engine.send_request(request_headers("echo")) for _ in range(50)]
        for stream in streams:
            client.engine.send_data(stream, framed(b"x"), end_stream=True)
        client.send()
        for stream in streams:
            assert (await client.status(stream))[b"grpc-status"] == b"0"
        assert max(serving.service.groups) > 10
        assert sum(serving.service.groups) == 50


async def test_a_thousand_calls_at_once() -> None:
    async with serving_http2() as serving:
        replies = await asyncio.gather(*(serving.call("later", b"%d" % i) for i in range(1000)))
        assert replies == [b"%d" % i for i in range(1000)]
        await serving.until_idle()


async def test_metadata_of_both_directions() -> None:
    sent = (("x-a", "1"), ("x-b-bin", b"\0\xff"), ("x-a", "2"), ("x-b-bin", b""))
    async with serving_http2() as serving:
        for method in ("metadata", "unary"):
            call = serving.unary(method)(b"", metadata=sent, timeout=SECONDS)
            await call
            trailing = await call.trailing_metadata()
            assert sorted(map(tuple, trailing)) == sorted(sent)
        assert tuple(await call.initial_metadata()) == (("x-initial", "first"),)


@pytest.mark.parametrize("method", ["fail", "abort"])
async def test_errors_with_details_and_metadata(method: str) -> None:
    details = "no Größe\nof 100 %"
    async with serving_http2() as serving:
        error = await serving.failure(method, details.encode())
        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, details)
        assert tuple(error.trailing_metadata()) == (("x-why", "so"),)
        await serving.until_idle()


async def test_a_code_that_the_handler_sets() -> None:
    async with serving_http2() as serving:
        error = await serving.failure("set_code")
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "lost")


async def test_initial_metadata_that_can_not_be_sent_ends_the_call() -> None:
    async def wrong(request: bytes, context: Any) -> bytes:
        await context.send_initial_metadata((("no key", "x"),))
        return request

    async with serving_http2() as serving:
        handlers: dict[str, Any] = {"wrong": grpc.unary_unary_rpc_method_handler(wrong)}
        serving.server.add_registered_method_handlers(SERVICE, handlers)
        assert (await serving.failure("wrong")).code() is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("method", ["crash", "bug"])
async def test_a_bug_gets_an_id_that_the_log_explains(method: str) -> None:
    async with serving_http2() as serving:
        with capture_logs() as log:
            error = await serving.failure(method)
        assert error.code() is grpc.StatusCode.INTERNAL
        assert re.findall("[0-9a-f]{16}", error.details()) == [log[0]["error_id"]]
        assert await serving.call("echo", b"still here") == b"still here"


async def test_an_unknown_method() -> None:
    async with serving_http2() as serving:
        error = await serving.failure("unknown")
    assert (error.code(), error.details()) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "Method not found!",
    )


# Streams


async def test_a_stream_of_replies() -> None:
    async with serving_http2() as serving:
        call = serving.channel.unary_stream(f"/{SERVICE}/count")(b"300", timeout=SECONDS)
        assert [reply async for reply in call] == [b"%d" % i for i in range(300)]
        await serving.until_idle()


@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.parametrize("method", ["each", "by_context"])
async def test_streams_in_both_directions(method: str, size: int) -> None:
    sent = [bytes([i]) * size for i in range(20)]

    async def requests() -> Any:
        for request in sent:
            yield request

    async with serving_http2() as serving:
        call = serving.channel.stream_stream(f"/{SERVICE}/{method}")(requests(), timeout=SECONDS)
        assert [reply async for reply in call] == sent
        await serving.until_idle()


async def test_a_stream_that_alternates() -> None:
    async with serving_http2() as serving:
        call = serving.channel.stream_stream(f"/{SERVICE}/each")(timeout=SECONDS)
        for index in range(20):
            await call.write(b"%d" % index)
            assert await call.read() == b"%d" % index
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_a_stream_of_requests() -> None:
    async with serving_http2() as serving:
        call = serving.channel.stream_unary(f"/{SERVICE}/join")(iter([b"a", b"b"]), timeout=SECONDS)
        assert await call == b"ab"


async def test_a_slow_reader_stops_the_writer() -> None:
    async with serving_http2() as serving, raw_client(serving.port, 1000) as client:
        client.call("flood", framed(b"50000"))
        await until(lambda: client.of(events.DataReceived))
        await asyncio.sleep(0.1)
        queued = max(c.unread_bytes() for c in serving.server._connections)
        assert queued < 200_000
        await client.close()
        await until(lambda: serving.service.cancelled == ["flood"])
        await serving.until_idle()


# Deadlines and cancellation


@pytest.mark.parametrize(("method", "told"), [("never", ["group"]), ("wait", ["task", "callback"])])
async def test_a_deadline_ends_a_call(method: str, told: list[str]) -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        stream = client.call(method, framed(b""), (b"grpc-timeout", b"50m"))
        status = await client.status(stream)
        assert (status[b"grpc-status"], status[b"grpc-message"]) == (b"4", b"Deadline Exceeded")
        await until(lambda: serving.service.cancelled == told)
        await serving.until_idle()


@pytest.mark.parametrize(("method", "told"), [("never", ["group"]), ("wait", ["task", "callback"])])
@pytest.mark.parametrize("how", ["cancel", "cut"])
async def test_a_caller_that_leaves(method: str, told: list[str], how: str) -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        stream = client.call(method, framed(b""), (b"grpc-timeout", b"1H"))
        await until(lambda: serving.service.waiting or serving.service.contexts)
        if how == "cancel":
            client.engine.reset_stream(stream, 8)
            client.send()
        else:
            await client.close()
        await until(lambda: serving.service.cancelled == told)
        await serving.until_idle()
        for call in serving.service.waiting:
            call.reply(b"too late")
            assert call.ended


async def test_an_error_at_a_deadline_does_not_stop_the_other_deadlines() -> None:
    expired: list[str] = []

    class Call:
        bucket: Bucket | None = None

        def __init__(self, name: str, deadline: float) -> None:
            self.name = name
            self.deadline: float | None = deadline

        def expire(self) -> None:
            expired.append(self.name)
            raise RuntimeError("a mistake")

    loop = asyncio.get_running_loop()
    deadlines, now = Deadlines(loop), loop.time()
    for name, seconds in (("first", 0.0), ("second", 0.0), ("third", 0.1)):
        deadlines.add(Call(name, now + seconds), now + seconds, now)
    await until(lambda: sorted(expired) == ["first", "second", "third"])
    deadlines.close()


async def test_a_call_knows_its_deadline() -> None:
    async with serving_http2() as serving:
        await serving.call("unary")
        assert 0 < serving.service.contexts[0].time_remaining() <= SECONDS
        assert serving.service.contexts[0].peer().startswith("ipv4:127.0.0.1:")
        await serving.unary("unary")(b"")
        assert serving.service.contexts[1].time_remaining() is None


@pytest.mark.parametrize("method", ["echo", "unary"])
async def test_a_call_cancelled_before_its_message_is_complete(method: str) -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        stream = client.call(method, None)
        client.engine.send_data(stream, framed(bytes(1000))[:100])
        client.send()
        await until(lambda: serving.server.open_state.uploads == 1)
        client.engine.reset_stream(stream, 8)
        client.send()
        await serving.until_idle()
        assert serving.service.groups == []


# Messages that are wrong


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("method", ["echo", "unary", "each"])
@pytest.mark.parametrize("size", [1000, 100_000])  # inflated at once, and in a thread
async def test_compressed_requests(method: str, compression: grpc.Compression, size: int) -> None:
    message = b"again and " * (size // 10)
    async with serving_http2() as serving:
        if method == "each":
            call = serving.channel.stream_stream(f"/{SERVICE}/each")(
                iter([message] * 3), compression=compression
            )
            assert [reply async for reply in call] == [message] * 3
        else:
            assert await serving.call(method, message, compression=compression) == message
        await serving.until_idle()


@pytest.mark.parametrize("method", ["metadata", "unary"])
async def test_messages_that_take_long_to_inflate_do_not_stop_the_others(method: str) -> None:
    bomb = framed(gzip.compress(bytes(16 * MIB - 1)), 1)
    async with serving_http2() as serving, raw_client(serving.port) as client:
        for _ in range(5):
            client.call(method, bomb, (b"grpc-encoding", b"gzip"))
        quick = client.call("echo", framed(b"x"))
        await client.status(quick)
        assert client.of(events.StreamClosed)[0].stream_id == quick


@pytest.mark.parametrize("method", ["echo", "unary", "each"])
async def test_a_call_cancelled_while_it_is_inflated(method: str) -> None:
    bomb = framed(gzip.compress(bytes(16 * MIB - 1)), 1)
    async with serving_http2() as serving, raw_client(serving.port) as client:
        stream = client.call(method, bomb, (b"grpc-encoding", b"gzip"))
        await until(lambda: serving.server.open_state.streams)
        client.engine.reset_stream(stream, 8)
        client.send()
        await serving.until_idle()
        assert await serving.call("echo", b"x") == b"x"
        assert serving.service.groups == [1]


@pytest.mark.parametrize("method", ["echo", "unary", "each"])
async def test_a_long_message_that_is_damaged(method: str) -> None:
    damaged = framed(gzip.compress(bytes(MIB))[:-8] + bytes(8), 1)
    async with serving_http2() as serving, raw_client(serving.port) as client:
        stream = client.call(method, damaged, (b"grpc-encoding", b"gzip"))
        assert (await client.status(stream))[b"grpc-status"] == b"13"
        await serving.until_idle()


@pytest.mark.parametrize("method", ["echo", "unary"])
async def test_a_message_that_grows_too_large(method: str) -> None:
    async with serving_http2() as serving:
        error = await serving.failure(
            method, bytes(16 * MIB + 1), compression=grpc.Compression.Gzip
        )
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in error.details()
        await serving.until_idle()


@pytest.mark.parametrize("method", ["echo", "unary", "each"])
async def test_a_message_above_the_limit(method: str) -> None:
    async with serving_http2() as serving:
        error = await serving.failure(method, bytes(16 * MIB + 1))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == (
            f"SERVER: Received message larger than max ({16 * MIB + 1} vs. {16 * MIB})"
        )
        await serving.until_idle()
        assert await serving.call("echo", b"still here") == b"still here"


async def test_an_unknown_compression() -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        stream = client.call("echo", framed(b"x", 1), (b"grpc-encoding", b"br"))
        status = await client.status(stream)
    assert status[b"grpc-status"] == b"12"
    assert status[b"grpc-accept-encoding"] == b"identity,deflate,gzip"


@pytest.mark.parametrize("method", ["echo", "unary"])
@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0", framed(b"abc")[:-1], framed(b"a") + framed(b"b"), framed(b"x", 1)]
)
async def test_wrong_framing(method: str, data: bytes) -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        status = await client.status(client.call(method, data))
        assert status[b"grpc-status"] == b"13"
        assert status[b"grpc-message"]
        await serving.until_idle()


async def test_an_answer_before_the_upload_ends_stops_it() -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        stream = client.call("echo", None, (b"grpc-timeout", b"x"))
        client.engine.send_data(stream, framed(bytes(MIB))[:100_000])
        client.send()
        assert (await client.status(stream))[b"grpc-status"] == b"13"
        assert [event.error_code for event in client.of(events.StreamReset)] == [0]
        await serving.until_idle()


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [(b":method", b"GET", b"405"), (b"content-type", b"text/html", b"415")],
)
async def test_requests_of_other_protocols(field: bytes, value: bytes, status: bytes) -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        stream = client.engine.send_request(
            list({**dict(request_headers("echo")), field: value}.items())
        )
        client.engine.end_stream(stream)
        client.send()
        assert (await client.status(stream))[b":status"] == status


async def test_metadata_above_the_limit() -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        large = [(b"k%d" % i, b"v" * 4000) for i in range(5)]
        status = await client.status(client.call("echo", framed(b""), *large))
        assert status[b"grpc-status"] == b"8"
        assert status[b"grpc-message"].endswith(b" bytes; at most 16,384 are accepted")
        assert (await client.status(client.call("echo", framed(b""))))[b"grpc-status"] == b"0"
