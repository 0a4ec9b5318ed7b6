"""Which version's lane a request goes through.

The engine knows no transport: every door of the server (our own service, the
Open Inference Protocol) hands it decoded requests, so that batching, limits
and timing exist once.
"""

from collections.abc import Callable, Sequence

from convscope.server.errors import ServingError
from convscope.server.lane import Lane, LaneLimits, Observer
from convscope.server.repository.versions import LoadedVersion
from convscope.server.work import Answer, Input, Question

__all__ = ["Engine"]


class Engine:
    """Runs requests on the versions that answer, on one event loop.

    Each version has a lane of its own, so that a flood of requests for one
    can't fill the queues of another; the operating system shares the cores out
    between their threads.

    Args:
        limits: The sizes of each lane's queues and pools.
        observe: Gives the observer of a version.
    """

    def __init__(self, limits: LaneLimits, observe: Callable[[LoadedVersion], Observer]) -> None:
        self._limits = limits
        self._observe = observe
        self._lanes: dict[LoadedVersion, Lane] = {}
        self.in_flight = 0
        """Requests that somebody waits for."""

    def add(self, version: LoadedVersion) -> None:
        """Begin to run a version."""
        lane = Lane(version, self._limits, self._observe(version))
        lane.start()
        self._lanes[version] = lane

    async def retire(self, version: LoadedVersion) -> None:
        """Wait for the requests that a version still has, and let go of it."""
        lane = self._lanes[version]
        await lane.drain()
        del self._lanes[version]
        await lane.close()

    def last_used(self, version: LoadedVersion) -> float:
        """Tell when a version was last asked, in seconds of the loop's clock."""
        return self._lanes[version].last_used

    async def close(self) -> None:
        """Refuse what waits, and wait for what runs."""
        for lane in list(self._lanes.values()):
            await lane.close()

    async def run(
        self, version: LoadedVersion, inputs: Sequence[Input], question: Question
    ) -> list[Answer | ServingError]:
        """Answer each input, or say why not.

        Raises:
            OverloadedError: A queue is full.
            DeadlineError: The deadline passed before an input was run, or will
                have passed before it could be.
            UnavailableError: The server is closing.
        """
        if question.aside:
            return await self._lanes[version].run(inputs, question)
        self.in_flight += 1
        try:
            return await self._lanes[version].run(inputs, question)
        finally:
            self.in_flight -= 1
