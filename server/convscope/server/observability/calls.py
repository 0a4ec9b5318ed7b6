"""What is known about the call in progress, collected for its metrics, trace and log line."""

import asyncio
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

import grpc
import structlog

from convscope.server.observability.stages import RequestTrace, StageSeconds

__all__ = [
    "CallRecord",
    "CallTrace",
    "Caller",
    "code_of_cancelled",
    "current_call",
    "deadline_of",
    "log_unexpected_error",
]

# A caller cancels its call when its deadline passes. By our clock, which started when the
# call arrived, that may be a little early.
DEADLINE_MARGIN_SECONDS = 0.02


class Caller(Protocol):
    """Who calls, by the server's policy."""

    @property
    def name(self) -> str:
        """Its name in the policy."""

    def may_use(self, model: str) -> bool:
        """Return whether it may use a model."""

    def check_model(self, model: str) -> None:
        """Check that it may use a model.

        Raises:
            PermissionDeniedError: It may not, whether or not the model exists.
        """

    def take_images(self, count: int) -> None:
        """Count images against its rate.

        Raises:
            CallerLimitError: It is over its rate.
        """

    def add_images(self, count: int) -> None:
        """Count further images of a request whose own images are counted."""


class CallTrace(Protocol):
    """The trace of one call."""

    @property
    def trace_id(self) -> str:
        """The id of the trace, in hexadecimal."""

    @property
    def exemplar(self) -> Mapping[str, str]:
        """The labels by which a metric refers to this call."""

    def request(self, version: tuple[str, int]) -> RequestTrace:
        """Follow a request of the call from here on."""

    def end(self, record: "CallRecord") -> None:
        """End the trace, with what the call was for and how it ended."""


@dataclass(slots=True)
class CallRecord:
    """One call.

    Args:
        request_id: The caller's id of the call, or ours.
        returns_id: Whether the reply repeats the id, because it is the caller's.
        started_at: The `time.perf_counter()` of its arrival.
        trace: Its trace, if it is traced.
        version: The model and the version it was for, once that is known. Not the loaded
            version itself: an open stream would keep a retired one in memory.
        inputs: How many inputs it had; for a stream, the inputs of all its requests.
        failed_inputs: How many of them could not be answered.
        slowest: The stages of the answered input that took the longest.
        encode_seconds: How long its reply took to encode; for a stream, the slowest reply.
        code: How it ended.
        error: The message that its caller got, if it failed.
        caller: Who calls; None for a server without a policy.
        is_over_own_limit: Whether it failed because of a limit that the policy sets for its
            caller, which doesn't mean that the server is overloaded.
    """

    request_id: str
    returns_id: bool = False
    started_at: float = field(default_factory=perf_counter)
    trace: CallTrace | None = None
    version: tuple[str, int] | None = None
    inputs: int = 0
    failed_inputs: int = 0
    slowest: StageSeconds | None = None
    encode_seconds: float = 0.0
    code: grpc.StatusCode = grpc.StatusCode.OK
    error: str | None = None
    caller: Caller | None = None
    is_over_own_limit: bool = False

    def answered(self, seconds: StageSeconds) -> None:
        """Record the stages of an answered input."""
        if self.slowest is None or seconds.total > self.slowest.total:
            self.slowest = seconds


log = structlog.get_logger(__name__)

current_call: ContextVar[CallRecord] = ContextVar("current_call")


def log_unexpected_error(method: str, request_id: str, error: BaseException) -> str:
    """Log an error that isn't a part of the contract, and return the message for the caller."""
    error_id = secrets.token_hex(8)
    log.error(
        "unexpected error",
        error_id=error_id,
        request_id=request_id,
        method=method,
        exc_info=error,
    )
    return f"the server failed; its log explains the error under the id {error_id}"


def deadline_of(context: "grpc.aio.ServicerContext[Any, Any]") -> float | None:
    """Return the `loop.time()` after which the caller stops waiting; None without a deadline."""
    remaining = context.time_remaining()
    return None if remaining is None else asyncio.get_running_loop().time() + remaining


def code_of_cancelled(seconds_left: float | None) -> grpc.StatusCode:
    """Return the code of a cancelled call: its deadline passed, or its caller left before.

    Args:
        seconds_left: The seconds until its deadline; None without a deadline.
    """
    expired = seconds_left is not None and seconds_left <= DEADLINE_MARGIN_SECONDS
    return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED
