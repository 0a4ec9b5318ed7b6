"""Calls of grpcio's client."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from support.differential.cases import OWN_HEADERS, Cases, Outcome
from support.http2 import SECONDS, SERVICE, until
from support.transports import COUNTED, MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES, Served

NON_ASCII = "no Größe\nof 100 % — 日本"


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
    method: Any = served.channel.unary_unary(path)
    call = method(request, **{"timeout": SECONDS, **options})
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


async def alternating(path: str, requests: Sequence[bytes], served: Served) -> Outcome:
    """Send each request after the reply to the one before, so that an error can't overtake it."""
    call: Any = served.channel.stream_stream(path)(timeout=SECONDS)
    replies = []
    try:
        for request in requests:
            await call.write(request)
            replies.append(await call.read())
    except grpc.aio.AioRpcError:
        pass
    return await ended(call, replies=replies)


async def each_of(requests: Sequence[bytes]) -> AsyncIterator[bytes]:
    for request in requests:
        yield request


def calls_of_grpcio() -> Cases:
    cases = Cases()

    def add(name: str, path: str, request: bytes = b"", **options: Any) -> None:
        cases.add(name, unary, path, request, options)

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

    cases.add("replies in a stream", streamed, "unary_stream", f"/{SERVICE}/count", b"50", {})
    cases.add("no replies in a stream", streamed, "unary_stream", f"/{SERVICE}/count", b"0", {})
    cases.add(
        "requests in a stream", streamed, "stream_unary", f"/{SERVICE}/join", [b"a", b"", b"b"], {}
    )
    cases.add("no requests in a stream", streamed, "stream_unary", f"/{SERVICE}/join", [], {})
    for path in (f"/{SERVICE}/each", f"/{COUNTED}/each", f"/{SERVICE}/by_context"):
        sent = [b"%d" % index * 1000 for index in range(30)]
        cases.add(f"stream in both directions of {path}", streamed, "stream_stream", path, sent, {})
        cases.add(f"empty stream of {path}", streamed, "stream_stream", path, [], {})
        gzipped = {"compression": grpc.Compression.Gzip}
        cases.add(f"gzip in a stream of {path}", streamed, "stream_stream", path, sent, gzipped)
        large = [b"x", bytes(MAX_MESSAGE_BYTES + 1)]
        cases.add(f"too large in a stream of {path}", alternating, path, large)
    above = [bytes(MAX_REQUEST_BYTES + 1)]
    cases.add(
        "counted stream above the limit", streamed, "stream_stream", f"/{COUNTED}/each", above, {}
    )

    for service, method in ((SERVICE, "never"), (SERVICE, "wait"), (COUNTED, "wait")):
        add(f"deadline of {service}/{method}", f"/{service}/{method}", timeout=0.1)
        for step in ("at once", "while it runs"):
            cases.add(f"cancelled {step}: {service}/{method}", cancelled, step, service, method)
    cases.add(
        "cancelled in a stream of replies", cancelled_stream, "unary_stream", SERVICE, "flood"
    )
    cases.add("cancelled in a stream", cancelled_stream, "stream_stream", SERVICE, "each")
    cases.add("cancelled in a counted stream", cancelled_stream, "stream_stream", COUNTED, "each")
    cases.add("health", check_health, "")
    cases.add("health of an unknown service", check_health, "unknown")
    cases.add("watched health", watch_health)
    for version in ("v1", "v1alpha"):
        cases.add(f"reflection {version}", reflect, f"grpc.reflection.{version}.ServerReflection")
    cases.add("1,000 calls over one connection", many, "echo")
    cases.add("1,000 tasks over one connection", many, "unary")
    return cases


async def cancelled(step: str, service: str, method: str, served: Served) -> Outcome:
    multi: Any = served.channel.unary_unary(f"/{service}/{method}")
    call = multi(b"", timeout=SECONDS)
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
    watch: Any = served.channel.unary_stream("/grpc.health.v1.Health/Watch")
    call = watch(request, timeout=SECONDS)
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
