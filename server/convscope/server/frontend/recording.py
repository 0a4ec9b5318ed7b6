"""The record of a call: its metrics, its log line and its trace."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import grpc
import structlog

from convscope.server.observability.calls import CallRecord, code_of_cancelled, current_call
from convscope.server.observability.logs import log_calls
from convscope.server.observability.metrics import MethodMetrics

__all__ = ["Method", "RecordedCall"]

# The characters of an error's message in the log; it may quote what a caller sent.
MAX_ERROR_LENGTH = 500

log = structlog.get_logger(__name__)

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments, and traces may be off
    from convscope.server.frontend.transport.calls import Metadata
    from convscope.server.observability.tracing import Tracing

    Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service, and the recorders of its calls.

    Args:
        service: The full name of the service.
        name: The name of the method.
        streamed: Whether a call has many requests.
        metrics: Counts the calls.
        access_log: Whether to log a line for each call.
        tracing: Traces the calls; None for no traces.
    """

    service: str
    name: str
    streamed: bool
    metrics: MethodMetrics
    access_log: bool
    tracing: Tracing | None

    def trace(self, record: CallRecord, metadata: Metadata, peer: str) -> None:
        """Begin the trace of a call, if calls are traced."""
        if self.tracing is not None:
            record.trace = self.tracing.begin(
                self.service, self.name, metadata, peer, streamed=self.streamed
            )
            # The metrics refer to the trace, which can't be shorter than what they measure.
            record.started_at = perf_counter()

    def end(self, records: Sequence[CallRecord]) -> None:
        """Count, log and trace calls that ended together."""
        now = perf_counter()
        seconds = [now - record.started_at for record in records]
        self.metrics.end(
            [record.code for record in records],
            seconds,
            [None if record.trace is None else record.trace.exemplar for record in records],
            sum(record.is_over_own_limit for record in records),
        )
        if self.access_log:
            log_calls(map(_line, [self.name] * len(records), records, seconds))
        for record in records:
            if record.trace is not None:
                record.trace.end(record)

    def try_to_end(self, records: Sequence[CallRecord]) -> None:
        """Count, log and trace calls; an error in this must not keep their replies back."""
        try:
            self.end(records)
        except Exception:
            log.exception("unexpected error while recording calls", method=self.name)


class RecordedCall:
    """Counts, logs and traces one call of a coroutine, however it ends."""

    __slots__ = ("_context", "_method", "_record")

    def __init__(self, record: CallRecord, method: Method, context: Context) -> None:
        self._record = record
        self._method = method
        self._context = context

    def __enter__(self) -> CallRecord:
        context = self._context
        metadata = cast("Metadata", context.invocation_metadata() or ())
        self._method.trace(self._record, metadata, context.peer())
        current_call.set(self._record)
        self._method.metrics.begin()
        return self._record

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        record = self._record
        if isinstance(error, asyncio.CancelledError):
            record.code = _code_of_ended(self._context) or code_of_cancelled(
                self._context.time_remaining()
            )
        elif error is not None:  # the context was aborted, by us or by the library's servicers
            record.code = _code_of_aborted(self._context)
            record.error = self._context.details() or None
        self._method.try_to_end([record])


def _line(method: str, record: CallRecord, seconds: float) -> dict[str, object]:
    """Return the fields of a call's log line.

    The times of the stages are those of the input that took the longest;
    `encode_ms` is that of the whole reply. What isn't known has no key.
    """
    model, version = record.version or (None, None)
    line: dict[str, object] = {
        "method": method,
        "code": record.code.name,
        "request_id": record.request_id,
        "model": model,
        "version": version,
        "images": record.inputs,
        "failed_images": record.failed_inputs,
        "milliseconds": _milliseconds(seconds),
    }
    if (stages := record.slowest) is not None:
        line["decode_ms"] = _milliseconds(stages.decode)
        line["queue_ms"] = _milliseconds(stages.queue)
        line["infer_ms"] = _milliseconds(stages.infer)
        line["encode_ms"] = _milliseconds(record.encode_seconds)
    if record.caller is not None:
        line["caller"] = record.caller.name
    if record.error is not None:
        line["error"] = record.error[:MAX_ERROR_LENGTH]
    if record.trace is not None:
        line["trace_id"] = record.trace.trace_id
    return line


def _milliseconds(seconds: float) -> float:
    """Return a time with two decimals; `round` takes several times as long."""
    return int(100_000 * seconds + 0.5) / 100


def _code_of_ended(context: Context) -> grpc.StatusCode | None:
    """Return the code that the transport has ended a cancelled call with, if it has."""
    code = context.code()
    if isinstance(code, grpc.StatusCode) and code is not grpc.StatusCode.OK:
        return code
    return None


def _code_of_aborted(context: Context) -> grpc.StatusCode:
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.INTERNAL
