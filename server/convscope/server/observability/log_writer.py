"""Writes log lines in a thread of its own, so that a slow reader never blocks the event loop."""

import os
import select
import stat
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import RLock, Thread
from time import sleep

__all__ = ["LogWriter"]

# Lines that may wait while standard error blocks: those of some thousand calls.
MAX_WAITING_BYTES = 2**20
# Lines that arrive within this time wake the thread once, and not one by one.
LINGER_SECONDS = 0.01
# Lines share a write up to this size: workers have one standard error together, and
# a pipe keeps only such writes in one piece. A file keeps all of them.
CHUNK_BYTES = select.PIPE_BUF
FILE_CHUNK_BYTES = 64 * 1024
# How long the end of the process may wait for the last lines to be read.
FLUSH_SECONDS = 2.0

# A line, or in its place the number of lines that were dropped there.
_Entry = bytes | int


class LogWriter:
    """A bounded queue of lines, and the thread that writes them to a file descriptor in order.

    While the descriptor blocks, new lines are dropped and counted. An error of
    the descriptor, such as a reader that is gone or a full disk, drops what
    waits. As soon as lines can be written again, one of them reports the gap.

    Args:
        descriptor: The open file to write to.
        report: Returns the line that reports a number of dropped lines.
    """

    def __init__(self, descriptor: int, report: Callable[[int], bytes]) -> None:
        self.dropped = 0
        """Lines that were dropped so far."""
        self._descriptor = descriptor
        self._report = report
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._chunk_bytes = FILE_CHUNK_BYTES if is_file else CHUNK_BYTES
        self._waiting: deque[_Entry] = deque()
        self._waiting_bytes = 0
        self._unreported = 0
        # Reentrant: a finalizer that logs may run while this thread holds the lock.
        self._lock = RLock()
        self._wake: SimpleQueue[None] = SimpleQueue()  # its put is reentrant as well
        self._closing = False
        self._torn = False  # whether the last byte written was in the middle of a line
        self._failing = False  # whether the last write failed
        self._thread = Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def write(self, *lines: bytes) -> None:
        """Queue lines, or drop those that the queue has no room for; never blocks, never fails."""
        with self._lock:
            for line in lines:
                self._queue(line)
        if self._wake.empty():
            self._wake.put(None)

    def _queue(self, line: bytes) -> None:
        if self._waiting_bytes + len(line) > MAX_WAITING_BYTES:
            self.dropped += 1
            self._unreported += 1
            return
        if self._unreported:
            self._waiting.append(self._unreported)
            self._unreported = 0
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def close(self) -> None:
        """Write what waits, but wait no longer than a few seconds for it."""
        self._closing = True
        self._wake.put(None)
        self._thread.join(FLUSH_SECONDS)

    def _run(self) -> None:
        while True:
            self._wake.get()
            closing = self._closing  # before the lines are taken: those that follow are later ones
            while entries := self._take():
                self._write(entries)
            if closing:
                return
            sleep(LINGER_SECONDS)

    def _take(self) -> list[_Entry]:
        """Take the next entries from the queue, as many as fit into one write."""
        entries: list[_Entry] = []
        size = 0
        with self._lock:
            while self._waiting:
                length = _length(self._waiting[0])
                if entries and size + length > self._chunk_bytes:
                    break
                entries.append(self._waiting.popleft())
                size += length
            self._waiting_bytes -= size
            if self._unreported and not entries and not self._failing:
                entries.append(self._unreported)
                self._unreported = 0
        return entries

    def _write(self, entries: list[_Entry]) -> None:
        lines = [e if isinstance(e, bytes) else self._report(e) for e in entries]
        try:
            self._write_all(b"\n" * self._torn + b"".join(lines))
            self._failing = False
        except OSError:
            self._failing = True
            with self._lock:
                entries += self._waiting
                self._waiting.clear()
                self._waiting_bytes = 0
                lost = sum(isinstance(entry, bytes) for entry in entries)
                self.dropped += lost
                # Those that a report would have named are reported by a later one.
                self._unreported += lost + sum(e for e in entries if isinstance(e, int))

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except BlockingIOError:  # another process has made the shared file non-blocking
                select.select((), (self._descriptor,), (), 1.0)
                continue
            self._torn = rest[written - 1] != ord("\n")
            rest = rest[written:]


def _length(entry: _Entry) -> int:
    return len(entry) if isinstance(entry, bytes) else 0
