"""Each contract of the batcher, on real threads and a real event loop."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from convscope.server.inference.batcher import (
    Batcher,
    ClosedError,
    Completed,
    ExpiredError,
    QueueFullError,
)

PATIENCE_SECONDS = 20.0
ALL_RUNNERS = pytest.mark.parametrize("runners", [0, 1, 2])


class GatedRun:
    """A run that remembers its batches and waits at a gate before it answers."""

    def __init__(self, *, opened: bool = False) -> None:
        self.batches: list[list[int]] = []
        self._gate = threading.Semaphore(10**6 if opened else 0)

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        if not self._gate.acquire(timeout=PATIENCE_SECONDS):
            raise TimeoutError("the gate stayed shut")
        return [10 * item for item in items]

    def let_through(self, batches: int = 1) -> None:
        self._gate.release(batches)

    @property
    def items(self) -> list[int]:
        return [item for batch in self.batches for item in batch]


@asynccontextmanager
async def started(
    run: Callable[[list[int]], Sequence[int]], **options: Any
) -> AsyncIterator[Batcher[int, int]]:
    batcher = Batcher(run, **({"max_batch": 4, "max_queue": 64} | options))
    batcher.start()
    try:
        yield batcher
    finally:
        if isinstance(run, GatedRun):
            run.let_through(1000)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await batcher.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


def submitted(
    batcher: Batcher[int, int], *items: int, **options: Any
) -> list[asyncio.Task[Completed[int]]]:
    return [asyncio.create_task(batcher.submit(item, **options)) for item in items]


async def outcomes(tasks: Sequence[asyncio.Task[Completed[int]]]) -> list[int | type]:
    """The result of each task, or the type of its error."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        done = await asyncio.gather(*tasks, return_exceptions=True)
    return [x.result if isinstance(x, Completed) else type(x) for x in done]


async def hold_runner(batcher: Batcher[int, int], run: GatedRun) -> asyncio.Task[Completed[int]]:
    """Occupy the only runner with the item 0."""
    (task,) = submitted(batcher, 0)
    await until(lambda: run.batches == [[0]])
    return task


# Results


@ALL_RUNNERS
async def test_every_item_gets_its_own_result(runners: int) -> None:
    async with started(GatedRun(opened=True), runners=runners) as batcher:
        assert await outcomes(submitted(batcher, *range(50))) == [10 * i for i in range(50)]


@ALL_RUNNERS
async def test_result_tells_how_long_it_waited_and_ran(runners: int) -> None:
    async with started(GatedRun(opened=True), runners=runners) as batcher:
        done = await batcher.submit(1)
    assert done.result == 10
    assert done.queue_seconds >= 0
    assert done.run_seconds >= 0


# Batching


async def test_lone_item_runs_at_once_and_what_gathers_meanwhile_is_the_next_batch() -> None:
    run = GatedRun()
    async with started(run, max_batch=4) as batcher:
        first = await hold_runner(batcher, run)
        rest = submitted(batcher, 1, 2, 3, 4, 5)
        await until(lambda: batcher.waiting == 5)
        run.let_through(3)
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
        run.let_through(3)
        assert await outcomes([*first, *second, *third]) == [0, 10, 20, 30]


async def test_batch_learns_whether_it_is_alone() -> None:
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
            run.let_through()
            await until(lambda: sum(task.done() for task in tasks) >= done)  # noqa: B023
        assert concurrent[:3] == [False, True, True]
        run.let_through()
        await outcomes(tasks)
        tasks = submitted(batcher, 5)
        run.let_through()
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
        run.let_through(10)
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
        run.let_through(2)
        assert await outcomes([first, gone, *rest]) == [0, asyncio.CancelledError, 20, 30, 40]
    assert run.batches == [[0], [2, 3, 4]]


async def test_item_cancelled_in_flight_leaves_its_batchmates_answered() -> None:
    run = GatedRun()
    async with started(run) as batcher:
        first = await hold_runner(batcher, run)
        tasks = submitted(batcher, 1, 2, 3)
        await until(lambda: batcher.waiting == 3)
        run.let_through()
        await until(lambda: len(run.batches) == 2)
        tasks[1].cancel()
        await asyncio.sleep(0)
        run.let_through()
        assert await outcomes([first, *tasks]) == [0, 10, asyncio.CancelledError, 30]
        run.let_through()
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
        run.let_through(2)
        assert await outcomes([first, *tasks]) == [0, *[asyncio.CancelledError] * 2]
        assert await outcomes(submitted(batcher, 3)) == [30]
    assert run.batches == [[0], [3]]


async def test_inline_item_cancelled_before_its_turn_never_runs() -> None:
    run = GatedRun(opened=True)
    async with started(run, runners=0) as batcher:
        first, second = submitted(batcher, 1, 2)
        await asyncio.sleep(0)  # both are queued, and neither has run
        first.cancel()
        assert await outcomes([first, second]) == [asyncio.CancelledError, 20]
    assert run.batches in ([[2]], [[1, 2]])  # which of the two turns comes first is the loop's


# Failing runs


class BrokenRun:
    """A run that does something wrong with its first batch, and is well afterwards."""

    def __init__(self, wrong: Callable[[list[int]], Any]) -> None:
        self._wrong: Callable[[list[int]], Any] | None = wrong

    def __call__(self, items: list[int]) -> Any:
        wrong, self._wrong = self._wrong, None
        return wrong(items) if wrong else [10 * item for item in items]


def raising(error: BaseException) -> Callable[[list[int]], Sequence[int]]:
    def run(items: list[int]) -> Sequence[int]:
        raise error

    return run


class LazilyBroken(Sequence[int]):
    """Results of the right number that can't be read."""

    def __init__(self, items: list[int]) -> None:
        self._count = len(items)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        raise OSError("the device is gone")

    def __iter__(self) -> Iterator[int]:
        raise OSError("the device is gone")


async def first_outcomes_then(
    batcher: Batcher[int, int], items: Sequence[int]
) -> tuple[list[int | type], list[int | type]]:
    """What a broken first batch gives its callers, and what the next item gets."""
    tasks = submitted(batcher, *items)
    _, hanging = await asyncio.wait(tasks, timeout=2)
    for task in hanging:
        task.cancel()
    assert not hanging, "callers were never answered"
    async with asyncio.timeout(2):
        return await outcomes(tasks), await outcomes(submitted(batcher, 7))


@ALL_RUNNERS
async def test_run_that_raises_fails_its_batch_only(runners: int) -> None:
    async with started(BrokenRun(raising(ArithmeticError("no"))), runners=runners) as batcher:
        first, then = await first_outcomes_then(batcher, [1])
    assert (first, then) == ([ArithmeticError], [70])


async def test_every_caller_of_a_failed_batch_hears_of_it() -> None:
    async with started(
        BrokenRun(raising(ArithmeticError("no"))), max_batch=3, max_delay=3600
    ) as batcher:
        tasks = submitted(batcher, 1, 2, 3)
        assert await outcomes(tasks) == [ArithmeticError] * 3


@pytest.mark.parametrize(
    "results",
    [lambda items: [], lambda items: items[1:], lambda items: [*items, 0], lambda items: None],
    ids=["none", "too-few", "too-many", "not-a-sequence"],
)
@ALL_RUNNERS
async def test_wrong_number_of_results_fails_the_batch(
    results: Callable[[list[int]], Any], runners: int
) -> None:
    async with started(BrokenRun(results), runners=runners) as batcher:
        first, then = await first_outcomes_then(batcher, [1])
    assert first[0] in (RuntimeError, TypeError)
    assert then == [70]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
async def test_run_that_ends_its_thread_fails_its_batch_only(error: BaseException) -> None:
    async with started(BrokenRun(raising(error))) as batcher:
        first, then = await first_outcomes_then(batcher, [1])
    assert (first, then) == ([RuntimeError], [70])


class PanicError(BaseException):
    """What an extension module raises when its native code panics."""


async def test_inline_run_that_panics_fails_its_batch_only() -> None:
    async with started(BrokenRun(raising(PanicError())), runners=0) as batcher:
        first, then = await first_outcomes_then(batcher, [1])
    assert (first, then) == ([RuntimeError], [70])


@ALL_RUNNERS
async def test_results_that_cannot_be_read_fail_the_batch(runners: int) -> None:
    async with started(BrokenRun(LazilyBroken), runners=runners) as batcher:
        first, then = await first_outcomes_then(batcher, [1])
    assert (first, then) == ([OSError], [70])


@ALL_RUNNERS
async def test_observer_that_raises_leaves_no_caller_waiting(runners: int) -> None:
    calls: list[int] = []

    def observe(size: int) -> None:
        calls.append(size)
        if len(calls) == 1:
            raise LookupError("no such label")

    async with started(GatedRun(opened=True), runners=runners, on_batch=observe) as batcher:
        first, then = await first_outcomes_then(batcher, [1])
    assert first in ([LookupError], [10])
    assert then == [70]


# Overload


async def test_full_queue_refuses_and_keeps_what_it_has() -> None:
    run = GatedRun()
    async with started(run, max_queue=3) as batcher:
        first = await hold_runner(batcher, run)
        waiting = submitted(batcher, 1, 2, 3)
        await until(lambda: batcher.waiting == 3)
        with pytest.raises(QueueFullError):
            await batcher.submit(4)
        assert batcher.waiting == 3
        run.let_through(2)
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
        run.let_through(3)
        assert await outcomes([first, *waiting]) == [0, 10, 30]


async def test_idle_batcher_takes_an_item_larger_than_its_queue_and_batch() -> None:
    async with started(GatedRun(opened=True), max_batch=2, max_queue=1) as batcher:
        assert (await batcher.submit(1, size=100)).result == 10
        assert batcher.waiting == 0


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
        run.let_through(2)
        assert await outcomes([first, *late, *good]) == [0, ExpiredError, 20]
    assert run.batches == [[0], [2]]


# Closing


async def test_close_refuses_what_waits_and_waits_for_what_runs() -> None:
    run = GatedRun()
    async with started(run) as batcher:
        first = await hold_runner(batcher, run)
        waiting = submitted(batcher, 1, 2)
        await until(lambda: batcher.waiting == 2)
        closing = asyncio.create_task(batcher.close())
        assert await outcomes(waiting) == [ClosedError, ClosedError]
        assert not closing.done()
        run.let_through()
        assert await outcomes([first]) == [0]
        await asyncio.wait_for(closing, PATIENCE_SECONDS)
        with pytest.raises(ClosedError):
            await batcher.submit(3)
    assert run.items == [0]


async def test_close_while_the_delay_runs_refuses_what_waits() -> None:
    run = GatedRun()
    async with started(run, max_delay=3600.0) as batcher:
        waiting = submitted(batcher, 1)
        await until(lambda: batcher.waiting == 1)
        await batcher.close()
        assert await outcomes(waiting) == [ClosedError]
    assert run.items == []


async def test_inline_close_refuses_what_waits() -> None:
    run = GatedRun(opened=True)
    async with started(run, runners=0) as batcher:
        tasks = submitted(batcher, 1)
        await asyncio.gather(asyncio.sleep(0), batcher.close())
        assert (await outcomes(tasks))[0] in (ClosedError, 10)
        assert await outcomes(submitted(batcher, 2)) == [ClosedError]


async def test_closed_twice_or_never_started_is_no_error() -> None:
    batcher: Batcher[int, int] = Batcher(GatedRun(opened=True), max_batch=1, max_queue=1)
    with pytest.raises(ClosedError):
        await batcher.submit(1)
    await batcher.close()
    batcher.start()
    await batcher.close()
    await batcher.close()


# Runs on the event loop itself


async def test_inline_runs_what_came_in_one_turn_as_batches() -> None:
    run = GatedRun(opened=True)
    threads: set[int] = set()

    def here(items: list[int]) -> list[int]:
        threads.add(threading.get_ident())
        return run(items)

    async with started(here, runners=0, max_batch=4) as batcher:
        assert await outcomes(submitted(batcher, *range(6))) == [10 * i for i in range(6)]
    assert run.batches == [[0, 1, 2, 3], [4, 5]]
    assert threads == {threading.get_ident()}


async def test_inline_full_queue_refuses() -> None:
    async with started(GatedRun(opened=True), runners=0, max_queue=2) as batcher:
        found = await outcomes(submitted(batcher, 1, 2, 3))
    assert found == [10, 20, QueueFullError]


# Everything at once


class Chaos:
    """A run that fails now and then and checks what no run may ever see."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.seen: list[int] = []

    def __call__(self, items: list[int]) -> list[int]:
        self.seen.extend(items)
        fate = self._random.random()
        if fate < 0.1:
            raise ArithmeticError("chance")
        if fate < 0.2:
            return items[1:]
        return [10 * item for item in items]


@pytest.mark.parametrize("seed", range(5))
@ALL_RUNNERS
async def test_every_caller_is_answered_once_whatever_happens(runners: int, seed: int) -> None:
    rng, run = random.Random(seed), Chaos(seed)
    sizes: list[int] = []
    async with started(
        run, runners=runners, max_queue=20, max_delay=0.001 * (seed % 2), on_batch=sizes.append
    ) as batcher:
        tasks: list[asyncio.Task[Completed[int]]] = []
        for item in range(400):
            now = asyncio.get_running_loop().time()
            deadline = rng.choice([None, None, now - 1, now + 0.002, now + 60])
            tasks += submitted(batcher, item, size=rng.choice([1, 1, 2, 5]), deadline=deadline)
            if rng.random() < 0.2:
                rng.choice(tasks).cancel()
            if rng.random() < 0.3:
                await asyncio.sleep(rng.choice([0, 0, 0.001]))
        closing = asyncio.create_task(batcher.close()) if seed == 4 else None
        found = await outcomes(tasks)
        if closing:
            await closing
        assert batcher.waiting == 0
    allowed = (
        *(ArithmeticError, RuntimeError, QueueFullError, ExpiredError),
        *(ClosedError, asyncio.CancelledError),
    )
    for item, outcome in enumerate(found):
        assert outcome == 10 * item or outcome in allowed
    assert len(set(run.seen)) == len(run.seen)
    assert max(sizes) <= 5  # 4, or one item of 5 alone
    assert sum(isinstance(outcome, int) for outcome in found) > 20


# Estimates, by which requests are shed


async def test_estimate_counts_the_runners_and_recovers_from_a_slow_run() -> None:
    pauses = iter([0.05])

    def run(items: list[int]) -> list[int]:
        time.sleep(next(pauses, 0.0))
        return items

    batcher: Batcher[int, int] = Batcher(run, max_batch=1, max_queue=9, runners=4)
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


async def test_room_is_asked_for_as_a_whole() -> None:
    batcher: Batcher[int, int] = Batcher(list, max_batch=1, max_queue=4)
    assert batcher.has_room(100)  # nothing waits
