"""The metrics of one gRPC method."""

from collections.abc import Mapping, Sequence

import grpc

from convscope.server.observability.metrics.codes import CodeCounter, go_name, tally
from convscope.server.observability.metrics.families import Scope
from convscope.server.observability.metrics.series import Families, Series

__all__ = ["MethodMetrics"]


class MethodMetrics:
    """The metrics of one gRPC method, with every label looked up once."""

    def __init__(self, families: Families, kind: str, service: str, method: str) -> None:
        series = Series(families, Scope.METHOD, kind, service, method)
        self._started = series.counter("grpc_server_started")
        self._over_own_limit = series.counter("convscope_caller_limited_calls")
        self._seconds = series.histogram("grpc_server_handling_seconds")
        self._handled = CodeCounter(
            lambda code: series.counter("grpc_server_handled", go_name(code))
        )

    def begin(self, calls: int = 1) -> None:
        """Count calls that begin."""
        self._started.inc(calls)

    def end(
        self,
        codes: Sequence[grpc.StatusCode],
        seconds: Sequence[float],
        exemplars: Sequence[Mapping[str, str] | None] = (),
        over_own_limit: int = 0,
    ) -> None:
        """Count calls that ended, and observe how long they took.

        Args:
            codes: How they ended.
            seconds: How long they took.
            exemplars: The labels of their traces; None for a call that has none.
            over_own_limit: How many of them failed because of a limit of their caller.
        """
        if over_own_limit:
            self._over_own_limit.inc(over_own_limit)
        for code, amount in tally(codes).items():
            self._handled.count(code, amount)
        if not any(exemplars):
            self._seconds.observe_all(seconds)
            return
        for value, exemplar in zip(seconds, exemplars, strict=True):
            self._seconds.observe(value, exemplar)
