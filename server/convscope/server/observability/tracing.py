"""Traces: a span for each call, below it one for each stage, and the batches linked.

The only module that imports OpenTelemetry; it is imported when an endpoint is
set, and not before. The span of a call is made by OpenTelemetry's own
instrumentation of gRPC. Those of the stages are made once the engine has
answered, from times that are taken on the way: no stage waits for a trace.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as version_of
from threading import Thread
from time import perf_counter_ns, time_ns
from typing import Any

import grpc
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc._aio_server import OpenTelemetryAioServerInterceptor
from opentelemetry.instrumentation.grpc.filters import any_of, health_check, negate, service_name
from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, Tracer

from convscope.server.observability.calls import CallRecord
from convscope.server.observability.library_logs import relay_library_logs
from convscope.server.observability.stages import StageSeconds

__all__ = ["CallTrace", "RequestTrace", "Tracing"]

Attributes = Mapping[str, str | int]

# How long the last spans may take to be sent, when the server ends.
FLUSH_SECONDS = 3.0
# OpenTelemetry's conventions count only these as errors of a server; what the
# caller did wrong is told by the code alone.
_SERVER_ERRORS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class Tracing:
    """Sends the spans of one server to a collector, by OTLP over gRPC.

    Sampling, resource attributes and the sizes of its queue follow OpenTelemetry's
    own environment variables. A collector that is slow or away loses spans, and
    never holds up a call.

    Args:
        endpoint: The collector's http:// or https:// URL.
    """

    def __init__(self, endpoint: str) -> None:
        relay_library_logs("opentelemetry")
        self._exporter = OTLPSpanExporter(endpoint=endpoint)
        self._processor = BatchSpanProcessor(self._exporter)
        resource = Resource.create(
            {SERVICE_NAME: "convscope-server", SERVICE_VERSION: version_of("convscope")}
        ).merge(OTELResourceDetector().detect())  # the environment's word is the last
        calls, batches = (
            TracerProvider(sampler, resource, shutdown_on_exit=False)
            # A batch is traced if a request in it is: no link may lead nowhere.
            for sampler in (None, ALWAYS_ON)
        )
        for provider in (calls, batches):
            provider.add_span_processor(self._processor)
        self._requests = calls.get_tracer(__name__)
        self._batches = batches.get_tracer(__name__)
        traced = negate(any_of(health_check(), service_name(REFLECTION)))
        self.interceptor: grpc.aio.ServerInterceptor = _Instrumentation(self._requests, traced)  # type: ignore[no-untyped-call]

    def call(self, *, streamed: bool) -> "CallTrace | None":
        """Give the trace of the call that is being handled; None if it isn't sampled."""
        span = trace.get_current_span()
        if not span.is_recording():
            return None
        return CallTrace(span, self._requests, self._batches, streamed=streamed)

    async def close(self) -> None:
        """Send what is left, but wait no longer than a few seconds for it."""
        flush = Thread(target=self._processor.shutdown, daemon=True)
        flush.start()
        await asyncio.to_thread(flush.join, FLUSH_SECONDS)
        if flush.is_alive():
            self._exporter.shutdown()


class _Instrumentation(OpenTelemetryAioServerInterceptor):
    """OpenTelemetry's own, but for streams.

    It follows a stream by a generator. One that is cancelled while a reply is
    being sent leaves that to the garbage collector, which closes it in another
    context: the span of the call ends too soon, and detaching it fails. Our
    streams are handled by coroutines (see `interceptors`), as all calls are.
    """

    def _intercept_aio_server_stream(self, behavior: Any, handler_call_details: Any) -> Any:
        return self._intercept_aio_server_unary(behavior, handler_call_details)  # type: ignore[no-untyped-call]


class CallTrace:
    """The trace of one call.

    Args:
        span: The call's own, made by the instrumentation.
        requests: Makes the spans below it.
        batches: Makes the spans of batches.
        streamed: Whether the call has many requests, each with a span of its own.
    """

    def __init__(self, span: Span, requests: Tracer, batches: Tracer, *, streamed: bool) -> None:
        self._span = span
        self._requests = requests
        self._batches = batches
        self._streamed = streamed
        context = span.get_span_context()
        self.trace_id = f"{context.trace_id:032x}"
        self.exemplar: Mapping[str, str] = {
            "trace_id": self.trace_id,
            "span_id": f"{context.span_id:016x}",
        }

    @contextmanager
    def request(self, version: tuple[str, int]) -> Iterator[None]:
        """Give a request of a stream its span; a call of one request has it already."""
        if not self._streamed:
            yield
            return
        model, number = version
        attributes: Attributes = {"model": model, "version": number}
        with self._requests.start_as_current_span("request", attributes=attributes):
            yield

    @contextmanager
    def stages(self, version: tuple[str, int], images: int) -> "Iterator[RequestTrace]":
        """Follow a request through the engine, and tell of its stages at the end."""
        request = RequestTrace(self._requests, self._batches, version, images)
        try:
            yield request
        except BaseException:
            request.end(failed=True)
            raise
        request.end(failed=False)

    def encoded(self, seconds: float) -> None:
        """Tell of the encoding of a reply, which has just ended."""
        now = time_ns()
        span = self._requests.start_span("encode", start_time=now - int(1e9 * seconds))
        span.end(now)

    def end(self, record: CallRecord) -> None:
        """Say of the call's span what it was for and how it ended."""
        self._span.set_attributes({"request_id": record.request_id, "images": record.inputs})
        if record.version is not None:
            self._span.set_attributes({"model": record.version[0], "version": record.version[1]})
        # The instrumentation knows of aborted calls, and not of those that were cancelled.
        self._span.set_attribute("rpc.grpc.status_code", record.code.value[0])
        if record.code in _SERVER_ERRORS:
            self._span.set_status(Status(StatusCode.ERROR, record.error or record.code.name))


@dataclass(slots=True)
class _Batch:
    """A run that had inputs of a request in it; times in nanoseconds since the epoch."""

    context: SpanContext
    began: int
    ended: int | None = None


class RequestTrace:
    """What happens to one request in the engine.

    Args:
        requests: Makes the spans of its stages.
        batches: Makes the spans of the batches.
        version: The model and the version that it is for.
        images: How many it has.
    """

    def __init__(
        self, requests: Tracer, batches: Tracer, version: tuple[str, int], images: int
    ) -> None:
        self._requests = requests
        self._batches = batches
        model, number = version
        self._attributes: Attributes = {"model": model, "version": number, "images": images}
        self._context = trace.get_current_span().get_span_context()
        self._began = time_ns()
        self._ran: list[_Batch] = []
        self.seconds: Sequence[StageSeconds] = ()
        """The stages of each input, filled in on its way; none if it was refused before."""

    @contextmanager
    def batch(
        self, requests: "Sequence[RequestTrace]", *, images: int, size: int
    ) -> Iterator[None]:
        """Trace the run of a batch, in whatever thread.

        Args:
            requests: Those in it that are traced, this one among them.
            images: The size of the batch.
            size: The number of requests in it, traced or not.
        """
        began = time_ns()
        span = self._batches.start_span(
            "batch",
            Context(),  # it belongs to none of its requests more than to the others
            attributes={**self._attributes, "images": images, "requests": size},
            links=[Link(request._context) for request in requests],
            start_time=began,
        )
        run = _Batch(span.get_span_context(), began)
        for request in requests:
            request._ran.append(run)
        try:
            yield
        finally:
            run.ended = time_ns()
            span.end(run.ended)

    def end(self, *, failed: bool) -> None:
        """Make the spans of the stages that took place.

        The time that an image waits for a decoder is the gap before `decode`;
        `queue` is the wait for a runner.
        """
        if not self.seconds:
            return
        now, runs = time_ns(), list(self._ran)
        decoded = self._end_decode(now)
        if runs or failed:
            self._span("queue", decoded, runs[0].began if runs else now)
        if runs:
            ended = max(run.ended or now for run in runs)
            self._span("infer", runs[0].began, ended, [Link(run.context) for run in runs])

    def _end_decode(self, now: int) -> int:
        """Make the span of the decoding, if there was one; returns when the inputs were ready."""
        epoch = time_ns() - perf_counter_ns()
        times = [
            (began, began + int(1e9 * one.decode) if one.decode else now)
            for one in self.seconds
            if one.decode_began and (began := epoch + int(1e9 * one.decode_began))
        ]
        if not times:
            return self._began
        began, ended = min(b for b, _ in times), max(e for _, e in times)
        self._span("decode", began, ended)
        return ended

    def _span(self, name: str, began: int, ended: int, links: Sequence[Link] = ()) -> None:
        span = self._requests.start_span(
            name, attributes=self._attributes, links=links, start_time=began
        )
        span.end(max(began, ended))
