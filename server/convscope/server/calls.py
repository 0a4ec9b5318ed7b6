"""What is known of the call in progress, gathered for its metrics and its log line."""

from contextvars import ContextVar
from dataclasses import dataclass

from convscope.server.repository import LoadedVersion

__all__ = ["CallRecord", "current_call"]


@dataclass(slots=True)
class CallRecord:
    """One call.

    Args:
        version: Which version it was for, once that is known.
        inputs: How many inputs it had; None if it asked for no inference.
        failed_inputs: How many of them could not be answered.
    """

    version: LoadedVersion | None = None
    inputs: int | None = None
    failed_inputs: int = 0


current_call: ContextVar[CallRecord] = ContextVar("current_call")
