"""Rejects requests whose deadline can't be met, before they cost anything."""

import asyncio
from time import perf_counter
from typing import Any

from convscope.server.errors import DeadlineError
from convscope.server.inference.batcher import Batcher
from convscope.server.inference.decoding.pool import DecodePool
from convscope.server.inference.latency import LatencyEstimator
from convscope.server.inference.requests import InferenceRequest

__all__ = ["DeadlineAdmission"]


class DeadlineAdmission:
    """Estimates how long requests take, and compares that with their deadlines.

    Each priority has its own latency estimator: bulk requests wait for all
    interactive ones, so their latencies say nothing about interactive requests.

    Args:
        batcher: Where the inputs of a request run.
        decoder: Where its images are decoded; None for a model without images.
    """

    def __init__(self, batcher: Batcher[Any, Any], decoder: DecodePool | None) -> None:
        self._batcher = batcher
        self._decoder = decoder
        self._latency = {bulk: LatencyEstimator() for bulk in (False, True)}

    def admit(self, request: InferenceRequest, images: int, ahead: int) -> None:
        """Check that a request can meet its deadline, if it has one.

        A request that finds nothing before it always runs. Otherwise a single slow
        run could reject all short deadlines for good.

        Args:
            request: The request.
            images: How many of its inputs must be decoded.
            ahead: The inputs of requests that are admitted, but not queued yet.

        Raises:
            DeadlineError: It would be too late.
        """
        deadline = request.deadline
        if deadline is None:
            return
        estimate = self._estimate(len(request.inputs), images, ahead, bulk=request.bulk)
        decoding = self._decoder is not None and self._decoder.busy
        if ahead or self._batcher.waiting or decoding:
            needed = self._latency[request.bulk].correct(estimate)
            left = deadline - asyncio.get_running_loop().time()
            if needed > left:
                raise DeadlineError(
                    f"a result takes about {needed:.3f} s now, and the deadline is in "
                    f"{max(left, 0):.3f} s; allow more time, or send less"
                )
        request.estimate = estimate
        request.admitted_at = perf_counter()

    def learn(self, request: InferenceRequest) -> None:
        """Record how long an admitted request took that was answered or came too late."""
        estimate = request.estimate
        if estimate is None:
            return
        seconds = perf_counter() - request.admitted_at
        if isinstance(request.error, DeadlineError | asyncio.CancelledError):
            seconds = max(estimate, seconds)  # it would have taken longer
        elif not request.results:
            return
        self._latency[request.bulk].learn(estimate, seconds)

    def _estimate(self, inputs: int, images: int, ahead: int, *, bulk: bool) -> float:
        """Add up the seconds of all stages, behind the requests that they already hold."""
        decoder = self._decoder
        if not images or decoder is None:
            return self._batcher.seconds_until_done(ahead + inputs, bulk=bulk)
        # What is decoded before this request also reaches the runners before it.
        size = ahead + inputs + decoder.waiting_before(bulk=bulk)
        return decoder.seconds_until_done(
            ahead + images, bulk=bulk
        ) + self._batcher.seconds_until_done(size, bulk=bulk)
