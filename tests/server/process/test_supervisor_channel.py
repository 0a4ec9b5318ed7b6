"""The socket between a worker and its supervisor."""

import asyncio
import json
import socket
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
from structlog.testing import capture_logs

from convscope.server.errors import StartError
from convscope.server.process import supervisor_channel
from convscope.server.process.supervisor_channel import SupervisorChannel
from convscope.server.process.worker import read_messages

LONG = "x" * 250_000  # more than a socket's buffer


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, SupervisorChannel]]:
    """The supervisor's end, and the worker's channel."""
    monkeypatch.setattr(supervisor_channel, "REPORT_SECONDS", 0.01)
    ours, theirs = socket.socketpair()
    with ours:
        yield ours, SupervisorChannel(theirs.detach())


async def test_settings_that_arrive_in_pieces_are_whole(
    pair: tuple[socket.socket, SupervisorChannel],
) -> None:
    ours, channel = pair
    receiving = asyncio.create_task(asyncio.to_thread(channel.receive_settings))
    ours.send(b'{"models": ')
    await asyncio.sleep(0)
    ours.send(b'"m"}\n')
    assert json.loads(await receiving) == {"models": "m"}
    await channel.connect(dict, list, print, lambda: None)
    await channel.close()


def test_supervisor_that_ends_early_is_a_failed_start(
    pair: tuple[socket.socket, SupervisorChannel],
) -> None:
    ours, channel = pair
    ours.close()
    with pytest.raises(StartError, match="the supervisor ended before"):
        channel.receive_settings()


async def test_metrics_are_reported_although_one_snapshot_failed(
    pair: tuple[socket.socket, SupervisorChannel],
) -> None:
    ours, channel = pair
    counts = iter(range(100))

    def snapshot() -> int:
        if (count := next(counts)) == 1:
            raise ValueError("a collector failed")
        return count

    reader, writer = await asyncio.open_connection(sock=ours)
    await channel.connect(snapshot, list, print, lambda: None)
    await channel.report_ready()
    assert json.loads(await reader.readline()) == {"ready": True}
    assert json.loads(await reader.readline()) == {"metrics": 0, "totals": []}
    assert json.loads(await reader.readline()) == {"metrics": 2, "totals": []}
    await channel.close()
    writer.close()


async def test_metrics_are_reported_a_last_time_at_the_end(
    pair: tuple[socket.socket, SupervisorChannel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_channel, "REPORT_SECONDS", 1000)
    ours, channel = pair
    reader, writer = await asyncio.open_connection(sock=ours)
    await channel.connect(lambda: "all", list, print, lambda: None)
    await channel.report_ready()
    await channel.close()
    messages = [json.loads(line) for line in (await reader.read()).splitlines()]
    assert messages == [{"ready": True}, {"metrics": "all", "totals": []}]
    writer.close()


async def test_last_metrics_are_whole_however_long_they_are(
    pair: tuple[socket.socket, SupervisorChannel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_channel, "REPORT_SECONDS", 1000)
    ours, channel = pair
    await channel.connect(lambda: LONG, list, print, lambda: None)
    await channel.report_ready()
    reading = Thread(target=lambda: received.extend(iter(lambda: ours.recv(1000), b"")))
    received: list[bytes] = []
    ours.settimeout(5)
    sent = asyncio.create_task(channel.close())
    await asyncio.sleep(0.1)  # the socket's buffer is full
    reading.start()
    await sent
    reading.join()  # the event loop stands still, as if it had ended
    assert json.loads(b"".join(received).splitlines()[-1]) == {"metrics": LONG, "totals": []}


async def test_last_metrics_that_fail_are_a_log_line(
    pair: tuple[socket.socket, SupervisorChannel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_channel, "REPORT_SECONDS", 1000)
    ours, channel = pair
    await channel.connect(lambda: 1 // 0, list, print, lambda: None)
    await channel.report_ready()
    with capture_logs() as logs:
        await channel.close()
    assert [line["event"] for line in logs] == ["unexpected error while reporting metrics"]
    received = [await asyncio.to_thread(ours.recv, 1000) for _ in range(2)]
    assert received == [b'{"ready": true}\n', b""]  # and it is closed


async def test_a_worker_receives_what_the_others_have_counted(
    pair: tuple[socket.socket, SupervisorChannel],
) -> None:
    ours, channel = pair
    received: asyncio.Queue[Any] = asyncio.Queue()
    await channel.connect(dict, list, received.put_nowait, lambda: None)
    totals = [["tiny", number, LONG] for number in range(4)]
    message = json.dumps({"siblings": totals}).encode() + b"\n"
    await asyncio.to_thread(ours.sendall, message + b"not JSON\n" + message)
    async with asyncio.timeout(10):
        assert [await received.get() for _ in range(2)] == [totals] * 2
    await channel.close()


async def test_a_worker_that_has_loaded_gets_the_changes_of_operators_and_reports_its_choices(
    pair: tuple[socket.socket, SupervisorChannel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_channel, "REPORT_SECONDS", 1000)
    ours, channel = pair
    choices = iter([{"a": 1}, {"b": 2}, {}])
    reader, writer = await asyncio.open_connection(sock=ours)
    await channel.connect(dict, list, print, lambda: None, lambda: next(choices))
    loaded = asyncio.create_task(channel.report_loaded())
    assert json.loads(await reader.readline()) == {"loaded": True, "choices": {"a": 1}}
    assert not loaded.done()
    writer.write(b'{"overrides": {"tiny": {}}}\n')
    assert await loaded == {"tiny": {}}
    await channel.report_ready()
    await channel.close()  # it reports a last time
    messages = [json.loads(line) for line in (await reader.read()).splitlines()]
    assert messages == [{"ready": True}, {"metrics": {}, "totals": []}, {"choices": {"b": 2}}]
    writer.close()


async def test_a_worker_stops_when_its_supervisor_is_gone(
    pair: tuple[socket.socket, SupervisorChannel],
) -> None:
    ours, channel = pair
    stop = asyncio.Event()
    await channel.connect(dict, list, print, stop.set)
    await channel.report_ready()
    ours.close()
    async with asyncio.timeout(10):
        await stop.wait()
    await channel.close()


async def test_an_error_in_one_message_does_not_end_the_reading() -> None:
    handled: list[Any] = []

    def handle(message: Any) -> None:
        handled.append(message["metrics"])

    reader = asyncio.StreamReader()
    reader.feed_data(b'{"metrics": 1}\nnot JSON\n{}\n{"metrics": 2}\n{"metrics": 3')
    reader.feed_eof()
    with capture_logs() as logs:
        await read_messages(reader, handle)
    assert handled == [1, 2]
    assert [line["event"] for line in logs] == [
        "unexpected error in a message between supervisor and worker"
    ] * 2
