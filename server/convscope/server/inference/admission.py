"""Rejects requests whose deadline can't be met, before they cost anything."""

import asyncio
from collections.abc import Sequence
from typing import Any

from convscope.server.errors import DeadlineError
from convscope.server.inference.batcher import Batcher
from convscope.server.inference.decoding.pool import DecodePool
from convscope.server.inference.latency import LatencyEstimator
from convscope.server.inference.requests import Input, ReadyTensor

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

    def estimate(self, inputs: Sequence[Input], *, bulk: bool) -> float:
        """Add up the seconds of all stages, behind the requests that they already hold."""
        size, decoder = len(inputs), self._decoder
        images = sum(not isinstance(item, ReadyTensor) for item in inputs)
        if not images or decoder is None:
            return self._batcher.seconds_until_done(size, bulk=bulk)
        # What is decoded before this request also reaches the runners before it.
        size += decoder.waiting_before(bulk=bulk)
        return decoder.seconds_until_done(images, bulk=bulk) + self._batcher.seconds_until_done(
            size, bulk=bulk
        )

    def check(self, deadline: float, estimated_seconds: float, *, bulk: bool) -> None:
        """Check that a request can meet its deadline.

        A request that finds nothing before it always runs. Otherwise a single slow
        run could reject all short deadlines for good.

        Raises:
            DeadlineError: It would be too late.
        """
        decoding = self._decoder is not None and self._decoder.busy
        if not self._batcher.waiting and not decoding:
            return
        needed = self._latency[bulk].correct(estimated_seconds)
        left = deadline - asyncio.get_running_loop().time()
        if needed > left:
            raise DeadlineError(
                f"a result takes about {needed:.3f} s now, and the deadline is in "
                f"{max(left, 0):.3f} s; allow more time, or send less"
            )

    def learn(self, estimated_seconds: float, actual_seconds: float, *, bulk: bool) -> None:
        """Record how long a request with this estimate took."""
        self._latency[bulk].learn(estimated_seconds, actual_seconds)
