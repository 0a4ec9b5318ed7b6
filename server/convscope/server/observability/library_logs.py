"""Library logs: what libraries report through the standard library's logging, as our log lines."""

import logging
from time import monotonic

import structlog

__all__ = ["relay_library_logs"]

log = structlog.get_logger(__name__)

# A repeated message is logged again after this time.
PAUSE_SECONDS = 60.0
# Different messages that are remembered, so that their number can't grow without end.
MAX_KINDS = 1000


def relay_library_logs(library: str | None = None) -> None:
    """Log the warnings and errors of libraries, each kind of message at most once a minute.

    Args:
        library: The common parent of a library's loggers; None for all libraries.
    """
    logger = logging.getLogger(library)
    logger.addHandler(_Relay(logging.WARNING))
    logger.propagate = False


class _Relay(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._logged_at: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record, unless the same kind of message was logged recently."""
        kind, now = str(record.msg), monotonic()  # the message before its values are filled in
        if now - self._logged_at.get(kind, -PAUSE_SECONDS) < PAUSE_SECONDS:
            return
        if len(self._logged_at) >= MAX_KINDS:
            self._logged_at.clear()
        self._logged_at[kind] = now
        write = log.error if record.levelno >= logging.ERROR else log.warning
        details = {"exc_info": record.exc_info} if record.exc_info else {}
        library = record.name.partition(".")[0]
        write("library warning", library=library, reason=record.getMessage(), **details)
