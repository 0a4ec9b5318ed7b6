"""Clients that a server must survive, and an honest one beside them. Loopback only."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from convscope.v1 import inference_pb2_grpc
from support import frames
from support.calls import image_request
from support.frames import END_HEADERS, END_STREAM, frame, header_block, word
from support.http2 import framed

SECONDS = 30.0
CHUNK_FRAMES = 200
HEALTH = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
# A request for the file of the health service.
REFLECTION_REQUEST = b"\x22\x15grpc.health.v1.Health"
MESSAGE = framed(b"")
PASSED = (b"grpc-timeout", b"1n")

Frames = Iterator[bytes]


class Ending(NamedTuple):
    """How a connection ended.

    Args:
        is_closed: Whether the server closed it.
        goaways: The codes of the GOAWAY frames that arrived.
        sent: The number of frames that were sent.
    """

    is_closed: bool
    goaways: list[int]
    sent: int


class Offender:
    """A client that sends frames of any kind."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._received = bytearray()
        self._is_closed = False
        self._sent = 0

    async def send(self, sent: Frames, *, reads: bool = True) -> None:
        """Send frames until the server ends the connection, or reads no more."""
        reading = asyncio.create_task(self._read()) if reads else None
        try:
            while not self._is_closed and (chunk := list(itertools.islice(sent, CHUNK_FRAMES))):
                self._sent += len(chunk)
                self._writer.write(b"".join(chunk))
                async with asyncio.timeout(1.0):
                    await self._writer.drain()
        except (OSError, TimeoutError):
            pass  # the server has closed, or doesn't read
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(65536):
                self._received += data
        except OSError:
            pass
        self._is_closed = True

    async def until_resets(self, count: int, seconds: float) -> None:
        """Read until the server has reset so many streams."""
        async with asyncio.timeout(seconds):
            while self._resets() < count and (data := await self._reader.read(65536)):
                self._received += data
        assert self._resets() == count

    def _resets(self) -> int:
        found = frames.received_frames(bytes(self._received))
        return sum(kind == frames.RST_STREAM for kind, _ in found)

    async def until_closed(self, seconds: float = SECONDS) -> Ending:
        """Read until the server closes the connection, but not longer than this."""
        try:
            async with asyncio.timeout(seconds):
                await self._read()
        except TimeoutError:
            pass
        goaways = frames.goaway_codes(bytes(self._received))
        return Ending(self._is_closed, goaways, self._sent)

    def close(self) -> None:
        """Leave."""
        self._writer.transport.abort()


@asynccontextmanager
async def offender(port: int, preface: bytes | None = None) -> AsyncIterator[Offender]:
    """A connection for the duration of a with block, with the preface sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(frames.PREFACE + frames.settings() if preface is None else preface)
    client = Offender(reader, writer)
    try:
        yield client
    finally:
        client.close()


class Honest:
    """Calls one after the other, by a few workers; every one must succeed.

    Args:
        target: The server.
        model: The model whose classes are asked for.
        pause_seconds: How long each worker waits between two pairs of calls.
    """

    def __init__(self, target: str, model: str, pause_seconds: float) -> None:
        self._target = target
        self._pause_seconds = pause_seconds
        self._request = image_request(model=model)
        self._is_running = True
        self.calls = 0
        self.failures: list[str] = []

    async def run(self) -> None:
        """Call until `stop`, over a connection that was made before the attack."""
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._target, options) as channel:
            await asyncio.gather(*(self._work(channel) for _ in range(4)))

    async def _work(self, channel: grpc.aio.Channel) -> None:
        classifier = inference_pb2_grpc.ClassifierServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        while self._is_running:
            await self._call(classifier.Classify(self._request, timeout=SECONDS))
            await self._call(health.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS))
            await asyncio.sleep(self._pause_seconds)

    async def _call(self, call: Awaitable[Any]) -> None:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            self.failures.append(f"{error.code().name}: {error.details()}")
        self.calls += 1

    async def more(self, count: int) -> None:
        """Wait for more calls to end."""
        wanted = self.calls + count
        async with asyncio.timeout(SECONDS):
            while self.calls < wanted:
                await asyncio.sleep(0.01)

    def stop(self) -> None:
        """End after the calls in flight."""
        self._is_running = False


@asynccontextmanager
async def honest(
    target: str, model: str = "tiny", pause_seconds: float = 0.0
) -> AsyncIterator[Honest]:
    """Call for the duration of a with block; no call may fail."""
    client = Honest(target, model, pause_seconds)
    running = asyncio.create_task(client.run())
    await client.more(10)
    try:
        yield client
        await client.more(10)
    finally:
        client.stop()
        await running
    assert not client.failures, client.failures[:3]


def rss_mb(pid: int) -> float:
    """The memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def descriptors(pid: int) -> int:
    """The open files of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


# The attacks: frames of one connection


def head(path: str, stream: int, flags: int = END_HEADERS, *more: tuple[bytes, bytes]) -> bytes:
    """The headers of a call."""
    block = header_block(
        [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", b"test"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            *more,
        ]
    )
    return frame(frames.HEADERS, flags, stream, block)


def whole(stream: int, path: str = HEALTH, message: bytes = MESSAGE) -> bytes:
    """A complete request."""
    return head(path, stream) + frame(frames.DATA, END_STREAM, stream, message)


def streams(count: int) -> Iterator[int]:
    return iter(range(1, 2 * count, 2))


def rapid_reset(count: int) -> Frames:
    for stream in streams(count):
        yield head(HEALTH, stream) + frame(frames.RST_STREAM, 0, stream, word(8))


def rapid_reset_of_whole_requests(count: int) -> Frames:
    for stream in streams(count):
        yield whole(stream, WATCH) + frame(frames.RST_STREAM, 0, stream, word(8))


def rapid_reset_of_streams(count: int) -> Frames:
    """The handler of such a call begins with its headers."""
    for stream in streams(count):
        yield head(REFLECTION, stream) + frame(frames.RST_STREAM, 0, stream, word(8))


def rapid_reset_after_the_deadline(count: int) -> Frames:
    """Callers reset streams at their deadline; an offender could set a deadline that has passed."""
    for stream in streams(count):
        yield head(WATCH, stream, END_HEADERS, PASSED)
        yield frame(frames.RST_STREAM, 0, stream, word(8))


def window_update_of_0_after_the_deadline(count: int) -> Frames:
    for stream in streams(count):
        yield head(WATCH, stream, END_HEADERS, PASSED)
        yield frame(frames.DATA, END_STREAM, stream, MESSAGE)
        yield frame(frames.WINDOW_UPDATE, 0, stream, word(0))


def window_update_of_0(count: int) -> Frames:
    """Made you reset: the client breaks a rule of the stream, so that the server resets it."""
    for stream in streams(count):
        yield whole(stream, WATCH) + frame(frames.WINDOW_UPDATE, 0, stream, word(0))


def window_overflow(count: int) -> Frames:
    for stream in streams(count):
        yield whole(stream, WATCH) + frame(frames.WINDOW_UPDATE, 0, stream, word(2**31 - 1))


def data_after_the_end(count: int) -> Frames:
    for stream in streams(count):
        yield whole(stream, WATCH) + frame(frames.DATA, 0, stream, b"x")


def pings(count: int) -> Frames:
    for _ in range(count):
        yield frame(frames.PING, 0, 0, bytes(8))


def settings(count: int) -> Frames:
    for index in range(count):
        yield frames.settings(_4=65_535 + index % 2)


def window_updates(count: int) -> Frames:
    """Within the rules; clients that read fast send many of them."""
    for _ in range(count):
        yield frame(frames.WINDOW_UPDATE, 0, 0, word(1))


def priorities(count: int) -> Frames:
    for stream in streams(count):
        yield frame(frames.PRIORITY, 0, stream, word(0) + b"\0")


def unknown_frames(count: int) -> Frames:
    for _ in range(count):
        yield frame(200)


def continuations(count: int) -> Frames:
    yield head(HEALTH, 1, 0)
    for _ in range(count):
        yield frame(frames.CONTINUATION, 0, 1, header_block([(b"a", b"b" * 50)]))


def empty_continuations(count: int) -> Frames:
    yield head(HEALTH, 1, 0)
    for _ in range(count):
        yield frame(frames.CONTINUATION, 0, 1)


def empty_data(count: int) -> Frames:
    yield head(HEALTH, 1)
    for _ in range(count):
        yield frame(frames.DATA, 0, 1)


def padded_data(count: int) -> Frames:
    """Frames of padding only; they count for flow control, and carry nothing."""
    yield head(HEALTH, 1)
    for _ in range(count):
        yield frame(frames.DATA, 8, 1, bytes([255]) + bytes(255))


def unknown_methods(count: int) -> Frames:
    """Requests that are answered before they end."""
    for stream in streams(count):
        yield head("/no/method", stream) + frame(frames.DATA, 0, stream, b"x")


def table_bomb(count: int) -> Frames:
    """One header of 4,000 bytes in HPACK's table, and thousands of references to it."""
    entry = b"\x40\x01a" + frames.hpack_integer(3900, 7) + b"b" * 3900
    for stream in streams(count):
        block = head(HEALTH, stream)[frames.FRAME_HEADER_BYTES :] + entry + b"\xbe" * 8000
        yield frame(frames.HEADERS, END_HEADERS, stream, block)


def table_sizes(count: int) -> Frames:
    """Changes of the size of HPACK's table, and nothing else."""
    for stream in streams(count):
        block = b"\x20\x3f\xe1\x1f" * 2000
        yield frame(frames.HEADERS, END_HEADERS, stream, block)


def malformed_requests(count: int) -> Frames:
    """Requests without the headers that HTTP/2 wants, which the server resets."""
    for stream in streams(count):
        yield frame(frames.HEADERS, END_HEADERS, stream, header_block([(b"a", b"b")]))


def large_headers(count: int) -> Frames:
    for stream in streams(count):
        yield head(HEALTH, stream, END_HEADERS, *[(b"k%d" % i, b"v" * 1000) for i in range(15)])


FLOODS: dict[Callable[[int], Frames], int] = {
    rapid_reset: 20_000,
    rapid_reset_of_whole_requests: 20_000,
    rapid_reset_of_streams: 20_000,
    rapid_reset_after_the_deadline: 20_000,
    window_update_of_0: 20_000,
    window_update_of_0_after_the_deadline: 20_000,
    window_overflow: 20_000,
    data_after_the_end: 20_000,
    pings: 20_000,
    settings: 20_000,
    priorities: 50_000,
    unknown_frames: 50_000,
    continuations: 20_000,
    empty_continuations: 20_000,
    empty_data: 50_000,
    table_bomb: 1000,
    malformed_requests: 20_000,
}
