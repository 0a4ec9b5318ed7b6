"""A process that waits to replace a worker."""

import asyncio

import structlog

from convscope.server.process.worker import WorkerProcess

__all__ = ["Spare"]

log = structlog.get_logger(__name__)


class Spare:
    """Keeps a process with its imports done, which take longer than the load of a small model.

    It has no models, so it costs some 50 MB and no other time.
    """

    def __init__(self) -> None:
        self._starting: asyncio.Task[WorkerProcess] | None = None

    def prepare(self) -> None:
        """Start the process, unless there is one."""
        if self._starting is None:
            self._starting = asyncio.create_task(WorkerProcess.start())

    async def take(self) -> WorkerProcess:
        """Return the process, or a new one.

        Raises:
            OSError: There is none, and none can be started.
        """
        started = await self._waiting()
        return await WorkerProcess.start() if started is None else started

    async def close(self) -> None:
        """End the process."""
        if (started := await self._waiting()) is not None:
            await started.end()

    async def _waiting(self) -> WorkerProcess | None:
        """Return the process if it still waits."""
        starting, self._starting = self._starting, None
        if starting is None:
            return None
        try:
            started = await starting
        except OSError as error:  # too many processes, too little memory
            log.warning("no spare worker can be started", reason=error.strerror)
            return None
        if not started.has_ended:
            return started
        await started.end()
        return None
