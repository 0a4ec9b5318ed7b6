"""Logs that can't be written: a full pipe, a reader that has gone, a full disk."""

import fcntl
import os
import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread
from typing import Any

from bench.attacks.results import Result
from bench.attacks.run import Run
from bench.attacks.server import Server

__all__ = ["unwritable"]

PIPE_BYTES = 4096
READ_BYTES = 65536
ROW = "log"


def unwritable(run: Run) -> Iterator[Result]:
    """Attack one server for each cause."""
    yield _piped(run, "the pipe of the log is full", is_closed=False)
    yield _piped(run, "the reader of the log has gone", is_closed=True)
    yield _full_disk(run)


def _piped(run: Run, attack: str, *, is_closed: bool) -> Result:
    reader = _Reader()
    with reader, run.serving(stderr=reader.writing) as server:
        os.close(reader.writing)

        def act() -> dict[str, Any]:
            reader.stop(is_closed=is_closed)
            time.sleep(2 * run.seconds)
            return _state(server)

        with run.honest(server) as caller:
            figures = caller.during(attack, act)
        figures["stopped_seconds"] = server.stop()
    return Result(ROW, attack, figures, *caller.traffic(attack))


def _full_disk(run: Run) -> Result:
    """Let the file of the log grow no further, which is how a full disk behaves."""
    attack = "the disk of the log is full"
    with run.serving() as server:

        def act() -> dict[str, Any]:
            limit = (server.log_bytes(), resource.RLIM_INFINITY)
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limit)
            time.sleep(2 * run.seconds)
            return _state(server)

        with run.honest(server) as caller:
            figures = caller.during(attack, act)
        figures["stopped_seconds"] = server.stop()
    return Result(ROW, attack, figures, *caller.traffic(attack))


def _state(server: Server) -> dict[str, Any]:
    return {"reply": "server runs" if server.is_running else "server ended"}


class _Reader:
    """Reads a small pipe until it is stopped."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        fcntl.fcntl(self._reading, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._is_stopped = False
        self._thread = Thread(target=self._read)

    def __enter__(self) -> "_Reader":
        self._thread.start()
        return self

    def stop(self, *, is_closed: bool) -> None:
        """Read no more."""
        self._is_stopped = True
        self._thread.join()
        if is_closed:
            os.close(self._reading)
            self._reading = -1

    def __exit__(self, *_: object) -> None:
        self._is_stopped = True
        with suppress(OSError):
            os.close(self._reading)
        self._thread.join()

    def _read(self) -> None:
        os.set_blocking(self._reading, False)
        while not self._is_stopped:
            try:
                os.read(self._reading, READ_BYTES)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                return
