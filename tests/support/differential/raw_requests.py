"""Requests of raw frames, most of which are wrong."""

import gzip
import zlib
from collections.abc import Sequence

from ngh2 import events

from support.differential.cases import OWN_HEADERS, Cases, Outcome
from support.frames import word
from support.http2 import RawClient, framed, request_headers, until
from support.transports import MAX_MESSAGE_BYTES, Served


def answered(client: RawClient, stream: int) -> Outcome:
    """What a client of raw frames received for a stream."""
    mine = [event for event in client.events if getattr(event, "stream_id", None) == stream]
    fields: list[tuple[str, str]] = []
    for event in mine:
        if isinstance(event, events.ResponseReceived | events.TrailersReceived):
            fields += [(name.decode(), value.decode()) for name, value in event.headers]
    special = dict(fields)
    return {
        "http": special.get(":status"),
        "type": special.get("content-type"),
        "status": special.get("grpc-status"),
        "message": special.get("grpc-message") or None,
        "metadata": sorted(
            pair
            for pair in fields
            if pair[0] not in OWN_HEADERS and not pair[0].startswith((":", "grpc-"))
        ),
        "data": b"".join(event.data for event in mine if isinstance(event, events.DataReceived)),
        "blocks": sum(
            isinstance(event, events.ResponseReceived | events.TrailersReceived) for event in mine
        ),
        # After a status, grpc.aio resets the stream with NO_ERROR even if the request has ended.
        "resets": [
            event.error_code
            for event in mine
            if isinstance(event, events.StreamReset) and event.error_code
        ],
        "goaways": [event.error_code for event in client.of(events.GoAwayReceived)],
    }


async def raw(
    headers: Sequence[tuple[bytes, bytes]], data: bytes | None, served: Served
) -> Outcome:
    """The outcome of one request; without data it ends with its headers."""
    async with served.raw() as client:
        stream = client.engine.send_request(headers, end_stream=data is None)
        if data is not None:
            client.engine.send_data(stream, data, end_stream=True)
        client.send()
        await until(lambda: is_over(client, stream))
        return answered(client, stream)


def is_over(client: RawClient, stream: int) -> bool:
    closed = any(event.stream_id == stream for event in client.of(events.StreamClosed))
    return closed or client.is_closed


def without(headers: Sequence[tuple[bytes, bytes]], *names: bytes) -> list[tuple[bytes, bytes]]:
    return [header for header in headers if header[0] not in names]


def replaced(**fields: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of a call of echo with other values."""
    other = {
        {"method": b":method", "path": b":path"}.get(name, name.replace("_", "-").encode()): value
        for name, value in fields.items()
    }
    return [(name, other.get(name, value)) for name, value in request_headers("echo")]


def requests_of_raw_frames() -> Cases:
    cases = Cases()

    def add(name: str, data: bytes | None, *more: tuple[bytes, bytes]) -> None:
        for method in ("echo", "unary"):
            cases.add(f"{name} to {method}", raw, request_headers(method, *more), data)

    add("one message", framed(b"x"))
    short = (b"grpc-timeout", b"200m")
    add("headers only", None, short)
    add("end without a message", b"", short)
    add("half a prefix", b"\0\0\0", short)
    add("half a message", framed(b"abc")[:-1], short)
    add("two messages", framed(b"a") + framed(b"b"))
    add("unknown flag", framed(b"x", 2))
    add("compressed without an encoding", framed(b"x", 1))
    add("compressed with identity", framed(b"x", 1), (b"grpc-encoding", b"identity"))
    add("unknown encoding", framed(b"x", 1), (b"grpc-encoding", b"br"))
    add("unknown encoding, not used", framed(b"x"), (b"grpc-encoding", b"br"))
    add("gzip, not used", framed(b"x"), (b"grpc-encoding", b"gzip"))
    add("gzip", framed(gzip.compress(b"x", mtime=0), 1), (b"grpc-encoding", b"gzip"))
    add("deflate", framed(zlib.compress(b"x"), 1), (b"grpc-encoding", b"deflate"))
    add("damaged gzip", framed(b"not gzip", 1), (b"grpc-encoding", b"gzip"))
    add("empty gzip", framed(b"", 1), (b"grpc-encoding", b"gzip"))
    bomb = gzip.compress(bytes(2 * MAX_MESSAGE_BYTES))
    add("gzip bomb", framed(bomb, 1), (b"grpc-encoding", b"gzip"))
    add("too large by its prefix", b"\0" + word(MAX_MESSAGE_BYTES + 1))
    add("largest prefix", b"\0" + word(2**32 - 1))
    for timeout in (b"", b"5", b"S", b"5s", b"-5S", b"1.5S", b" 5S", b"5S ", b"x"):
        add(f"grpc-timeout {timeout!r}", framed(b"x"), (b"grpc-timeout", timeout))
    for timeout in (b"99999999H", b"1M", b"99999999u"):
        add(f"grpc-timeout {timeout!r}", framed(b"x"), (b"grpc-timeout", timeout))
    add("grpc-timeout of 9 digits", framed(b"x"), (b"grpc-timeout", b"123456789S"))
    for method in ("never", "wait"):
        for timeout in (b"0S", b"1n", b"50m"):
            headers = request_headers(method, (b"grpc-timeout", timeout))
            cases.add(f"deadline of {timeout!r} of {method}", raw, headers, framed(b""))
    add("-bin without padding", framed(b""), (b"x-a-bin", b"AAE"))
    add("-bin with padding", framed(b""), (b"x-a-bin", b"AAE="))
    add("-bin that is not base64", framed(b""), (b"x-a-bin", b"*"))
    for values in ([b"AAE,/w"], [b"AAE", b"/w=="]):
        more = [(b"x-a-bin", value) for value in values]
        cases.add(f"-bin values {values}", raw, request_headers("metadata", *more), framed(b""))
    cases.add(
        "several values of a key",
        raw,
        request_headers("metadata", (b"x-a", b"1"), (b"x-a", b"2,3")),
        framed(b""),
    )
    # Of larger metadata, grpc.aio rejects some at random.
    add("metadata of 6000 bytes", framed(b""), (b"k", b"v" * 6000))
    add("200 metadata pairs", framed(b""), *[(b"k%d" % index, b"v") for index in range(200)])

    one = framed(b"x")
    cases.add("without te", raw, without(request_headers("echo"), b"te"), one)
    cases.add("other te", raw, replaced(te=b"gzip"), one)
    cases.add("without content-type", raw, without(request_headers("echo"), b"content-type"), one)
    for value in (
        b"application/grpc+proto",
        b"application/grpc;charset=utf-8",
        b"application/grpc-web",
        b"application/json",
        b"text/html",
        b"APPLICATION/GRPC",
    ):
        cases.add(f"content-type {value.decode()}", raw, replaced(content_type=value), one)
    for verb in (b"GET", b"PUT", b"HEAD"):
        cases.add(f"method {verb.decode()}", raw, replaced(method=verb), one)
    for path in (b"/", b"/test.Service", b"/test.Service/", b"//echo", b"/a/b/c", b"/%00"):
        cases.add(f"path {path.decode()}", raw, replaced(path=path), one)
    cases.add("trailers-only", raw, request_headers("fail"), framed(b"why"))
    cases.add("headers, messages and trailers", raw, request_headers("count"), framed(b"3"))
    cases.add("1,000 streams over one connection", many_streams)
    for trailer in ((b"x-late", b"1"), (b"grpc-status", b"0")):
        cases.add(f"trailers of the request: {trailer}", request_trailers, trailer)
    return cases


async def many_streams(served: Served) -> Outcome:
    """Open 1,000 streams at once, as far as the server lets the client."""
    async with served.raw() as client:
        await settled(client)
        streams = [client.engine.send_request(request_headers("later")) for _ in range(1000)]
        for stream in streams:
            client.engine.send_data(stream, framed(b"%d" % stream), end_stream=True)
        client.send()
        await until(lambda: len(client.of(events.StreamClosed)) == 1001)
        return {
            "statuses": sorted(
                (event.stream_id, dict(event.headers)[b"grpc-status"])
                for event in client.of(events.TrailersReceived)
            ),
            "data": sorted(
                (event.stream_id, event.data) for event in client.of(events.DataReceived)
            ),
        }


async def request_trailers(trailer: tuple[bytes, bytes], served: Served) -> Outcome:
    async with served.raw() as client:
        stream = client.call("echo", None)
        client.engine.send_data(stream, framed(b"x"))
        client.engine.send_trailers(stream, [trailer])
        client.send()
        await until(lambda: is_over(client, stream))
        return answered(client, stream)


async def settled(client: RawClient) -> None:
    """Make a call, so that the settings of both sides are exchanged."""
    status = await client.status(client.call("echo", framed(b"x")))
    assert status[b"grpc-status"] == b"0"
