"""What is known of the call in progress, gathered for its metrics and its log line."""

import asyncio
import secrets
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import structlog

from convscope.server.observability.stages import StageSeconds

if TYPE_CHECKING:  # at run time, only when traces are wanted
    from convscope.server.observability.tracing import CallTrace

__all__ = ["CallRecord", "current_call", "deadline_of", "log_unforeseen"]


@dataclass(slots=True)
class CallRecord:
    """One call.

    Args:
        request_id: What the caller calls it, or we do.
        trace: Its trace, if it is traced.
        version: The model and the version it was for, once that is known. Not the version
            itself: an open stream would keep one that has retired in memory.
        inputs: How many inputs it had; of a stream, all of them together.
        failed_inputs: How many of them could not be answered.
        slowest: The stages of the input that took the longest, of those that were answered.
        encode_seconds: How long its reply took to encode; of a stream, the slowest reply.
        code: How it ended.
        error: What its caller was told, if it failed.
    """

    request_id: str
    trace: "CallTrace | None" = None
    version: tuple[str, int] | None = None
    inputs: int = 0
    failed_inputs: int = 0
    slowest: StageSeconds | None = None
    encode_seconds: float = 0.0
    code: grpc.StatusCode = grpc.StatusCode.OK
    error: str | None = None

    def answered(self, seconds: StageSeconds) -> None:
        """Take note of an input that was answered."""
        if self.slowest is None or seconds.total > self.slowest.total:
            self.slowest = seconds


log = structlog.get_logger(__name__)

current_call: ContextVar[CallRecord] = ContextVar("current_call")


def log_unforeseen(method: str) -> str:
    """Log the exception that is being handled, and give what its caller is told of it."""
    error_id = secrets.token_hex(8)
    request_id = current_call.get().request_id
    log.exception("unforeseen error", error_id=error_id, request_id=request_id, method=method)
    return f"the server failed; its log explains the error under the id {error_id}"


def deadline_of(context: "grpc.aio.ServicerContext[Any, Any]") -> float | None:
    """Give the `loop.time()` after which the caller doesn't wait any more, if it said so."""
    remaining = context.time_remaining()
    return None if remaining is None else asyncio.get_running_loop().time() + remaining
