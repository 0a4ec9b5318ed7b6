"""The SDK retries calls that a server refuses, or whose connection it ends."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from ngh2 import ErrorCode
from support import abuse
from support.abuse import offender
from support.ending_server import End, EndingServer, cut, goaway, reset, serving
from support.http2 import MIB, until

from convscope.client import AsyncClient, Classification, Client
from convscope.server.frontend.transport.calls import UnaryCall
from convscope.server.frontend.transport.http2 import ending
from convscope.server.frontend.transport.http2.limits import Limits
from convscope.server.frontend.transport.http2.server import Http2Server
from convscope.server.frontend.transport.memory_budget import MemoryBudget
from convscope.v1 import inference_pb2 as pb

KINDS = [Client, AsyncClient]
CLASSIFIER = "convscope.v1.ClassifierService"
CONCURRENT = 64
PREDICTION = pb.Prediction(classes=[pb.ClassScore(index=0, label="yes", probability=1)])
REPLY = pb.ClassifyResponse(
    model="m", version=1, results=[pb.InputResult(prediction=PREDICTION)]
).SerializeToString()

ENDS: dict[str, End] = {
    "refused stream": reset(ErrorCode.REFUSED_STREAM),
    "calmed stream": reset(ErrorCode.ENHANCE_YOUR_CALM),
    "GOAWAY below the stream": goaway(ErrorCode.NO_ERROR, processed=False),
    "GOAWAY below the stream of a flood": goaway(ErrorCode.ENHANCE_YOUR_CALM, processed=False),
    "GOAWAY of a flood": goaway(ErrorCode.ENHANCE_YOUR_CALM, processed=True),
    "closed": goaway(ErrorCode.NO_ERROR, processed=True),
    "cut": cut,
}


class Caller:
    """Calls a client of either kind from the event loop."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client: Any = client
        self._pool = ThreadPoolExecutor(CONCURRENT)

    async def classify(self) -> Classification:
        """Classify an image."""
        classify = partial(self.client.classify, b"image", model="m")
        if isinstance(self.client, AsyncClient):
            result: Classification = await classify()
        else:
            result = await asyncio.get_running_loop().run_in_executor(self._pool, classify)
        return result

    async def classify_each(self, count: int) -> list[Classification]:
        """Classify images in concurrent calls."""
        return await asyncio.gather(*(self.classify() for _ in range(count)))

    async def close(self) -> None:
        """Close the client."""
        if isinstance(self.client, AsyncClient):
            await self.client.close()
        else:
            self.client.close()
        self._pool.shutdown()


@asynccontextmanager
async def calling(kind: type[Client] | type[AsyncClient], target: str) -> AsyncIterator[Caller]:
    """Make a client for the duration of a with block."""
    caller = Caller(Client(target) if kind is Client else AsyncClient(target, coalesce=False))
    try:
        yield caller
    finally:
        await caller.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, CONCURRENT])
@pytest.mark.parametrize("end", ENDS)
async def test_calls_that_a_server_ends_are_retried(kind: Any, end: str, count: int) -> None:
    """However many calls a connection has: a client that loses it loses none of them."""
    server = EndingServer(REPLY, ENDS[end], count)
    async with serving(server) as target, calling(kind, target) as caller:
        results = await caller.classify_each(count)
    assert [result.top.label for result in results] == ["yes"] * count
    assert server.has_ended
    assert server.attempts == 2 * count


# The real server


class Classify:
    """Answers calls of Classify, at once or when it is opened."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.is_open = is_open
        self.calls: list[UnaryCall] = []

    def __call__(self, calls: Sequence[UnaryCall]) -> None:
        self.calls += calls
        if self.is_open:
            self.open()

    @property
    def peers(self) -> set[str]:
        """The connections that the calls came over."""
        return {call.peer for call in self.calls}

    def open(self) -> None:
        """Answer all calls, those that wait too."""
        self.is_open = True
        for call in self.calls:
            call.reply(REPLY)


@asynccontextmanager
async def real_server(classify: Classify, limits: Limits) -> AsyncIterator[int]:
    """Serve for the duration of a with block; return the port."""
    server = Http2Server(MemoryBudget(256 * MIB), limits)
    server.add_group_methods(CLASSIFIER, {"Classify": classify})
    offenders = Classify(is_open=False)
    server.add_group_methods("grpc.health.v1.Health", {"Check": offenders, "Watch": offenders})
    port = server.bind("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@pytest.mark.parametrize("kind", KINDS)
async def test_connections_that_reach_their_age_lose_no_call(kind: Any) -> None:
    classify = Classify()
    async with (
        real_server(classify, Limits(age_seconds=0.1)) as port,
        calling(kind, f"127.0.0.1:{port}") as caller,
    ):
        while len(classify.peers) < 5:
            results = await caller.classify_each(4)
            assert [result.top.label for result in results] == ["yes"] * 4


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_above_the_limit_of_a_server_are_retried(kind: Any) -> None:
    classify = Classify(is_open=False)
    async with (
        real_server(classify, Limits(max_calls=4)) as port,
        calling(kind, f"127.0.0.1:{port}") as caller,
    ):
        calls = [asyncio.ensure_future(caller.classify()) for _ in range(5)]
        await until(lambda: len(classify.calls) == 4)
        classify.open()
        assert [(await call).top.label for call in calls] == ["yes"] * 5


@pytest.mark.parametrize("kind", KINDS)
async def test_a_flood_does_not_cancel_the_calls_of_others(kind: Any) -> None:
    """The calls in flight are answered, and none of them is made twice."""
    classify = Classify(is_open=False)
    async with (
        real_server(classify, Limits()) as port,
        calling(kind, f"127.0.0.1:{port}") as caller,
    ):
        calls = [asyncio.ensure_future(caller.classify()) for _ in range(CONCURRENT)]
        await until(lambda: len(classify.calls) == CONCURRENT)
        for flood in (abuse.rapid_reset, abuse.window_update_of_0, abuse.pings, abuse.settings):
            async with offender(port) as client:
                await client.send(flood(5000))
                assert (await client.until_closed()).is_closed
        assert len(classify.calls) == CONCURRENT
        classify.open()
        assert [(await call).top.label for call in calls] == ["yes"] * CONCURRENT


@pytest.mark.parametrize("lingers", [True, False], ids=["in time", "too late"])
async def test_a_client_that_cancels_too_much_loses_no_other_call(
    lingers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection ends; what is in flight is finished there, or on another one."""
    monkeypatch.setattr(ending, "LINGER_SECONDS", 30.0 if lingers else 0.1)
    classify = Classify(is_open=False)
    async with (
        real_server(classify, Limits()) as port,
        calling(AsyncClient, f"127.0.0.1:{port}") as caller,
    ):
        kept = [asyncio.ensure_future(caller.classify()) for _ in range(CONCURRENT)]
        await until(lambda: len(classify.calls) == CONCURRENT)
        cancelled = [asyncio.ensure_future(caller.classify()) for _ in range(150)]
        await until(lambda: len(classify.calls) == CONCURRENT + 150)
        for call in cancelled:
            call.cancel()
        again = CONCURRENT + 150 + 1 + (0 if lingers else CONCURRENT)
        new = asyncio.ensure_future(caller.classify())
        await until(lambda: len(classify.calls) == again)
        assert len(classify.peers) == 2
        classify.open()
        assert [(await call).top.label for call in [*kept, new]] == ["yes"] * (CONCURRENT + 1)
