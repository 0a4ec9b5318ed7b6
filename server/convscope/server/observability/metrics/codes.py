"""gRPC status codes as labels."""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

import grpc
from prometheus_client import Counter

__all__ = ["CODES", "CodeCounter", "go_name", "tally"]

T = TypeVar("T", bound=Hashable)

# The codes that the server answers with; their series are open from the start.
CODES = (
    grpc.StatusCode.OK,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
)


class CodeCounter:
    """Counts by status code, with each label looked up once.

    Args:
        look_up: Returns the counter of a code; a code that is not one of CODES can
            still come from a library, and is looked up when it first occurs.
    """

    __slots__ = ("_counters", "_look_up")

    def __init__(self, look_up: Callable[[grpc.StatusCode], Counter]) -> None:
        self._look_up = look_up
        self._counters = {code: look_up(code) for code in CODES}

    def count(self, code: grpc.StatusCode, amount: int = 1) -> None:
        """Count calls or requests that ended with this code."""
        counter = self._counters.get(code)
        if counter is None:
            counter = self._counters[code] = self._look_up(code)
        counter.inc(amount)


def tally(values: Iterable[T]) -> dict[T, int]:
    """Count equal values; for a few of them, `collections.Counter` takes several times as long."""
    counts: dict[T, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts


def go_name(code: grpc.StatusCode) -> str:
    """Return the spelling that go-grpc-middleware made the standard: OK, NotFound, Canceled."""
    if code is grpc.StatusCode.OK:
        return "OK"
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return code.name.title().replace("_", "")
