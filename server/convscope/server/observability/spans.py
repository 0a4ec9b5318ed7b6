"""The spans of one call: its own, one for each stage of its requests, and those of batches."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns, time_ns

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, Tracer

from convscope.server.observability.calls import CallRecord
from convscope.server.observability.stages import Attributes, RequestTrace, StageSeconds

__all__ = ["CallSpans", "RequestSpans"]

# OpenTelemetry's conventions count only these as errors of a server. For a
# mistake of the caller the code alone is recorded.
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


class CallSpans:
    """The trace of one call; a `CallTrace`.

    Args:
        span: The span of the call.
        requests: Makes the spans below it.
        batches: Makes the spans of batches.
        streamed: Whether the call has many requests, each with a span of its own.
    """

    def __init__(self, span: Span, requests: Tracer, batches: Tracer, *, streamed: bool) -> None:
        self._span = span
        self._requests = requests
        self._batches = batches
        self._streamed = streamed
        ids = span.get_span_context()
        self.trace_id = f"{ids.trace_id:032x}"
        self.exemplar: Mapping[str, str] = {
            "trace_id": self.trace_id,
            "span_id": f"{ids.span_id:016x}",
        }

    def request(self, version: tuple[str, int]) -> "RequestSpans":
        """Follow a request; of a stream, each has a span of its own."""
        model, number = version
        attributes: Attributes = {"model": model, "version": number}
        span = None
        if self._streamed:
            span = self._requests.start_span(
                "request", trace.set_span_in_context(self._span, Context()), attributes=attributes
            )
        return RequestSpans(self._requests, self._batches, attributes, self._span, span)

    def end(self, record: CallRecord) -> None:
        """End the span of the call, with what the call was for and how it ended."""
        self._span.set_attributes(
            {
                "request_id": record.request_id,
                "images": record.inputs,
                "rpc.grpc.status_code": record.code.value[0],
            }
        )
        if record.version is not None:
            self._span.set_attributes({"model": record.version[0], "version": record.version[1]})
        if record.code in _SERVER_ERRORS:
            self._span.set_status(Status(StatusCode.ERROR, record.error or record.code.name))
        self._span.end()


@dataclass(slots=True)
class _Batch:
    """A run with inputs of a request in it; times in nanoseconds since the epoch."""

    context: SpanContext
    began: int
    ended: int | None = None


class RequestSpans:
    """Follows one request through the engine; a `RequestTrace`.

    The spans are made after the request is completed, from times that were taken on the way.

    Args:
        requests: Makes the spans of its stages.
        batches: Makes the spans of the batches.
        attributes: The model and the version that it is for.
        call: The span of its call.
        own: The span of the request, if its call has several.
    """

    def __init__(
        self,
        requests: Tracer,
        batches: Tracer,
        attributes: Attributes,
        call: Span,
        own: Span | None,
    ) -> None:
        self._requests = requests
        self._batches = batches
        self._version = attributes
        self._attributes = attributes
        self._own = own
        self._parent = trace.set_span_in_context(own or call, Context())
        self._context = (own or call).get_span_context()
        self._began = 0
        self._runs: list[_Batch] = []
        self._seconds: Sequence[StageSeconds] = ()
        self._session: tuple[str, int] | None = None  # that it waits for, and since when

    def enter(self, seconds: Sequence[StageSeconds], attributes: Attributes) -> None:
        """Begin to follow it, with the times that the stages fill in."""
        self._began, self._seconds = time_ns(), seconds
        self._attributes = {**self._version, "images": len(seconds), **attributes}

    def wait_for_session(self, session: str) -> None:
        """Begin the span of the wait for a session."""
        self._session = session, time_ns()

    def session_opened(self) -> None:
        """Make the span of the wait for a session."""
        if self._session is None:
            return
        (session, began), self._session, self._began = self._session, None, time_ns()
        self._span("open session", began, self._began, attributes={"session": session})

    @contextmanager
    def batch(
        self,
        requests: Sequence[RequestTrace],
        *,
        images: int,
        size: int,
        attributes: Attributes,
    ) -> Iterator[None]:
        """Trace the run of a batch, in any thread.

        Args:
            requests: The traced requests of the batch, this one among them.
            images: The size of the batch.
            size: The number of requests in it, traced or not.
            attributes: What else its span states.
        """
        began = time_ns()
        traced = [request for request in requests if isinstance(request, RequestSpans)]
        span = self._batches.start_span(
            "batch",
            Context(),  # it belongs to all of its requests alike, so it has no parent
            attributes={**self._version, "images": images, "requests": size, **attributes},
            links=[Link(request._context) for request in traced],
            start_time=began,
        )
        run = _Batch(span.get_span_context(), began)
        for request in traced:
            request._runs.append(run)
        try:
            yield
        finally:
            run.ended = time_ns()
            span.end(run.ended)

    def end(self, error: BaseException | None, *, has_results: bool, encode: float | None) -> None:
        """Make the spans of the stages that took place, and end its own."""
        self.session_opened()  # only if it ended while it waited
        if self._seconds:
            self._end_stages(failed=error is not None and not has_results)
        if encode is not None:
            now = time_ns()
            span = self._requests.start_span(
                "encode", self._parent, start_time=now - int(1e9 * encode)
            )
            span.end(now)
        if self._own is not None:
            if error is not None:
                self._own.record_exception(error)
                self._own.set_status(Status(StatusCode.ERROR, str(error)))
            self._own.end()

    def _end_stages(self, *, failed: bool) -> None:
        """Make the spans of the stages.

        The time that an image waits for a decoder is the gap before `decode`;
        `queue` is the wait for a runner.
        """
        now, runs = time_ns(), list(self._runs)
        decoded = self._end_decode(now)
        if runs or failed:
            self._span("queue", decoded, runs[0].began if runs else now)
        if runs:
            ended = max(run.ended or now for run in runs)
            self._span("infer", runs[0].began, ended, [Link(run.context) for run in runs])

    def _end_decode(self, now: int) -> int:
        """Make the span of decoding, if there was any; return when the inputs were ready."""
        epoch = time_ns() - perf_counter_ns()
        times = [
            (began, began + int(1e9 * one.decode) if one.decode else now)
            for one in self._seconds
            if one.decode_began and (began := epoch + int(1e9 * one.decode_began))
        ]
        if not times:
            return self._began
        began, ended = min(b for b, _ in times), max(e for _, e in times)
        self._span("decode", began, ended)
        return ended

    def _span(
        self,
        name: str,
        began: int,
        ended: int,
        links: Sequence[Link] = (),
        *,
        attributes: Attributes | None = None,
    ) -> None:
        stated = {**self._attributes, **(attributes or {})}
        span = self._requests.start_span(
            name, self._parent, attributes=stated, links=links, start_time=began
        )
        span.end(max(began, ended))
