"""What happens around every call: parsing, errors to status, metrics, a log line.

The handlers of a service are wrapped once, when they are registered. grpc.aio's
own interceptors are asked for the handler again at each call, through
coroutines of their own, which costs a tenth of a small call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from convscope.server.calls import CallRecord, current_call, log_unforeseen
from convscope.server.errors import DeadlineError, InvalidInputError, ServingError
from convscope.server.metrics import MethodMetrics, Metrics

__all__ = ["Interceptor"]

log = structlog.get_logger(__name__)

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Parse = Callable[[bytes], Any]


class Interceptor:
    """Stands between the generated `add_..._to_server` functions and a server.

    Requests reach the wrapped handlers as bytes: left to the library, one that
    can't be parsed would be answered with UNKNOWN and a Python exception's text.

    Args:
        server: Where the wrapped handlers go.
        metrics: Hears of every call.
        max_request_bytes: The largest request that is parsed.
        access_log: Whether to log a line for each call.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        metrics: Metrics,
        *,
        max_request_bytes: int,
        access_log: bool,
    ) -> None:
        self._server = server
        self._metrics = metrics
        self._max_request_bytes = max_request_bytes
        self._access_log = access_log

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

    def _unary(
        self, name: str, behaviour: Any, parse: Parse, metrics: MethodMetrics
    ) -> Callable[[bytes, Context], Awaitable[Message]]:
        log_as = name if self._access_log else None

        async def call(data: bytes, context: Context) -> Message:
            with _Account(log_as, context, metrics):
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

    def _stream(
        self, name: str, behaviour: Any, parse: Parse, metrics: MethodMetrics
    ) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[Message]]:
        log_as = name if self._access_log else None

        async def call(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
            with _Account(log_as, context, metrics):
                try:
                    _check_deadline(context)
                    parsed = (parse(data) async for data in requests)
                    async for response in behaviour(parsed, context):
                        yield response
                except ServingError as error:
                    await _abort(context, error)
                except (asyncio.CancelledError, GeneratorExit, grpc.aio.AbortError):
                    raise
                except Exception:  # noqa: BLE001 - the last resort; it is logged whole
                    await _abort_unforeseen(context, name)

        return call


class _Account:
    """Counts and logs one call, however it ends."""

    __slots__ = ("_context", "_log_as", "_metrics", "_record", "_started_at")

    def __init__(self, log_as: str | None, context: Context, metrics: MethodMetrics) -> None:
        self._log_as = log_as
        self._context = context
        self._metrics = metrics

    def __enter__(self) -> CallRecord:
        self._record = CallRecord()
        current_call.set(self._record)
        self._metrics.begin()
        self._started_at = perf_counter()
        return self._record

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        record = self._record
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            record.code = _code_of_cancelled(self._context)
        elif error is not None:  # the context was aborted, by us or by the library's servicers
            record.code = _code_of_aborted(self._context)
        seconds = perf_counter() - self._started_at
        self._metrics.end(record.code, seconds)
        if self._log_as is not None:
            _log_call(self._log_as, record, seconds)


def _log_call(method: str, record: CallRecord, seconds: float) -> None:
    model, version = record.version or (None, None)
    log.info(
        "call",
        method=method,
        code=record.code.name,
        model=model,
        version=version,
        inputs=record.inputs,
        failed_inputs=record.failed_inputs,
        milliseconds=round(1000 * seconds, 2),
    )


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
    pushback = error.retry_pushback_ms
    metadata = () if pushback is None else (("grpc-retry-pushback-ms", str(pushback)),)
    await context.abort(error.code, error.message, trailing_metadata=metadata)


async def _abort_unforeseen(context: Context, method: str) -> NoReturn:
    await context.abort(grpc.StatusCode.INTERNAL, log_unforeseen(method))


def _code_of_aborted(context: Context) -> grpc.StatusCode:
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.INTERNAL


def _code_of_cancelled(context: Context) -> grpc.StatusCode:
    remaining = context.time_remaining()
    expired = remaining is not None and remaining <= 0
    return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED
