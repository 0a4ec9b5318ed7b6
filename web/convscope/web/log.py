"""Log lines on standard error: JSON for machines, short text for people at a terminal."""

import logging
import os
import sys
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Thread
from time import sleep
from typing import Any

import orjson

__all__ = ["Log", "LogHandler"]

# Lines that may wait while standard error blocks: those of some thousand requests.
MAX_WAITING = 8192
# Lines that arrive within this time wake the thread once, and not one by one.
LINGER_SECONDS = 0.01


class Log:
    """Writes lines in a thread of its own, so that a slow reader never blocks the event loop.

    While standard error blocks, new lines are dropped and counted.

    Args:
        for_people: Whether the lines are short text; by default at a terminal.
    """

    def __init__(self, for_people: bool | None = None) -> None:
        self._for_people = sys.stderr.isatty() if for_people is None else for_people
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._is_closing = False
        self._thread = Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def write(self, event: str, fields: Mapping[str, Any], level: str = "info") -> None:
        """Queue a line, or drop it if too many wait."""
        if len(self._lines) >= MAX_WAITING:
            self._dropped += 1
            return
        if self._dropped:
            fields = {**fields, "dropped_lines": self._dropped}
            self._dropped = 0
        self._lines.append(self._line(event, fields, level))
        if self._wake.empty():
            self._wake.put(None)

    def close(self) -> None:
        """Write what waits, but wait no longer than a second for it."""
        self._is_closing = True
        self._wake.put(None)
        self._thread.join(1.0)

    def _line(self, event: str, fields: Mapping[str, Any], level: str) -> bytes:
        now = datetime.now(UTC)
        if self._for_people:
            text = " ".join(f"{key}={_printable(key, value)}" for key, value in fields.items())
            return f"{now.astimezone():%H:%M:%S} {event} {text}\n".encode(errors="replace")
        timestamp = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
        line = {**fields, "event": event, "level": level, "timestamp": timestamp}
        return orjson.dumps(line, default=str) + b"\n"

    def _run(self) -> None:
        is_closing = False
        while not is_closing:
            self._wake.get()
            is_closing = self._is_closing
            if not is_closing:
                sleep(LINGER_SECONDS)
            lines = self._lines
            _write(b"".join([lines.popleft() for _ in range(len(lines))]))


class LogHandler(logging.Handler):
    """Relays the warnings of libraries.

    Args:
        log: Where they are written.
    """

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        fields = {"logger": record.name}
        if record.exc_info:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        self._log.write(record.getMessage(), fields, record.levelname.lower())


def _printable(key: str, value: object) -> str:
    """Return a value without what a terminal would obey: the path is the caller's choice."""
    text = str(value)
    if text.isprintable() or key == "exception":
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _write(data: bytes) -> None:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(sys.stderr.fileno(), rest) :]
    except OSError:  # the reader is gone, or the disk is full
        return
