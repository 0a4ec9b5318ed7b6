"""Runs the items of a batch, and delivers one outcome to each caller, whatever fails."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Generic, NamedTuple, TypeVar

from convscope.server.inference.queue import Completed, Entry

__all__ = ["Outcome", "call", "deliver", "fail"]

T = TypeVar("T")
R = TypeVar("R")


class Outcome(NamedTuple, Generic[R]):
    """The results of a batch, and the `time.perf_counter()` of its start and end."""

    results: Sequence[R]
    started_at: float
    ended_at: float


def call(
    run: Callable[[list[T]], Sequence[R]], batch: Sequence[Entry[T, R]]
) -> Outcome[R] | BaseException:
    """Run one batch, in whatever thread; an error is an outcome too."""
    started_at = perf_counter()
    try:
        results = run([entry.item for entry in batch])
        if len(results) != len(batch):
            raise RuntimeError(f"the run of {len(batch)} items returned {len(results)} results")
    except BaseException as error:  # noqa: BLE001 - the callers receive it
        return error
    return Outcome(results, started_at, perf_counter())


def deliver(batch: Sequence[Entry[T, R]], outcome: Outcome[R]) -> None:
    """Resolve the futures of a batch, on the loop."""
    started_at, seconds = outcome.started_at, outcome.ended_at - outcome.started_at
    for entry, result in zip(batch, outcome.results, strict=True):
        if not entry.future.done():
            entry.future.set_result(Completed(result, started_at - entry.queued_at, seconds))


def fail(batch: Sequence[Entry[T, R]], error: BaseException) -> None:
    """Fail the futures of a batch, on the loop."""
    if not isinstance(error, Exception):  # SystemExit would end the caller's loop
        error = RuntimeError(f"the runner ended: {error!r}")
    for entry in batch:
        if not entry.future.done():
            entry.future.set_exception(error)
