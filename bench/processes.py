"""Start processes, keep their output, and end them in any case."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from bench.context import ROOT
from bench.errors import BenchError

__all__ = ["Process", "free_port", "run_worker", "running", "wait_for"]

STOP_SECONDS = 30.0
KEPT_BYTES = 64 * 1024


class Process:
    """A process whose output goes to a file, so that reading it costs the measurement nothing.

    Args:
        command: The command line.
        cwd: The working directory.
        env: Additional environment variables.
    """

    def __init__(
        self, command: Sequence[str], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None
    ) -> None:
        self._command = command
        self._output = TemporaryFile()  # noqa: SIM115 - closed by stop
        self._popen = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its workers can be ended with it
        )

    @property
    def pid(self) -> int:
        """Return the id of the process, which is also the id of its group."""
        return self._popen.pid

    def first_lines(self) -> list[str]:
        """Return the beginning of the output."""
        return self._read(0)

    def last_lines(self) -> list[str]:
        """Return the end of the output."""
        return self._read(max(0, self.output_bytes() - KEPT_BYTES))

    def output_bytes(self) -> int:
        """Return the size of the output so far."""
        return os.fstat(self._output.fileno()).st_size

    def check_alive(self) -> None:
        """Check that the process is running.

        Raises:
            BenchError: The process ended. The message has its last lines.
        """
        code = self._popen.poll()
        if code is not None:
            words = " | ".join(self.last_lines()[-8:])[-1200:]
            raise BenchError(f"{Path(self._command[0]).name} ended with {code}: {words}")

    def stop(self) -> None:
        """End the process and its children: with SIGTERM first, then with SIGKILL."""
        if self._popen.poll() is None:
            self._popen.terminate()
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._end_group()
        self._popen.wait(STOP_SECONDS)
        self._output.close()

    def _end_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _read(self, offset: int) -> list[str]:
        # pread, because the process shares the position in the file.
        data = os.pread(self._output.fileno(), KEPT_BYTES, offset)
        return data.decode(errors="replace").splitlines()


@contextmanager
def running(
    command: Sequence[str], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Run a process for the duration of a with block."""
    process = Process(command, cwd=cwd, env=env)
    try:
        yield process
    finally:
        process.stop()


def wait_for(
    process: Process, what: str, probe: Callable[[], bool], *, seconds: float, step: float = 0.05
) -> None:
    """Wait until a probe returns True. An OSError from the probe counts as False.

    Raises:
        BenchError: The process ended, or the time ran out.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        process.check_alive()
        try:
            if probe():
                return
        except OSError:
            pass
        time.sleep(step)
    words = " | ".join(process.last_lines()[-4:])[-600:]
    raise BenchError(f"{what} was not reached within {seconds:.0f} s: {words}")


def free_port() -> int:
    """Find a free port on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_worker(
    module: str, task: Mapping[str, Any], *, seconds: float, python: Path | None = None
) -> dict[str, Any]:
    """Run a task with a module of the bench in a separate process, and return its JSON result.

    Args:
        module: The module.
        task: What it reads from stdin.
        seconds: How long it may take.
        python: The Python of another environment.

    Raises:
        BenchError: The module failed, or took longer than `seconds`.
    """
    try:
        done = subprocess.run(
            [str(python or sys.executable), "-m", module],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{module} did not end within {seconds:.0f} s") from error
    if done.returncode != 0:
        raise BenchError(f"{module} ended with {done.returncode}: {done.stderr.strip()[-600:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
