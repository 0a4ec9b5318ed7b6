"""Items that never run: cancelled, expired, rejected, or waiting when the batcher closes."""

import asyncio

import pytest
from support.batching import (
    ALL_RUNNERS,
    TIMEOUT_SECONDS,
    AwaitedBatcher,
    GatedRun,
    QueueFullError,
    hold_runner,
    outcomes,
    started,
    submitted,
    until,
)

from convscope.server.inference.queue import ClosedError, ExpiredError

# Cancellation


async def test_item_cancelled_in_the_queue_never_runs_and_leaves_its_place() -> None:
    run = GatedRun()
    async with started(run, max_queue=3) as batcher:
        first = await hold_runner(batcher, run)
        gone, *rest = submitted(batcher, 1, 2, 3)
        await until(lambda: batcher.waiting == 3)
        gone.cancel()
        await until(lambda: batcher.waiting == 2)
        rest += submitted(batcher, 4)
        await until(lambda: batcher.waiting == 3)
        run.open_gate(2)
        assert await outcomes([first, gone, *rest]) == [0, asyncio.CancelledError, 20, 30, 40]
    assert run.batches == [[0], [2, 3, 4]]


async def test_item_cancelled_in_flight_does_not_affect_its_batch() -> None:
    run = GatedRun()
    async with started(run) as batcher:
        first = await hold_runner(batcher, run)
        tasks = submitted(batcher, 1, 2, 3)
        await until(lambda: batcher.waiting == 3)
        run.open_gate()
        await until(lambda: len(run.batches) == 2)
        tasks[1].cancel()
        await asyncio.sleep(0)
        run.open_gate()
        assert await outcomes([first, *tasks]) == [0, 10, asyncio.CancelledError, 30]
        run.open_gate()
        assert await outcomes(submitted(batcher, 4)) == [40]
    assert run.batches == [[0], [1, 2, 3], [4]]


async def test_all_cancelled_in_the_queue_starts_no_empty_batch() -> None:
    run = GatedRun()
    async with started(run) as batcher:
        first = await hold_runner(batcher, run)
        tasks = submitted(batcher, 1, 2)
        await until(lambda: batcher.waiting == 2)
        for task in tasks:
            task.cancel()
        await until(lambda: batcher.waiting == 0)
        run.open_gate(2)
        assert await outcomes([first, *tasks]) == [0, *[asyncio.CancelledError] * 2]
        assert await outcomes(submitted(batcher, 3)) == [30]
    assert run.batches == [[0], [3]]


async def test_inline_item_cancelled_before_its_run_never_runs() -> None:
    run = GatedRun(opened=True)
    async with started(run, runners=0) as batcher:
        first, second = submitted(batcher, 1, 2)
        await asyncio.sleep(0)  # both are queued, and neither has run
        first.cancel()
        assert await outcomes([first, second]) == [asyncio.CancelledError, 20]
    assert run.batches == [[2]]


# Overload


async def test_full_queue_rejects_and_keeps_its_items() -> None:
    run = GatedRun()
    async with started(run, max_queue=3) as batcher:
        first = await hold_runner(batcher, run)
        waiting = submitted(batcher, 1, 2, 3)
        await until(lambda: batcher.waiting == 3)
        with pytest.raises(QueueFullError):
            await batcher.submit(4)
        assert batcher.waiting == 3
        run.open_gate(2)
        assert await outcomes([first, *waiting]) == [0, 10, 20, 30]
    assert 4 not in run.items


async def test_queue_counts_sizes() -> None:
    run = GatedRun()
    async with started(run, max_queue=5) as batcher:
        first = await hold_runner(batcher, run)
        waiting = submitted(batcher, 1, size=3)
        await until(lambda: batcher.waiting == 3)
        with pytest.raises(QueueFullError):
            await batcher.submit(2, size=3)
        waiting += submitted(batcher, 3, size=2)
        await until(lambda: batcher.waiting == 5)
        run.open_gate(3)
        assert await outcomes([first, *waiting]) == [0, 10, 30]


async def test_idle_batcher_accepts_an_item_larger_than_its_queue_and_batch() -> None:
    async with started(GatedRun(opened=True), max_batch=2, max_queue=1) as batcher:
        assert (await batcher.submit(1, size=100)).result == 10
        assert batcher.waiting == 0


async def test_items_submitted_together_are_queued_all_or_none() -> None:
    run = GatedRun()
    async with started(run, max_queue=4) as batcher:
        first = await hold_runner(batcher, run)
        together = asyncio.create_task(batcher.submit_all([1, 2], [1, 2]))
        await until(lambda: batcher.waiting == 3)
        with pytest.raises(QueueFullError):
            await batcher.submit_all([3, 4], [1, 1])
        assert batcher.waiting == 3
        run.open_gate(2)
        assert [completed.result for completed in await together] == [10, 20]
        assert await outcomes([first]) == [0]
        assert await batcher.submit_all([], []) == []
    assert run.items == [0, 1, 2]


async def test_items_submitted_together_leave_the_queue_together() -> None:
    run = GatedRun()
    async with started(run, max_batch=1) as batcher:
        first = await hold_runner(batcher, run)
        cancelled = asyncio.create_task(batcher.submit_all([1, 2], [1, 1]))
        await until(lambda: batcher.waiting == 2)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert batcher.waiting == 0
        run.open_gate()
        assert await outcomes([first]) == [0]
    assert run.items == [0]


# Deadlines


@ALL_RUNNERS
async def test_item_past_its_deadline_never_runs(runners: int) -> None:
    run = GatedRun(opened=True)
    async with started(run, runners=runners) as batcher:
        past = asyncio.get_running_loop().time() - 1
        late, good = *submitted(batcher, 1, deadline=past), *submitted(batcher, 2)
        assert await outcomes([late, good]) == [ExpiredError, 20]
    assert run.items == [2]


async def test_deadline_that_passes_in_the_queue_expires_only_its_item() -> None:
    run = GatedRun()
    async with started(run) as batcher:
        first = await hold_runner(batcher, run)
        now = asyncio.get_running_loop().time()
        late = submitted(batcher, 1, deadline=now + 0.05)
        good = submitted(batcher, 2, deadline=now + 3600)
        await until(lambda: batcher.waiting == 2)
        await asyncio.sleep(0.1)
        run.open_gate(2)
        assert await outcomes([first, *late, *good]) == [0, ExpiredError, 20]
    assert run.batches == [[0], [2]]


# Closing


async def test_close_rejects_what_waits_and_waits_for_what_runs() -> None:
    run = GatedRun()
    async with started(run) as batcher:
        first = await hold_runner(batcher, run)
        waiting = submitted(batcher, 1, 2)
        await until(lambda: batcher.waiting == 2)
        closing = asyncio.create_task(batcher.close())
        assert await outcomes(waiting) == [ClosedError, ClosedError]
        assert not closing.done()
        run.open_gate()
        assert await outcomes([first]) == [0]
        await asyncio.wait_for(closing, TIMEOUT_SECONDS)
        with pytest.raises(ClosedError):
            await batcher.submit(3)
    assert run.items == [0]


async def test_close_while_the_delay_runs_rejects_what_waits() -> None:
    run = GatedRun()
    async with started(run, max_delay=3600.0) as batcher:
        waiting = submitted(batcher, 1)
        await until(lambda: batcher.waiting == 1)
        await batcher.close()
        assert await outcomes(waiting) == [ClosedError]
    assert run.items == []


async def test_inline_close_rejects_what_waits() -> None:
    run = GatedRun(opened=True)
    async with started(run, runners=0) as batcher:
        tasks = submitted(batcher, 1)
        await asyncio.gather(asyncio.sleep(0), batcher.close())
        assert await outcomes(tasks) == [ClosedError]
        assert await outcomes(submitted(batcher, 2)) == [ClosedError]


async def test_closing_twice_or_before_the_start_is_no_error() -> None:
    batcher: AwaitedBatcher[int, int] = AwaitedBatcher(
        GatedRun(opened=True), max_batch=1, max_queue=1
    )
    with pytest.raises(ClosedError):
        await batcher.submit(1)
    await batcher.close()
    batcher.start()
    await batcher.close()
    await batcher.close()
