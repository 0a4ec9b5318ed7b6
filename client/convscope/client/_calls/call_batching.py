"""Concurrent `classify` calls of an `AsyncClient` as request batches.

A call is sent at the end of the event-loop iteration in which it was made,
together with all calls with equal options and metadata of that iteration: `gather` of 256
calls makes 4 requests. While two requests with these options are in flight,
later calls wait until one of them completes, until they fill a request, or for
a few milliseconds.

The calls of a request share its deadline, which is the earliest of theirs. So
only calls with nearly the same timeout and start share a request: a call with a
short timeout never makes one with a longer timeout fail.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from convscope.client._calls.async_driver import send_batch
from convscope.client._calls.batch_size import MANY_IMAGES, MAX_IMAGES, BatchSize
from convscope.client._calls.batcher import LINGER_SECONDS, Batcher
from convscope.client._calls.image_encoder import ImageEncoder
from convscope.client._calls.request_batch import RequestBatch
from convscope.client._calls.requests import EncodedImage, RequestTemplate
from convscope.client._calls.threads import in_thread
from convscope.client._connection.retries import DEFAULT_RETRIES, Retries
from convscope.client._inputs.checks import CheckedMetadata
from convscope.client.types import Classification
from convscope.v1 import inference_pb2 as pb

__all__ = ["CallBatcher"]

_FREE_BATCHES = 2
# The share of its timeout that a call may lose to another of its request, once
# for a shorter timeout and once for an earlier start.
_TOLERANCE = 0.1
_MAX_GROUPS = 64


class TimedCall(Protocol):
    """Makes a call that raises nothing but a `ConvscopeError`."""

    def __call__(
        self,
        request: pb.ClassifyRequest,
        timeout_seconds: float,
        remaining_seconds: float,
        metadata: CheckedMetadata,
    ) -> Awaitable[pb.ClassifyResponse]:
        """Make the call within what remains of its timeout."""


@dataclass(slots=True, eq=False)
class _Call:
    """One `classify` call."""

    image: EncodedImage
    timeout_seconds: float
    deadline: float
    result: asyncio.Future[Classification]
    in_flight: "_InFlightBatch | None" = None


class CallBatcher:
    """Sends the concurrent calls of one event loop in request batches.

    Args:
        call: Sends a request.
        encoder: Learns how many images a request may have.
        retries: How often a request is tried again.
    """

    def __init__(
        self, call: TimedCall, encoder: ImageEncoder, retries: Retries = DEFAULT_RETRIES
    ) -> None:
        self._call = call
        self._encoder = encoder
        self._retries_shed = retries.attempts > 0
        self._groups: dict[tuple[bytes, int, CheckedMetadata], _CallGroup] = {}

    async def classify(
        self,
        template: RequestTemplate,
        image: EncodedImage,
        timeout_seconds: float,
        metadata: CheckedMetadata = (),
    ) -> Classification:
        """Return the result of one image.

        Raises:
            ConvscopeError: The call failed.
        """
        key = template.key, round(math.log(timeout_seconds, 1 + _TOLERANCE)), metadata
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= _MAX_GROUPS:  # an idle group loses only its learned size
                self._groups = {k: g for k, g in self._groups.items() if not g.is_idle}
            group = _CallGroup(
                template,
                metadata,
                self._call,
                self._encoder,
                timeout_seconds * _TOLERANCE,
                retries_shed=self._retries_shed,
            )
            self._groups[key] = group
        return await group.classify(image, timeout_seconds)


class _CallGroup:
    """The calls that may share requests: an asyncio driver of a `Batcher`."""

    def __init__(
        self,
        template: RequestTemplate,
        metadata: CheckedMetadata,
        call: TimedCall,
        encoder: ImageEncoder,
        slack_seconds: float,
        *,
        retries_shed: bool,
    ) -> None:
        self._template = template
        self._metadata = metadata
        self._call = call
        self._encoder = encoder
        self._retries_shed = retries_shed
        self._loop = asyncio.get_running_loop()
        # A reply may only have room for the feature maps of one image, and an explanation by
        # occlusion is many runs of the network.
        limit = max(1, MAX_IMAGES // template.runs_per_image)
        self._size = BatchSize(1 if template.has_large_results else limit, limit)
        self._batcher: Batcher[_Call] = Batcher(
            self._size,
            free_batches=_FREE_BATCHES,
            linger_seconds=min(LINGER_SECONDS, slack_seconds),
            deadline_slack_seconds=slack_seconds,
        )
        self._knows_limit = False
        self._learning: asyncio.Task[None] | None = None
        self._is_send_scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        return self._batcher.is_idle

    async def classify(self, image: EncodedImage, timeout_seconds: float) -> Classification:
        now = self._loop.time()
        call = _Call(image, timeout_seconds, now + timeout_seconds, self._loop.create_future())
        if not self._batcher.has_waiting:
            self._batcher.restart_linger(now)
        self._batcher.add(call, len(image.field), call.deadline)
        if not self._knows_limit and self._batcher.waiting > MANY_IMAGES:
            self._knows_limit = True
            self._learning = self._loop.create_task(self._learn_limit(timeout_seconds))
        self._schedule()
        try:
            return await call.result
        finally:
            if call.result.cancelled() and call.in_flight is not None:
                call.in_flight.cancel_if_abandoned()

    async def _learn_limit(self, timeout_seconds: float) -> None:
        """Learn how many images a request may have. Until then, nothing is sent."""
        try:
            limit = self._encoder.known_max_inputs
            if limit is None:
                async with asyncio.timeout(timeout_seconds):
                    limit = await in_thread(self._encoder.learn_max_inputs, self._metadata)
            self._size.set_limit(limit // self._template.runs_per_image)
        except TimeoutError:
            pass  # the calls fail for the same reason
        finally:
            self._learning = None
            self._schedule()

    def _schedule(self) -> None:
        """Schedule the sending of the calls that wait."""
        if self._learning is not None:
            return
        wait_seconds = self._batcher.wait_seconds(self._loop.time())
        if wait_seconds is None or self._is_send_scheduled:
            return
        if wait_seconds == 0:
            self._is_send_scheduled = True
            self._loop.call_soon(self._send)
        elif self._timer is None:
            self._timer = self._loop.call_later(wait_seconds, self._send)

    def _send(self) -> None:
        self._is_send_scheduled = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._learning is not None:
            return
        for calls in self._batcher.ready(self._loop.time()):
            if pending := [call for call in calls if not call.result.done()]:
                batch = RequestBatch(
                    self._template,
                    [call.image for call in pending],
                    self._size,
                    metadata=self._metadata,
                    retries_shed=self._retries_shed,
                )
                _InFlightBatch(pending, batch, self._call, self._completed)
            else:  # all of them were cancelled while they waited
                self._batcher.completed()
        self._schedule()

    def _completed(self) -> None:
        self._batcher.completed()
        self._schedule()


class _InFlightBatch:
    """A request in flight, and the calls that wait for its reply."""

    def __init__(
        self,
        calls: Sequence[_Call],
        batch: RequestBatch,
        call: TimedCall,
        on_completed: Callable[[], None],
    ) -> None:
        self._calls = calls
        self._call = call
        self._on_completed = on_completed
        self._loop = asyncio.get_running_loop()
        self._batch = batch
        self._task = self._loop.create_task(send_batch(self._batch, self._send))
        self._task.add_done_callback(self._deliver)
        for member in calls:
            member.in_flight = self

    def cancel_if_abandoned(self) -> None:
        """Cancel the request if all of its calls were cancelled."""
        if all(call.result.done() for call in self._calls):
            self._task.cancel()

    async def _send(self, batch: RequestBatch) -> pb.ClassifyResponse:
        first = min(self._calls, key=lambda call: call.deadline)
        remaining_seconds = first.deadline - self._loop.time()
        return await self._call(
            batch.request(), first.timeout_seconds, remaining_seconds, batch.metadata
        )

    def _deliver(self, task: asyncio.Task[None]) -> None:
        self._on_completed()
        for call in self._calls:  # a cycle would keep the images until garbage is collected
            call.in_flight = None
        if task.cancelled():  # as all calls were, or at the end of the event loop
            for call in self._calls:
                call.result.cancel()
            return
        error = task.exception()
        outcomes: Sequence[Classification | BaseException] = (
            self._batch.outcomes if error is None else [error] * len(self._calls)
        )
        for call, outcome in zip(self._calls, outcomes, strict=True):
            if call.result.done():
                continue
            if isinstance(outcome, Classification):
                call.result.set_result(outcome)
            else:
                call.result.set_exception(outcome)
