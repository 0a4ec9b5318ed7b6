"""Which version's lane a request goes through.

The engine knows no transport: every door of the server (our own service, the
Open Inference Protocol) hands it decoded requests, so that batching, limits
and timing exist once.
"""

from collections.abc import Callable, Sequence

from convscope.server.errors import ServingError
from convscope.server.inference.pipeline import Observer, Pipeline, PipelineLimits
from convscope.server.inference.requests import InferenceRequest, InferenceResult, Input
from convscope.server.runtime.versions import LoadedVersion

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

    def __init__(
        self, limits: PipelineLimits, observe: Callable[[LoadedVersion], Observer]
    ) -> None:
        self._limits = limits
        self._observe = observe
        self._pipelines: dict[LoadedVersion, Pipeline] = {}
        self.in_flight = 0
        """Requests that somebody waits for."""

    def add(self, version: LoadedVersion) -> None:
        """Begin to run a version."""
        pipeline = Pipeline(version, self._limits, self._observe(version))
        pipeline.start()
        self._pipelines[version] = pipeline

    async def retire(self, version: LoadedVersion) -> None:
        """Wait for the requests that a version still has, and let go of it."""
        pipeline = self._pipelines[version]
        await pipeline.drain()
        del self._pipelines[version]
        await pipeline.close()

    def last_used(self, version: LoadedVersion) -> float:
        """Tell when a version was last asked, in seconds of the loop's clock."""
        return self._pipelines[version].last_used

    async def close(self) -> None:
        """Refuse what waits, and wait for what runs."""
        for pipeline in list(self._pipelines.values()):
            await pipeline.close()

    async def run(
        self, version: LoadedVersion, inputs: Sequence[Input], question: InferenceRequest
    ) -> list[InferenceResult | ServingError]:
        """Answer each input, or say why not.

        Raises:
            OverloadedError: A queue is full.
            DeadlineError: The deadline passed before an input was run, or will
                have passed before it could be.
            UnavailableError: The server is closing.
        """
        if question.aside:
            return await self._pipelines[version].run(inputs, question)
        self.in_flight += 1
        try:
            return await self._pipelines[version].run(inputs, question)
        finally:
            self.in_flight -= 1
