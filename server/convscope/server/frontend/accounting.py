"""What happens around every call: parsing, errors to status, metrics, a log line.

The handlers of a service are wrapped once, when they are registered. grpc.aio's
own interceptors are asked for the handler again at each call, through
coroutines of their own, which costs a tenth of a small call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from convscope.server.errors import DeadlineError, InvalidInputError, ServingError
from convscope.server.frontend.request_ids import REQUEST_ID, RequestIds
from convscope.server.observability.calls import CallRecord, current_call, log_unforeseen
from convscope.server.observability.metrics import MethodMetrics, Metrics

__all__ = ["Accounting"]

log = structlog.get_logger(__name__)

# Of an error's message in the log; it may quote what a caller sent.
MAX_ERROR_LENGTH = 500

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments, and traces may be off
    from convscope.server.observability.tracing import Tracing

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Parse = Callable[[bytes], Any]


class Accounting:
    """Stands between the generated `add_..._to_server` functions and a server.

    Requests reach the wrapped handlers as bytes: left to the library, one that
    can't be parsed would be answered with UNKNOWN and a Python exception's text.

    Args:
        server: Where the wrapped handlers go.
        metrics: Hears of every call.
        max_request_bytes: The largest request that is parsed.
        access_log: Whether to log a line for each call.
        tracing: Traces the calls, if they are to be traced.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        metrics: Metrics,
        *,
        max_request_bytes: int,
        access_log: bool,
        tracing: Tracing | None = None,
    ) -> None:
        self._server = server
        self._metrics = metrics
        self._max_request_bytes = max_request_bytes
        # Bound once: structlog makes a new logger at each use of an unbound one.
        self._log = log.bind() if access_log else None
        self._tracing = tracing
        self._ids = RequestIds()

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Leave it to the other method: the generated functions call both."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Register the wrapped handlers of a service."""
        wrapped = {name: self._wrap(service, name, handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, wrapped),)
        )

    def _wrap(self, service: str, name: str, handler: Handler) -> Handler:
        parse = _parser(handler.request_deserializer, self._max_request_bytes)
        if handler.unary_unary is not None:
            metrics = self._metrics.method("unary", service, name)
            return grpc.unary_unary_rpc_method_handler(
                self._unary(name, handler.unary_unary, parse, metrics),
                response_serializer=handler.response_serializer,
            )
        if handler.stream_stream is not None:
            metrics = self._metrics.method("bidi_stream", service, name)
            return grpc.stream_stream_rpc_method_handler(
                self._stream(name, handler.stream_stream, parse, metrics),
                response_serializer=handler.response_serializer,
            )
        return handler

    def _begin(self, context: Context, *, streamed: bool = False) -> CallRecord:
        request_id, is_callers = self._ids.of(context.invocation_metadata())
        if is_callers:
            context.set_trailing_metadata(((REQUEST_ID, request_id),))
        trace = None if self._tracing is None else self._tracing.call(streamed=streamed)
        return CallRecord(request_id, trace)

    def _unary(
        self, name: str, behaviour: Any, parse: Parse, metrics: MethodMetrics
    ) -> Callable[[bytes, Context], Awaitable[Message]]:
        async def call(data: bytes, context: Context) -> Message:
            with _Account(self._begin(context), name, context, metrics, self._log):
                try:
                    _check_deadline(context)
                    response: Message = await behaviour(parse(data), context)
                    return response
                except ServingError as error:
                    await _abort(context, error)
                except (asyncio.CancelledError, grpc.aio.AbortError):
                    raise
                except Exception:  # noqa: BLE001 - the last resort; it is logged whole
                    await _abort_unforeseen(context, name)

        return call

    def _stream(self, name: str, behaviour: Any, parse: Parse, metrics: MethodMetrics) -> Any:
        """Wrap a stream's handler in a coroutine: a generator could be left for later to close."""

        async def call(requests: AsyncIterator[bytes], context: Context) -> None:
            record = self._begin(context, streamed=True)
            with _Account(record, name, context, metrics, self._log):
                try:
                    _check_deadline(context)
                    parsed = (parse(data) async for data in requests)
                    async with aclosing(behaviour(parsed, context)) as responses:
                        async for response in responses:
                            await context.write(response)
                except ServingError as error:
                    await _abort(context, error)
                except (asyncio.CancelledError, grpc.aio.AbortError):
                    raise
                except Exception:  # noqa: BLE001 - the last resort; it is logged whole
                    await _abort_unforeseen(context, name)

        return call


class _Account:
    """Counts, logs and traces one call, however it ends."""

    __slots__ = ("_context", "_log", "_method", "_metrics", "_record", "_started_at")

    def __init__(
        self,
        record: CallRecord,
        method: str,
        context: Context,
        metrics: MethodMetrics,
        log: structlog.typing.FilteringBoundLogger | None,
    ) -> None:
        self._record = record
        self._method = method
        self._context = context
        self._metrics = metrics
        self._log = log

    def __enter__(self) -> None:
        current_call.set(self._record)
        self._metrics.begin()
        self._started_at = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        record, trace = self._record, self._record.trace
        if isinstance(error, asyncio.CancelledError):
            record.code = _code_of_cancelled(self._context)
        elif error is not None:  # the context was aborted, by us or by the library's servicers
            record.code = _code_of_aborted(self._context)
            record.error = self._context.details()[:MAX_ERROR_LENGTH] or None
        seconds = perf_counter() - self._started_at
        self._metrics.end(record.code, seconds, None if trace is None else trace.exemplar)
        if self._log is not None:
            self._log.info("call", **_line(self._method, record, seconds))
        if trace is not None:
            trace.end(record)


def _line(method: str, record: CallRecord, seconds: float) -> dict[str, object]:
    """Give what the log says of a call.

    The times of the stages are those of the input that took the longest,
    `encode_ms` that of its whole reply. What isn't known has no key.
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
        "milliseconds": round(1000 * seconds, 2),
    }
    if (stages := record.slowest) is not None:
        line["decode_ms"] = round(1000 * stages.decode, 2)
        line["queue_ms"] = round(1000 * stages.queue, 2)
        line["infer_ms"] = round(1000 * stages.infer, 2)
        line["encode_ms"] = round(1000 * record.encode_seconds, 2)
    if record.error is not None:
        line["error"] = record.error
    if record.trace is not None:
        line["trace_id"] = record.trace.trace_id
    return line


def _parser(deserialise: Callable[[bytes], Any] | None, max_bytes: int) -> Parse:
    def parse(data: bytes) -> Any:
        if len(data) > max_bytes:
            raise InvalidInputError(
                f"the request has {len(data):,} bytes; at most {max_bytes:,} are taken; "
                "send fewer or smaller images"
            )
        if deserialise is None:
            return data
        try:
            return deserialise(data)
        except DecodeError as error:
            raise InvalidInputError(
                f"the request's {len(data):,} bytes can't be parsed as the method's message"
            ) from error

    return parse


def _check_deadline(context: Context) -> None:
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        raise DeadlineError("the deadline had passed on arrival; allow more time")


async def _abort(context: Context, error: ServingError) -> NoReturn:
    metadata = [(REQUEST_ID, current_call.get().request_id)]
    if (pushback := error.retry_pushback_ms) is not None:
        metadata.append(("grpc-retry-pushback-ms", str(pushback)))
    await context.abort(error.code, error.message, trailing_metadata=tuple(metadata))


async def _abort_unforeseen(context: Context, method: str) -> NoReturn:
    metadata = ((REQUEST_ID, current_call.get().request_id),)
    await context.abort(
        grpc.StatusCode.INTERNAL, log_unforeseen(method), trailing_metadata=metadata
    )


def _code_of_aborted(context: Context) -> grpc.StatusCode:
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.INTERNAL


def _code_of_cancelled(context: Context) -> grpc.StatusCode:
    remaining = context.time_remaining()
    expired = remaining is not None and remaining <= 0
    return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED
