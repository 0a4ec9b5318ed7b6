"""Log lines: JSON for machines, colours for people at a terminal."""

import logging
import sys

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

__all__ = ["configure_logs"]


def configure_logs() -> None:
    """Write structured log lines to standard error.

    Traces come without the values of local variables: these would be the
    images of the callers.
    """
    processors = structlog.processors
    if sys.stderr.isatty():
        structlog.configure(
            processors=[
                processors.add_log_level,
                processors.TimeStamper(fmt="%H:%M:%S", utc=False),
                structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
            ],
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            processors=[
                processors.add_log_level,
                processors.TimeStamper(fmt="iso", utc=True),
                processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
                processors.JSONRenderer(serializer=orjson.dumps, default=str),
            ],
            logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
            cache_logger_on_first_use=True,
        )
