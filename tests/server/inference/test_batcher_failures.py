"""Runs that fail: every caller receives an outcome, and the next batch runs."""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from support.batching import (
    ALL_RUNNERS,
    AwaitedBatcher,
    Completed,
    GatedRun,
    QueueFullError,
    hold_runner,
    outcomes,
    started,
    submitted,
    until,
)

from convscope.server.inference.queue import ClosedError, ExpiredError


class BrokenRun:
    """A run that fails with its first batch, and works afterwards."""

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
    batcher: AwaitedBatcher[int, int], items: Sequence[int]
) -> tuple[list[int | type], list[int | type]]:
    """The outcomes of a broken first batch, and of the next item."""
    tasks = submitted(batcher, *items)
    _, hanging = await asyncio.wait(tasks, timeout=2)
    for task in hanging:
        task.cancel()
    assert not hanging, "callers never received an outcome"
    async with asyncio.timeout(2):
        return await outcomes(tasks), await outcomes(submitted(batcher, 7))


@ALL_RUNNERS
async def test_run_that_raises_fails_its_batch_only(runners: int) -> None:
    async with started(BrokenRun(raising(ArithmeticError("no"))), runners=runners) as batcher:
        first, then = await first_outcomes_then(batcher, [1])
    assert (first, then) == ([ArithmeticError], [70])


async def test_every_caller_of_a_failed_batch_receives_the_error() -> None:
    async with started(
        BrokenRun(raising(ArithmeticError("no"))), max_batch=3, max_delay=3600
    ) as batcher:
        tasks = submitted(batcher, 1, 2, 3)
        assert await outcomes(tasks) == [ArithmeticError] * 3


@pytest.mark.parametrize(
    ("results", "error"),
    [
        (lambda items: [], RuntimeError),
        (lambda items: [*items, 0], RuntimeError),
        (lambda items: None, TypeError),
    ],
    ids=["too-few", "too-many", "not-a-sequence"],
)
@ALL_RUNNERS
async def test_wrong_number_of_results_fails_the_batch(
    results: Callable[[list[int]], Any], error: type[Exception], runners: int
) -> None:
    async with started(BrokenRun(results), runners=runners) as batcher:
        first, then = await first_outcomes_then(batcher, [1])
    assert (first, then) == ([error], [70])


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
async def test_observer_that_raises_fails_the_batch(runners: int) -> None:
    calls: list[int] = []

    def observe(size: int) -> None:
        calls.append(size)
        if len(calls) == 1:
            raise LookupError("no such label")

    async with started(GatedRun(opened=True), runners=runners, on_batch=observe) as batcher:
        first, then = await first_outcomes_then(batcher, [1])
    assert (first, then) == ([LookupError], [70])


async def test_thread_that_cannot_start_fails_its_item_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, failures = threading.Thread.start, iter([RuntimeError("can't start new thread")])

    def flaky_start(thread: threading.Thread) -> None:
        for error in failures:
            raise error
        start(thread)

    async with started(GatedRun(opened=True)) as batcher:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", flaky_start)
            first, then = await first_outcomes_then(batcher, [1])
    assert (first, then) == ([RuntimeError], [70])


async def test_runner_that_cannot_start_leaves_its_work_to_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing_start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    run = GatedRun()
    async with started(run, runners=2, max_batch=1) as batcher:
        first = await hold_runner(batcher, run)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", failing_start)
            others = submitted(batcher, 1, 2)
            await until(lambda: batcher.waiting == 2)
        run.open_gate(3)
        assert await outcomes([first, *others]) == [0, 10, 20]


# Everything at once


class Chaos:
    """A run that fails from time to time, and records the items that it sees."""

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
async def test_every_caller_receives_one_outcome_whatever_happens(runners: int, seed: int) -> None:
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
