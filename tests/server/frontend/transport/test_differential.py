"""One table of calls, with the same outcome on both transports.

The clients are grpcio's and one of raw frames. An outcome is what the caller
sees (status, details, metadata, messages, resets), what the handlers noticed,
and what the metrics counted. `DIFFERENCES` lists what may differ, and why.
"""

import asyncio
import gzip
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from ngh2 import events
from support.frames import (
    GOAWAY,
    HEADERS,
    RST_STREAM,
    frame,
    header_block,
    word,
)
from support.http2 import SECONDS, SERVICE, RawClient, framed, request_headers, until
from support.transports import COUNTED, MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES, Served, serving

Outcome = dict[str, Any]
Case = Callable[[Served], Awaitable[Outcome]]

CANCEL = 8
NON_ASCII = "no Größe\nof 100 % — 日本"
# What a transport says of itself.
OWN_HEADERS = {"grpc-accept-encoding", "accept-encoding", "content-type", "date", "server"}

CASES: dict[str, Case] = {}
# The parts of an outcome that differ, by the name of the case; see `differences`.
DIFFERENCES: dict[str, set[str]] = {}


def case(name: str, function: Callable[..., Awaitable[Outcome]], *arguments: Any) -> None:
    CASES[name] = partial(function, *arguments)  # type: ignore[assignment]


# grpcio's client


async def ended(call: Any, **more: Any) -> Outcome:
    """The outcome of a call of grpcio's client."""
    code, details = (await call.code()).name, await call.details() or ""
    return {
        "code": code,
        # The client's own timer or the server's status ends a call at its deadline.
        "details": re.sub(r"[0-9a-f]{16}", "ID", "" if code == "DEADLINE_EXCEEDED" else details),
        "initial": pairs(await call.initial_metadata()),
        "trailing": pairs(await call.trailing_metadata()),
        **more,
    }


def pairs(metadata: Any) -> list[tuple[str, Any]]:
    found = [(key, value) for key, value in metadata or () if key not in OWN_HEADERS]
    return sorted(((key, own_id(value)) for key, value in found), key=repr)


def own_id(value: Any) -> Any:
    """A value without the server's own request ids."""
    return re.sub(r"^[0-9a-f]{12}-\d+$", "ID", value) if isinstance(value, str) else value


async def unary(path: str, request: bytes, options: dict[str, Any], served: Served) -> Outcome:
    call = served.channel.unary_unary(path)(request, **{"timeout": SECONDS, **options})
    try:
        replies = [await call]
    except grpc.aio.AioRpcError:
        replies = []
    return await ended(call, replies=replies)


async def streamed(
    kind: str, path: str, requests: Any, options: dict[str, Any], served: Served
) -> Outcome:
    method = getattr(served.channel, kind)(path)
    given = requests if kind.startswith("unary") else each_of(requests)
    call = method(given, **{"timeout": SECONDS, **options})
    replies = []
    try:
        if kind.endswith("unary"):
            replies = [await call]
        else:
            async for reply in call:
                replies.append(reply)
    except grpc.aio.AioRpcError:
        pass
    return await ended(call, replies=replies)


async def each_of(requests: Sequence[bytes]) -> AsyncIterator[bytes]:
    for request in requests:
        yield request


def calls_of_grpcio() -> None:
    def add(name: str, path: str, request: bytes = b"", **options: Any) -> None:
        case(name, unary, path, request, options)

    for method in ("echo", "later", "unary"):
        for size in (0, 1, 5000, MAX_REQUEST_BYTES):
            add(f"{method} of {size} bytes", f"/{SERVICE}/{method}", bytes(size))
    add("counted unary", f"/{COUNTED}/unary", b"x")
    add("counted above the limit", f"/{COUNTED}/unary", bytes(MAX_REQUEST_BYTES + 1))
    for name, path in {
        "unknown method": f"/{SERVICE}/unknown",
        "unknown method of a counted service": f"/{COUNTED}/unknown",
        "unknown service": "/test.Unknown/echo",
    }.items():
        add(name, path)

    metadata = (("x-a", "1"), ("x-b-bin", b"\0\xff,"), ("x-a", "2"), ("x-b-bin", b""), ("x-c", ""))
    for name in (f"{SERVICE}/metadata", f"{SERVICE}/unary", f"{COUNTED}/unary"):
        add(f"metadata to {name}", f"/{name}", metadata=metadata)
    add("caller's request id", f"/{COUNTED}/unary", metadata=(("x-request-id", "me"),))

    for name in (f"{SERVICE}/fail", f"{SERVICE}/abort", f"{COUNTED}/abort"):
        add(f"non-ASCII details of {name}", f"/{name}", NON_ASCII.encode())
        add(f"no details of {name}", f"/{name}")
    add("code that is set", f"/{SERVICE}/set_code")
    add("counted bug", f"/{COUNTED}/bug")

    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        options: dict[str, Any] = {"compression": compression}
        for method in ("echo", "unary"):
            path = f"/{SERVICE}/{method}"
            add(f"{compression.name} to {method}", path, b"again " * 1000, **options)
            add(
                f"{compression.name} bomb to {method}",
                path,
                bytes(3 * MAX_MESSAGE_BYTES),
                **options,
            )
    for method in ("echo", "unary"):
        add(f"too large for {method}", f"/{SERVICE}/{method}", bytes(MAX_MESSAGE_BYTES + 1))

    case("replies in a stream", streamed, "unary_stream", f"/{SERVICE}/count", b"50", {})
    case("no replies in a stream", streamed, "unary_stream", f"/{SERVICE}/count", b"0", {})
    case(
        "requests in a stream", streamed, "stream_unary", f"/{SERVICE}/join", [b"a", b"", b"b"], {}
    )
    case("no requests in a stream", streamed, "stream_unary", f"/{SERVICE}/join", [], {})
    for path in (f"/{SERVICE}/each", f"/{COUNTED}/each", f"/{SERVICE}/by_context"):
        sent = [b"%d" % index * 1000 for index in range(30)]
        case(f"stream in both directions of {path}", streamed, "stream_stream", path, sent, {})
        case(f"empty stream of {path}", streamed, "stream_stream", path, [], {})
        gzipped = {"compression": grpc.Compression.Gzip}
        case(f"gzip in a stream of {path}", streamed, "stream_stream", path, sent, gzipped)
        large = [b"x", bytes(MAX_MESSAGE_BYTES + 1)]
        case(f"too large in a stream of {path}", streamed, "stream_stream", path, large, {})
    above = [bytes(MAX_REQUEST_BYTES + 1)]
    case("counted stream above the limit", streamed, "stream_stream", f"/{COUNTED}/each", above, {})

    for service, method in ((SERVICE, "never"), (SERVICE, "wait"), (COUNTED, "wait")):
        add(f"deadline of {service}/{method}", f"/{service}/{method}", timeout=0.1)
        for step in ("at once", "while it runs"):
            case(f"cancelled {step}: {service}/{method}", cancelled, step, service, method)
    case("cancelled in a stream of replies", cancelled_stream, "unary_stream", SERVICE, "flood")
    case("cancelled in a stream", cancelled_stream, "stream_stream", SERVICE, "each")
    case("cancelled in a counted stream", cancelled_stream, "stream_stream", COUNTED, "each")
    case("health", check_health, "")
    case("health of an unknown service", check_health, "unknown")
    case("watched health", watch_health)
    for version in ("v1", "v1alpha"):
        case(f"reflection {version}", reflect, f"grpc.reflection.{version}.ServerReflection")
    case("1,000 calls over one connection", many, "echo")
    case("1,000 tasks over one connection", many, "unary")


async def cancelled(step: str, service: str, method: str, served: Served) -> Outcome:
    call = served.channel.unary_unary(f"/{service}/{method}")(b"", timeout=SECONDS)
    noted = served.service
    if step == "at once":
        call.cancel()
    else:
        waiting = asyncio.ensure_future(call)
        await until(lambda: noted.waiting or noted.contexts)
        call.cancel()
        await until(lambda: noted.cancelled and waiting.done())
    return {"code": (await call.code()).name}


async def cancelled_stream(kind: str, service: str, method: str, served: Served) -> Outcome:
    multi = getattr(served.channel, kind)(f"/{service}/{method}")
    call = multi(b"50", timeout=SECONDS) if kind.startswith("unary") else multi(timeout=SECONDS)
    if kind.startswith("stream"):
        await call.write(b"1")
    await call.read()
    call.cancel()
    if method == "flood":
        await until(lambda: served.service.cancelled)
    return {"code": (await call.code()).name}


async def check_health(service: str, served: Served) -> Outcome:
    request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    return await unary("/grpc.health.v1.Health/Check", request, {}, served)


async def watch_health(served: Served) -> Outcome:
    request = health_pb2.HealthCheckRequest(service="unknown").SerializeToString()
    call = served.channel.unary_stream("/grpc.health.v1.Health/Watch")(request, timeout=SECONDS)
    first = await call.read()
    call.cancel()
    return {"first": first, "code": (await call.code()).name}


async def reflect(service: str, served: Served) -> Outcome:
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="unknown"),
    ]
    sent = [request.SerializeToString() for request in requests]
    path = f"/{service}/ServerReflectionInfo"
    return await streamed("stream_stream", path, sent, {}, served)


async def many(method: str, served: Served) -> Outcome:
    path = f"/{SERVICE}/{method}"
    calls = (unary(path, b"%d" % index, {}, served) for index in range(1000))
    outcomes = await asyncio.gather(*calls)
    return {"replies": [(one["code"], one["replies"]) for one in outcomes]}


# Raw frames


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


def requests_of_raw_frames() -> None:
    def add(name: str, data: bytes | None, *more: tuple[bytes, bytes]) -> None:
        for method in ("echo", "unary"):
            case(f"{name} to {method}", raw, request_headers(method, *more), data)

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
            case(f"deadline of {timeout!r} of {method}", raw, headers, framed(b""))
    add("-bin without padding", framed(b""), (b"x-a-bin", b"AAE"))
    add("-bin with padding", framed(b""), (b"x-a-bin", b"AAE="))
    add("-bin that is not base64", framed(b""), (b"x-a-bin", b"*"))
    for values in ([b"AAE,/w"], [b"AAE", b"/w=="]):
        more = [(b"x-a-bin", value) for value in values]
        case(f"-bin values {values}", raw, request_headers("metadata", *more), framed(b""))
    case(
        "several values of a key",
        raw,
        request_headers("metadata", (b"x-a", b"1"), (b"x-a", b"2,3")),
        framed(b""),
    )
    for size in (6000, 20_000, 30_000, 100_000):
        add(f"metadata of {size} bytes", framed(b""), (b"k", b"v" * size))
    add("200 metadata pairs", framed(b""), *[(b"k%d" % index, b"v") for index in range(200)])

    one = framed(b"x")
    case("without te", raw, without(request_headers("echo"), b"te"), one)
    case("other te", raw, replaced(te=b"gzip"), one)
    case("without content-type", raw, without(request_headers("echo"), b"content-type"), one)
    for value in (
        b"application/grpc+proto",
        b"application/grpc;charset=utf-8",
        b"application/grpc-web",
        b"application/json",
        b"text/html",
        b"APPLICATION/GRPC",
    ):
        case(f"content-type {value.decode()}", raw, replaced(content_type=value), one)
    for method in (b"GET", b"PUT", b"HEAD"):
        case(f"method {method.decode()}", raw, replaced(method=method), one)
    for path in (b"/", b"/test.Service", b"/test.Service/", b"//echo", b"/a/b/c", b"/%00"):
        case(f"path {path.decode()}", raw, replaced(path=path), one)
    case("trailers-only", raw, request_headers("fail"), framed(b"why"))
    case("headers, messages and trailers", raw, request_headers("count"), framed(b"3"))
    case("1,000 streams over one connection", many_streams)
    for trailer in ((b"x-late", b"1"), (b"grpc-status", b"0")):
        case(f"trailers of the request: {trailer}", request_trailers, trailer)


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


# Callers that leave

STEPS = ("headers", "upload", "queued", "running", "replies")


def leaving_callers() -> None:
    for how in ("cancel", "cut"):
        for step in STEPS:
            for service, method in ((SERVICE, "never"), (SERVICE, "wait"), (COUNTED, "wait")):
                if step == "replies":
                    method = "each" if service == COUNTED else "flood"
                name = f"{how} during {step} of {service}/{method}"
                CASES[name] = partial(leave, how, step, service, method)
    for method in ("echo", "later", "unary", "each"):
        case(f"GOAWAY before the end of {method}", goaway, method)


def block(service: str, method: str) -> list[tuple[bytes, bytes]]:
    path = f"/{service}/{method}".encode()
    return [(name, path if name == b":path" else value) for name, value in request_headers(method)]


async def leave(how: str, step: str, service: str, method: str, served: Served) -> Outcome:
    """Leave at a step of a call, by a reset or by closing the connection."""
    noted = served.service
    async with served.raw() as client, served.raw() as witness:
        await settled(client)
        if step == "headers":
            half = header_block(block(service, method))
            client.send(frame(HEADERS, 0, 3, half[:20]))
            # A reset can't come within a header block; it ends the connection.
            if how == "cancel":
                client.send(frame(RST_STREAM, 0, 3, word(CANCEL)))
        else:
            stream = client.engine.send_request(block(service, method))
            body = framed(b"50")
            is_open = step == "upload" or method == "each"
            client.engine.send_data(stream, body[:-1] if step == "upload" else body)
            if not is_open:
                client.engine.end_stream(stream)
            client.send()
            if step == "running":
                await until(lambda: noted.waiting or noted.contexts)
            elif step == "replies":
                await until(lambda: client.of(events.DataReceived)[1:])
            if how == "cancel":
                client.engine.reset_stream(stream, CANCEL)
                client.send()
        if how == "cut":
            await client.close()
        if step in ("running", "replies") and method != "each":
            await until(lambda: noted.cancelled)
        # Another connection's call is not disturbed.
        status = await witness.status(witness.call("echo", framed(b"x")))
        found: Outcome = {"witness": status[b"grpc-status"]}
        if step == "queued":  # whether the handler began depends on the moment
            await served.counters()
            return {**found, "counters": None}
        return {**found, "noticed": sorted(set(noted.cancelled))}


async def settled(client: RawClient) -> None:
    """Make a call, so that the settings of both sides are exchanged."""
    status = await client.status(client.call("echo", framed(b"x")))
    assert status[b"grpc-status"] == b"0"


async def goaway(method: str, served: Served) -> Outcome:
    """Announce the end, then finish the call that was begun."""
    async with served.raw() as client:
        stream = client.call(method, None)
        client.engine.send_data(stream, framed(b"x")[:3])
        client.send()
        client.send(frame(GOAWAY, 0, 0, word(0) + word(0)))
        client.engine.send_data(stream, framed(b"x")[3:], end_stream=True)
        client.send()
        await until(lambda: is_over(client, stream))
        return answered(client, stream)


# Deliberate differences

# What a request gets that only one of the transports accepts.
ANSWER = {"blocks", "data", "message", "status"}
FIRST = {"metadata"}  # the method `unary` sends initial metadata too
NO_ANSWER = {"blocks", "data", "http", "type", "status", "resets"}


def differ(reason: str, names: Sequence[str], parts: set[str]) -> None:
    """List cases that differ; the reason is for the reader."""
    DIFFERENCES.update({name: DIFFERENCES.get(name, set()) | parts for name in names})


def differences() -> None:
    def both(*names: str) -> list[str]:
        return [f"{name} to {method}" for name in names for method in ("echo", "unary")]

    wrong_timeouts = [f"grpc-timeout {value!r}" for value in (b"", b"5", b"S", b"5s", b"-5S")]
    differ(
        "our messages say what is wrong and what is allowed",
        both(
            "compressed without an encoding",
            "compressed with identity",
            "damaged gzip",
            "-bin that is not base64",
            "grpc-timeout b'1.5S'",
            "grpc-timeout b'x'",
            *wrong_timeouts,
        ),
        {"message"},
    )
    differ(
        "gRPC's protocol wants UNIMPLEMENTED for an unknown encoding",
        both("unknown encoding", "unknown encoding, not used"),
        {"message", "status"},
    )
    differ(
        "grpc.aio waits until the deadline for a message that can't come any more",
        both("headers only", "end without a message", "half a prefix", "half a message"),
        {"message", "status"},
    )
    once = ("two messages", "unknown flag", "empty gzip", "grpc-timeout of 9 digits")
    differ(
        "grpc.aio ignores what follows the first message, other bits of the flag, the "
        "compression of no bytes, and the ninth digit of a timeout",
        both(*once),
        ANSWER,
    )
    large = ("metadata of 20000 bytes", "metadata of 30000 bytes")
    differ("above 16 KiB of metadata the call ends; grpc.aio accepts more", both(*large), ANSWER)
    huge = "metadata of 100000 bytes"
    no_connection = NO_ANSWER - {"resets"} | {"goaways"}
    differ("far above it, the connection does", both(huge), no_connection)
    differ("the answer above", [f"{name} to unary" for name in (*once, *large, huge)], FIRST)
    spaces = both("grpc-timeout b' 5S'", "grpc-timeout b'5S '")
    differ("HTTP/2 forbids spaces around a value", spaces, NO_ANSWER)
    differ("the answer above", [name for name in spaces if name.endswith("unary")], FIRST)
    differ(
        "gRPC's protocol has several -bin values in one header, separated by commas",
        ["-bin values [b'AAE,/w']"],
        ANSWER | FIRST,
    )
    differ("grpc.aio wants te; other servers do not", ["without te"], NO_ANSWER)
    differ("HTTP/2 forbids it", ["other te"], NO_ANSWER - {"data"} | {"message"})
    differ(
        "gRPC's protocol wants 415 for another content-type; grpc.aio accepts all",
        [
            "without content-type",
            "content-type application/grpc-web",
            "content-type application/json",
            "content-type text/html",
            "content-type APPLICATION/GRPC",
        ],
        {"blocks", "data", "http", "status", "type"},
    )
    differ("405 says what is wrong", ["method GET", "method PUT"], {"blocks", "http", "resets"})
    differ("405 says what is wrong", ["method HEAD"], {"http", "message", "status", "type"})
    differ(
        "to the handler of a stream, grpc.aio ends a cancelled stream as a complete one",
        [
            "cancelled in a counted stream",
            f"too large in a stream of /{COUNTED}/each",
            f"cancel during replies of {COUNTED}/each",
            f"cut during replies of {COUNTED}/each",
        ],
        {"counters"},
    )


calls_of_grpcio()
requests_of_raw_frames()
leaving_callers()
differences()


# The comparison


async def outcome(transport: str, name: str) -> Outcome:
    async with serving(transport) as served:
        found = await CASES[name](served)
        return {"counters": await served.counters(), **found}


@pytest.mark.parametrize("name", CASES)
async def test_both_transports_agree(name: str) -> None:
    ours, reference = await outcome("http2", name), await outcome("grpc-aio", name)
    assert ours.keys() == reference.keys()
    found = {key for key in ours if ours[key] != reference[key]}
    assert found == DIFFERENCES.get(name, set()), (ours, reference)


def test_every_listed_difference_is_one_of_a_case() -> None:
    assert not DIFFERENCES.keys() - CASES.keys()
