"""One worker process, as its supervisor sees it; see `supervisor_channel` for the other end."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import structlog

from convscope.server.frontend.admin.changes import OperatorChanges
from convscope.server.observability.metrics.merging import MergedMetrics
from convscope.server.observability.metrics.totals import from_json, to_json
from convscope.server.process.worker_flag import WORKER_FLAG

__all__ = ["MAX_MESSAGE_BYTES", "SharedState", "Worker", "WorkerProcess", "read_messages"]

log = structlog.get_logger(__name__)

# A snapshot of the metrics has a few kilobytes for each loaded version.
MAX_MESSAGE_BYTES = 256 * 2**20
# More versions than a server has at a time.
MAX_CHOICES = 10_000
# The worker gets all settings over the socket. These variables may contain secrets too.
_SETTINGS_VARIABLES = "CONVSCOPE_"


@dataclass(slots=True)
class SharedState:
    """What the workers of one server have in common, and those that start must repeat.

    Args:
        metrics: Receives the metrics of all workers.
        changes: What operators changed.
        provider_choices: The providers that a worker has chosen, by the key of a version; None
            until the first worker has loaded. The first choice for a version counts.
    """

    metrics: MergedMetrics = field(default_factory=MergedMetrics)
    changes: OperatorChanges = field(default_factory=OperatorChanges)
    provider_choices: dict[str, Any] | None = None

    def add_provider_choices(self, choices: Mapping[str, Any]) -> None:
        """Keep the choices of a worker; of very many, the newest."""
        known = {**(self.provider_choices or {})}
        for key, choice in choices.items():
            known.setdefault(key, choice)
        self.provider_choices = dict([*known.items()][-MAX_CHOICES:])


class WorkerProcess:
    """A process that has done its imports, and waits for its settings.

    Args:
        process: The process.
        reader: The messages that it sends.
        writer: Sends its settings.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.process = process
        self.reader = reader
        self.writer = writer

    @classmethod
    async def start(cls) -> Self:
        """Start a process.

        Raises:
            OSError: It can't be started.
        """
        ours, theirs = socket.socketpair()
        process = None
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "convscope.server", WORKER_FLAG, str(theirs.fileno())),
                    pass_fds=[theirs.fileno()],
                    env=_environment(),
                )
            reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_MESSAGE_BYTES)
        except BaseException:
            ours.close()
            if process is not None:
                process.kill()
            raise
        return cls(process, reader, writer)

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.returncode is not None

    async def end(self) -> None:
        """End a process that serves nothing."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()
        await self.process.wait()


class Worker:
    """A process that serves on the same port as its siblings.

    Args:
        index: Which of the workers it is; a replacement has the same index.
        settings: Returns the settings of a process that starts now, as one line of JSON.
        shared: What all workers have in common.
    """

    def __init__(self, index: int, settings: Callable[[], bytes], shared: SharedState) -> None:
        self.index = index
        self._settings = settings
        self._shared = shared
        self._changes_at_start = 0
        self._ready = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._terminated = False

    @property
    def pid(self) -> int | None:
        """The process's id; None before it was started."""
        return self._process.pid if self._process else None

    async def start(
        self, new_process: Callable[[], Awaitable[WorkerProcess]] = WorkerProcess.start
    ) -> bool:
        """Start a process, and wait until it serves; return False if it ended instead.

        Args:
            new_process: Returns a process that waits for its settings.

        Raises:
            OSError: The process can't be started.
        """
        self._ready.clear()
        self._process = self._reading = None  # those of a process that has ended
        started = await new_process()
        self._process, self._writer = started.process, started.writer
        if self._terminated:  # while the process was being created
            self.terminate()
        self._changes_at_start = self._shared.changes.count
        try:
            settings = self._settings()
        except BaseException:
            await started.end()  # it would wait for them forever
            raise
        self._writer.write(settings + b"\n")
        self._reading = asyncio.create_task(read_messages(started.reader, self._handle))
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._reading}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self._ready.is_set():
            await self.wait()
        return self._ready.is_set()

    async def wait(self) -> int:
        """Wait until the process has ended and its last message is read; return its exit code."""
        code = await self._process.wait() if self._process else 0
        if self._reading is not None:
            await asyncio.wait({self._reading})
        if self._writer is not None:
            self._writer.close()
        self._shared.metrics.retire(self.index)
        self._shared.changes.leave(self.index)
        return code

    def terminate(self) -> None:
        """Ask the process, or one that is being started, to drain and end."""
        self._terminated = True
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    def reload(self) -> None:
        """Ask the process to reload its files; one that is starting reads them anyway."""
        if self._ready.is_set() and self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGHUP)

    def _handle(self, message: Mapping[str, Any]) -> None:
        try:
            self._update(message)
        except Exception:
            if "loaded" in message and self._process is not None:
                with suppress(ProcessLookupError):
                    self._process.kill()  # it would wait for an answer forever
            raise

    def _update(self, message: Mapping[str, Any]) -> None:
        if "choices" in message:
            self._shared.add_provider_choices(message["choices"])
        if "loaded" in message:
            changes = self._shared.changes.join(self.index, self._changes_at_start)
            self._send({"overrides": changes})
        if "metrics" in message:
            self._shared.metrics.update(self.index, message["metrics"])
        if "totals" in message:
            self._exchange_totals(message["totals"])
        if "ready" in message:
            self._ready.set()

    def _exchange_totals(self, totals: list[Any]) -> None:
        """Receive what this worker has counted, and send what the others have."""
        merged = self._shared.metrics.totals
        merged.update(self.index, from_json(totals))
        self._send({"siblings": to_json(merged.of_others(self.index))})

    def _send(self, message: object) -> None:
        if self._writer is not None:
            self._writer.write(json.dumps(message).encode() + b"\n")


async def read_messages(
    reader: asyncio.StreamReader, handle: Callable[[Mapping[str, Any]], None]
) -> None:
    """Handle the messages of the other end until it is closed; an error affects one message only.

    Args:
        reader: This end of the socket between a worker and its supervisor.
        handle: Called with each message.
    """
    # The stream ends with OSError if the process was killed, and perhaps within a message.
    with suppress(OSError):
        while (line := await reader.readline()).endswith(b"\n"):
            try:
                handle(json.loads(line))
            except Exception:
                log.exception("unexpected error in a message between supervisor and worker")


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_SETTINGS_VARIABLES)
    }
