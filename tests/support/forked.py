"""Servers, web processes and commands as processes that are forked from one with the imports done.

The imports of a fresh interpreter take most of a second of a core, and the tests start
hundreds of them.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Literal

__all__ = ["Forked", "run"]

Room = Literal["client", "server", "web"]

TEMPLATE = Path(__file__).with_name("template.py")
STANDARD_INPUT, STANDARD_OUTPUT = 0, 1
RUN_SECONDS = 60


class Forked:
    """A process of convscope-server or convscope, like one of `subprocess.Popen`.

    It has those members that tests use.

    Args:
        room: The room of the program.
        arguments: The command line.
        environment: The environment, by default that of this process.
        stdout: The file for its standard output, by default that of this process.
        stderr: The file for its standard error, by default a pipe.
    """

    def __init__(
        self,
        room: Room,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stdout: int = STANDARD_OUTPUT,
        stderr: int = subprocess.PIPE,
    ) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self.stderr: IO[str] | None = None
        self._channel, theirs = socket.socketpair()
        self._received = b""
        with theirs, ExitStack() as files:
            if stderr == subprocess.PIPE:
                reading, stderr = os.pipe()
                files.callback(os.close, stderr)
                self.stderr = os.fdopen(reading)
            passed = [STANDARD_INPUT, stdout, stderr, theirs.fileno()]
            socket.send_fds(_requests(room), [b"\0"], passed)
        start = {
            "arguments": self.args,
            "environment": dict(os.environ if environment is None else environment),
            "directory": str(Path.cwd()),
        }
        self._channel.sendall(json.dumps(start).encode() + b"\n")
        self.pid = self._next_number(None)

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: That takes longer than the timeout, in seconds.
        """
        if self.returncode is None:
            try:
                self.returncode = self._next_number(timeout)
            except (TimeoutError, BlockingIOError) as error:
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from error
            self._channel.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self.send_signal(signal.SIGKILL)

    def _next_number(self, timeout: float | None) -> int:
        self._channel.settimeout(timeout)
        while b"\n" not in self._received:
            part = self._channel.recv(64)
            if not part:
                raise RuntimeError("the process from which others are forked has ended")
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        return int(line)


def run(
    room: Room, arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a process to its end, at most RUN_SECONDS; return its exit code and output."""
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        files = {"stdout": out.fileno(), "stderr": err.fileno()}
        process = Forked(room, arguments, environment=environment, **files)
        try:
            code = process.wait(RUN_SECONDS)
        finally:
            process.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(process.args, code, out.read(), err.read())


@cache
def _requests(room: Room) -> socket.socket:
    """Return the socket to the template, which is started first if necessary."""
    ours, theirs = socket.socketpair()
    with theirs:
        descriptor = theirs.fileno()
        process = subprocess.Popen(
            [sys.executable, "-P", str(TEMPLATE), room, str(descriptor)],
            pass_fds=[descriptor],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # it may have only one thread
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours
