"""Streams of requests: each message takes the way of a unary call, without a task of its own."""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import grpc

from convscope.server.errors import ServingError
from convscope.server.frontend.groups import ErrorMessages, RequestMaker
from convscope.server.frontend.ordering import STREAM_WINDOW, Place, in_order
from convscope.server.inference.completion import code_of
from convscope.server.inference.handler import InferenceHandler
from convscope.server.inference.requests import InferenceRequest
from convscope.server.observability.calls import current_call, deadline_of
from convscope.server.observability.out_of_memory import callers_error

__all__ = ["RequestStream"]

# Given a message (None if it can't be parsed), a code and the reason.
FailureReply = Callable[[Any, grpc.StatusCode, str], bytes]


class RequestStream:
    """One call of a streaming method.

    Args:
        method: The name of the method, for the log.
        handler: Takes the requests.
        maker: Makes requests from the messages.
        failure: Serializes the reply to a request that failed.
        context: The context of the call.
    """

    def __init__(
        self,
        method: str,
        handler: InferenceHandler,
        maker: RequestMaker,
        failure: FailureReply,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> None:
        self._method = method
        self._handler = handler
        self._maker = maker
        self._failure = failure
        self._record = current_call.get()
        self._deadline = deadline_of(context)

    def replies(self, messages: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        """Return the serialized replies in the order of the messages.

        A message that could not be parsed arrives as its error.
        """
        return in_order(self._begin, messages, STREAM_WINDOW)

    def _begin(self, message: Any, place: Place[bytes]) -> None:
        if isinstance(message, ServingError):
            place.set(self._failure(None, message.code, message.message))
            return
        try:
            request = self._maker.request(
                message, self._record, self._finish, self._deadline, place
            )
            if self._record.caller is not None and request.target is not None:
                self._record.caller.check_model(request.target.model)
        except Exception as error:  # noqa: BLE001 - the other requests are not affected
            place.set(self._failed(message, callers_error(error), ErrorMessages(self._method)))
            return
        place.on_cancel = partial(self._handler.cancel, request)
        self._handler.serve([request])

    def _finish(self, requests: Sequence[InferenceRequest]) -> None:
        messages = ErrorMessages(self._method)
        for request in requests:
            error = request.error
            request.place.on_cancel = None  # it refers to the request
            request.place.set(
                request.reply if error is None else self._failed(request.message, error, messages)
            )

    def _failed(self, message: Any, error: BaseException, messages: ErrorMessages) -> bytes:
        text = messages.of(error, self._record) or ""
        return self._failure(message, code_of(error, self._deadline), text)
