"""Which version's lane a request goes through.

The engine knows no transport: every door of the server (today the gRPC service)
hands it decoded requests, so that batching, limits and timing exist once.
"""

from collections.abc import Callable, Sequence

from convscope.server.errors import ServingError
from convscope.server.lane import Lane, LaneLimits, Observer
from convscope.server.repository import LoadedVersion, Repository
from convscope.server.work import Answer, Input, Question

__all__ = ["Engine"]


class Engine:
    """Runs requests on the versions of a repository, on one event loop.

    Each version has a lane of its own, so that a flood of requests for one
    can't fill the queues of another; the operating system shares the cores out
    between their threads.

    Args:
        repository: The versions that answer.
        limits: The sizes of each lane's queues and pools.
        observe: Gives the observer of a version.
    """

    def __init__(
        self,
        repository: Repository,
        limits: LaneLimits,
        observe: Callable[[LoadedVersion], Observer],
    ) -> None:
        self.repository = repository
        self._lanes = {
            version.key: Lane(version, limits, observe(version)) for version in repository
        }

    def start(self) -> None:
        """Begin to run, on the running event loop."""
        for lane in self._lanes.values():
            lane.start()

    async def close(self) -> None:
        """Refuse what waits, and wait for what runs."""
        for lane in self._lanes.values():
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
        return await self._lanes[version.key].run(inputs, question)
