"""Concurrent calls of an `AsyncClient` that share requests."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from support.server import ServerProcess

from convscope.client import (
    AsyncClient,
    DeadlineExceededError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    Tensor,
    UnavailableError,
)

FULL = grpc.StatusCode.RESOURCE_EXHAUSTED


async def until(condition: Callable[[], bool]) -> None:
    """Wait until another thread makes a condition true."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


def classify_all(
    client: AsyncClient, texts: Iterable[str], **options: Any
) -> list[asyncio.Task[Any]]:
    """Call for each text, all in one iteration of the loop."""
    options = {"model": "m"} | options
    return [asyncio.ensure_future(client.classify(t.encode(), **options)) for t in texts]


async def labels(calls: Iterable[Awaitable[Any]]) -> list[str]:
    return [result.top.label for result in await asyncio.gather(*calls)]


def texts(count: int) -> list[str]:
    return [f"image {index}" for index in range(count)]


async def test_calls_of_one_iteration_share_requests(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    async with AsyncClient(target) as client:
        assert await labels(classify_all(client, texts(256))) == texts(256)
    assert servicer.sizes() == [64] * 4


async def test_coalescing_can_be_switched_off(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    async with AsyncClient(target, coalesce=False) as client:
        assert await labels(classify_all(client, texts(9))) == texts(9)
    assert servicer.sizes() == [1] * 9


async def test_a_real_server_classifies_each_image(tiny_server: ServerProcess) -> None:
    colors = np.eye(3, dtype=np.uint8) * 200
    order = random.Random(0).choices(range(3), k=150)
    images = [Tensor(np.broadcast_to(colors[i], (16, 16, 3)).copy()) for i in order]
    async with AsyncClient(tiny_server.target) as client:
        results = await asyncio.gather(*(client.classify(i, model="tiny") for i in images))
    assert [result.top.label for result in results] == [["red", "green", "blue"][i] for i in order]


async def test_each_call_gets_its_own_error(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    async with AsyncClient(target) as client:
        calls = classify_all(client, ["a", "bad 1", "b", "bad 2"])
        outcomes: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    assert servicer.sizes() == [4]
    assert [outcomes[i].top.label for i in (0, 2)] == ["a", "b"]
    for outcome, text in ((outcomes[1], "bad 1"), (outcomes[3], "bad 2")):
        assert isinstance(outcome, InvalidInputError)
        assert outcome.message == f"no image: {text}"


async def test_a_failure_of_the_request_reaches_every_call(tiny_server: ServerProcess) -> None:
    async with AsyncClient(tiny_server.target) as client:
        calls = classify_all(client, ["a", "b", "c"], model="huge")
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, NotFoundError) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 3  # each caller raises its own


async def test_a_full_server_is_tried_three_times(scripted_server: Any) -> None:
    target, servicer = scripted_server(FULL, FULL)
    async with AsyncClient(target) as client:
        assert await labels(classify_all(client, texts(5))) == texts(5)
    assert servicer.attempts == 3


async def test_a_request_that_was_shed_fails_all_its_calls(scripted_server: Any) -> None:
    target, servicer = scripted_server(*[FULL] * 9)
    async with AsyncClient(target) as client:
        outcomes = await asyncio.gather(*classify_all(client, texts(5)), return_exceptions=True)
    assert all(isinstance(outcome, OverloadedError) for outcome in outcomes)
    assert servicer.attempts == 3


async def test_an_input_that_was_shed_is_retried(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    servicer.busy = {"image 3", "image 5"}
    async with AsyncClient(target) as client:
        assert await labels(classify_all(client, texts(8))) == texts(8)
    assert servicer.sizes() == [8, 2]


async def test_images_that_are_rejected_together_are_sent_one_by_one(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    servicer.max_inputs = 6
    async with AsyncClient(target) as client:
        for _ in range(5):
            assert await labels(classify_all(client, texts(20))) == texts(20)
        servicer.requests.clear()
        assert await labels(classify_all(client, texts(20))) == texts(20)
    assert servicer.sizes() == [5] * 4  # the client learned the server's limit


async def test_images_that_are_too_large_together_are_sent_one_by_one(
    tiny_repository: Path, scripted_server: Any
) -> None:
    with ServerProcess(tiny_repository, "--max-request-bytes", "20000") as server:
        async with AsyncClient(server.target) as client:
            photo = Tensor(np.full((16, 16, 3), 9, np.uint8))
            results = await asyncio.gather(
                *(client.classify(photo, model="tiny") for _ in texts(64))
            )
    assert len(results) == 64
    target, _ = scripted_server(max_request_bytes=2**20)
    large = [str(index) * 2**19 for index in range(6)]
    async with AsyncClient(target) as client:
        assert await labels(classify_all(client, large)) == large
        with pytest.raises(InvalidInputError, match="too large; scale the image down"):
            await client.classify(bytes(2**21), model="m")


async def test_calls_with_other_options_have_their_own_requests(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    options: list[dict[str, Any]] = [
        {},
        {"model": "n"},
        {"version": 1},
        {"alias": "a"},
        {"top_k": 1},
        {"min_probability": 0.5},
        {"priority": "bulk"},
        {"routing_key": "user 7"},
        {"timeout_seconds": 3},
    ]
    async with AsyncClient(target) as client:
        calls = [call for option in options for call in classify_all(client, texts(3), **option)]
        assert await labels(calls) == texts(3) * len(options)
    assert servicer.sizes() == [3] * len(options)


async def test_nearly_equal_timeouts_share_a_request(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    async with AsyncClient(target) as client:
        calls = [
            classify_all(client, [t], timeout_seconds=30 + i / 100)[0]
            for i, t in enumerate(texts(9))
        ]
        assert await labels(calls) == texts(9)
    assert servicer.sizes() == [9]


async def test_a_short_timeout_fails_no_other_call(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    servicer.gate.clear()
    async with AsyncClient(target) as client:
        (short,) = classify_all(client, ["short"], timeout_seconds=0.2)
        (long,) = classify_all(client, ["long"], timeout_seconds=20)
        with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s"):
            await short
        servicer.gate.set()
        assert (await long).top.label == "long"


async def test_later_calls_wait_while_requests_are_in_flight(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    servicer.gate.clear()
    async with AsyncClient(target) as client:
        calls = classify_all(client, ["first"])
        await until(lambda: servicer.sizes() == [1])  # it was sent at once
        calls += classify_all(client, ["second"])
        await until(lambda: servicer.sizes() == [1, 1])
        calls += classify_all(client, texts(5))
        await asyncio.sleep(0)
        calls += classify_all(client, ["last"])
        await until(lambda: len(servicer.requests) == 3)  # before any reply
        servicer.gate.set()
        assert await labels(calls) == ["first", "second", *texts(5), "last"]
    assert servicer.sizes() == [1, 1, 6]


async def test_a_cancelled_call_does_not_affect_the_others(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    servicer.gate.clear()
    async with AsyncClient(target) as client:
        calls = classify_all(client, texts(4))
        await until(lambda: servicer.sizes() == [4])
        calls.pop(1).cancel()
        servicer.gate.set()
        assert await labels(calls) == ["image 0", "image 2", "image 3"]
    assert not servicer.cancelled.is_set()


async def test_a_call_that_is_cancelled_early_is_not_sent(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    async with AsyncClient(target) as client:
        calls = classify_all(client, texts(3))
        await asyncio.sleep(0)
        calls.pop(0).cancel()
        assert await labels(calls) == ["image 1", "image 2"]
    assert servicer.sizes() == [2]


async def test_a_request_is_cancelled_with_its_last_call(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    servicer.gate.clear()
    async with AsyncClient(target) as client:
        calls = classify_all(client, texts(3))
        await until(lambda: servicer.sizes() == [3])
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await until(servicer.cancelled.is_set)
        servicer.gate.set()
        assert await labels(classify_all(client, ["next"])) == ["next"]


async def test_requests_are_bounded_in_bytes(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    large = [str(index) * 2**20 for index in range(8)]
    async with AsyncClient(target) as client:
        assert await labels(classify_all(client, [*large, "small"])) == [*large, "small"]
        largest = "x" * (2**23 - 100)
        assert await labels(classify_all(client, [largest, "y"])) == [largest, "y"]
    assert sorted(servicer.sizes()) == [1, 1, 3, 3, 3]


async def test_slow_images_are_sent_in_smaller_requests(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    async with AsyncClient(target) as client:
        servicer.infer_seconds = 1.0
        for _ in range(7):
            await labels(classify_all(client, texts(64)))
        assert servicer.sizes()[-64:] == [1] * 64
        servicer.infer_seconds = 0.001
        for _ in range(7):
            await labels(classify_all(client, texts(64)))
    assert servicer.sizes()[-1] == 64


async def test_large_results_limit_the_size_of_requests(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    servicer.feature_map_bytes = 2**20
    async with AsyncClient(target) as client:
        for _ in range(6):
            results = await asyncio.gather(*classify_all(client, texts(20), feature_maps=["map"]))
            assert [result.top.label for result in results] == texts(20)
            assert {r.feature_maps["map"].array.size for r in results} == {2**20}
    assert 4 <= max(servicer.sizes()) < 8


async def test_many_different_options(scripted_server: Any) -> None:
    target, servicer = scripted_server()
    async with AsyncClient(target) as client:
        for top_k in range(1, 200):
            assert await labels(classify_all(client, texts(2), top_k=top_k)) == texts(2)
    assert servicer.sizes() == [2] * 199


@pytest.mark.parametrize("coalesce", [True, False])
async def test_closing_ends_every_call_with_an_error(
    scripted_server: Any, *, coalesce: bool
) -> None:
    target, servicer = scripted_server()
    servicer.gate.clear()
    client = AsyncClient(target, coalesce=coalesce)
    calls = classify_all(client, texts(3))
    stream = client.classify_many([b"x"], model="m", return_errors=True)
    calls.append(asyncio.ensure_future(stream.collect()))
    await until(lambda: sum(servicer.sizes()) == 4)
    await client.close()
    # A CancelledError would end the tasks that wait for the calls, although nobody cancelled them.
    *outcomes, many = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(many, list)
    for outcome in (*outcomes, *many):
        assert isinstance(outcome, UnavailableError)
        assert "is closed" in outcome.message
    with pytest.raises(UnavailableError, match="is closed"):
        await client.classify(b"x", model="m")
