"""Runs requests on loaded versions.

The engine knows no transport. Every frontend (ClassifierService, the Open
Inference Protocol) passes it decoded requests, so batching, limits and timing
exist once.
"""

from collections.abc import Callable, Sequence

from convscope.server.errors import ServingError
from convscope.server.inference.observer import Observer
from convscope.server.inference.pipeline import Pipeline, PipelineLimits
from convscope.server.inference.requests import InferenceRequest, InferenceResult, Input
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["Engine"]


class Engine:
    """Runs requests on the loaded versions, on one event loop.

    Each version has its own pipeline, so a flood of requests for one version can't
    fill the queues of another. The operating system divides the cores between
    their threads.

    Args:
        limits: The sizes of each pipeline's queues and pools.
        observe: Returns the observer of a version, by its model and number.
    """

    def __init__(
        self, limits: PipelineLimits, observe: Callable[[tuple[str, int]], Observer]
    ) -> None:
        self._limits = limits
        self._observe = observe
        self._pipelines: dict[LoadedVersion, Pipeline] = {}
        self.in_flight = 0
        """Requests that a caller waits for."""

    def add(self, version: LoadedVersion) -> None:
        """Start the pipeline of a version."""
        pipeline = Pipeline(version, self._limits, self._observe(version.key))
        pipeline.start()
        self._pipelines[version] = pipeline

    async def retire(self, version: LoadedVersion) -> None:
        """Wait for the remaining requests of a version, and close its pipeline."""
        pipeline = self._pipelines[version]
        await pipeline.drain()
        del self._pipelines[version]
        await pipeline.close()

    def last_used(self, version: LoadedVersion) -> float:
        """Return when a version received its last request, in seconds of the loop's clock."""
        return self._pipelines[version].last_used

    async def close(self) -> None:
        """Reject the waiting requests, and wait for the running batches."""
        for pipeline in list(self._pipelines.values()):
            await pipeline.close()

    async def run(
        self, version: LoadedVersion, inputs: Sequence[Input], request: InferenceRequest
    ) -> list[InferenceResult | ServingError]:
        """Return a result or an error for each input.

        Raises:
            OverloadedError: A queue is full.
            DeadlineError: The deadline passed before an input was run, or would
                pass before it could be.
            UnavailableError: The server is closing.
        """
        if request.untracked:
            return await self._pipelines[version].run(inputs, request)
        self.in_flight += 1
        try:
            return await self._pipelines[version].run(inputs, request)
        finally:
            self.in_flight -= 1
