"""Unexpected errors, in the log and for the caller."""

import secrets

import grpc
import structlog

from convscope.server.errors import OutOfMemoryError
from convscope.server.observability.out_of_memory import callers_error

__all__ = ["status_of", "unexpected_error"]


def status_of(
    error: Exception, log: structlog.stdlib.BoundLogger, **fields: object
) -> tuple[grpc.StatusCode, str]:
    """Return the status of a call that ends with the exception that is being handled."""
    shown = callers_error(error)
    if isinstance(shown, OutOfMemoryError):
        return shown.code, shown.message
    return grpc.StatusCode.INTERNAL, unexpected_error(log, **fields)


def unexpected_error(log: structlog.stdlib.BoundLogger, **fields: object) -> str:
    """Log the exception that is being handled, and return the message for the caller."""
    error_id = secrets.token_hex(8)
    log.exception("unexpected error", error_id=error_id, **fields)
    return f"the server failed; its log explains the error under the id {error_id}"
