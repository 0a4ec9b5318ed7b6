"""The life of a connection: pings, limits, drain, addresses, and clients that misbehave."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from ngh2 import events
from support.http2 import (
    MIB,
    SECONDS,
    SERVICE,
    RawClient,
    Serving,
    framed,
    raw_client,
    serving_http2,
    until,
)

from convscope.server.errors import StartError
from convscope.server.frontend.transport.http2.connection import Connection
from convscope.server.frontend.transport.http2.limits import Limits
from convscope.server.frontend.transport.http2.server import Http2Server
from convscope.server.frontend.transport.memory_budget import MemoryBudget

REFUSED_STREAM, ENHANCE_YOUR_CALM = 7, 11


# Addresses


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}"])
async def test_unix_sockets(tmp_path: Path, form: str) -> None:
    address = form.format(tmp_path / "socket")
    async with serving_http2(address=address) as serving:
        assert serving.port == 1
        assert await serving.call("echo", b"x") == b"x"
        await serving.call("unary")
        assert serving.service.contexts[0].peer().startswith("unix:")
        assert (tmp_path / "socket").is_socket()
    assert not (tmp_path / "socket").exists()


async def test_a_socket_left_by_a_killed_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with serving_http2(address=f"unix:{path}") as serving:
        assert await serving.call("echo", b"x") == b"x"


async def test_a_socket_in_use_is_not_replaced(tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'socket'}"
    async with serving_http2(address=address):
        with pytest.raises(StartError, match="can't be bound"):
            Http2Server(MemoryBudget(1)).bind(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::]", "[::1]"])
async def test_hosts(host: str) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    server = Http2Server(MemoryBudget(1))
    port = server.bind(f"{host}:0")
    await server.start()
    try:
        family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET
        with socket.socket(family) as client:
            client.settimeout(SECONDS)
            client.connect((host.strip("[]") if host == "[::1]" else "127.0.0.1", port))
    finally:
        await server.stop(None)


async def test_a_port_in_use() -> None:
    async with serving_http2() as serving:
        with pytest.raises(StartError, match=f"127.0.0.1:{serving.port} can't be bound"):
            Http2Server(MemoryBudget(1)).bind(f"127.0.0.1:{serving.port}")


async def test_processes_can_share_a_port() -> None:
    first = Http2Server(MemoryBudget(1), share_port=True)
    second = Http2Server(MemoryBudget(1), share_port=True)
    port = first.bind("127.0.0.1:0")
    assert second.bind(f"127.0.0.1:{port}") == port
    await first.stop(None)
    await second.stop(None)


# Pings


def keepalive(seconds: float) -> list[tuple[str, int]]:
    milliseconds = int(1000 * seconds)
    return [
        ("grpc.keepalive_time_ms", milliseconds),
        ("grpc.keepalive_timeout_ms", 5000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


async def ping(client: RawClient, times: int) -> None:
    for _ in range(times):
        client.engine.ping()
        client.send()
        await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_client_that_pings_as_often_as_allowed_stays_connected() -> None:
    """As the SDK does: it pings every 60 seconds, and 30 are the shortest time."""
    limits = Limits(min_ping_seconds=0.5)
    async with serving_http2(limits, options=keepalive(1.0)) as serving:
        waiting = asyncio.ensure_future(serving.call("wait"))
        await asyncio.sleep(5.0)
        assert not waiting.done()
        assert serving.server.open_state.connections == 1
        waiting.cancel()


async def test_a_client_that_pings_too_often_is_told_so() -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        await ping(client, 3)
        assert not client.of(events.GoAwayReceived)
        await ping(client, 1)
        goaway = await client.goaway()
        assert (goaway.error_code, goaway.debug_data) == (ENHANCE_YOUR_CALM, b"too_many_pings")
        await until(lambda: client.is_closed)


async def test_pings_after_a_reply_are_for_measuring() -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        for _ in range(5):
            await client.status(client.call("echo", framed(b"x")))
            await ping(client, 2)
        assert not client.of(events.GoAwayReceived)


async def test_the_server_pings_a_silent_client() -> None:
    limits = Limits(ping_seconds=0.1, ping_timeout_seconds=0.3)
    async with serving_http2(limits) as serving, raw_client(serving.port) as client:
        await until(lambda: client.of(events.PingReceived))
        await asyncio.sleep(0.5)
        assert not client.is_closed  # it has answered
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5))
        async with asyncio.timeout(SECONDS):
            while await reader.read(1000):  # it never answers
                pass
        writer.close()


async def test_a_client_that_fell_silent_after_a_ping_is_cut() -> None:
    """What it sent before the answer to the ping shows only that it was there then."""
    limits = Limits(ping_seconds=0.1, ping_timeout_seconds=0.3)
    async with serving_http2(limits) as serving:
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5))
        async with asyncio.timeout(SECONDS):
            await reader.readuntil(b"keepaliv")
            writer.write(bytes(3) + b"\4\1" + bytes(4))
            while await reader.read(1000):
                pass
        writer.close()


# Limits


async def test_a_client_without_a_preface_is_cut() -> None:
    async with serving_http2(Limits(handshake_seconds=0.1)) as serving:
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        async with asyncio.timeout(SECONDS):
            while await reader.read(1000):
                pass
        writer.close()


async def test_connections_above_the_limit_are_closed() -> None:
    limits = Limits(max_connections=1)
    async with serving_http2(limits) as serving, raw_client(serving.port) as first:
        first.call("never", framed(b""))
        await until(lambda: serving.service.waiting)
        async with raw_client(serving.port) as second:
            await until(lambda: second.is_closed)
        assert not first.is_closed


async def test_at_the_limit_of_connections_the_longest_idle_one_gives_way() -> None:
    async with (
        serving_http2(Limits(max_connections=3)) as serving,
        raw_client(serving.port) as busy,
        raw_client(serving.port) as longest,
        raw_client(serving.port) as other,
    ):
        busy.call("never", framed(b""))
        await until(lambda: serving.service.waiting)
        await longest.status(longest.call("echo", framed(b"")))
        await asyncio.sleep(0.01)
        await other.status(other.call("echo", framed(b"")))
        assert await serving.call("echo", b"x") == b"x"
        await until(lambda: longest.is_closed)
        assert (await longest.goaway()).error_code == 0
        assert not busy.is_closed
        assert not other.is_closed


async def test_at_the_limit_clients_without_a_preface_give_way_first() -> None:
    async with (
        serving_http2(Limits(max_connections=2)) as serving,
        raw_client(serving.port) as idle,
    ):
        await idle.status(idle.call("echo", framed(b"")))
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        await until(lambda: serving.server.open_state.connections == 2)
        assert await serving.call("echo", b"x") == b"x"
        async with asyncio.timeout(SECONDS):
            await reader.read()
        writer.close()
        assert not idle.of(events.GoAwayReceived)


async def test_calls_above_the_limit_are_refused() -> None:
    limits = Limits(max_calls=2)
    async with serving_http2(limits) as serving, raw_client(serving.port) as client:
        for _ in range(2):
            client.call("never", framed(b""))
        third = client.call("echo", framed(b""))
        await client.status(third)
        resets = [(event.stream_id, event.error_code) for event in client.of(events.StreamReset)]
        assert resets == [(third, REFUSED_STREAM)]


async def test_a_connection_whose_calls_never_end_leaves_room_for_others() -> None:
    limits = Limits(max_calls=4)
    async with serving_http2(limits) as serving, raw_client(serving.port) as greedy:
        for _ in range(4):
            greedy.call("never", framed(b""))
        await until(lambda: len(serving.service.waiting) == 4)
        assert await serving.call("echo", b"x") == b"x"
        await greedy.status(fifth := greedy.call("echo", framed(b"")))
        assert [event.stream_id for event in greedy.of(events.StreamReset)] == [fifth]


@pytest.mark.parametrize(
    "limits", [Limits(idle_seconds=0.2), Limits(age_seconds=0.2)], ids=["idle", "old"]
)
async def test_old_and_idle_connections_end_in_order(limits: Limits) -> None:
    async with serving_http2(limits) as serving, raw_client(serving.port) as client:
        await client.status(client.call("echo", framed(b"")))
        await until(lambda: client.is_closed)
        assert {event.error_code for event in client.of(events.GoAwayReceived)} == {0}
        assert await serving.call("echo", b"x") == b"x"  # grpcio connects again


async def test_a_busy_connection_is_not_idle() -> None:
    limits = Limits(idle_seconds=0.1)
    async with serving_http2(limits) as serving, raw_client(serving.port) as client:
        client.call("never", framed(b""))
        await asyncio.sleep(0.5)
        assert not client.of(events.GoAwayReceived)


async def test_a_client_that_does_not_read_is_cut() -> None:
    limits = Limits(stalled_seconds=0.2)
    async with serving_http2(limits) as serving, raw_client(serving.port, 10) as client:
        client.call("echo", framed(bytes(1000)))
        await until(lambda: client.is_closed)
        await serving.until_idle()


async def test_further_calls_do_not_keep_a_client_that_does_not_read() -> None:
    limits = Limits(stalled_seconds=0.4)
    async with serving_http2(limits) as serving, raw_client(serving.port, 0) as client:
        for _ in range(limits.max_streams // 2):
            client.call("echo", framed(b"x"))
            await asyncio.sleep(0.05)
            if client.is_closed:
                break
        assert client.is_closed
        await serving.until_idle()


@pytest.mark.parametrize(("method", "request_"), [("echo", bytes(1000)), ("flood", b"1000")])
async def test_a_reply_that_is_not_read_while_others_are_is_given_up(
    method: str, request_: bytes
) -> None:
    limits = Limits(unread_seconds=0.3)
    async with serving_http2(limits) as serving, raw_client(serving.port, 10) as client:
        starved = client.call(method, framed(request_))
        async with asyncio.timeout(SECONDS):
            while not client.of(events.StreamReset):
                status = await client.status(client.call("echo", framed(b"x")))
                assert status[b"grpc-status"] == b"0"
        resets = [(event.stream_id, event.error_code) for event in client.of(events.StreamReset)]
        assert resets == [(starved, ENHANCE_YOUR_CALM)]
        assert not client.of(events.GoAwayReceived)
        await serving.until_idle()
        assert serving.service.cancelled == (["flood"] if method == "flood" else [])


async def test_a_reply_that_is_read_slowly_is_not_given_up() -> None:
    limits = Limits(unread_seconds=0.3)
    async with serving_http2(limits) as serving, raw_client(serving.port, 10) as client:
        stream, taken = client.call("echo", framed(bytes(95))), 0
        async with asyncio.timeout(SECONDS):
            while not client.of(events.StreamClosed):
                await asyncio.sleep(0.1)
                received = sum(len(event.data) for event in client.of(events.DataReceived))
                client.engine.acknowledge_received_data(received - taken, stream)
                client.send()
                taken = received
        assert taken == 100
        assert client.fields(stream)[b"grpc-status"] == b"0"


async def test_an_error_in_the_check_of_a_connection_ends_only_this_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: Connection) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Connection, "ping", fail)
    limits = Limits(ping_seconds=0.2)
    async with serving_http2(limits) as serving:
        for _ in range(2):  # the checks go on
            async with raw_client(serving.port) as client:
                await until(lambda client=client: client.is_closed)


async def test_a_client_with_unread_replies_begins_no_more_calls() -> None:
    limits = Limits(max_unread_bytes=1000)
    async with serving_http2(limits) as serving, raw_client(serving.port, 10) as client:
        client.call("echo", framed(bytes(2000)))
        await until(lambda: serving.service.groups == [1])
        second = client.call("echo", framed(b"x"))
        await until(lambda: serving.server.open_state.streams == 2)
        await asyncio.sleep(0.1)
        assert serving.service.groups == [1]
        client.engine.update_settings({4: 65535})
        client.send()
        assert (await client.status(second))[b"grpc-status"] == b"0"


async def test_a_stream_with_unread_replies_begins_no_more_messages() -> None:
    """Otherwise one connection makes the server keep the replies to thousands of messages."""
    limits = Limits(max_unread_bytes=1000)
    async with serving_http2(limits) as serving, raw_client(serving.port, 10) as client:
        client.call("echo", framed(bytes(2000)))
        await until(lambda: serving.service.groups == [1])
        stream = client.call("each", framed(b"x"))
        await until(lambda: serving.server.open_state.tasks == 1)
        await asyncio.sleep(0.1)
        assert not client.fields(stream)
        client.engine.update_settings({4: 65535})
        client.send()
        assert (await client.status(stream))[b"grpc-status"] == b"0"


async def test_when_memory_is_short_replies_that_are_not_read_give_way() -> None:
    """A few clients that don't read must not stop all others until they are given up."""
    async with (
        serving_http2(budget_bytes=MIB) as serving,
        raw_client(serving.port, 10) as first,
        raw_client(serving.port, 10) as second,
    ):
        for slow in (first, second):
            slow.call("echo", framed(bytes(400_000)))
        await until(lambda: sum(serving.service.groups) == 2)
        error = await serving.failure("echo", bytes(300_000))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await until(lambda: first.is_closed and second.is_closed)
        assert len(await serving.call("echo", bytes(300_000))) == 300_000


async def test_calls_with_large_messages_are_handed_over_in_several_turns() -> None:
    """Otherwise a few thousand images in one turn stop the event loop for seconds."""
    limits = Limits(max_unread_bytes=1000)
    count, size = 30, MIB // 4
    async with serving_http2(limits) as serving, raw_client(serving.port, 10) as client:
        client.call("echo", framed(bytes(2000)))
        await until(lambda: serving.service.groups == [1])
        streams = [client.call("size", framed(bytes(size))) for _ in range(count)]
        await until(lambda: serving.server.open_state.request_bytes >= count * size)
        client.engine.update_settings({4: 65535})
        client.send()
        for stream in streams:
            assert (await client.status(stream))[b"grpc-status"] == b"0"
        _, *groups = serving.service.groups
        assert sum(groups) == count
        assert max(groups) * size <= 5 * MIB


async def test_calls_begin_again_when_the_unread_replies_are_cancelled() -> None:
    limits = Limits(max_unread_bytes=1000)
    async with serving_http2(limits) as serving, raw_client(serving.port, 100) as client:
        unread = client.call("echo", framed(bytes(5000)))
        await until(lambda: client.fields(unread))
        second = client.call("echo", framed(b"x"))
        await until(lambda: serving.server.open_state.streams == 2)
        client.engine.reset_stream(unread, 8)
        client.send()
        assert (await client.status(second))[b"grpc-status"] == b"0"


async def test_a_client_that_cancels_everything_is_told_to_stop() -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        for _ in range(150):
            client.engine.reset_stream(client.call("never", framed(b"")), 8)
        client.send()
        goaway = await client.goaway()
        assert (goaway.error_code, goaway.debug_data) == (ENHANCE_YOUR_CALM, b"too_many_cancels")
        await until(lambda: client.is_closed)
        await serving.until_idle()


async def test_a_client_that_cancels_a_part_of_its_calls_is_not_hurt() -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        for _ in range(150):  # of each pair of calls the slower one is cancelled
            slow, fast = client.call("never", framed(b"")), client.call("echo", framed(b""))
            also = client.call("echo", framed(b""))
            for stream in (fast, also):
                assert (await client.status(stream))[b"grpc-status"] == b"0"
            client.engine.reset_stream(slow, 8)
            client.send()
        assert not client.of(events.GoAwayReceived)


async def test_deadlines_that_pass_at_the_client_first_are_not_counted() -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        for _ in range(3):
            streams = [
                client.call("never", framed(b""), (b"grpc-timeout", b"40m")) for _ in range(100)
            ]
            for stream in streams:
                client.engine.reset_stream(stream, 8)
            client.send()
            await serving.until_idle()
        assert not client.of(events.GoAwayReceived)


async def test_a_flood_of_settings_ends_the_connection() -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        for index in range(150):
            client.engine.update_settings({4: 65535 + index})
            client.send()
        goaway = await client.goaway()
        assert (goaway.error_code, goaway.debug_data) == (ENHANCE_YOUR_CALM, b"too_many_settings")
        await until(lambda: client.is_closed)


async def test_metadata_that_no_client_sends_ends_the_connection() -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        client.call("echo", None, *[(b"k%d" % i, b"v" * 8000) for i in range(10)])
        assert (await client.goaway()).error_code == ENHANCE_YOUR_CALM
        await until(lambda: client.is_closed)
        assert serving.server.open_state.streams == 0


async def test_another_protocol() -> None:
    async with serving_http2() as serving:
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(SECONDS):
            assert await reader.read()
        writer.close()
        await until(lambda: serving.server.open_state.connections == 0)


# Drain


async def in_flight(serving: Serving, client: RawClient, method: str) -> int:
    stream = client.call(method, framed(b"x"))
    await until(lambda: serving.service.waiting or serving.service.contexts)
    return stream


async def test_a_drain_finishes_calls_in_flight() -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        stream = await in_flight(serving, client, "never")
        stopping = asyncio.ensure_future(serving.server.stop(SECONDS))
        await until(lambda: len(client.of(events.GoAwayReceived)) == 2)
        first, second = client.of(events.GoAwayReceived)
        assert (first.last_stream_id, second.last_stream_id) == (2**31 - 1, stream)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", serving.port)
        serving.service.waiting[0].reply(b"done")
        assert (await client.status(stream))[b"grpc-status"] == b"0"
        await stopping
        await until(lambda: client.is_closed)
        assert not any(serving.server.open_state)


@pytest.mark.parametrize("method", ["never", "wait"])
async def test_after_the_grace_calls_end_with_unavailable(method: str) -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        stream = await in_flight(serving, client, method)
        await serving.server.stop(0.1)
        assert (await client.status(stream))[b"grpc-status"] == b"14"
        assert not any(serving.server.open_state)


async def test_a_client_that_never_answers_does_not_delay_the_stop() -> None:
    async with serving_http2() as serving:
        _, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        await until(lambda: serving.server.open_state.connections == 1)
        async with asyncio.timeout(SECONDS):
            await serving.server.stop(0.1)
        assert not any(serving.server.open_state)
        writer.close()


async def test_stop_twice() -> None:
    async with serving_http2() as serving:
        await serving.call("echo")
        await serving.server.stop(1.0)
        await serving.server.stop(None)


# Calls that no method counts


async def test_calls_that_end_before_their_method_begins_are_counted() -> None:
    limits = Limits(max_calls=4, stalled_seconds=0.2, max_message_bytes=100_000)
    async with serving_http2(limits) as serving, raw_client(serving.port) as client:
        held = [client.call("never", framed(b"x")) for _ in range(4)]
        await client.status(client.call("echo", framed(b"x")))
        assert serving.rejections == ["refused"]
        for stream in held:
            client.engine.reset_stream(stream, 8)
        client.send()
        await serving.until_idle()
        for reason, method, data in (
            ("unimplemented", "unknown", framed(b"x")),
            ("invalid", "echo", framed(b"x", 1)),
            ("too_large", "echo", framed(bytes(100_001))),
            ("stalled", "unary", None),
        ):
            await client.status(client.call(method, data))
            assert serving.rejections.pop() == reason
        await client.status(client.call("echo", None, (b"grpc-timeout", b"50m")))
        assert serving.rejections == ["refused", "expired"]


async def test_calls_that_their_method_counts_are_not_counted_as_rejected() -> None:
    async with serving_http2() as serving, raw_client(serving.port) as client:
        short = (b"grpc-timeout", b"50m")
        for method in ("never", "wait"):
            assert (await client.status(client.call(method, framed(b""), short)))[
                b"grpc-status"
            ] == b"4"
        stream = client.call("each", None)
        client.engine.send_data(stream, framed(b"x", 1))
        client.send()
        assert (await client.status(stream))[b"grpc-status"] == b"13"
        assert serving.rejections == []


# Memory


async def upload(client: RawClient, size: int, sent: int) -> int:
    stream = client.call("echo", None)
    client.engine.send_data(stream, framed(bytes(size))[:sent])
    client.send()
    return stream


async def test_a_message_that_does_not_fit_is_rejected_at_once() -> None:
    async with serving_http2(budget_bytes=100_000) as serving, raw_client(serving.port) as client:
        await upload(client, 90_000, 50_000)
        await until(lambda: serving.server.open_state.request_bytes == 50_000)
        status = await client.status(await upload(client, 90_000, 100))
        assert status[b"grpc-status"] == b"8"
        assert status[b"grpc-retry-pushback-ms"] == b"100"
        assert b"memory" in status[b"grpc-message"]


async def test_a_message_larger_than_the_budget_passes_alone() -> None:
    async with serving_http2(budget_bytes=100_000) as serving:
        assert await serving.call("echo", bytes(3_000_000)) == bytes(3_000_000)
        await serving.until_idle()


async def test_many_large_messages_stay_within_the_budget() -> None:
    """Each is answered or rejected with a pushback; grpcio's client retries none of them."""
    budget = 20_000_000
    async with serving_http2(budget_bytes=budget) as serving:
        highest = 0
        calls = [asyncio.ensure_future(settled(serving)) for _ in range(40)]
        while not all(call.done() for call in calls):
            highest = max(highest, serving.server.open_state.request_bytes)
            await asyncio.sleep(0.001)
        codes = {call.result() for call in calls}
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert grpc.StatusCode.OK in codes
        assert highest < budget + 20_000_000
        await serving.until_idle()
        assert await serving.call("echo", bytes(1000)) == bytes(1000)


async def settled(serving: Serving) -> grpc.StatusCode:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(serving.target, options) as channel:
        join: Any = channel.unary_unary(f"/{SERVICE}/join")
        code: grpc.StatusCode = await join(bytes(3_000_000), timeout=SECONDS).code()
        return code


async def test_half_open_uploads_end() -> None:
    limits = Limits(stalled_seconds=0.2)
    async with serving_http2(limits) as serving, raw_client(serving.port) as client:
        streams = [await upload(client, 8_000_000, 100) for _ in range(10)]
        for stream in streams:
            assert (await client.status(stream))[b"grpc-status"] == b"8"
        await serving.until_idle()
