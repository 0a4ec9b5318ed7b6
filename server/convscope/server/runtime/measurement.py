"""Measures how a model runs fastest on this machine.

A single request is fastest with all cores. Concurrent requests are served fastest
with one core each, because no thread then waits for another. Whether batches help
depends on the network: they save the overhead of a small one, and exceed the cache
of a large one. So all of it is measured, on whole batches: with our own work for the
calls of a batch, such as parsing, ranking and encoding.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from convscope.server.runtime.execution import INLINE_SECONDS, Execution
from convscope.server.runtime.versions import LoadedVersion

__all__ = [
    "BATCHES",
    "WORTHWHILE",
    "BusyError",
    "OpenTrial",
    "Rehearsal",
    "measure",
    "throughputs",
]

# Opens the version with a number of threads for each run.
OpenTrial = Callable[[int], LoadedVersion]
# Given a version and a number of calls, returns a function that does all the work of a
# batch of so many calls.
Rehearsal = Callable[[LoadedVersion, int], Callable[[], None]]

# A batch of a model that runs on the event loop must not block it longer than this.
MAX_INLINE_SECONDS = 4e-3
BATCHES = (2, 4, 8, 16, 32, 64)
# No batch may take longer than this, whatever it gains.
MAX_BATCH_SECONDS = 0.25
# A larger batch, or more threads, must reduce the time to this fraction to be a gain in itself.
WORTHWHILE = 0.92
# A batch that takes this many times longer for each call is no loss: within this, the time varies.
EQUAL = 1.05
# Each batch also costs up to 3 ms that a rehearsal doesn't show: the switches between threads, the
# event loop's turn, the writes, and caches that are cold afterwards. So of equal batches the
# largest is best, until a batch takes so long that this cost no longer matters.
MAX_EQUAL_SECONDS = 0.08
# The search ends with a batch that takes this many times longer for each call.
LOSS = 1.2
# Only on a busy machine do all cores take this many times longer than one core, or one
# core this many times longer than a moment before.
BUSY = 1.25
MEASURE_SECONDS = 0.05
# One core and all cores differ less on a machine whose cores share their units.
ALONE_SECONDS = 0.15
MIN_RUNS = 3
# Of the comparison of providers: each is measured so often, in turn.
ROUNDS = 5
THROUGHPUT_SECONDS = 0.15


class BusyError(Exception):
    """The machine is too busy for a useful measurement."""


def measure(open_trial: OpenTrial, rehearse: Rehearsal, cores: int) -> Execution:
    """Measure batches of one model, and choose the fastest way to run them.

    Args:
        open_trial: Opens the version with a number of threads.
        rehearse: Does the work of a batch.
        cores: The cores that may be used.

    Raises:
        BusyError: The machine is too busy.
    """
    narrow = open_trial(1)
    alone = _seconds(rehearse(narrow, 1))
    if alone < INLINE_SECONDS and not narrow.model.on_gpu:
        batch, per_call = _best_batch(narrow, rehearse, alone, MAX_INLINE_SECONDS)
        reason = f"one call takes {_ms(alone)}, less than a switch between threads; " + _per_call(
            batch, per_call
        )
        # The run of a larger batch leaves the event loop free, if there is a core for it.
        return Execution(min(1, cores - 1), 1, 1, batch, reason, inline=True)
    batch, per_call = _best_batch(narrow, rehearse, alone, MAX_BATCH_SECONDS)
    reason = f"one call takes {_ms(alone)} on one core; " + _per_call(batch, per_call)
    # A GPU runs one batch at a time, whatever the number of cores.
    if cores == 1 or narrow.model.on_gpu:
        return Execution(1, 1, 1, batch, reason)
    wide = open_trial(cores)
    again, wide_alone = _compare(rehearse(narrow, 1), rehearse(wide, 1), ALONE_SECONDS)
    if wide_alone > BUSY * again:
        raise BusyError(
            f"{_ms(again)} on one core and {_ms(wide_alone)} on {cores}: other work occupies them"
        )
    if max(alone, again) > BUSY * min(alone, again):
        raise BusyError(f"{_ms(alone)} on one core, and then {_ms(again)}: other work disturbs it")
    lone_threads = cores if wide_alone < WORTHWHILE * again else 1
    wide_batch, _ = _best_batch(wide, rehearse, wide_alone, MAX_BATCH_SECONDS)
    # Both by their mean, because a shortest run can't be compared with a mean.
    wide_per_call = _concurrent_seconds(wide, rehearse, wide_batch, 1) / wide_batch
    concurrent_per_call = _concurrent_seconds(narrow, rehearse, batch, cores) / batch
    reason += f"; {_ms(wide_alone)} on {cores} cores"
    if wide_per_call < WORTHWHILE * concurrent_per_call:
        return Execution(
            1, cores, cores, wide_batch, f"{reason}, which is also best for concurrent calls"
        )
    reason += f"; with {cores} concurrent calls, one ends every {_ms(concurrent_per_call)}"
    return Execution(cores, 1, lone_threads, batch, reason)


def throughputs(versions: Sequence[LoadedVersion], rehearse: Rehearsal) -> list[float]:
    """Return the images per second of versions, each run as its execution states.

    They are measured in turn, so that all are disturbed alike; the best of each counts.
    """
    best = [0.0 for _ in versions]
    for _ in range(ROUNDS):
        for index, version in enumerate(versions):
            batch, callers = version.execution.max_batch, max(1, version.execution.runners)
            seconds = _concurrent_seconds(version, rehearse, batch, callers, THROUGHPUT_SECONDS)
            best[index] = max(best[index], batch / seconds)
    return best


def _per_call(batch: int, seconds: float) -> str:
    return f"{_ms(seconds)} in batches of {batch}" if batch > 1 else "larger batches don't help"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"


def _best_batch(
    version: LoadedVersion, rehearse: Rehearsal, alone: float, limit: float
) -> tuple[int, float]:
    """Return the best batch size, and the seconds for each call of such a batch."""
    best, per_call = 1, alone
    loss = 1.0  # the time of the best batch for each call, relative to the shortest one
    run_best, gains = rehearse(version, 1), True
    for batch in BATCHES:
        expected = batch * per_call
        if expected > limit or (expected > MAX_EQUAL_SECONDS and not gains):
            break
        run = rehearse(version, batch)
        before, seconds = _compare(run_best, run)
        change = (seconds / batch) / (before / best)
        gains = change < WORTHWHILE
        if gains or (change * loss <= EQUAL and seconds <= MAX_EQUAL_SECONDS):
            best, per_call, run_best = batch, seconds / batch, run
            loss = max(1.0, change * loss)
        elif change * loss > LOSS or seconds > MAX_EQUAL_SECONDS:
            break
    return best, per_call


def _compare(
    one: Callable[[], None], other: Callable[[], None], seconds: float = MEASURE_SECONDS
) -> tuple[float, float]:
    """Return the shortest of a few runs of both, in turn, so that both are disturbed alike."""
    one()
    other()
    shortest = [float("inf"), float("inf")]
    started_at, rounds = perf_counter(), 0
    while rounds < MIN_RUNS or perf_counter() - started_at < 2 * seconds:
        for side, run in enumerate((one, other)):
            shortest[side] = min(shortest[side], _time(run))
        rounds += 1
    return shortest[0], shortest[1]


def _seconds(run: Callable[[], None]) -> float:
    """Return the shortest of a few runs; disturbances only make a run longer."""
    return _compare(run, run)[0]


def _time(run: Callable[[], None]) -> float:
    began = perf_counter()
    run()
    return perf_counter() - began


def _concurrent_seconds(
    version: LoadedVersion,
    rehearse: Rehearsal,
    batch: int,
    callers: int,
    at_least: float = MEASURE_SECONDS,
) -> float:
    """Return the seconds between finished batches, with several callers at once."""

    def call(run: Callable[[], None]) -> tuple[int, float]:
        runs, started_at = 0, perf_counter()
        while runs < MIN_RUNS or perf_counter() - started_at < at_least:
            run()
            runs += 1
        return runs, perf_counter() - started_at

    rehearsals = [rehearse(version, batch) for _ in range(callers)]
    with ThreadPoolExecutor(callers) as pool:
        return 1 / sum(runs / seconds for runs, seconds in pool.map(call, rehearsals))
