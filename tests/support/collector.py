"""An OTLP collector for the spans of a server under test."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.calls import wait_until


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Stores the spans that it receives."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resource: dict[str, str] = {}
        self.url = ""

    def Export(  # noqa: N802
        self, request: pb.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> pb.ExportTraceServiceResponse:
        """Store spans."""
        for resource_spans in request.resource_spans:
            self.resource = {
                a.key: a.value.string_value for a in resource_spans.resource.attributes
            }
            for scope_spans in resource_spans.scope_spans:
                self.spans.extend(scope_spans.spans)
        return pb.ExportTraceServiceResponse()

    def trace(self, trace_id: str, *names: str) -> list[Span]:
        """Wait for the spans of a trace, and return them ordered by start.

        Args:
            trace_id: The trace.
            names: The names of spans that the trace must contain.
        """

        def found() -> list[Span]:
            return [span for span in list(self.spans) if span.trace_id.hex() == trace_id]

        wait_until(lambda: set(names) <= {span.name for span in found()})
        return sorted(found(), key=lambda span: span.start_time_unix_nano)

    def span(self, span_id: bytes) -> Span:
        """Wait for a span and return it."""
        wait_until(lambda: any(span.span_id == span_id for span in list(self.spans)))
        (span,) = [span for span in self.spans if span.span_id == span_id]
        return span


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port, and make the server send spans quickly."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]
        collector, server
    )
    collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield collector
    server.stop(None).wait()


def attributes(span: Span) -> dict[str, Any]:
    """Return the attributes of a span."""
    return {a.key: getattr(a.value, str(a.value.WhichOneof("value"))) for a in span.attributes}
