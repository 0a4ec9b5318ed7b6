"""Mutated conversations against the http2 transport's protocol object, without sockets.

A conversation is a list of frames as a client sends them. Some were recorded from
grpcio's client (`tests/data/conversations`), others are written by `_written`. Each
round mutates a few of them, feeds them to connections of one server in random cuts
and in random order, and lets the server, the handlers and the sockets do something
in between. Then everything must be gone.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import grpc

from convscope.server.frontend.transport.calls import UnaryCall
from convscope.server.frontend.transport.http2.limits import Limits
from convscope.server.frontend.transport.http2.server import Http2Server
from convscope.server.frontend.transport.memory_budget import MemoryBudget
from support import frames
from support.frames import frame, word
from support.http2 import SERVICE, framed, request_headers

RECORDED = Path(__file__).parents[2] / "data" / "conversations"
LIMITS = Limits(
    max_message_bytes=100_000,
    max_streams=20,
    max_calls=30,
    calls_per_turn=7,
    max_unread_bytes=50_000,
)
BUDGET_BYTES = 150_000
SETTLE_SECONDS = 10.0
METHODS = ("echo", "never", "unary", "each", "join", "flood")

Conversation = list[bytes]


class Fuzzer:
    """Runs rounds; an exception that nobody handled, and everything that remains, is an error.

    Args:
        seed: The seed of what is random.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._loop = asyncio.get_running_loop()
        self._unhandled: list[dict[str, Any]] = []
        self._loop.set_exception_handler(lambda _, context: self._unhandled.append(context))
        self._held: list[UnaryCall] = []
        self._budget = MemoryBudget(BUDGET_BYTES)
        self._server = Http2Server(self._budget, LIMITS)
        self._add_methods()
        self._recorded = [read_frames(path.read_bytes()) for path in sorted(RECORDED.glob("*.bin"))]
        self.calls = 0
        self.closed = 0

    def _add_methods(self) -> None:
        groups = {"echo": self._echo, "never": self._held.extend}
        self._server.add_group_methods(SERVICE, groups)
        handlers: dict[str, Any] = {
            "unary": grpc.unary_unary_rpc_method_handler(self._unary),
            "flood": grpc.unary_stream_rpc_method_handler(self._flood),
            "join": grpc.stream_unary_rpc_method_handler(self._join),
            "each": grpc.stream_stream_rpc_method_handler(self._each),
        }
        self._server.add_registered_method_handlers(SERVICE, handlers)

    def _echo(self, calls: Sequence[UnaryCall]) -> None:
        self.calls += len(calls)
        for call in calls:
            call.reply(bytes(call.message), [("x-trailing", "1"), ("x-trailing-bin", b"\0")])

    async def _unary(self, request: bytes, context: Any) -> bytes:
        self.calls += 1
        await asyncio.sleep(0)
        if len(request) % 3 == 1:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{len(request)} bytes")
        return request

    async def _flood(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        self.calls += 1
        for _ in range(50):
            yield bytes(10_000)

    async def _join(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        self.calls += 1
        return b"".join([request async for request in requests])

    async def _each(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        self.calls += 1
        async for request in requests:
            yield request

    async def round(self) -> None:
        """Run a few conversations at once.

        Raises:
            AssertionError: An exception was not handled, or something remains.
        """
        random = self._random
        pipes = [self._pipe() for _ in range(random.choice((1, 1, 2, 4)))]
        while waiting := [pipe for pipe in pipes if pipe.to_send]:
            for _ in range(random.randrange(6)):
                random.choice(waiting).feed(random)
            for action in random.sample((self._answer, *(pipe.act for pipe in pipes)), 2):
                action(random)
            for _ in range(random.randrange(3)):
                await asyncio.sleep(0)
        if random.random() < 0.5:  # let it finish what it can
            for pipe in pipes:
                pipe.drain()
            await asyncio.sleep(0)
        for pipe in random.sample(pipes, len(pipes)):
            self.closed += pipe.is_closing()
            pipe.abort()
        await self._settle()

    def _pipe(self) -> "Pipe":
        conversation = self._mutated(self._conversation())
        return Pipe(self._loop, self._server._accept(), b"".join(conversation))

    def _answer(self, random: Random) -> None:
        """End some of the calls that the handler holds, also those that were cancelled."""
        random.shuffle(self._held)
        for _ in range(random.randrange(len(self._held) + 1)):
            call = self._held.pop()
            if random.random() < 0.8:
                call.reply(bytes(random.choice((0, 10, 20_000, 90_000))))
            else:
                call.fail(grpc.StatusCode.INTERNAL, "wrong — and more", [("x-a", "b")])

    async def _settle(self) -> None:
        async with asyncio.timeout(SETTLE_SECONDS):
            while any(self._server.open_state):
                await asyncio.sleep(0)
        assert all(call.ended for call in self._held), "a call of a lost connection is not ended"
        self._held.clear()
        assert not self._unhandled, self._unhandled

    async def stop(self) -> None:
        """End the server."""
        await self._server.stop(None)

    # Conversations

    def _conversation(self) -> Conversation:
        if self._recorded and self._random.random() < 0.4:
            return list(self._random.choice(self._recorded))
        return self._written()

    def _written(self) -> Conversation:
        """Write a conversation of a few calls."""
        random = self._random
        conversation = [frames.PREFACE, frames.settings()]
        for stream in range(1, 2 * random.randint(1, 12), 2):
            more = random.sample(EXTRA_HEADERS, random.randrange(3))
            block = frames.header_block(request_headers(random.choice((*METHODS, "x")), *more))
            cut = random.randrange(len(block))
            if random.random() < 0.2:
                conversation.append(frame(frames.HEADERS, 0, stream, block[:cut]))
                flags = frames.END_HEADERS
                conversation.append(frame(frames.CONTINUATION, flags, stream, block[cut:]))
            else:
                conversation.append(frame(frames.HEADERS, frames.END_HEADERS, stream, block))
            conversation += self._body(stream)
        return conversation

    def _body(self, stream: int) -> Conversation:
        random = self._random
        sizes = (0, 1, 5, 100, 5000, 20_000, 60_000, 99_999, 100_001)
        count = random.choice((0, 1, 1, 1, 1, 2, 5))
        flag = random.choice((0,) * 9 + (1,))
        body = b"".join(framed(bytes(random.choice(sizes)), flag) for _ in range(count))
        step = random.choice((4, 5, 16_384, 16_384, 16_384))
        chunks = [body[start : start + step] for start in range(0, len(body), step)][:50] or [b""]
        last = random.choice((0, 1, 1, 1, 1))
        return [
            frame(frames.DATA, last * (index == len(chunks) - 1), stream, chunk)
            for index, chunk in enumerate(chunks)
        ]

    def _mutated(self, conversation: Conversation) -> Conversation:
        random = self._random
        for _ in range(random.choice((0, 1, 1, 2, 4, 8))):
            index = random.randrange(1, len(conversation) + 1)
            mutate = random.choice(MUTATIONS)
            conversation[index : index + 1] = mutate(conversation[index : index + 1], random)
            if random.random() < 0.1:  # go on as another conversation does
                other = self._conversation()
                conversation[index:] = other[random.randrange(len(other)) :]
        return conversation


EXTRA_HEADERS = [
    (b"grpc-timeout", b"1m"),
    (b"grpc-timeout", b"99999999H"),
    (b"grpc-timeout", b"x"),
    (b"grpc-encoding", b"gzip"),
    (b"grpc-encoding", b"br"),
    (b"x-a-bin", b"AAE,*"),
    (b"x-a", b"v" * 3000),
]


class Pipe(asyncio.Transport):
    """A connection whose client sends what it is given, and reads now and then.

    Args:
        loop: The event loop.
        protocol: The server's end.
        to_send: What the client sends.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, to_send: bytes) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.to_send = to_send
        self._is_closing = False
        self._is_reading = True
        self._loop = loop
        self._protocol = protocol
        self._high = 65536
        self._unread = 0
        self._is_paused = False
        self._is_lost = False
        protocol.connection_made(self)

    # What the client does

    def feed(self, random: Random) -> None:
        """Send the next bytes, which wait while the server does not read."""
        if self._is_closing:
            self.to_send = b""
        if not self.to_send or not self._is_reading:
            return
        buffer = self._protocol.get_buffer(-1)
        size = min(random.choice((1, 9, 100, 5000, 5000, 100_000)), len(buffer))
        data, self.to_send = self.to_send[:size], self.to_send[size:]
        buffer[: len(data)] = data
        self._protocol.buffer_updated(len(data))

    def act(self, random: Random) -> None:
        """Read, or rarely leave."""
        chance = random.random()
        if chance < 0.5:
            self.drain()
        elif chance < 0.51:
            self.abort()
        elif chance < 0.52 and not self._is_closing:
            self.to_send = b""
            if not self._protocol.eof_received():
                self.close()

    def drain(self) -> None:
        """Read everything."""
        self._unread = 0
        if self._is_paused and not self._is_lost:
            self._is_paused = False
            self._protocol.resume_writing()
        if self._is_closing:
            self._lose()

    # What the server does

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True

    def write(self, data: Any) -> None:
        if self._is_lost:
            return
        self._unread += len(data)
        if self._unread > self._high and not self._is_paused:
            self._is_paused = True
            self._protocol.pause_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high or 65536

    def get_write_buffer_size(self) -> int:
        return self._unread

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """The client may still send, or close."""

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True
        if not self._unread:
            self._lose()

    def abort(self) -> None:
        self._is_closing = True
        self._lose()

    def _lose(self) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._loop.call_soon(self._protocol.connection_lost, None)


# Mutations: each returns what takes the place of a frame, of which there is none at the end


def _drop(found: Conversation, random: Random) -> Conversation:
    return []


def _repeat(found: Conversation, random: Random) -> Conversation:
    return found * random.choice((2, 2, 50))


def _flip(found: Conversation, random: Random) -> Conversation:
    """Change one byte, most often one of the frame's header or of the first ones behind it."""
    return [_with_byte(data, random) for data in found]


def _with_byte(data: bytes, random: Random) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[random.randrange(min(len(data), random.choice((9, 40, 1000))))] = random.randrange(256)
    return bytes(changed)


def _cut(found: Conversation, random: Random) -> Conversation:
    return [data[: random.randrange(len(data) + 1)] for data in found]


def _shorten(found: Conversation, random: Random) -> Conversation:
    """Shorten the payload and correct the frame's length."""
    result = []
    for data in found:
        payload = data[9 : random.randrange(9, len(data) + 10)]
        result.append(len(payload).to_bytes(3, "big") + data[3:9] + payload)
    return result


def _refit(found: Conversation, random: Random) -> Conversation:
    """Set other flags, or another stream."""
    result = []
    for data in found:
        changed = bytearray(data)
        if len(changed) >= 9:
            if random.random() < 0.5:
                changed[4] = random.choice((0, 1, 4, 5, 8, 32, 255))
            else:
                changed[5:9] = word(_stream(random))
        result.append(bytes(changed))
    return result


def _insert(found: Conversation, random: Random) -> Conversation:
    return [random.choice(INSERTED)(random), *found]


def _stream(random: Random) -> int:
    return random.choice((0, 1, 1, 3, 3, 5, 7, 2, 99, 2**31 - 1))


MUTATIONS: Sequence[Callable[[Conversation, Random], Conversation]] = (
    _drop,
    _repeat,
    _flip,
    _cut,
    _shorten,
    _refit,
    _insert,
    _insert,
)
_NUMBERS = (0, 1, 100, 65_535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
INSERTED: Sequence[Callable[[Random], bytes]] = (
    lambda r: frame(frames.RST_STREAM, 0, _stream(r), word(r.choice((0, 7, 8, 99)))),
    lambda r: frame(frames.WINDOW_UPDATE, 0, _stream(r), word(r.choice(_NUMBERS))),
    lambda r: frame(frames.SETTINGS, 0, 0, word(r.randrange(9), 2) + word(r.choice(_NUMBERS))),
    lambda r: frame(frames.SETTINGS, frames.ACK),
    lambda r: frame(frames.PING, r.randrange(2), 0, bytes(8)) * r.choice((1, 1, 5)),
    lambda r: frame(frames.GOAWAY, 0, 0, word(_stream(r)) + word(0)),
    lambda r: frame(frames.DATA, r.choice((0, 1, 8, 9)), _stream(r), bytes(r.choice((0, 1, 9)))),
    lambda r: frame(frames.PRIORITY, 0, _stream(r), word(_stream(r)) + b"\1"),
    lambda r: frame(frames.CONTINUATION, 4, _stream(r)),
    lambda r: frame(frames.PUSH_PROMISE, 4, _stream(r), word(2)),
    lambda r: frame(frames.HEADERS, 5, _stream(r), frames.header_block([(b"x-late", b"1")])),
    lambda r: frame(r.randrange(10, 256), r.randrange(256), _stream(r), bytes(r.randrange(20))),
    lambda r: r.randbytes(r.randrange(1, 30)),
)


def read_frames(data: bytes) -> Conversation:
    """Split what a client sent into its preface and frames."""
    conversation, start = [data[: len(frames.PREFACE)]], len(frames.PREFACE)
    while start < len(data):
        end = start + frames.FRAME_HEADER_BYTES + int.from_bytes(data[start : start + 3], "big")
        conversation.append(data[start:end])
        start = end
    return conversation
