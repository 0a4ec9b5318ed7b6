"""What is known of the call in progress, gathered for its metrics and its log line."""

from contextvars import ContextVar
from dataclasses import dataclass

import grpc

from convscope.server.repository import LoadedVersion

__all__ = ["CallRecord", "current_call"]


@dataclass(slots=True)
class CallRecord:
    """One call.

    Args:
        version: Which version it was for, once that is known.
        inputs: How many inputs it had; of a stream, all of them together.
        failed_inputs: How many of them could not be answered.
        code: How it ended.
    """

    version: LoadedVersion | None = None
    inputs: int = 0
    failed_inputs: int = 0
    code: grpc.StatusCode = grpc.StatusCode.OK


current_call: ContextVar[CallRecord] = ContextVar("current_call")
