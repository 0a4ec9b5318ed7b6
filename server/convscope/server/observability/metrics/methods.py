"""The metrics of one gRPC method."""

from collections.abc import Mapping

import grpc

from convscope.server.observability.metrics.codes import CodeCounter, go_name
from convscope.server.observability.metrics.families import Scope
from convscope.server.observability.metrics.series import Families, Series

__all__ = ["MethodMetrics"]


class MethodMetrics:
    """The metrics of one gRPC method, with every label looked up once."""

    def __init__(self, families: Families, kind: str, service: str, method: str) -> None:
        series = Series(families, Scope.METHOD, kind, service, method)
        self._started = series.counter("grpc_server_started")
        self._seconds = series.histogram("grpc_server_handling_seconds")
        self._handled = CodeCounter(
            lambda code: series.counter("grpc_server_handled", go_name(code))
        )

    def begin(self) -> None:
        """Count a call that begins."""
        self._started.inc()

    def end(
        self,
        code: grpc.StatusCode,
        seconds: float,
        exemplar: Mapping[str, str] | None = None,
    ) -> None:
        """Count a call that ended, and observe how long it took.

        Args:
            code: How it ended.
            seconds: How long it took.
            exemplar: The labels of its trace, if it has one.
        """
        self._handled.count(code)
        self._seconds.observe(seconds, exemplar)
