"""The log of a server that is embedded in another program."""

import logging

import structlog

__all__ = ["log_to_standard_library"]


def log_to_standard_library() -> None:
    """Pass log lines to the logger "convscope.server" of the standard library.

    They are shown if the application configures logging, and otherwise not. An application that
    configures structlog decides itself.
    """
    logging.getLogger("convscope.server").addHandler(logging.NullHandler())
    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.stdlib.PositionalArgumentsFormatter(),
                structlog.processors.format_exc_info,
                structlog.processors.KeyValueRenderer(key_order=["event"]),
            ],
        )
