"""Around every call: parsing, errors to status codes, metrics, a trace and a log line.

The handlers of a service are wrapped once, when they are registered. grpc.aio's
own interceptors look the handler up again at each call, through coroutines of
their own, which costs a tenth of a small call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2

from convscope.server.errors import DeadlineError, InvalidInputError, ServingError
from convscope.server.frontend.recording import Method, RecordedCall
from convscope.server.frontend.request_ids import REQUEST_ID, RequestIds
from convscope.server.observability.calls import CallRecord, current_call, log_unexpected_error
from convscope.server.observability.metrics import Metrics

__all__ = ["Accounting"]

log = structlog.get_logger(__name__)

# The service whose calls are not traced: a probe every few seconds is of no interest.
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments, and traces may be off
    from convscope.server.observability.tracing import Tracing

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Parse = Callable[[bytes], Any]


class Accounting:
    """Takes a server's place in the generated `add_..._to_server` functions.

    Requests reach the wrapped handlers as bytes: the library would answer one
    that can't be parsed with UNKNOWN and the text of a Python exception.

    Args:
        server: Where the wrapped handlers are registered.
        metrics: The metrics that count the calls.
        max_request_bytes: The largest request that is parsed.
        access_log: Whether to log a line for each call.
        tracing: Traces the calls; None for no traces.
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
        """Do nothing: the generated functions call the other method as well."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Register the wrapped handlers of a service."""
        wrapped = {name: self._wrap(service, name, handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, wrapped),)
        )

    def _wrap(self, service: str, name: str, handler: Handler) -> Handler:
        parse = _parser(handler.request_deserializer, self._max_request_bytes)
        if handler.unary_unary is not None:
            method = self._method("unary", service, name)
            return grpc.unary_unary_rpc_method_handler(
                self._unary(method, handler.unary_unary, parse),
                response_serializer=handler.response_serializer,
            )
        if handler.stream_stream is not None:
            method = self._method("bidi_stream", service, name)
            return grpc.stream_stream_rpc_method_handler(
                self._stream(method, handler.stream_stream, parse),
                response_serializer=handler.response_serializer,
            )
        return handler

    def _method(self, kind: str, service: str, name: str) -> Method:
        return Method(
            service,
            name,
            kind != "unary",
            self._metrics.method(kind, service, name),
            self._log,
            None if service == HEALTH else self._tracing,
        )

    def _begin(self, method: Method, context: Context) -> RecordedCall:
        request_id, is_callers = self._ids.of(context.invocation_metadata())
        if is_callers:
            context.set_trailing_metadata(((REQUEST_ID, request_id),))
        return RecordedCall(CallRecord(request_id), method, context)

    def _unary(
        self, method: Method, behavior: Any, parse: Parse
    ) -> Callable[[bytes, Context], Awaitable[Message]]:
        async def call(data: bytes, context: Context) -> Message:
            with self._begin(method, context):
                try:
                    _check_deadline(context)
                    response: Message = await behavior(parse(data), context)
                    return response
                except ServingError as error:
                    await _abort(context, error)
                except (asyncio.CancelledError, grpc.aio.AbortError):
                    raise
                except Exception:  # noqa: BLE001 - the last resort; it is logged in full
                    await _abort_unexpected(context, method.name)

        return call

    def _stream(self, method: Method, behavior: Any, parse: Parse) -> Any:
        """Wrap a stream's handler in a coroutine, which ends in the context that it began in.

        A message that can't be parsed is passed on as an error, because the
        reply to it has its place between those to the other messages.
        """

        def parse_or_error(data: bytes) -> Any:
            try:
                return parse(data)
            except ServingError as error:
                return error

        async def call(requests: AsyncIterator[bytes], context: Context) -> None:
            with self._begin(method, context):
                try:
                    _check_deadline(context)
                    parsed = (parse_or_error(data) async for data in requests)
                    async with aclosing(behavior(parsed, context)) as responses:
                        async for response in responses:
                            await context.write(response)
                except ServingError as error:
                    await _abort(context, error)
                except (asyncio.CancelledError, grpc.aio.AbortError):
                    raise
                except Exception:  # noqa: BLE001 - the last resort; it is logged in full
                    await _abort_unexpected(context, method.name)

        return call


def _parser(deserialize: Callable[[bytes], Any] | None, max_bytes: int) -> Parse:
    def parse(data: bytes) -> Any:
        if len(data) > max_bytes:
            raise InvalidInputError(
                f"the request has {len(data):,} bytes; at most {max_bytes:,} are accepted; "
                "send fewer or smaller images"
            )
        if deserialize is None:
            return data
        try:
            return deserialize(data)
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


async def _abort_unexpected(context: Context, method: str) -> NoReturn:
    metadata = ((REQUEST_ID, current_call.get().request_id),)
    message = log_unexpected_error(method)
    await context.abort(grpc.StatusCode.INTERNAL, message, trailing_metadata=metadata)
