"""Hostile clients against the real server, beside an honest one whose calls all succeed."""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from support import abuse, frames
from support.abuse import FLOODS, Offender, honest, offender, rss_mb
from support.calls import connected, image_request
from support.frames import frame, word
from support.http2 import framed
from support.server import FRESH, ServerProcess

GROWTH_MB = 40  # memory that may remain of everything that a server went through
PEAK_MB = 150
CONNECTIONS = 5000
UPLOADS = 20
STALL_SECONDS = 90.0  # more than the server allows
LONG_PAUSE = 0.05


pytestmark = pytest.mark.one_transport("attacks http2 with raw frames")


@pytest.fixture(scope="module")
def server(tiny_repository: Path) -> Iterator[ServerProcess]:
    flags = ("--transport", "http2", "--no-access-log")
    with ServerProcess(tiny_repository, *flags, command=FRESH) as server:
        with connected(server) as stub:
            for _ in range(200):
                stub.Classify(image_request(), timeout=30)
        yield server


@asynccontextmanager
async def unharmed(server: ServerProcess, pause_seconds: float = 0.0) -> AsyncIterator[None]:
    """Check that an honest client succeeds meanwhile, and that memory and descriptors return.

    Args:
        server: The server.
        pause_seconds: How long the client waits between its calls. An attack that takes long
            would otherwise mostly measure how many calls a core can make.
    """
    pid = server.process.pid
    memory, files = rss_mb(pid), abuse.descriptors(pid)
    async with honest(server.target, pause_seconds=pause_seconds):
        yield
    async with asyncio.timeout(abuse.SECONDS):
        while abuse.descriptors(pid) > files:
            await asyncio.sleep(0.05)
    assert rss_mb(pid) < memory + GROWTH_MB
    assert server.process.poll() is None
    assert not [line for line in server.log if "unexpected" in line["event"]]


def port(server: ServerProcess) -> int:
    return int(server.target.rpartition(":")[2])


@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not reading"])
@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
async def test_a_flood_ends_its_own_connection(
    server: ServerProcess, flood: Callable[[int], abuse.Frames], reads: bool
) -> None:
    async with unharmed(server), offender(port(server)) as client:
        await client.send(flood(FLOODS[flood]), reads=reads)
        ending = await client.until_closed()
        assert ending.is_closed, ending


@pytest.mark.parametrize(
    "flood",
    [abuse.unknown_methods, abuse.large_headers, abuse.padded_data, abuse.table_sizes],
    ids=lambda flood: flood.__name__,
)
async def test_a_flood_of_requests_within_the_rules_harms_nobody_else(
    server: ServerProcess, flood: Callable[[int], abuse.Frames]
) -> None:
    async with unharmed(server), offender(port(server)) as client:
        await client.send(flood(2000))


async def test_a_flood_from_many_connections(server: ServerProcess) -> None:
    async def one() -> None:
        async with offender(port(server)) as client:
            await client.send(abuse.rapid_reset(2000))
            assert (await client.until_closed()).is_closed

    async with unharmed(server):
        await asyncio.gather(*(one() for _ in range(50)))


async def test_a_flood_does_not_cancel_the_calls_of_others(server: ServerProcess) -> None:
    """Streams that are open during the floods go on after them."""
    async with unharmed(server):
        await _stay_open_during_floods(server)


async def _stay_open_during_floods(server: ServerProcess) -> None:
    async with grpc.aio.insecure_channel(server.target) as channel:
        method: Any = channel.stream_stream(abuse.REFLECTION)
        calls = [method(timeout=abuse.SECONDS) for _ in range(20)]
        for call in calls:
            await call.write(abuse.REFLECTION_REQUEST)
            assert await call.read() is not grpc.aio.EOF
        for flood in (abuse.rapid_reset_of_whole_requests, abuse.window_update_of_0, abuse.pings):
            async with offender(port(server)) as client:
                await client.send(flood(5000))
                assert (await client.until_closed()).is_closed
        for call in calls:
            await call.write(abuse.REFLECTION_REQUEST)
            assert await call.read() is not grpc.aio.EOF
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK


# Clients that wait


async def zero_windows(client: Offender) -> None:
    """Ask for replies, and let the server send none of them."""
    requests = (abuse.whole(stream) for stream in abuse.streams(200))
    await client.send(iter([frames.settings(_4=0), *requests]), reads=False)


async def half_open_uploads(client: Offender) -> None:
    """Promise messages of 8 MB, and send nothing of them."""
    path, prefix = "/convscope.v1.ClassifierService/Classify", b"\0" + word(8_000_000)
    await client.send(
        abuse.head(path, stream) + frame(frames.DATA, 0, stream, prefix + bytes(100))
        for stream in abuse.streams(UPLOADS)
    )


async def unread_replies(client: Offender) -> None:
    """Open all windows, ask for large replies, and read none of them."""
    opened = [frames.settings(_4=2**31 - 1), frame(frames.WINDOW_UPDATE, 0, 0, word(2**30))]
    requests = (
        abuse.whole(stream, abuse.REFLECTION, framed(abuse.REFLECTION_REQUEST))
        for stream in abuse.streams(20_000)
    )
    await client.send(iter([*opened, *requests]), reads=False)


async def nothing(client: Offender) -> None:
    """Send no preface."""


@pytest.mark.slow(seconds=30)
async def test_clients_and_uploads_that_wait_are_given_up(server: ServerProcess) -> None:
    """The server closes the connections of clients that never do.

    Uploads that wait end with a status, and their client may make other calls.
    """
    waiting = {zero_windows: None, unread_replies: None, nothing: b""}
    pid = server.process.pid
    async with unharmed(server, LONG_PAUSE), AsyncExitStack() as stack:
        files, memory = abuse.descriptors(pid), rss_mb(pid)
        uploading = await stack.enter_async_context(offender(port(server)))
        await half_open_uploads(uploading)
        for wait, preface in waiting.items():
            await wait(await stack.enter_async_context(offender(port(server), preface)))
        assert abuse.descriptors(pid) > files + 1
        assert rss_mb(pid) < memory + PEAK_MB
        async with asyncio.timeout(STALL_SECONDS):
            await asyncio.gather(
                # The connection of the uploads stays.
                until_given_up(pid, files + 1),
                uploading.until_resets(UPLOADS, STALL_SECONDS),
            )


async def until_given_up(pid: int, files: int) -> None:
    """Wait until a process has as few descriptors as before."""
    while abuse.descriptors(pid) > files:
        await asyncio.sleep(0.5)


@pytest.mark.slow(seconds=25)
async def test_a_server_under_attack_stops_in_time(tiny_repository: Path) -> None:
    attacks = (zero_windows, half_open_uploads, unread_replies)
    with ServerProcess(tiny_repository, "--transport", "http2") as server:
        async with AsyncExitStack() as stack:
            for attack in attacks:
                await attack(await stack.enter_async_context(offender(port(server))))
            for _ in range(100):
                await stack.enter_async_context(offender(port(server)))
            flooding = await stack.enter_async_context(offender(port(server)))
            flood = asyncio.create_task(flooding.send(abuse.window_updates(10**9)))
            assert await asyncio.to_thread(server.stop) == 0
            await flood


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Let this process open enough connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 500
    if 0 <= hard < wanted:
        pytest.skip(f"at most {hard} files may be open on this machine")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow(seconds=30)
@pytest.mark.usefixtures("many_descriptors")
async def test_idle_connections(server: ServerProcess) -> None:
    async with unharmed(server, LONG_PAUSE), AsyncExitStack() as stack:
        for _ in range(CONNECTIONS // 100):
            entering = (stack.enter_async_context(offender(port(server))) for _ in range(100))
            await asyncio.gather(*entering)
        # A caller that comes now is served too.
        async with honest(server.target):
            pass
