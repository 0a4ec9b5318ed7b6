"""Errors that nobody expected, in the log and for the caller."""

import secrets

import structlog

__all__ = ["unexpected_error"]


def unexpected_error(log: structlog.stdlib.BoundLogger, **fields: object) -> str:
    """Log the exception that is being handled, and return the message for the caller."""
    error_id = secrets.token_hex(8)
    log.exception("unexpected error", error_id=error_id, **fields)
    return f"the server failed; its log explains the error under the id {error_id}"
