"""What is counted of one gRPC method."""

from collections.abc import Mapping

import grpc

from convscope.server.observability.metrics.families import CODES, Families

__all__ = ["MethodMetrics"]


class MethodMetrics:
    """The metrics of one gRPC method, with every label looked up once."""

    def __init__(self, families: Families, kind: str, service: str, method: str) -> None:
        labels = (kind, service, method)
        self._started = families.started.labels(*labels)
        self._seconds = families.handling_seconds.labels(*labels)
        self._handled = {code: families.handled.labels(*labels, _go_name(code)) for code in CODES}

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
        self._handled[code].inc()
        self._seconds.observe(seconds, exemplar)


def _go_name(code: grpc.StatusCode) -> str:
    """The spelling that go-grpc-middleware made the standard: OK, NotFound, Canceled."""
    if code is grpc.StatusCode.OK:
        return "OK"
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return code.name.title().replace("_", "")
