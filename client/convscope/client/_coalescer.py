"""Concurrent calls of an `AsyncClient` that ask the same travel in one request.

A call goes out at the end of the event loop's turn that it was made in, with
all that ask the same in that turn: `gather` of 256 calls makes 4 requests.
While two requests of a question are in flight, later calls gather until one of
them is answered, until they fill a request, or for a few milliseconds.

The calls of a request share its deadline, the earliest of theirs. So only
those join whose time-outs are nearly the same, and which were made at nearly
the same time: a call with a short time-out never fails one with a longer one.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from convscope.client._asking import ask
from convscope.client._codec import EncodedImage, Outcome
from convscope.client._packing import MAX_PACK_BYTES, Pack, PackSize
from convscope.client._question import Question
from convscope.client.errors import ConvscopeError
from convscope.client.types import Classification
from convscope.v1 import inference_pb2 as pb

__all__ = ["Coalescer"]

MAX_IMAGES = 64
_FREE_REQUESTS = 2
_MAX_WAIT_SECONDS = 0.005
# The share of its time-out that a call may lose to another of its request, once
# for a shorter time-out and once for an earlier start.
_TOLERANCE = 0.1
_MAX_LANES = 64


class TimedCall(Protocol):
    """Makes a call that fails with nothing but a `ConvscopeError`."""

    def __call__(
        self, request: pb.ClassifyRequest, timeout_seconds: float, remaining_seconds: float
    ) -> Awaitable[pb.ClassifyResponse]:
        """Make it in what remains of its time-out."""


@dataclass(slots=True, eq=False)
class _Member:
    """One call, its image, and once it is sent, the request that it is part of."""

    image: EncodedImage
    timeout_seconds: float
    deadline: float
    answer: asyncio.Future[Classification]
    request: _Request | None = None


class Coalescer:
    """Gathers the calls of one event loop into requests.

    Args:
        call: Sends a request.
    """

    def __init__(self, call: TimedCall) -> None:
        self._call = call
        self._lanes: dict[tuple[bytes, int], _Lane] = {}

    async def classify(
        self, question: Question, image: EncodedImage, timeout_seconds: float
    ) -> Classification:
        """Wait for the answer to one image.

        Raises:
            ConvscopeError: It could not be answered.
        """
        key = question.key, round(math.log(timeout_seconds, 1 + _TOLERANCE))
        lane = self._lanes.get(key) or self._open(key, question, timeout_seconds)
        return await lane.join(image, timeout_seconds)

    def _open(self, key: tuple[bytes, int], question: Question, timeout_seconds: float) -> _Lane:
        if len(self._lanes) >= _MAX_LANES:  # the idle ones lose nothing but what they learnt
            self._lanes = {key: lane for key, lane in self._lanes.items() if not lane.is_idle}
        lane = self._lanes[key] = _Lane(question, self._call, timeout_seconds * _TOLERANCE)
        return lane


class _Lane:
    """The calls that may share a request."""

    def __init__(self, question: Question, call: TimedCall, slack_seconds: float) -> None:
        self._question = question
        self._call = call
        self._slack_seconds = slack_seconds
        self._loop = asyncio.get_running_loop()
        # Feature maps may be so large that only one image's fit into a reply.
        self._size = PackSize(1 if question.has_feature_maps else MAX_IMAGES, MAX_IMAGES)
        self._waiting: deque[_Member] = deque()
        self._waiting_bytes = 0
        self._in_flight = 0
        self._is_leaving = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._in_flight

    async def join(self, image: EncodedImage, timeout_seconds: float) -> Classification:
        deadline = self._loop.time() + timeout_seconds
        member = _Member(image, timeout_seconds, deadline, self._loop.create_future())
        self._waiting.append(member)
        self._waiting_bytes += image.size_bytes
        self._schedule()
        try:
            return await member.answer
        finally:
            # One that is cancelled before it is sent is left out when its turn comes.
            if member.answer.cancelled() and member.request is not None:
                member.request.leave()

    def _schedule(self) -> None:
        """See to it that what waits is sent."""
        if self._is_leaving:
            return
        full = len(self._waiting) >= self._size.images or self._waiting_bytes >= MAX_PACK_BYTES
        if full or self._in_flight < _FREE_REQUESTS:
            self._is_leaving = True
            self._loop.call_soon(self._send_all)
        elif self._timer is None:
            wait_seconds = min(_MAX_WAIT_SECONDS, self._slack_seconds)
            self._timer = self._loop.call_later(wait_seconds, self._send_all)

    def _send_all(self) -> None:
        self._is_leaving = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            if members := self._take():
                self._in_flight += 1
                _Request(members, self._question, self._size, self._call, self._answered)

    def _answered(self) -> None:
        self._in_flight -= 1
        if self._waiting:
            self._schedule()

    def _take(self) -> list[_Member]:
        """Take the oldest calls up to a full request, without those that were given up."""
        members: list[_Member] = []
        size_bytes = 0
        while self._waiting and len(members) < self._size.images:
            member = self._waiting[0]
            if members and not self._fits(member, members[0], size_bytes):
                break
            self._waiting.popleft()
            self._waiting_bytes -= member.image.size_bytes
            if not member.answer.done():
                members.append(member)
                size_bytes += member.image.size_bytes
        return members

    def _fits(self, member: _Member, oldest: _Member, size_bytes: int) -> bool:
        near = abs(member.deadline - oldest.deadline) <= self._slack_seconds
        return near and size_bytes + member.image.size_bytes <= MAX_PACK_BYTES


class _Request:
    """A request in flight, and those who wait for its reply."""

    def __init__(
        self,
        members: Sequence[_Member],
        question: Question,
        size: PackSize,
        call: TimedCall,
        on_done: Callable[[], None],
    ) -> None:
        self._members = members
        self._call = call
        self._on_done = on_done
        self._loop = asyncio.get_running_loop()
        pack = Pack(question, [member.image for member in members], size)
        self._task = self._loop.create_task(ask(pack, self._send))
        self._task.add_done_callback(self._deliver)
        for member in members:
            member.request = self

    def leave(self) -> None:
        """Give the request up if nobody waits for it any more."""
        if all(member.answer.done() for member in self._members):
            self._task.cancel()

    async def _send(self, request: pb.ClassifyRequest) -> pb.ClassifyResponse:
        first = min(self._members, key=lambda member: member.deadline)
        remaining_seconds = first.deadline - self._loop.time()
        return await self._call(request, first.timeout_seconds, remaining_seconds)

    def _deliver(self, task: asyncio.Task[list[Outcome]]) -> None:
        self._on_done()
        error = None if task.cancelled() else task.exception()
        for index, member in enumerate(self._members):
            if member.answer.done():
                continue
            if task.cancelled():  # with the connection
                member.answer.cancel()
            elif error is not None:
                member.answer.set_exception(error)
            elif isinstance(outcome := task.result()[index], ConvscopeError):
                member.answer.set_exception(outcome)
            else:
                member.answer.set_result(outcome)
