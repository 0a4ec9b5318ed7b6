"""Runs requests on loaded versions, and completes them.

The engine knows no transport. Every frontend (ClassifierService, the Open
Inference Protocol) passes it prepared requests, so batching, limits and timing
exist once.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from convscope.server.errors import ServingError
from convscope.server.inference.completion import count, groups, settle
from convscope.server.inference.encoding import ReplyEncoder
from convscope.server.inference.model_runner import Completed
from convscope.server.inference.observer import Observer
from convscope.server.inference.pipeline import Pipeline, PipelineLimits
from convscope.server.inference.requests import InferenceRequest, InferenceResult
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["Engine"]

log = structlog.get_logger(__name__)


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
        self._encoder = ReplyEncoder()
        self.on_results: Callable[[Sequence[InferenceRequest]], None] = lambda requests: None
        """Called with completed requests, before their replies are sent."""
        self.in_flight = 0
        """Requests that a caller waits for."""

    def add(self, version: LoadedVersion) -> None:
        """Start the pipeline of a version."""
        pipeline = Pipeline(
            version, self._limits, self._observe(version.key), self._encoder, self.complete
        )
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
        self._encoder.close()

    def submit(self, version: LoadedVersion, requests: Sequence[InferenceRequest]) -> None:
        """Take prepared requests for a version; each is completed exactly once, now or later."""
        pipeline = self._pipelines[version]
        for request in requests:
            request.pipeline = pipeline
            self.in_flight += not request.untracked
        pipeline.submit(requests)

    def cancel(self, request: InferenceRequest) -> None:
        """Complete a request whose caller has left, unless it is done."""
        self.complete([(request, asyncio.CancelledError())])

    def complete(self, completed: Completed) -> None:
        """Complete requests with their outcomes: count them, and call their `finish`.

        Those that are done already are skipped.
        """
        requests = settle(completed)
        for request in requests:
            if request.pipeline is not None:
                self.in_flight -= not request.untracked
                request.pipeline.leave(request)
        try:
            count(requests, self._observe)
            self.on_results(requests)
        except Exception:  # whatever fails, the callers get their replies
            log.exception("unexpected error while counting requests")
        for finish, group in groups(requests):
            try:
                finish(group)
            except Exception:  # the other groups have theirs to receive
                log.exception("unexpected error while replying")

    async def run(
        self, version: LoadedVersion, request: InferenceRequest
    ) -> Sequence[InferenceResult | ServingError]:
        """Run a request of the server's own, and return a result or an error for each input.

        Raises:
            Exception: The request failed.
        """
        done = asyncio.get_running_loop().create_future()

        def finish(requests: Sequence[InferenceRequest]) -> None:
            if not done.done():
                done.set_result(None)

        request.finish, request.version = finish, version
        self.submit(version, [request])
        try:
            await done
        except asyncio.CancelledError:
            self.cancel(request)
            raise
        if request.error is not None:
            raise request.error
        return request.results
