"""What happens around every unary call: parsing, errors to status, metrics, a log line."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn, cast

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from convscope.server.calls import CallRecord, current_call
from convscope.server.errors import DeadlineError, InvalidInputError, ServingError
from convscope.server.metrics import Metrics

__all__ = ["CallInterceptor"]

log = structlog.get_logger(__name__)

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Behaviour = Callable[[Any, Context], Awaitable[Message]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every unary method of the server.

    Requests reach the wrapper as bytes: left to the library, one that can't be
    parsed would be answered with UNKNOWN and a Python exception's text.

    Args:
        metrics: Hears of every call.
        max_request_bytes: The largest request that is parsed.
        access_log: Whether to log a line for each call.
    """

    def __init__(self, metrics: Metrics, *, max_request_bytes: int, access_log: bool) -> None:
        self._metrics = metrics
        self._max_request_bytes = max_request_bytes
        self._access_log = access_log
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Give the wrapped handler of a method."""
        method = handler_call_details.method
        if method not in self._handlers:
            handler = await continuation(handler_call_details)
            if handler is None or handler.unary_unary is None:
                return handler
            self._handlers[method] = self._wrap(method, handler)
        return self._handlers[method]

    def _wrap(self, method: str, handler: Handler) -> Handler:
        _, service, name = method.split("/")
        method_metrics = self._metrics.method("unary", service, name)
        parse = _parser(handler.request_deserializer, self._max_request_bytes)
        behaviour = cast("Behaviour", handler.unary_unary)

        async def call(data: bytes, context: Context) -> Message:
            record = CallRecord()
            current_call.set(record)
            method_metrics.begin()
            started_at = perf_counter()
            code = grpc.StatusCode.OK
            try:
                if (remaining := context.time_remaining()) is not None and remaining <= 0:
                    raise DeadlineError("the deadline had passed on arrival; allow more time")
                return await behaviour(parse(data), context)
            except ServingError as error:
                code = error.code
                await _abort(context, error)
            except asyncio.CancelledError:
                code = _code_of_cancelled(context)
                raise
            except grpc.aio.AbortError:
                code = context.code()
                raise
            except Exception:  # noqa: BLE001 - the last resort; it is logged whole
                code = grpc.StatusCode.INTERNAL
                await _abort_unforeseen(context, method)
            finally:
                seconds = perf_counter() - started_at
                method_metrics.end(code, seconds)
                self._account(name, record, code, seconds)

        return grpc.unary_unary_rpc_method_handler(
            call, response_serializer=handler.response_serializer
        )

    def _account(
        self, method: str, record: CallRecord, code: grpc.StatusCode, seconds: float
    ) -> None:
        version = record.version
        if version is not None and record.inputs is not None:
            self._metrics.of(version).request(code)
        if self._access_log:
            log.info(
                "call",
                method=method,
                code=code.name,
                model=version.key[0] if version else None,
                version=version.key[1] if version else None,
                inputs=record.inputs,
                failed_inputs=record.failed_inputs,
                milliseconds=round(1000 * seconds, 2),
            )


def _parser(deserialise: Callable[[bytes], Any] | None, max_bytes: int) -> Callable[[bytes], Any]:
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


async def _abort(context: Context, error: ServingError) -> NoReturn:
    pushback = error.retry_pushback_ms
    metadata = () if pushback is None else (("grpc-retry-pushback-ms", str(pushback)),)
    await context.abort(error.code, error.message, trailing_metadata=metadata)
    raise AssertionError("abort raises")


async def _abort_unforeseen(context: Context, method: str) -> NoReturn:
    error_id = secrets.token_hex(8)
    log.exception("unforeseen error", error_id=error_id, method=method)
    await context.abort(
        grpc.StatusCode.INTERNAL,
        f"the server failed; its log explains the error under the id {error_id}",
    )
    raise AssertionError("abort raises")


def _code_of_cancelled(context: Context) -> grpc.StatusCode:
    remaining = context.time_remaining()
    expired = remaining is not None and remaining <= 0
    return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED
