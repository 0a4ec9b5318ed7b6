"""Log lines: JSON for machines, colours for people at a terminal."""

import sys

import structlog

__all__ = ["configure_logs"]


def configure_logs() -> None:
    """Write structured log lines to standard error."""
    terminal = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer()
        if terminal
        else structlog.processors.JSONRenderer(default=str)
    )
    errors = [] if terminal else [structlog.processors.dict_tracebacks]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not terminal),
            *errors,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
