"""Unary calls that are handled in groups, without a task or a future for each of them.

A transport hands over the calls of one iteration of the event loop. They are parsed,
and take their way through the engine as requests. Those that are completed at the same
time, such as those of one batch, are counted and logged together, and answered.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Protocol

import structlog

from convscope.server.errors import CallerLimitError, DeadlineError, ServingError
from convscope.server.frontend.recording import Method
from convscope.server.frontend.request_ids import REQUEST_ID, RequestIds
from convscope.server.frontend.transport.calls import Metadata, UnaryCall
from convscope.server.inference.completion import code_of
from convscope.server.inference.handler import InferenceHandler
from convscope.server.inference.requests import Finish, InferenceRequest, Outcome
from convscope.server.observability.calls import CallRecord, log_unexpected_error
from convscope.server.observability.out_of_memory import callers_error

__all__ = ["ErrorMessages", "GroupMethod", "RequestMaker", "trailing"]

log = structlog.get_logger(__name__)

# A call, its record, and its reply or its error.
_Ended = tuple[UnaryCall, CallRecord, Outcome]


class RequestMaker(Protocol):
    """Makes requests from the messages of a method."""

    def request(
        self, message: Any, record: CallRecord, finish: Finish, deadline: float | None, place: Any
    ) -> InferenceRequest:
        """Return the request of a parsed message.

        Args:
            message: The message.
            record: The call that it belongs to.
            finish: Called with the request when it is completed.
            deadline: The `loop.time()` after which the caller no longer waits.
            place: Where the reply is sent.

        Raises:
            ServingError: A part of the message is invalid for every version.
        """


class GroupMethod:
    """One unary method; a `GroupHandler`.

    Args:
        method: Records the calls.
        parse: Parses a message.
        check_open: Raises an error while no calls are accepted.
        maker: Makes requests from the messages.
        handler: Takes the requests.
        ids: Assigns the calls their ids.
    """

    def __init__(
        self,
        method: Method,
        parse: Callable[[Any], Any],
        check_open: Callable[[], None],
        maker: RequestMaker,
        handler: InferenceHandler,
        ids: RequestIds,
    ) -> None:
        self._method = method
        self._parse = parse
        self._check_open = check_open
        self._maker = maker
        self._handler = handler
        self._ids = ids
        # Bound once: requests with the same function are finished together.
        self._finish_together = self._finish

    def __call__(self, calls: Sequence[UnaryCall]) -> None:
        """Take calls that arrived together; each is answered exactly once, now or later."""
        self._method.metrics.begin(len(calls))
        started_at, now = perf_counter(), asyncio.get_running_loop().time()
        requests: list[InferenceRequest] = []
        rejected: list[_Ended] = []
        for call in calls:
            record = CallRecord(*self._ids.of(call.metadata), started_at)
            admission = call.admission
            if admission is not None:
                record.caller = admission.caller
            try:
                if self._method.tracing is not None:
                    self._method.trace(record, call.metadata, call.peer)
                if call.ended:
                    raise asyncio.CancelledError
                self._check_open()
                if call.deadline is not None and call.deadline <= now:
                    raise DeadlineError("the deadline had passed on arrival; allow more time")
                if admission is not None:
                    admission.caller.take_bytes(len(call.message))
                message = self._parse(call.message)
                call.message = b""  # the parsed message has a copy of it
                request = self._maker.request(
                    message, record, self._finish_together, call.deadline, call
                )
                if admission is not None and request.target is not None:
                    admission.caller.check_model(request.target.model)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - its outcome
                rejected.append((call, record, callers_error(error)))
            else:
                call.on_cancel = partial(self._handler.cancel, request)
                requests.append(request)
        if requests:
            self._handler.serve(requests)
        if rejected:
            self._end(rejected)

    def _finish(self, requests: Sequence[InferenceRequest]) -> None:
        self._end([(r.place, r.record, r.reply if r.error is None else r.error) for r in requests])

    def _end(self, calls: Sequence[_Ended]) -> None:
        """Count and log calls that ended together, and answer them."""
        messages = ErrorMessages(self._method.name)
        for call, record, outcome in calls:
            if not isinstance(outcome, bytes):
                record.code = call.ended_with or code_of(outcome, call.deadline)
                record.error = messages.of(outcome, record)
                record.is_over_own_limit = isinstance(outcome, CallerLimitError)
        self._method.try_to_end([record for _, record, _ in calls])
        for call, record, outcome in calls:
            call.on_cancel = None  # it refers to the request, which refers to the call
            try:
                _answer(call, record, outcome)
            except Exception:  # the other calls have theirs to receive
                log.exception("unexpected error while replying", method=self._method.name)


class ErrorMessages:
    """The messages that callers receive for errors.

    An error that isn't a part of the contract is logged in full. If it failed a whole
    batch, its calls share one line and its id.

    Args:
        method: The name of the method, for the log.
    """

    def __init__(self, method: str) -> None:
        self._method = method
        self._unexpected: dict[BaseException, str] = {}

    def of(self, error: BaseException, record: CallRecord) -> str | None:
        """Return the message of an error; a caller that has left receives none."""
        if isinstance(error, ServingError):
            caller = record.caller
            return error.message if caller is None else error.message_for(caller.may_use)
        if isinstance(error, asyncio.CancelledError):
            return None
        message = self._unexpected.get(error)
        if message is None:
            message = log_unexpected_error(self._method, record.request_id, error)
            self._unexpected[error] = message
        return message


def trailing(record: CallRecord, error: BaseException) -> Metadata:
    """Return the metadata that goes with an error."""
    metadata = [(REQUEST_ID, record.request_id)]
    if isinstance(error, ServingError) and error.retry_pushback_ms is not None:
        metadata.append(("grpc-retry-pushback-ms", str(error.retry_pushback_ms)))
    return metadata


def _answer(call: UnaryCall, record: CallRecord, outcome: Outcome) -> None:
    if isinstance(outcome, bytes):
        call.reply(outcome, ((REQUEST_ID, record.request_id),) if record.returns_id else ())
    else:
        call.fail(record.code, record.error or "", trailing(record, outcome))
