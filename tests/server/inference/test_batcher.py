"""How the batcher forms batches, on real threads and a real event loop."""

import asyncio
import gc
import threading
import time
import weakref
from contextlib import suppress

import pytest
from support.batching import (
    ALL_RUNNERS,
    AwaitedBatcher,
    GatedRun,
    QueueFullError,
    hold_runner,
    outcomes,
    started,
    submitted,
    until,
)


@ALL_RUNNERS
async def test_every_item_gets_its_own_result(runners: int) -> None:
    async with started(GatedRun(opened=True), runners=runners) as batcher:
        assert await outcomes(submitted(batcher, *range(50))) == [10 * i for i in range(50)]


async def test_single_item_runs_immediately_and_later_ones_are_the_next_batch() -> None:
    run = GatedRun()
    async with started(run, max_batch=4) as batcher:
        first = await hold_runner(batcher, run)
        rest = submitted(batcher, 1, 2, 3, 4, 5)
        await until(lambda: batcher.waiting == 5)
        run.open_gate(3)
        assert await outcomes([first, *rest]) == [0, 10, 20, 30, 40, 50]
    assert run.batches == [[0], [1, 2, 3, 4], [5]]


async def test_each_runner_takes_a_batch() -> None:
    run = GatedRun()
    async with started(run, runners=2) as batcher:
        first = submitted(batcher, 0)
        await until(lambda: len(run.batches) == 1)
        second = submitted(batcher, 1)
        await until(lambda: len(run.batches) == 2)
        third = submitted(batcher, 2, 3)
        await until(lambda: batcher.waiting == 2)
        assert run.batches == [[0], [1]]
        run.open_gate(3)
        assert await outcomes([*first, *second, *third]) == [0, 10, 20, 30]


async def test_batch_sees_whether_others_run_or_wait() -> None:
    run = GatedRun()
    concurrent: list[bool] = []

    def observed(items: list[int]) -> list[int]:
        concurrent.append(batcher.concurrent)
        return run(items)

    async with started(observed, runners=2, max_batch=1) as batcher:
        tasks = submitted(batcher, 1)
        await until(lambda: len(run.batches) == 1)
        tasks += submitted(batcher, 2)  # beside the first
        await until(lambda: len(run.batches) == 2)
        tasks += submitted(batcher, 3, 4)
        await until(lambda: batcher.waiting == 2)
        for done in range(1, 4):
            run.open_gate()
            await until(lambda: sum(task.done() for task in tasks) >= done)  # noqa: B023
        assert concurrent[:3] == [False, True, True]
        run.open_gate()
        await outcomes(tasks)
        tasks = submitted(batcher, 5)
        run.open_gate()
        await outcomes(tasks)
    assert concurrent[-1] is False


async def test_sizes_fill_a_batch_and_order_is_kept() -> None:
    run = GatedRun()
    sizes: list[int] = []
    async with started(run, max_batch=4, on_batch=sizes.append) as batcher:
        first = await hold_runner(batcher, run)
        tasks = [
            task
            for item, size in ((1, 2), (2, 1), (3, 2), (4, 9), (5, 1))
            for task in submitted(batcher, item, size=size)
        ]
        await until(lambda: batcher.waiting == 15)
        run.open_gate(10)
        assert await outcomes([first, *tasks]) == [0, 10, 20, 30, 40, 50]
    assert run.batches == [[0], [1, 2], [3], [4], [5]]
    assert sizes == [1, 3, 2, 9, 1]


async def test_full_batch_does_not_wait_for_the_delay() -> None:
    run = GatedRun(opened=True)
    async with started(run, max_batch=2, max_delay=3600.0) as batcher:
        assert await outcomes(submitted(batcher, 1, 2)) == [10, 20]
    assert run.batches == [[1, 2]]


async def test_delay_gathers_items_that_come_one_by_one() -> None:
    run = GatedRun(opened=True)
    async with started(run, max_batch=3, max_delay=3600.0) as batcher:
        tasks = []
        for item in (1, 2, 3):
            tasks += submitted(batcher, item)
            await asyncio.sleep(0.01)
        assert await outcomes(tasks) == [10, 20, 30]
    assert run.batches == [[1, 2, 3]]


async def test_delay_counts_from_the_oldest_item() -> None:
    run = GatedRun(opened=True)
    async with started(run, max_batch=1000, max_delay=0.25) as batcher:
        tasks = []
        for item in range(40):
            tasks += submitted(batcher, item)
            await asyncio.sleep(0.05)
        assert await outcomes(tasks) == [10 * item for item in range(40)]
    assert len(run.batches) > 1  # counted from the newest, the first batch would never end


async def test_delay_of_a_cancelled_item_does_not_lose_the_next() -> None:
    run = GatedRun(opened=True)
    async with started(run, max_batch=8, max_delay=0.05) as batcher:
        first, second = submitted(batcher, 1, 2)
        await until(lambda: batcher.waiting == 2)
        first.cancel()
        assert await outcomes([first, second]) == [asyncio.CancelledError, 20]


# Runs on the event loop itself


async def test_inline_runs_the_items_of_one_loop_iteration_as_batches() -> None:
    run = GatedRun(opened=True)
    threads: set[int] = set()

    def here(items: list[int]) -> list[int]:
        threads.add(threading.get_ident())
        return run(items)

    async with started(here, runners=0, max_batch=4) as batcher:
        assert await outcomes(submitted(batcher, *range(6))) == [10 * i for i in range(6)]
    assert run.batches == [[0, 1, 2, 3], [4, 5]]
    assert threads == {threading.get_ident()}


async def test_long_batches_leave_the_loop_to_short_ones() -> None:
    threads: list[bool] = []

    def run(items: list[int]) -> list[int]:
        threads.append(threading.current_thread() is threading.main_thread())
        time.sleep(0.005 * len(items))
        return items

    async with started(run, runners=1, inline_seconds=0.02, max_batch=16) as batcher:
        assert await outcomes(submitted(batcher, 1)) == [1]
        assert threads == [True]
        # It takes 50 ms, as the single item has shown.
        assert await outcomes(submitted(batcher, *range(10))) == list(range(10))
        assert threads == [True, False]
        assert await outcomes(submitted(batcher, 2)) == [2]
        assert threads == [True, False, True]


async def test_what_arrives_during_a_long_batch_is_the_runners_next_one() -> None:
    run = GatedRun()
    run.open_gate()
    async with started(run, runners=1, inline_seconds=1e-9, max_batch=4) as batcher:
        assert await outcomes(submitted(batcher, 0)) == [0]  # on the loop: no time is known
        held = submitted(batcher, 1)
        await until(lambda: run.batches == [[0], [1]])
        rest = submitted(batcher, 2, 3, 4)
        await until(lambda: batcher.waiting == 3)
        run.open_gate(2)
        assert await outcomes([*held, *rest]) == [10, 20, 30, 40]
    assert run.batches == [[0], [1], [2, 3, 4]]


async def test_without_a_thread_long_batches_run_on_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with started(GatedRun(opened=True), runners=1, inline_seconds=1e-9) as batcher:
        assert await outcomes(submitted(batcher, 1)) == [10]
        monkeypatch.setattr(threading.Thread, "start", no_thread)
        assert await outcomes(submitted(batcher, 2, 3)) == [20, 30]
        monkeypatch.undo()


async def test_inline_full_queue_rejects() -> None:
    async with started(GatedRun(opened=True), runners=0, max_queue=2) as batcher:
        found = await outcomes(submitted(batcher, 1, 2, 3))
    assert found == [10, 20, QueueFullError]


# Estimates, by which requests are rejected early


async def test_estimate_counts_the_runners_and_recovers_from_a_slow_run() -> None:
    pauses = iter([0.05])

    def run(items: list[int]) -> list[int]:
        time.sleep(next(pauses, 0.0))
        return items

    batcher: AwaitedBatcher[int, int] = AwaitedBatcher(run, max_batch=1, max_queue=9, runners=4)
    assert batcher.seconds_until_done(1) == 0
    batcher.start()
    await batcher.submit(1)
    slow = batcher.seconds_until_done(1)
    assert slow >= 0.05
    assert batcher.seconds_until_done(8) == pytest.approx(2 * slow)  # 4 at once
    for _ in range(8):
        await batcher.submit(1)
    assert batcher.seconds_until_done(1) < slow / 10
    await batcher.close()


# References


class Payload:
    """An item or a result that can be observed."""


@ALL_RUNNERS
@pytest.mark.parametrize("fails", [False, True])
async def test_idle_batcher_keeps_nothing_of_its_last_batch(runners: int, fails: bool) -> None:
    def run(items: list[Payload]) -> list[Payload]:
        results = [Payload() for _ in items]
        seen.extend(weakref.ref(payload) for payload in (*items, *results))
        if fails:
            raise ArithmeticError
        return results

    seen: list[weakref.ref[Payload]] = []
    batcher: AwaitedBatcher[Payload, Payload] = AwaitedBatcher(
        run, max_batch=4, max_queue=4, runners=runners
    )
    batcher.start()
    with suppress(ArithmeticError):
        await batcher.submit(Payload())
    assert len(seen) == 2
    await until(lambda: gc.collect() >= 0 and all(ref() is None for ref in seen))
    await batcher.close()


async def test_threads_start_when_they_are_first_needed() -> None:
    def threads() -> int:
        return sum(t.name.startswith("counted-") for t in threading.enumerate())

    run = GatedRun()
    async with started(run, runners=2, max_batch=1, name="counted") as batcher:
        assert threads() == 0
        first = await hold_runner(batcher, run)
        assert threads() == 1
        others = submitted(batcher, 1, 2)
        await until(lambda: len(run.batches) == 2)
        assert threads() == 2
        run.open_gate(3)
        assert await outcomes([first, *others]) == [0, 10, 20]
    assert threads() == 0
