"""Around every call: parsing, errors to status codes, metrics, a trace and a log line.

The handlers of a service are wrapped once, when they are registered. grpc.aio's
own interceptors look the handler up again at each call, through coroutines of
their own, which costs a tenth of a small call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from convscope.server.errors import CallerLimitError, DeadlineError, ServingError
from convscope.server.frontend.access.calls import admitted_messages, caller_of, take_bytes
from convscope.server.frontend.groups import ErrorMessages, GroupMethod, RequestMaker, trailing
from convscope.server.frontend.parsing import Parse, parse_or_abort, parser
from convscope.server.frontend.recording import Method, RecordedCall
from convscope.server.frontend.request_ids import REQUEST_ID, RequestIds
from convscope.server.frontend.transport.calls import Transport
from convscope.server.inference.completion import code_of
from convscope.server.inference.handler import InferenceHandler
from convscope.server.observability.calls import CallRecord
from convscope.server.observability.metrics import Metrics
from convscope.server.observability.out_of_memory import callers_error

__all__ = ["Accounting", "always_open"]

# The service whose calls are not traced: a probe every few seconds is of no interest.
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments, and traces may be off
    from convscope.server.observability.tracing import Tracing

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]


def always_open() -> None:
    """Accept a call."""


class Accounting:
    """Takes a server's place in the generated `add_..._to_server` functions.

    Requests reach the wrapped handlers as bytes, which they parse themselves.

    Args:
        transport: Where the wrapped handlers are registered.
        metrics: The metrics that count the calls.
        max_request_bytes: The largest request that is parsed.
        access_log: Whether to log a line for each call.
        tracing: Traces the calls; None for no traces.
        check_open: Raises an error while no calls are accepted.
    """

    def __init__(
        self,
        transport: Transport,
        metrics: Metrics,
        *,
        max_request_bytes: int,
        access_log: bool,
        tracing: Tracing | None = None,
        check_open: Callable[[], None] = always_open,
    ) -> None:
        self._transport = transport
        self._metrics = metrics
        self._max_request_bytes = max_request_bytes
        self._access_log = access_log
        self._tracing = tracing
        self._check_open = check_open
        self._ids = RequestIds()
        self._grouped: set[tuple[str, str]] = set()

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: the generated functions call the other method as well."""

    def add_group_method(
        self,
        service: str,
        name: str,
        parse: Callable[[bytes], Any],
        maker: RequestMaker,
        handler: InferenceHandler,
    ) -> None:
        """Register a unary method whose calls are handled in groups.

        Args:
            service: The full name of the service.
            name: The name of the method; no other handler of it is registered.
            parse: Parses a message.
            maker: Makes requests from the messages.
            handler: Takes the requests.
        """
        self._grouped.add((service, name))
        method = GroupMethod(
            self._method("unary", service, name),
            parser(parse, self._max_request_bytes),
            self._check_open,
            maker,
            handler,
            self._ids,
        )
        self._transport.add_group_methods(service, {name: method})

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Register the wrapped handlers of a service."""
        wrapped = {
            name: self._wrap(service, name, handler)
            for name, handler in handlers.items()
            if (service, name) not in self._grouped
        }
        self._transport.add_registered_method_handlers(service, wrapped)

    def _wrap(self, service: str, name: str, handler: Handler) -> Handler:
        parse = parser(handler.request_deserializer, self._max_request_bytes)
        if handler.unary_unary is not None:
            method = self._method("unary", service, name)
            return grpc.unary_unary_rpc_method_handler(
                self._unary(method, handler.unary_unary, parse),
                response_serializer=handler.response_serializer,
            )
        if handler.stream_stream is not None:
            method = self._method("bidi_stream", service, name)
            return grpc.stream_stream_rpc_method_handler(
                self._stream(method, handler.stream_stream, parse)
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                _watch(handler.unary_stream, parse),
                response_serializer=handler.response_serializer,
            )
        raise TypeError(f"{service}/{name} has a kind that no service of ours has")

    def _method(self, kind: str, service: str, name: str) -> Method:
        return Method(
            service,
            name,
            kind != "unary",
            self._metrics.method(kind, service, name),
            self._access_log,
            None if service == HEALTH else self._tracing,
        )

    def _begin(self, method: Method, context: Context) -> RecordedCall:
        record = CallRecord(*self._ids.of(context.invocation_metadata()))
        if record.returns_id:
            context.set_trailing_metadata(((REQUEST_ID, record.request_id),))
        record.caller = caller_of(context)
        return RecordedCall(record, method, context)

    def _check(self, context: Context) -> None:
        self._check_open()
        remaining = context.time_remaining()
        if remaining is not None and remaining <= 0:
            raise DeadlineError("the deadline had passed on arrival; allow more time")

    def _unary(
        self, method: Method, behavior: Any, parse: Parse
    ) -> Callable[[bytes, Context], Awaitable[Message]]:
        async def call(data: bytes, context: Context) -> Message:
            with self._begin(method, context) as record:
                try:
                    self._check(context)
                    take_bytes(context, len(data))
                    response: Message = await behavior(parse(data), context)
                except (asyncio.CancelledError, grpc.aio.AbortError):
                    raise
                except Exception as error:  # noqa: BLE001 - the caller receives it
                    await _abort(context, method, record, error)
                return response

        return call

    def _stream(self, method: Method, behavior: Any, parse: Parse) -> Any:
        """Wrap the handler of a stream, which returns serialized replies.

        A message that can't be parsed is passed on as an error, because the
        reply to it has its place between those to the other messages.
        """

        def parse_or_error(data: bytes) -> Any:
            try:
                return parse(data)
            except ServingError as error:
                return error

        async def call(requests: AsyncIterator[bytes], context: Context) -> None:
            with self._begin(method, context) as record:
                try:
                    self._check(context)
                    admitted = admitted_messages(requests, context, record)
                    parsed = (parse_or_error(data) async for data in admitted)
                    async with aclosing(behavior(parsed, context)) as responses:
                        async for response in responses:
                            await context.write(response)
                except (asyncio.CancelledError, grpc.aio.AbortError):
                    raise
                except Exception as error:  # noqa: BLE001 - the caller receives it
                    await _abort(context, method, record, error)

        return call


def _watch(behavior: Any, parse: Parse) -> Any:
    """Wrap the handler of a watch, which lasts as long as its caller: it isn't counted."""

    async def call(data: bytes, context: Context) -> None:
        await behavior(await parse_or_abort(parse, data, context), context)

    return call


async def _abort(context: Context, method: Method, record: CallRecord, error: Exception) -> None:
    shown = callers_error(error)
    message = ErrorMessages(method.name).of(shown, record) or ""
    metadata = tuple(trailing(record, shown))
    record.is_over_own_limit = isinstance(shown, CallerLimitError)
    await context.abort(code_of(shown, None), message, trailing_metadata=metadata)
