"""Measures how a model runs fastest on this machine.

A single request is fastest with all cores. Concurrent requests are served fastest
with one core each, because no thread then waits for another. Whether batches help
depends on the network: they save the overhead of a small one, and exceed the cache
of a large one. So all of it is measured.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from convscope.server.runtime.execution import Execution
from convscope.server.runtime.providers import Session
from convscope.v1 import manifest_pb2 as pb

__all__ = ["BATCHES", "BusyError", "OpenSession", "example_input", "measure"]

# A shorter run takes less time than a switch to another thread and back.
INLINE_SECONDS = 150e-6
# A batch on the event loop must not block it longer than this.
MAX_INLINE_SECONDS = 2e-3
BATCHES = (2, 4, 8, 16, 32, 64)
# No batch may take longer than this, whatever it gains.
MAX_BATCH_SECONDS = 0.25
# A larger batch, or more threads, must reduce the time to this fraction.
WORTHWHILE = 0.92
# Only on a busy machine do all cores take this many times longer than one core, or one
# core this many times longer than a moment before.
BUSY = 1.25
MEASURE_SECONDS = 0.08
# The search ends after so many larger batches without a gain.
MAX_WITHOUT_GAIN = 2
MIN_RUNS = 3

OpenSession = Callable[[int], Session]


class BusyError(Exception):
    """The machine is too busy for a useful measurement."""


def example_input(spec: pb.InputSpec) -> NDArray[np.generic]:
    """Make an input of the right type and shape; its content doesn't affect the time."""
    random = np.random.default_rng(0)
    shape = (1, *spec.shape)
    if spec.dtype == pb.DATA_TYPE_UINT8:
        return random.integers(0, 256, shape, dtype=np.uint8)
    return random.standard_normal(shape, dtype=np.float32)


def measure(example: NDArray[np.generic], open_session: OpenSession, cores: int) -> Execution:
    """Measure runs of one model, and choose the fastest way.

    Args:
        example: An input of the model, [1, ...].
        open_session: Opens its plain session with a number of threads.
        cores: The cores that may be used.

    Raises:
        BusyError: The machine is too busy.
    """
    narrow = open_session(1)
    alone = _seconds(narrow, example)
    if alone < INLINE_SECONDS and not narrow.on_gpu:
        batch, per_image = _best_batch(narrow, example, alone, MAX_INLINE_SECONDS)
        reason = f"one image takes {_ms(alone)}, less than a switch between threads; " + _per_image(
            batch, per_image
        )
        return Execution(0, 1, 1, batch, reason)
    batch, per_image = _best_batch(narrow, example, alone, MAX_BATCH_SECONDS)
    reason = f"one image takes {_ms(alone)} on one core; " + _per_image(batch, per_image)
    # A GPU runs one batch at a time, whatever the number of cores.
    if cores == 1 or narrow.on_gpu:
        return Execution(1, 1, 1, batch, reason)
    wide = open_session(cores)
    wide_alone = _seconds(wide, example)
    if wide_alone > BUSY * alone:
        raise BusyError(
            f"{_ms(alone)} on one core and {_ms(wide_alone)} on {cores}: other work occupies them"
        )
    lone_threads = cores if wide_alone < WORTHWHILE * alone else 1
    wide_batch, _ = _best_batch(wide, example, wide_alone, MAX_BATCH_SECONDS)
    # Both by their mean, because a shortest run can't be compared with a mean.
    wide_per_image = _concurrent_seconds(wide, example, wide_batch, 1) / wide_batch
    concurrent_per_image = _concurrent_seconds(narrow, example, batch, cores) / batch
    again = _seconds(narrow, example)
    if max(alone, again) > BUSY * min(alone, again):
        raise BusyError(f"{_ms(alone)} on one core, and then {_ms(again)}: other work disturbs it")
    reason += f"; {_ms(wide_alone)} on {cores} cores"
    if wide_per_image < WORTHWHILE * concurrent_per_image:
        return Execution(
            1, cores, cores, wide_batch, f"{reason}, which is also best for concurrent calls"
        )
    reason += f"; concurrent calls take {_ms(concurrent_per_image)} per image on {cores} runners"
    return Execution(cores, 1, lone_threads, batch, reason)


def _per_image(batch: int, seconds: float) -> str:
    return f"{_ms(seconds)} in batches of {batch}" if batch > 1 else "larger batches don't help"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"


def _best_batch(
    session: Session, example: NDArray[np.generic], alone: float, limit: float
) -> tuple[int, float]:
    """Return the best batch size, and the seconds per image of such a batch."""
    best, per_image, without_gain = 1, alone, 0
    for batch in BATCHES:
        if batch * per_image > limit or without_gain == MAX_WITHOUT_GAIN:
            break
        seconds = _seconds(session, np.repeat(example, batch, axis=0)) / batch
        without_gain += 1
        if seconds < WORTHWHILE * per_image:
            best, per_image, without_gain = batch, seconds, 0
    return best, per_image


def _concurrent_seconds(
    session: Session, example: NDArray[np.generic], batch: int, callers: int
) -> float:
    """Return the seconds between finished batches, with several callers at once."""
    inputs = np.repeat(example, batch, axis=0)

    def call(_: int) -> tuple[int, float]:
        runs, started_at = 0, perf_counter()
        while runs < MIN_RUNS or perf_counter() - started_at < MEASURE_SECONDS:
            _run(session, inputs)
            runs += 1
        return runs, perf_counter() - started_at

    with ThreadPoolExecutor(callers) as pool:
        return 1 / sum(runs / seconds for runs, seconds in pool.map(call, range(callers)))


def _seconds(session: Session, inputs: NDArray[np.generic]) -> float:
    """Return the shortest of a few runs; disturbances only make a run longer."""
    _run(session, inputs)
    best, started_at, runs = float("inf"), perf_counter(), 0
    while runs < MIN_RUNS or perf_counter() - started_at < MEASURE_SECONDS:
        began = perf_counter()
        _run(session, inputs)
        best = min(best, perf_counter() - began)
        runs += 1
    return best


def _run(session: Session, inputs: NDArray[np.generic]) -> None:
    session.run(None, inputs)
