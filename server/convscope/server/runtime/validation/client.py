"""The server's end of the validation: sends examinations, and waits for what was found."""

import json
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector
from time import monotonic, sleep
from typing import Any, Protocol, Self

from convscope.server.errors import BundleRejectedError, ShuttingDownError
from convscope.server.runtime.figures import Figures
from convscope.server.runtime.validation.examination import Examination, Findings
from convscope.server.runtime.validation.fork_server import run_fork_server
from convscope.server.runtime.validation.serialization import to_json

__all__ = ["BundleValidator"]

# Each version that follows within this time saves half a second of one core.
IDLE_SECONDS = 60.0
POLL_SECONDS = 0.1
# The fork server enforces the limits. It is given up when it does not reply long after that.
SLACK_SECONDS = 30.0
_END_SECONDS = 2.0
_CHUNK = 65_536
_STANDARD_FILES = 3
# A process has few open files before it serves.
_MAX_EARLY_DESCRIPTORS = 256


class _Process(Protocol):
    """The part of `subprocess.Popen` that is used."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code; None while the process runs."""

    def kill(self) -> None:
        """Send SIGKILL."""


class _Forked:
    """A process that was forked from this one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code; None while the process runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def kill(self) -> None:
        """Send SIGKILL."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, 9)


class _ForkServer:
    """A running fork server.

    Args:
        process: Its process.
        connected: This end of its socket.
    """

    def __init__(self, process: _Process, connected: socket.socket) -> None:
        self.process = process
        self._connected = connected

    @classmethod
    def fork(cls) -> Self:
        """Fork it from this process, which must have no thread that holds a lock."""
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _close_others(theirs.fileno())
                os.setsid()
                run_fork_server(theirs.fileno())
                code = 0
            finally:
                os._exit(code)
        theirs.close()
        return cls(_Forked(pid), ours)

    @classmethod
    def start(cls) -> Self:
        """Start it as a new process.

        Raises:
            OSError: No process can be started.
        """
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "convscope.server.runtime.validation"]
        try:
            with theirs:
                process = subprocess.Popen(
                    [*command, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # the server handles an interrupt at the terminal
                    env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # a fork needs one thread
                )
        except BaseException:
            ours.close()
            raise
        return cls(process, ours)

    def exchange(
        self, examination: Examination, stopping: Callable[[], bool]
    ) -> Mapping[str, Any] | None:
        """Send an examination and return the reply; None if the fork server has ended.

        Raises:
            BundleRejectedError: No reply comes.
            ShuttingDownError: The server is stopping.
        """
        timeout_at = monotonic() + examination.limits.clock_seconds + SLACK_SECONDS
        descriptor = self._connected.fileno()
        try:
            self._connected.sendall(to_json(examination) + b"\n")
        except OSError:
            return None
        received = b""
        # Not select(): with many connections, file descriptors exceed its limit.
        with DefaultSelector() as selector:
            selector.register(descriptor, EVENT_READ)
            while not received.endswith(b"\n"):
                if stopping():
                    raise ShuttingDownError
                if monotonic() >= timeout_at:
                    raise BundleRejectedError("time", "the validation does not end")
                if selector.select(POLL_SECONDS):
                    try:
                        part = os.read(descriptor, _CHUNK)
                    except ConnectionError:
                        return None
                    if not part:
                        return None
                    received += part
        reply: Mapping[str, Any] = json.loads(received)
        return reply

    def end(self) -> int:
        """End it and what it runs, and return its exit code."""
        self._connected.close()  # it ends, and kills what it runs
        end_at = monotonic() + _END_SECONDS
        while (code := self.process.poll()) is None:
            if monotonic() > end_at:
                self.process.kill()
            sleep(0.002)
        return code


class BundleValidator:
    """Validates versions in processes of their own, one after the other.

    Safe to call from several threads; they take turns.

    Args:
        idle_seconds: How long the fork server waits for another version.
    """

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._running: _ForkServer | None = None
        self._finalizer: weakref.finalize[..., BundleValidator] | None = None
        self._uses = 0
        self._idle: threading.Timer | None = None  # one, however many versions follow each other

    @classmethod
    def forked(cls) -> Self:
        """Return a validator whose fork server is a copy of this process.

        Its imports are done, so that it is ready in milliseconds. Call this before this process
        has threads of its own, reads secrets or opens connections.
        """
        validator = cls()
        with suppress(OSError):  # then the first version starts a new process, or reports why not
            validator._keep(_ForkServer.fork())
        return validator

    def validate(
        self, examination: Examination, stopping: Callable[[], bool] = lambda: False
    ) -> Findings:
        """Examine a version within its limits; ended if `stopping` becomes true.

        Raises:
            BundleRejectedError: The version failed a check, exceeded a limit, or crashed
                the process.
            ShuttingDownError: The server is stopping.
            OSError: A file can't be read, or no process can be started.
            MemoryError: The system ended the process, because memory was short.
        """
        with self._lock:
            if stopping():  # while another version was validated
                raise ShuttingDownError
            self._uses += 1
            reply = self._exchange(examination, stopping)
            self._end_later()
        return _findings(reply)

    def close(self) -> None:
        """End the fork server; it is started again if another version follows."""
        with self._lock:
            self._end()

    def end_if_idle(self, uses: int) -> None:
        """End the fork server if it wasn't used since then."""
        with self._lock:
            if self._uses == uses:
                self._end()

    def _end_later(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        arguments = weakref.ref(self), self._uses
        self._idle = threading.Timer(self._idle_seconds, _end_if_idle, arguments)
        self._idle.daemon = True
        self._idle.start()

    def _exchange(
        self, examination: Examination, stopping: Callable[[], bool]
    ) -> Mapping[str, Any]:
        while True:
            started = self._running is None
            fork_server = self._running or self._keep(_ForkServer.start())
            try:
                reply = fork_server.exchange(examination, stopping)
            except BaseException:  # a late reply must not be mistaken for the next one
                self._end()
                raise
            if reply is not None:
                return reply
            code = self._end()
            if started:  # otherwise it may have ended before, for whatever reason
                raise BundleRejectedError(
                    "unexpected", f"the process that validates bundles ended with {code}"
                )

    def _keep(self, fork_server: _ForkServer) -> _ForkServer:
        # It ends with this object at the latest, and whenever the server ends.
        self._finalizer = weakref.finalize(self, fork_server.end)
        self._running = fork_server
        return fork_server

    def _end(self) -> int:
        """End the fork server, and return its exit code."""
        fork_server, self._running = self._running, None
        if self._finalizer is not None:
            self._finalizer.detach()
        return 0 if fork_server is None else fork_server.end()


def _end_if_idle(validator: "weakref.ref[BundleValidator]", uses: int) -> None:
    if (alive := validator()) is not None:
        alive.end_if_idle(uses)


def _findings(reply: Mapping[str, Any]) -> Findings:
    if reply.get("killed"):
        raise MemoryError
    if reply.get("reason") == "system":
        raise OSError(reply.get("errno"), reply["message"])
    if "reason" in reply:
        raise BundleRejectedError(reply["reason"], reply["message"])
    unexplained = reply["unexplained"]
    return Findings(
        str(reply["manifest_sha256"]),
        Figures.parse(reply["figures"]),
        None if unexplained is None else str(unexplained),
    )


def _close_others(kept: int) -> None:
    """Close what a forked process has open, except for the standard files and one more."""
    for descriptor in range(_STANDARD_FILES, _MAX_EARLY_DESCRIPTORS):
        if descriptor != kept:
            with suppress(OSError):
                os.close(descriptor)
