"""Log lines: JSON for machines, colors for people at a terminal."""

import logging
import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

from convscope.server.observability.library_logs import relay_library_logs
from convscope.server.observability.log_writer import LogWriter

__all__ = ["configure_logs", "dropped_lines", "log_calls"]

log = structlog.get_logger(__name__)


def configure_logs() -> LogWriter:
    """Write structured log lines to standard error, through a queue and a thread.

    This includes the warnings of libraries, and the exceptions that end threads
    or that nothing can catch: Python itself would write these to standard error,
    and block with it.
    Traces are written without the values of local variables, because these
    include the images of the callers.

    Returns:
        The writer; close it at the end of the process, so that the last lines are written.
    """
    for_people = sys.stderr.isatty()
    processors = _for_people() if for_people else _for_machines()
    writer = LogWriter(sys.stderr.fileno(), partial(_report_gap, processors))
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=processors,
        logger_factory=_Loggers(writer, for_people=for_people),
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    relay_library_logs()
    threading.excepthook = _log_end_of_thread
    sys.unraisablehook = _log_unraisable
    return writer


def dropped_lines() -> int:
    """Return how many lines were dropped so far, because standard error could not be written."""
    factory = structlog.get_config()["logger_factory"]
    return factory.writer.dropped if isinstance(factory, _Loggers) else 0


def log_calls(calls: Iterable[dict[str, object]]) -> None:
    """Write a line for each call of the access log, with one time for all of them.

    Structlog's processors cost several times as much as the line itself.
    """
    factory = structlog.get_config()["logger_factory"]
    if not isinstance(factory, _Loggers) or factory.for_people:
        for call in calls:
            log.info("call", **call)
        return
    rest = {"event": "call", "level": "info", "timestamp": _timestamp()}
    lines = []
    for call in calls:
        call.update(rest)
        lines.append(orjson.dumps(call, str, orjson.OPT_APPEND_NEWLINE))
    factory.writer.write(*lines)


def _timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class _Loggers:
    """Gives structlog the logger at the end of its processors."""

    def __init__(self, writer: LogWriter, *, for_people: bool) -> None:
        self.writer = writer
        self.for_people = for_people
        self._logger = _Logger(writer)

    def __call__(self, *names: str) -> "_Logger":
        return self._logger


class _Logger:
    """Hands each rendered line to the writer."""

    def __init__(self, writer: LogWriter) -> None:
        self._write = writer.write

    def msg(self, message: str | bytes) -> None:
        """Write one line."""
        self._write(_line(message))

    debug = info = warning = error = critical = msg


def _line(message: str | bytes) -> bytes:
    data = message.encode(errors="backslashreplace") if isinstance(message, str) else message
    return data + b"\n"


def _for_people() -> list[structlog.typing.Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        _model_first,
        structlog.dev.ConsoleRenderer(
            sort_keys=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]


def _model_first(
    logger: Any, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Put the model and its version before the other keys, which keep their order."""
    return {key: event[key] for key in ("model", "version") if key in event} | dict(event)


def _for_machines() -> list[structlog.typing.Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(serializer=orjson.dumps, default=str),
    ]


def _report_gap(processors: list[structlog.typing.Processor], lines: int) -> bytes:
    """Render the line that reports dropped lines; it doesn't pass through the queue itself."""
    event: Any = {"event": "log lines dropped", "lines": lines}
    for processor in processors:
        event = processor(None, "warning", event)
    return _line(event)


def _log_end_of_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is None or issubclass(arguments.exc_type, SystemExit):
        return
    name = arguments.thread.name if arguments.thread else None
    log.error("unexpected error in a thread", thread=name, exc_info=arguments.exc_value)


def _log_unraisable(error: "sys.UnraisableHookArgs") -> None:
    log.error("unexpected error in a finalizer or callback", exc_info=error.exc_value)
