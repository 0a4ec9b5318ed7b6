"""Many calls, of which some are cancelled and some lose their connection: nothing remains.

CONVSCOPE_LEAK_CALLS=1000000 makes so many calls.
"""

import asyncio
import gc
import os
from pathlib import Path
from random import Random

import pytest
from ngh2 import events
from support.http2 import Serving, framed, raw_client, serving_http2, until

from convscope.server.frontend.transport.http2.connection import Connection
from convscope.server.frontend.transport.http2.stream import Stream

CALLS = int(os.environ.get("CONVSCOPE_LEAK_CALLS", "40000"))
CALLS_PER_CONNECTION = 100  # as many as a client begins before it knows the server's settings
CONNECTIONS_AT_ONCE = 4
GROWTH_MB = 15
CANCEL = 8


@pytest.mark.slow(seconds=15)
@pytest.mark.timeout(300 + CALLS / 500)
async def test_nothing_remains_of_many_calls() -> None:
    random = Random(13)
    connections = CALLS // CALLS_PER_CONNECTION
    async with serving_http2() as serving:
        before, tasks_before = await left_over(serving)
        for index in range(0, connections, CONNECTIONS_AT_ONCE):
            batch = (converse(serving, random) for _ in range(CONNECTIONS_AT_ONCE))
            await asyncio.gather(*batch)
            forget(serving)
            if index == connections // 5 // CONNECTIONS_AT_ONCE * CONNECTIONS_AT_ONCE:
                memory = rss_mb()  # everything was used once
        after, tasks_after = await left_over(serving)
        assert after == before
        assert tasks_after <= tasks_before  # some of the start may have ended since
        assert rss_mb() < memory + GROWTH_MB
        assert await serving.call("echo", b"still here") == b"still here"


async def converse(serving: Serving, random: Random) -> None:
    """Make the calls of one connection; cancel one of a hundred, and cut one connection of them."""
    is_cut = random.random() < 0.01
    async with raw_client(serving.port) as client:
        cancelled = 0
        for _ in range(CALLS_PER_CONNECTION):
            deadline = random.choice(((), ((b"grpc-timeout", b"9S"),)))
            if random.random() < 0.01:
                method, data = random.choice((("never", b""), ("wait", b""), ("flood", b"5000")))
                stream = client.call(method, framed(data), *deadline)
                cancelled += 1
                asyncio.get_running_loop().call_later(
                    random.choice((0.0, 0.01)), client.engine.reset_stream, stream, CANCEL
                )
            else:
                method = random.choice(("echo", "echo", "later", "unary", "each", "join"))
                size = random.choice((0, 10, 10, 1000, 20_000))
                client.call(method, framed(bytes(size)), *deadline)
        if is_cut:
            await asyncio.sleep(random.choice((0.0, 0.001, 0.02)))
            return
        await asyncio.sleep(0.02 if cancelled else 0.0)
        client.send()
        await until(lambda: len(client.of(events.StreamClosed)) == CALLS_PER_CONNECTION)
        statuses = [client.fields(event.stream_id) for event in client.of(events.StreamClosed)]
        answered = sum(status.get(b"grpc-status") == b"0" for status in statuses)
        assert answered == CALLS_PER_CONNECTION - cancelled


def forget(serving: Serving) -> None:
    """Drop the calls that the handlers remember."""
    service = serving.service
    for remembered in (service.groups, service.waiting, service.cancelled, service.contexts):
        remembered.clear()


async def left_over(serving: Serving) -> tuple[tuple[object, ...], int]:
    """Return what the server and the process hold when no call is open, and the number of tasks."""
    await until(lambda: not any(serving.server.open_state))
    forget(serving)
    await asyncio.sleep(0.1)
    gc.collect()
    objects = gc.get_objects()
    held = [sum(isinstance(one, kind) for one in objects) for kind in (Connection, Stream)]
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return (serving.server.open_state, held, descriptors), len(asyncio.all_tasks())


def rss_mb() -> float:
    """The memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def test_calls_are_freed_without_garbage_collection() -> None:
    """A full collection would stop everything for long."""
    async with serving_http2() as serving:
        before = await left_over(serving)
        gc.disable()
        try:
            await asyncio.gather(*(converse(serving, Random(seed)) for seed in range(4)))
            await until(lambda: not any(serving.server.open_state))
            forget(serving)
            await asyncio.sleep(0.1)
            held = [one for one in gc.get_objects() if isinstance(one, Stream)]
        finally:
            gc.enable()
        assert not held
        assert await left_over(serving) == before
