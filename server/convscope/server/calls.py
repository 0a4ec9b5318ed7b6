"""What is known of the call in progress, gathered for its metrics and its log line."""

import asyncio
import secrets
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc
import structlog

__all__ = ["CallRecord", "current_call", "deadline_of", "log_unforeseen"]


@dataclass(slots=True)
class CallRecord:
    """One call.

    Args:
        version: The model and the version it was for, once that is known. Not the version
            itself: an open stream would keep one that has retired in memory.
        inputs: How many inputs it had; of a stream, all of them together.
        failed_inputs: How many of them could not be answered.
        code: How it ended.
    """

    version: tuple[str, int] | None = None
    inputs: int = 0
    failed_inputs: int = 0
    code: grpc.StatusCode = grpc.StatusCode.OK


log = structlog.get_logger(__name__)

current_call: ContextVar[CallRecord] = ContextVar("current_call")


def log_unforeseen(method: str) -> str:
    """Log the exception that is being handled, and give what its caller is told of it."""
    error_id = secrets.token_hex(8)
    log.exception("unforeseen error", error_id=error_id, method=method)
    return f"the server failed; its log explains the error under the id {error_id}"


def deadline_of(context: "grpc.aio.ServicerContext[Any, Any]") -> float | None:
    """Give the `loop.time()` after which the caller doesn't wait any more, if it said so."""
    remaining = context.time_remaining()
    return None if remaining is None else asyncio.get_running_loop().time() + remaining
