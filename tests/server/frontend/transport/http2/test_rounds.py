"""How connections share the event loop's time for reading."""

import asyncio
import socket
from collections import Counter
from contextlib import ExitStack

import pytest
from support import abuse, frames
from support.frames import DATA, END_STREAM, frame
from support.http2 import SERVICE, framed, serving_http2, until

from convscope.server.frontend.transport.http2.rounds import (
    FIRST_INPUT_BYTES,
    INPUT_BYTES,
    MAX_KEPT_BYTES,
    SHARE_SECONDS,
    Rounds,
)


class Sender:
    """A connection whose client has sent more than it can read at once."""

    def __init__(self, rounds: Rounds, name: str, read: list[str], seconds_per_mib: float) -> None:
        self.is_paused = False
        self._rounds, self._name, self._read = rounds, name, read
        self._seconds_per_byte = seconds_per_mib / 2**20
        self._rest = 0
        self._spent = 0.0

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False
        if self._rest:
            self._process(self._rest)

    def _process(self, size: int) -> None:
        taken = min(size, 1 + int(SHARE_SECONDS / self._seconds_per_byte))
        self._rest = size - taken
        self._spent += taken * self._seconds_per_byte
        self._read.append(self._name)
        self._rounds.received(self, taken * self._seconds_per_byte, has_more=True)

    def poll(self) -> float:
        """Read as an event loop does, up to 32 times; return the time since the last poll."""
        for _ in range(32):
            if self.is_paused:
                break
            self._process(INPUT_BYTES if self._rounds.may_read_all() else FIRST_INPUT_BYTES)
        spent, self._spent = self._spent, 0.0
        return spent


async def _poll(senders: list[Sender], times: int) -> list[float]:
    spent = []
    for _ in range(times):
        spent.append(sum(sender.poll() for sender in senders))
        await asyncio.sleep(0)
    return spent


@pytest.mark.parametrize("seconds_per_mib", [0.8e-3, 0.3])  # chunks of images, and small requests
async def test_an_iteration_reads_little_of_many_connections(seconds_per_mib: float) -> None:
    read: list[str] = []
    rounds = Rounds(asyncio.get_running_loop())
    senders = [Sender(rounds, str(number), read, seconds_per_mib) for number in range(200)]
    first, *later = await _poll(senders, 400)
    assert first < 200 * FIRST_INPUT_BYTES * seconds_per_mib / 2**20 + 3 * SHARE_SECONDS
    assert max(later) < 3 * SHARE_SECONDS


async def test_connections_take_turns() -> None:
    read: list[str] = []
    rounds = Rounds(asyncio.get_running_loop())
    senders = [Sender(rounds, str(number), read, 0.3) for number in range(10)]
    await _poll(senders, 200)
    turns = Counter(read)
    assert len(turns) == 10
    assert max(turns.values()) <= 1.1 * min(turns.values())


async def test_a_single_connection_reads_in_every_round() -> None:
    read: list[str] = []
    rounds = Rounds(asyncio.get_running_loop())
    sender = Sender(rounds, "one", read, 0.8e-3)
    spent = await _poll([sender], 50)
    assert min(spent) > 0
    assert max(spent) < 2 * SHARE_SECONDS


async def test_a_connection_without_more_to_read_never_waits() -> None:
    read: list[str] = []
    rounds = Rounds(asyncio.get_running_loop())
    senders = [Sender(rounds, str(number), read, 1.0) for number in range(10)]
    quiet = Sender(rounds, "quiet", read, 1.0)
    for _ in range(50):
        await _poll(senders, 1)
        rounds.received(quiet, 1.0, has_more=False)
        assert not quiet.is_paused


async def test_connections_read_little_while_many_bytes_are_kept() -> None:
    rounds = Rounds(asyncio.get_running_loop())
    assert rounds.may_read_all()
    rounds.kept_bytes = MAX_KEPT_BYTES + 1
    assert not rounds.may_read_all()


def _stuffed(port: int, sent: bytes) -> tuple[socket.socket, int]:
    """Return a connection that has sent as much as the system takes, and how much that is."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setblocking(False)
    size = 0
    try:
        while size < len(sent):
            size += connection.send(sent[size:])
    except BlockingIOError:
        pass
    return connection, size


def _requests(method: str, count: int, message: bytes) -> bytes:
    """Return the frames of whole requests, within the first windows."""
    sent = [frames.PREFACE, frames.settings()]
    for stream in abuse.streams(count):
        sent.append(abuse.head(f"/{SERVICE}/{method}", stream))
        rest = framed(message)
        while rest:
            part, rest = rest[:16384], rest[16384:]
            sent.append(frame(DATA, 0 if rest else END_STREAM, stream, part))
    return b"".join(sent)


async def test_a_small_call_is_answered_before_large_uploads_are_read() -> None:
    """All of them are in the socket's buffers when the server begins to read."""
    upload = _requests("never", 40, bytes(50_000))
    async with serving_http2() as serving:
        await serving.call("echo", b"x")
        with ExitStack() as stack:
            sent = 0
            for _ in range(40):
                connection, size = _stuffed(serving.port, upload)
                stack.enter_context(connection)
                sent += size
            await serving.call("echo", b"x")
            assert serving.server.open_state.request_bytes < sent / 16
            await until(lambda: serving.server.open_state.request_bytes > 3 * sent / 4)


async def test_what_has_arrived_is_processed_in_parts_before_its_end() -> None:
    """The frames are too many for one round, and the client sends nothing more."""
    message = framed(bytes(30_000))
    sent = frames.PREFACE + frames.settings() + abuse.head(f"/{SERVICE}/echo", 1)
    sent += b"".join(frame(DATA, 0, 1, bytes([byte])) for byte in message)
    sent += frame(DATA, END_STREAM, 1)
    async with serving_http2() as serving:
        connection, size = _stuffed(serving.port, sent)
        connection.setblocking(True)
        await asyncio.to_thread(connection.sendall, sent[size:])
        connection.shutdown(socket.SHUT_WR)
        await until(lambda: serving.service.groups == [1])
        await until(lambda: serving.server.open_state.connections == 0)
        assert serving.server.open_state.request_bytes == 0
        connection.close()


async def test_the_calls_of_connections_begin_in_turns() -> None:
    async with serving_http2() as serving:
        await serving.call("unary", b"x")
        with ExitStack() as stack:
            for _ in range(4):
                flood, _ = _stuffed(serving.port, _requests("wait", 200, b"x"))
                stack.enter_context(flood)
            await serving.call("unary", b"x")
            assert len(serving.service.contexts) < 400
            await until(lambda: len(serving.service.contexts) == 2 + 4 * 200)
