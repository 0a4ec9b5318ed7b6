"""Many images, several at a time: requests go out ahead, answers come back in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from convscope.client._codec import decode_classification, encode_classify
from convscope.client.errors import ConvscopeError, InvalidInputError
from convscope.client.types import Classification, ImageLike
from convscope.v1 import inference_pb2 as pb

__all__ = ["Outcome", "Plan", "pipeline", "pipeline_async"]

Outcome: TypeAlias = Classification | ConvscopeError
Translate: TypeAlias = Callable[[], AbstractContextManager[None]]
SyncCall: TypeAlias = "grpc.Future[pb.ClassifyResponse]"
AsyncCall: TypeAlias = "grpc.aio.UnaryUnaryCall[pb.ClassifyRequest, pb.ClassifyResponse]"


@dataclass(frozen=True)
class Plan:
    """What to ask of which images, and how.

    Args:
        question: The request that lacks only its image.
        images: The images.
        window: How many requests may be in flight.
        return_errors: Whether an error is given instead of raised.
        translate: Makes what to call inside.

    Raises:
        InvalidInputError: There are no images, or there is no window.
    """

    question: pb.ClassifyRequest
    images: Iterable[ImageLike]
    window: int
    return_errors: bool
    translate: Translate

    def __post_init__(self) -> None:
        if isinstance(self.images, str | bytes):
            raise InvalidInputError("images is a single image; put it in a list, or call classify")
        if self.window < 1:
            raise InvalidInputError(f"window is {self.window}; at least 1 request is in flight")

    def encode(self, image: ImageLike) -> pb.ClassifyRequest | ConvscopeError:
        """Make a request, or give the reason why there is none."""
        try:
            return encode_classify(self.question, image)
        except ConvscopeError as error:
            return error

    def end(self, error: ConvscopeError) -> ConvscopeError:
        """Give an error in the place of its answer, or raise it."""
        if self.return_errors:
            return error
        raise error


def pipeline(plan: Plan, call: Callable[[pb.ClassifyRequest], SyncCall]) -> Iterator[Outcome]:
    """Give the answers of calls that block."""
    pending: deque[SyncCall | ConvscopeError] = deque()
    try:
        for image in plan.images:
            request = plan.encode(image)
            if isinstance(request, ConvscopeError):
                pending.append(request)
                if not plan.return_errors:
                    break
            else:
                with plan.translate():
                    pending.append(call(request))
            if len(pending) >= plan.window:
                yield _finish(plan, pending.popleft())
        while pending:
            yield _finish(plan, pending.popleft())
    finally:
        _cancel(pending)


async def pipeline_async(
    plan: Plan, call: Callable[[pb.ClassifyRequest], AsyncCall]
) -> AsyncIterator[Outcome]:
    """Give the answers of calls that are awaited."""
    pending: deque[AsyncCall | ConvscopeError] = deque()
    try:
        for image in plan.images:
            request = await asyncio.to_thread(plan.encode, image)
            if isinstance(request, ConvscopeError):
                pending.append(request)
                if not plan.return_errors:
                    break
            else:
                with plan.translate():
                    pending.append(call(request))
            if len(pending) >= plan.window:
                yield await _finish_async(plan, pending.popleft())
        while pending:
            yield await _finish_async(plan, pending.popleft())
    finally:
        _cancel(pending)


def _finish(plan: Plan, call: SyncCall | ConvscopeError) -> Outcome:
    if isinstance(call, ConvscopeError):
        return plan.end(call)
    try:
        with plan.translate():
            response = call.result()
        return decode_classification(response)
    except ConvscopeError as error:
        return plan.end(error)


async def _finish_async(plan: Plan, call: AsyncCall | ConvscopeError) -> Outcome:
    if isinstance(call, ConvscopeError):
        return plan.end(call)
    try:
        with plan.translate():
            response = await call
        return decode_classification(response)
    except ConvscopeError as error:
        return plan.end(error)


def _cancel(pending: Iterable[SyncCall | AsyncCall | ConvscopeError]) -> None:
    for call in pending:
        if not isinstance(call, ConvscopeError):
            call.cancel()
