"""Many images, several at a time: requests go out ahead, answers come back in order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc

from convscope.client._asking import Call, ask
from convscope.client._codec import EncodedImage, Outcome, encode_image
from convscope.client._images import takes_long
from convscope.client._packing import Pack, Packer, PackSize
from convscope.client._question import Question
from convscope.client.errors import ConvscopeError, InvalidInputError
from convscope.client.types import ImageLike
from convscope.v1 import inference_pb2 as pb

__all__ = ["MAX_IMAGES", "Plan", "pipeline", "pipeline_async"]

MAX_IMAGES = 32
_FIRST_IMAGES = 4
# Of several clients' bulk work, each takes only a part of the server's queue.
_MAX_IMAGES_IN_FLIGHT = 192

Translate: TypeAlias = Callable[[], AbstractContextManager[None]]
Future: TypeAlias = "grpc.Future[pb.ClassifyResponse]"
Item: TypeAlias = EncodedImage | ConvscopeError


@dataclass(frozen=True)
class Plan:
    """What to ask of which images, and how.

    Args:
        question: All of a request but its images.
        images: The images.
        window: How many requests may be in flight.
        return_errors: Whether an error is given instead of raised.

    Raises:
        InvalidInputError: There are no images, or there is no window.
    """

    question: Question
    images: Iterable[ImageLike]
    window: int
    return_errors: bool
    size: PackSize = field(init=False)

    def __post_init__(self) -> None:
        if isinstance(self.images, str | bytes):
            raise InvalidInputError("images is a single image; put it in a list, or call classify")
        if self.window < 1:
            raise InvalidInputError(f"window is {self.window}; at least 1 request is in flight")
        # Feature maps may be so large that only one image's fit into a reply.
        start = 1 if self.question.has_feature_maps else _FIRST_IMAGES
        most = max(1, min(MAX_IMAGES, _MAX_IMAGES_IN_FLIGHT // self.window))
        object.__setattr__(self, "size", PackSize(start, most))

    def encode(self, image: ImageLike) -> Item:
        """Make an image ready to be sent, or give the reason why it can't be."""
        try:
            return encode_image(self.question, image)
        except ConvscopeError as error:
            return error

    def ends_with(self, item: Item) -> bool:
        """Whether nothing may be sent after this."""
        return isinstance(item, ConvscopeError) and not self.return_errors

    def pack(self, items: Sequence[Item]) -> Pack | None:
        """Make the request of those that could be encoded, if there are any."""
        images = [item for item in items if isinstance(item, EncodedImage)]
        return Pack(self.question, images, self.size) if images else None

    def outcomes(self, items: Sequence[Item], answers: Iterable[Outcome]) -> Iterator[Outcome]:
        """Give answers and errors in the order of the images, or raise the first error."""
        answer = iter(answers)
        for item in items:
            outcome = next(answer) if isinstance(item, EncodedImage) else item
            if isinstance(outcome, ConvscopeError) and not self.return_errors:
                raise outcome
            yield outcome


class _Flight:
    """A request in flight, with its images and those that could not be sent."""

    def __init__(
        self,
        plan: Plan,
        items: Sequence[Item],
        call: Callable[[pb.ClassifyRequest], Future],
        translate: Translate,
    ) -> None:
        self._plan, self._items = plan, items
        self._call, self._translate = call, translate
        self._pack = plan.pack(items)
        self._future = self._send(self._pack) if self._pack else None

    def _send(self, pack: Pack) -> Future:
        with self._translate():
            return self._call(pack.request())

    def done(self) -> bool:
        return self._future is None or self._future.done()

    def cancel(self) -> None:
        if self._future is not None:
            self._future.cancel()

    def finish(self) -> Iterator[Outcome]:
        """Wait for the reply, and give what became of each image."""
        answers: list[Outcome] = []
        if self._pack is not None and self._future is not None:
            answers = self._receive(self._pack, self._future)
        return self._plan.outcomes(self._items, answers)

    def _receive(self, pack: Pack, future: Future) -> list[Outcome]:
        try:
            with self._translate():
                response = future.result()
            pack.answer(response)
        except ConvscopeError as error:
            pack.fail(error)
        if pack.again:
            time.sleep(pack.pause_seconds)
        for indices in pack.again:
            part = pack.part(indices)
            pack.put(indices, self._receive(part, self._send(part)))
        return pack.outcomes


def pipeline(
    plan: Plan, call: Callable[[pb.ClassifyRequest], Future], translate: Translate
) -> Generator[Outcome, None, None]:
    """Give the answers of calls that block."""
    flights: deque[_Flight] = deque()
    packer = Packer(plan.size)
    try:
        for image in plan.images:
            item = plan.encode(image)
            for items in packer.push(item):
                flights.append(_Flight(plan, items, call, translate))
                while flights and (len(flights) >= plan.window or flights[0].done()):
                    yield from flights.popleft().finish()
                packer.resume()
            if plan.ends_with(item):
                break
        flights.extend(_Flight(plan, items, call, translate) for items in packer.rest())
        while flights:
            yield from flights.popleft().finish()
    finally:
        for flight in flights:
            flight.cancel()


async def pipeline_async(plan: Plan, call: Call) -> AsyncGenerator[Outcome, None]:
    """Give the answers of calls that are awaited."""
    flights: deque[tuple[Sequence[Item], asyncio.Task[list[Outcome]]]] = deque()
    packer = Packer(plan.size)

    def send(items: Sequence[Item]) -> None:
        flights.append((items, asyncio.create_task(_ask(plan, items, call))))

    async def receive() -> Iterator[Outcome]:
        items, task = flights[0]
        answers = await task
        flights.popleft()
        return plan.outcomes(items, answers)

    try:
        for image in plan.images:
            item = await _encode(plan, image)
            for items in packer.push(item):
                send(items)
                while flights and (len(flights) >= plan.window or flights[0][1].done()):
                    for outcome in await receive():
                        yield outcome
                packer.resume()
            if plan.ends_with(item):
                break
        for items in packer.rest():
            send(items)
        while flights:
            for outcome in await receive():
                yield outcome
    finally:
        for _, task in flights:
            task.cancel()


async def _encode(plan: Plan, image: ImageLike) -> Item:
    return await asyncio.to_thread(plan.encode, image) if takes_long(image) else plan.encode(image)


async def _ask(plan: Plan, items: Sequence[Item], call: Call) -> list[Outcome]:
    pack = plan.pack(items)
    return await ask(pack, call) if pack else []
