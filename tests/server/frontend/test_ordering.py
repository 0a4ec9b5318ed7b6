"""Streams: several requests in progress, and replies in the order of the requests."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from convscope.server.frontend.ordering import Place, in_order


async def numbers(count: int, read: list[int] | None = None) -> AsyncIterator[int]:
    for number in range(count):
        if read is not None:
            read.append(number)
        yield number


async def collect(results: AsyncIterator[int], into: list[int]) -> None:
    async for result in results:
        into.append(result)


async def test_replies_are_in_the_order_of_the_messages() -> None:
    def begin(number: int, place: Place[int]) -> None:
        if number % 2:
            asyncio.get_running_loop().call_later(0.01, place.set, 10 * number)
        else:
            place.set(10 * number)

    found = [result async for result in in_order(begin, numbers(20), 4)]
    assert found == [10 * number for number in range(20)]


async def test_several_are_in_progress_and_no_more_than_the_window() -> None:
    in_progress = most = 0

    def begin(number: int, place: Place[int]) -> None:
        nonlocal in_progress, most
        in_progress += 1
        most = max(most, in_progress)
        asyncio.get_running_loop().call_later(0.001, end, number, place)

    def end(number: int, place: Place[int]) -> None:
        nonlocal in_progress
        in_progress -= 1
        place.set(number)

    assert len([r async for r in in_order(begin, numbers(50), 4)]) == 50
    assert 2 <= most <= 6


async def test_messages_are_not_read_far_ahead_of_a_slow_reader() -> None:
    read: list[int] = []

    def begin(number: int, place: Place[int]) -> None:
        place.set(number)

    results = in_order(begin, numbers(100, read), 4)
    assert await anext(results) == 0
    await asyncio.sleep(0.01)
    assert len(read) < 10
    await results.aclose()  # type: ignore[attr-defined]


async def test_an_error_comes_after_the_earlier_replies() -> None:
    def begin(number: int, place: Place[int]) -> None:
        if number == 3:
            raise ValueError("three")
        place.set(number)

    found: list[int] = []
    with pytest.raises(ValueError, match="three"):
        await collect(in_order(begin, numbers(9), 4), found)
    assert found == [0, 1, 2]


async def test_an_error_of_the_message_stream_is_raised() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise OSError("gone")

    def begin(number: int, place: Place[int]) -> None:
        place.set(number)

    found: list[int] = []
    with pytest.raises(OSError, match="gone"):
        await collect(in_order(begin, broken(), 4), found)
    assert found == [1]


async def test_a_reader_that_leaves_cancels_what_is_in_progress() -> None:
    cancelled: list[int] = []

    def begin(number: int, place: Place[int]) -> None:
        place.on_cancel = lambda: cancelled.append(number)
        if number == 0:
            place.set(0)

    results = in_order(begin, numbers(100), 4)
    assert await anext(results) == 0
    await asyncio.sleep(0.01)
    await results.aclose()  # type: ignore[attr-defined]
    assert cancelled
    assert 0 not in cancelled
    assert len(asyncio.all_tasks()) == 1


async def test_the_first_reply_to_a_message_counts() -> None:
    def begin(number: int, place: Place[int]) -> None:
        place.set(number)
        place.set(-1)

    assert [result async for result in in_order(begin, numbers(3), 4)] == [0, 1, 2]
