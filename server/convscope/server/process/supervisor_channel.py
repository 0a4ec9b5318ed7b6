"""A worker's end of the socket that connects it with its supervisor.

The supervisor sends one line, the settings. The worker sends JSON lines. The first is
`{"loaded": true, "choices": CHOICES}` when it could serve, with the providers that it has
chosen. The supervisor answers with `{"overrides": OVERRIDES}`, what operators have changed
until then, or null if they changed nothing since it sent the settings. `{"ready": true}` follows
when the worker serves. After that come `{"metrics": SNAPSHOT, "totals": TOTALS}` every second and
once before it ends, and `{"choices": CHOICES}` if there are new ones. The supervisor answers with
`{"siblings": TOTALS}`, which the other workers have counted. When the supervisor is gone, the
socket is closed, and the worker stops. Nothing of this is visible to other processes, as
arguments and environment variables would be.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from convscope.server.errors import StartError
from convscope.server.process.worker import MAX_MESSAGE_BYTES, read_messages

__all__ = ["SupervisorChannel"]

log = structlog.get_logger(__name__)

# Before the number of the socket's file descriptor, in place of all other flags.
REPORT_SECONDS = 1.0
LAST_REPORT_TIMEOUT_SECONDS = 2.0


class SupervisorChannel:
    """Receives the settings of a worker, and reports its metrics.

    Args:
        descriptor: The socket's file descriptor.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)  # no child of the worker may keep it open
        self._snapshot: Callable[[], object] = dict
        self._totals: Callable[[], object] = list
        self._choices: Callable[[], Mapping[str, Any]] = dict
        self._overrides: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue()
        self._writer: asyncio.StreamWriter | None = None
        self._watching: asyncio.Task[None] | None = None
        self._reporting: asyncio.Task[None] | None = None

    def receive_settings(self) -> bytes:
        """Wait for the settings.

        Raises:
            StartError: The supervisor ended before it sent them.
        """
        data = b""
        while not data.endswith(b"\n"):
            received = self._socket.recv(2**16)
            if not received:
                self._socket.close()
                raise StartError("the supervisor ended before it sent the worker's settings")
            data += received
        return data

    async def connect(
        self,
        snapshot: Callable[[], object],
        totals: Callable[[], object],
        set_siblings: Callable[[Any], None],
        stop: Callable[[], None],
        choices: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        """Attach the socket to the event loop.

        Args:
            snapshot: Returns the metrics as plain JSON values; called in a thread.
            totals: Returns the totals of the versions as plain JSON values.
            set_siblings: Called with the totals of the other workers, in the same form.
            stop: Called when the supervisor is gone.
            choices: Returns the choices of providers since the last call as plain JSON values.
        """
        self._snapshot, self._totals, self._choices = snapshot, totals, choices
        connection = asyncio.open_connection(sock=self._socket, limit=MAX_MESSAGE_BYTES)
        reader, self._writer = await connection

        def handle(message: Mapping[str, Any]) -> None:
            if "overrides" in message:
                self._overrides.put_nowait(message["overrides"])
            else:
                set_siblings(message["siblings"])

        async def watch() -> None:
            await read_messages(reader, handle)
            stop()

        self._watching = asyncio.create_task(watch())

    async def report_loaded(self) -> Mapping[str, Any] | None:
        """Report that this worker has loaded what it has to serve.

        Returns:
            What operators have changed until now, by model; None if nothing was changed since
            this worker got its settings. From now on they change it in this worker themselves.
            If the supervisor is gone, this never returns.
        """
        await self._send({"loaded": True, "choices": self._choices()})
        return await self._overrides.get()

    async def report_ready(self) -> None:
        """Report that this worker serves, and from now on its metrics."""
        await self._send({"ready": True})
        self._reporting = asyncio.create_task(self._report())

    async def close(self) -> None:
        """Report the metrics a last time, and close the socket."""
        if self._watching is not None:
            self._watching.cancel()
        try:
            async with asyncio.timeout(LAST_REPORT_TIMEOUT_SECONDS):
                if self._reporting is not None:
                    self._reporting.cancel()
                    await self._send_metrics()
                if self._writer is not None:
                    self._writer.close()
                    await self._writer.wait_closed()  # what is still buffered is sent
        except (OSError, TimeoutError):
            log.warning("the last metrics did not reach the supervisor")
        except Exception:
            log.exception("unexpected error while reporting metrics")
        if self._writer is not None:
            self._writer.close()

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            try:
                await self._send_metrics()
            except OSError:
                return  # the supervisor is gone
            except Exception:
                log.exception("unexpected error while reporting metrics")

    async def _send_metrics(self) -> None:
        metrics = await asyncio.to_thread(self._snapshot)
        await self._send({"metrics": metrics, "totals": self._totals()})
        if choices := self._choices():
            await self._send({"choices": choices})

    async def _send(self, message: object) -> None:
        if self._writer is not None:
            self._writer.write(json.dumps(message).encode() + b"\n")
            await self._writer.drain()
