"""Counts requests by how they end."""

import asyncio
from contextlib import AbstractContextManager
from time import perf_counter
from types import TracebackType

import grpc

from convscope.server.errors import ServingError
from convscope.server.observability.calls import code_of_cancelled
from convscope.server.observability.metrics import VersionMetrics

__all__ = ["CountedRequest"]


class CountedRequest:
    """Counts one request of a version, however it ends; a context manager.

    It is a class because a generator costs more.

    Args:
        metrics: Counts the requests of the version.
        deadline: The `loop.time()` after which the caller no longer waits.
        bulk: Whether all interactive requests run first.
        span: Its span, if it is traced.
    """

    __slots__ = ("_bulk", "_deadline", "_metrics", "_span", "_started_at")

    def __init__(
        self,
        metrics: VersionMetrics,
        deadline: float | None,
        bulk: bool,
        span: AbstractContextManager[object] | None,
    ) -> None:
        self._metrics = metrics
        self._deadline = deadline
        self._bulk = bulk
        self._span = span

    def __enter__(self) -> None:
        self._started_at = perf_counter()
        if self._span is not None:
            self._span.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = perf_counter() - self._started_at
        self._metrics.request(self._code(error), seconds, bulk=self._bulk)
        if self._span is not None:
            self._span.__exit__(kind, error, traceback)

    def _code(self, error: BaseException | None) -> grpc.StatusCode:
        if error is None:
            return grpc.StatusCode.OK
        if isinstance(error, ServingError):
            return error.code
        if isinstance(error, asyncio.CancelledError):
            now = asyncio.get_running_loop().time()
            return code_of_cancelled(None if self._deadline is None else self._deadline - now)
        return grpc.StatusCode.INTERNAL
