"""What libraries say through the standard library's logging, as lines of our log."""

import logging
from time import monotonic

import structlog

__all__ = ["relay_library_logs"]

log = structlog.get_logger(__name__)

# A complaint that is repeated is told again after so long.
PAUSE_SECONDS = 60.0


def relay_library_logs(library: str) -> None:
    """Log a library's warnings and errors, each kind at most once a minute.

    Args:
        library: The name of its loggers' common parent.
    """
    logger = logging.getLogger(library)
    logger.addHandler(_Relay(library))
    logger.propagate = False


class _Relay(logging.Handler):
    def __init__(self, library: str) -> None:
        super().__init__(logging.WARNING)
        self._library = library
        self._told_at: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record, unless its like was not long ago."""
        kind, now = str(record.msg), monotonic()  # the message before its values are put in
        if now - self._told_at.get(kind, -PAUSE_SECONDS) < PAUSE_SECONDS:
            return
        self._told_at[kind] = now
        log.warning("library complains", library=self._library, reason=record.getMessage())
