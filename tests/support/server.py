"""The real server as a process on free ports."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, ClassVar, Self

from support.forked import Forked

START_SECONDS = 60
STOP_SECONDS = 30
FRESH = (sys.executable, "-m", "convscope.server")
# Ignores proxies from the environment.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerProcess:
    """A running convscope-server.

    With CONVSCOPE_TRANSPORT=http2 or =grpc-aio in the environment, the tests run on
    this transport.

    Args:
        models: The repository to serve, a directory or a URL.
        flags: Further flags.
        command: The command of the server. By default, its process is forked from one with
            the imports done. FRESH starts a new interpreter, as users do.
        tuning: Whether the server measures at load how to run the models. Without tuning the
            start is fast, and every model has one runner and batches of up to 8. A fresh
            server examines each version; a forked one remembers what another has examined.
    """

    started: ClassVar[int] = 0  # how many servers the process has started

    def __init__(
        self,
        models: Path | str,
        *flags: str,
        command: tuple[str, ...] | None = None,
        tuning: bool = False,
    ) -> None:
        ServerProcess.started += 1
        addresses = ("--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0")
        if not tuning:
            unmeasured = ("--threads", "1") if command is None else ("--no-tuning",)
            flags = (*unmeasured, "--runners", "1", "--max-batch", "8", *flags)
        arguments = ["--models", str(models), *addresses, "--drain-seconds", "0.2", *flags]
        self.process = start_server(arguments, command)
        self.log: list[dict[str, Any]] = []
        serving = self._wait_until_serving()
        self.target = f"127.0.0.1:{serving['grpc_port']}"
        self.metrics_url = f"http://127.0.0.1:{serving['metrics_port']}/metrics"
        # The log of the whole run is read, not only that of the start.
        self._reader = Thread(target=self._read_all, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def metrics(self) -> str:
        """Scrape the metrics."""
        with _OPENER.open(self.metrics_url, timeout=30) as reply:
            text: str = reply.read().decode()
        return text

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Stop the server and return its exit code."""
        if self.process.poll() is None:
            self.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join()
        self._stderr().close()
        return code

    def _stderr(self) -> Any:
        return self.process.stderr

    def _read_all(self) -> None:
        for line in self._stderr():
            self._read(line)

    def _read(self, line: str) -> dict[str, Any]:
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:
            event = {"event": line.rstrip()}
        self.log.append(event)
        return event

    def _wait_until_serving(self) -> dict[str, Any]:
        for line in self._stderr():
            event = self._read(line)
            if event["event"] == "serving":
                return event
        code = self.process.wait(START_SECONDS)
        self._stderr().close()
        raise RuntimeError(f"the server ended with {code}: {self.log}")


def start_server(
    arguments: Sequence[str], command: tuple[str, ...] | None = FRESH
) -> "subprocess.Popen[str] | Forked":
    """Start a server whose standard error is a pipe; without a command, a forked one."""
    if command is None:
        return Forked("server", arguments)
    return subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)


@contextmanager
def serving(models: Path | str, *flags: str) -> Iterator[ServerProcess]:
    """Serve a repository for the duration of a with block."""
    with ServerProcess(models, *flags) as server:
        yield server
