"""The server that is attacked: that of this checkout, or of an earlier one."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.attacks.scrapes import has_model
from bench.cpu import family, tree_seconds
from bench.errors import BenchError
from bench.processes import free_port

__all__ = ["Checkout", "Memory", "Server", "serving"]

ROOMS = ("proto", "bundle", "client", "server")
# Tuning would take longer than most attacks. 16 MB of images fit into a request.
FLAGS = ("--no-tuning", "--drain-seconds", "0.2", "--max-request-bytes", "17000000")
START_SECONDS = 60.0
STOP_SECONDS = 12.0


@dataclass(frozen=True)
class Checkout:
    """A working tree of the repository.

    Args:
        path: Its root.
    """

    path: Path

    @property
    def command(self) -> tuple[str, ...]:
        """Return the command of its server."""
        path = os.pathsep.join(str(self.path / room) for room in ROOMS)
        # env replaces itself by the server, which so has the id of the process.
        return ("env", f"PYTHONPATH={path}", sys.executable, "-m", "convscope.server")

    @cached_property
    def _help(self) -> str:
        asked = [*self.command, "--help"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout

    def has(self, flag: str) -> bool:
        """Return whether its server knows a flag."""
        return re.search(rf"{flag}(?![a-z-])", self._help) is not None

    def known(self, flags: Sequence[str]) -> list[str]:
        """Leave out the flags that its server lacks, with their values."""
        kept: list[str] = []
        is_known = True
        for word in flags:
            if word.startswith("--"):
                is_known = self.has(word)
            if is_known:
                kept.append(word)
        return kept


class Server:
    """A server that is ready.

    Args:
        process: Its process.
        target: The HOST:PORT for gRPC.
        metrics_port: The port of the metrics.
        log: The file of its log, empty if the log goes elsewhere.
    """

    def __init__(
        self, process: "subprocess.Popen[bytes]", target: str, metrics_port: int, log: Path
    ) -> None:
        self.process, self.target, self.metrics_port = process, target, metrics_port
        self._log = log

    @property
    def pid(self) -> int:
        """Return the id of its first process."""
        return self.process.pid

    @property
    def port(self) -> int:
        """Return the port for gRPC."""
        return int(self.target.rpartition(":")[2])

    @property
    def is_running(self) -> bool:
        """Return whether it has not ended."""
        return self.process.poll() is None

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of the log with an event."""
        lines = self._log.read_text(errors="replace").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in found if line.get("event") == name]

    def last_lines(self) -> str:
        """Return the end of the log."""
        return self._log.read_text(errors="replace")[-600:]

    def log_bytes(self) -> int:
        """Return the size of the log."""
        return self._log.stat().st_size

    def cpu_seconds(self) -> float:
        """Return the CPU time so far, of its children too."""
        return tree_seconds(self.pid)

    def threads(self) -> int:
        """Return the number of its threads."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def stop(self, seconds: float = STOP_SECONDS) -> float | None:
        """Send SIGTERM; return how long the server took, or None if it had to be killed."""
        began = time.monotonic()
        if self.is_running:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with suppress(ProcessLookupError):  # its group has no other process
                os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
        return time.monotonic() - began


class Memory:
    """The memory of a server and its children from now on."""

    def __init__(self, server: Server) -> None:
        self._pid = server.pid
        self._before = {pid: _status_mb(pid, "VmRSS") for pid in family(self._pid)}
        for pid in self._before:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts again

    def peak_mb(self) -> float | None:
        """Return by how much it grew at most; None if the server ended."""
        return self._grown("VmHWM")

    def own_peak_mb(self) -> float | None:
        """Return by how much the first process grew at most, without its children."""
        try:
            return _status_mb(self._pid, "VmHWM") - self._before[self._pid]
        except OSError:
            return None

    def now_mb(self) -> float | None:
        """Return by how much it is larger now."""
        return self._grown("VmRSS")

    def _grown(self, name: str) -> float | None:
        try:
            now = {pid: _status_mb(pid, name) for pid in family(self._pid)}
        except OSError:
            return None
        grown = (mb - self._before.get(pid, 0.0) for pid, mb in now.items())
        return max(0.0, sum(grown))


def _status_mb(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


@contextmanager
def serving(
    checkout: Checkout, models: Path, scratch: Path, *flags: str, stderr: int | None = None
) -> Iterator[Server]:
    """Serve a repository for the duration of a with block.

    Args:
        checkout: Whose server.
        models: The repository.
        scratch: The folder of the log.
        flags: Further flags; those that the server lacks are left out.
        stderr: Where the log goes instead of a file. It must be read until the server is ready.

    Raises:
        BenchError: The server did not become ready.
    """
    port, metrics_port = free_port(), free_port()
    target, metrics = f"127.0.0.1:{port}", f"127.0.0.1:{metrics_port}"
    command = [*checkout.command, "--models", str(models), "--grpc-address", target]
    command += ["--metrics-address", metrics, *checkout.known([*FLAGS, *flags])]
    log = scratch / f"server-{port}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file if stderr is None else stderr,
            # A group of its own, to end it. In a session of its own it would have a share of the
            # cores of its own too, next to which the attackers' low priority has no effect.
            process_group=0,
        )
    server = Server(process, target, metrics_port, log)
    try:
        _wait(server, has_log=stderr is None)
        yield server
    finally:
        server.stop()


def _wait(server: Server, *, has_log: bool) -> None:
    """Wait until the log has the event, or without a log until the metrics show the model."""
    end = time.monotonic() + START_SECONDS
    while not (server.events("serving") if has_log else has_model(server.metrics_port)):
        if not server.is_running or time.monotonic() > end:
            raise BenchError(f"the server did not become ready: {server.last_lines()}")
        time.sleep(0.05)
