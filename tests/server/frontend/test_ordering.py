"""Streams: several answers under way, given in the order of the questions."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from convscope.server.frontend.ordering import in_order


async def numbers(count: int, read: list[int] | None = None) -> AsyncIterator[int]:
    for number in range(count):
        if read is not None:
            read.append(number)
        yield number


async def collect(results: AsyncIterator[int], into: list[int]) -> None:
    async for result in results:
        into.append(result)


async def test_answers_come_in_the_order_of_the_messages() -> None:
    async def answer(number: int) -> int:
        await asyncio.sleep(0.01 if number % 2 else 0)
        return 10 * number

    found = [result async for result in in_order(answer, numbers(20), 4)]
    assert found == [10 * number for number in range(20)]


async def test_several_are_under_way_and_no_more_than_the_window() -> None:
    under_way = most = 0

    async def answer(number: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return number

    assert len([r async for r in in_order(answer, numbers(50), 4)]) == 50
    assert 2 <= most <= 6


async def test_messages_are_not_read_far_ahead_of_a_slow_reader() -> None:
    read: list[int] = []

    async def answer(number: int) -> int:
        return number

    results = in_order(answer, numbers(100, read), 4)
    assert await anext(results) == 0
    await asyncio.sleep(0.01)
    assert len(read) < 10
    await results.aclose()  # type: ignore[attr-defined]


async def test_an_error_comes_after_the_answers_before_it() -> None:
    async def answer(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    found: list[int] = []
    with pytest.raises(ValueError, match="three"):
        await collect(in_order(answer, numbers(9), 4), found)
    assert found == [0, 1, 2]


async def test_a_broken_stream_of_messages_is_told() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise OSError("gone")

    async def answer(number: int) -> int:
        return number

    found: list[int] = []
    with pytest.raises(OSError, match="gone"):
        await collect(in_order(answer, broken(), 4), found)
    assert found == [1]


async def test_who_goes_away_leaves_nothing_running() -> None:
    cancelled: list[int] = []

    async def answer(number: int) -> int:
        if number == 0:
            return 0
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    results = in_order(answer, numbers(100), 4)
    assert await anext(results) == 0
    await asyncio.sleep(0.01)
    await results.aclose()  # type: ignore[attr-defined]
    assert cancelled
    assert len(asyncio.all_tasks()) == 1
