"""Rejects requests whose deadline can't be met, before they cost anything."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from convscope.server.errors import DeadlineError
from convscope.server.inference.batcher import Batcher
from convscope.server.inference.decoding.pool import DecodePool, Image
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
        self.begin_group()

    def begin_group(self) -> None:
        """Begin to admit requests that are queued together, after all of them are admitted."""
        # By priority, the inputs, the images and their work of those that are admitted.
        self._inputs, self._images, self._work = [0, 0], [0, 0], [0, 0]

    def admit(self, request: InferenceRequest, images: Sequence[Image]) -> None:
        """Check that a request can meet its deadline, if it has one.

        A request that finds nothing before it always runs. Otherwise a single slow
        run could reject all short deadlines for good.

        Args:
            request: The request.
            images: Those of its inputs that must be decoded.

        Raises:
            DeadlineError: It would be too late.
        """
        inputs, bulk, deadline = len(request.inputs), request.bulk, request.deadline
        if request.explanation is not None:
            inputs += inputs * request.explanation.occluded_per_input
        work = sum(image.work for image in images)
        if deadline is not None:
            estimate = self._estimate(inputs, len(images), work, bulk=bulk)
            if self._is_busy:
                self._check(deadline, self._latency[bulk].correct(estimate))
            request.estimate, request.admitted_at = estimate, perf_counter()
        self._inputs[bulk] += inputs
        self._images[bulk] += len(images)
        self._work[bulk] += work

    @property
    def _is_busy(self) -> bool:
        decoding = self._decoder is not None and self._decoder.busy
        return decoding or bool(self._batcher.waiting or any(self._inputs))

    def _check(self, deadline: float, needed_seconds: float) -> None:
        left = deadline - asyncio.get_running_loop().time()
        if needed_seconds > left:
            raise DeadlineError(
                f"a result takes about {needed_seconds:.3f} s now, and the deadline is in "
                f"{max(left, 0):.3f} s; allow more time, or send less"
            )

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

    def _estimate(self, inputs: int, images: int, work: int, *, bulk: bool) -> float:
        """Add up the seconds of all stages, behind the requests that they already hold."""
        size, decoder = inputs + self._before(self._inputs, bulk), self._decoder
        if not images or decoder is None:
            return self._batcher.seconds_until_done(size, bulk=bulk)
        # What is decoded before this request also reaches the runners before it.
        size += decoder.waiting_before(bulk=bulk)
        images += self._before(self._images, bulk)
        work += self._before(self._work, bulk)
        seconds_to_decode = decoder.seconds_until_done(images, work, bulk=bulk)
        return seconds_to_decode + self._batcher.seconds_until_done(size, bulk=bulk)

    @staticmethod
    def _before(admitted: list[int], bulk: bool) -> int:
        """Return how much of the group comes before its next request."""
        return sum(admitted) if bulk else admitted[False]
