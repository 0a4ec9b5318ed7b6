"""Several images in one request: how many, and what becomes of each of them."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Final

from convscope.client._channel import MIB
from convscope.client._codec import EncodedImage, Outcome, decode_results, encode_request
from convscope.client._question import Question
from convscope.client.errors import (
    ConvscopeError,
    DeadlineExceededError,
    InvalidInputError,
    OverloadedError,
    UnavailableError,
)
from convscope.v1 import inference_pb2 as pb

__all__ = ["MAX_PACK_BYTES", "Pack", "PackSize", "Packer"]

MAX_PACK_BYTES: Final = 4 * MIB
_MAX_REPLY_BYTES = 8 * MIB
# Sharing a request saves each image a call, about half a millisecond of client and
# server, and makes the first wait for the last; it also makes the server run
# them as one batch, which is not its best for larger networks. So it is for
# images that take little longer than their call.
_QUICK_SECONDS = 0.002
_SLOW_SECONDS = 0.004
_PAUSE_SECONDS = 0.1
_BUSY = OverloadedError, UnavailableError
# An image that has been read must not wait for others that are slow to come.
_PATIENCE_SECONDS = 0.005


class PackSize:
    """How many images the next request may hold, as the replies teach it.

    Args:
        start: How many the first requests hold.
        most: How many any may hold.
    """

    def __init__(self, start: int, most: int) -> None:
        self.images = min(start, most)
        self._most = most
        self._busy_at = most + 1

    def answered(self, images: int, seconds: float, reply_bytes: int) -> None:
        """Learn from a reply.

        Args:
            images: How many the request held.
            seconds: From the start of the first to the end of the last.
            reply_bytes: The size of one image's answer, if it may be large.
        """
        most = min(self._most, _MAX_REPLY_BYTES // max(1, reply_bytes))
        if seconds > _SLOW_SECONDS * images:
            most = min(most, images // 2)
        elif seconds < _QUICK_SECONDS * images and images == self.images:
            self.images = min(2 * images, max(images, self._busy_at - 1))
            self._busy_at += 1  # the server may be less busy by now
        self.images = max(1, min(self.images, most))

    def failed(self, images: int, error: ConvscopeError) -> None:
        """Learn from a failure of a request as a whole."""
        fewer = max(1, images // 2)
        if isinstance(error, InvalidInputError):  # the server may take less at once than we sent
            self._most = min(self._most, fewer)
        if isinstance(error, OverloadedError):
            self._busy_at = min(self._busy_at, images)
        if isinstance(error, InvalidInputError | DeadlineExceededError | OverloadedError):
            self.images = min(self.images, fewer)


class Pack:
    """The images of one request, and what became of each.

    Args:
        question: What is asked of all of them.
        images: The images.
        size: Learns from the reply.
        is_last_try: Whether the server has already been too busy for them.
    """

    def __init__(
        self,
        question: Question,
        images: Sequence[EncodedImage],
        size: PackSize,
        is_last_try: bool = False,
    ) -> None:
        self._question = question
        self._images = images
        self._size = size
        self._is_last_try = is_last_try
        self.outcomes: list[Outcome] = []
        self.again: list[list[int]] = []
        self.pause_seconds = 0.0

    def request(self) -> pb.ClassifyRequest:
        """Make the request."""
        return encode_request(self._question, self._images)

    def part(self, indices: Sequence[int]) -> Pack:
        """Make the pack of those that are to be asked about again."""
        images = [self._images[index] for index in indices]
        return Pack(self._question, images, self._size, is_last_try=True)

    def put(self, indices: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Take what became of those that were asked about again."""
        for index, outcome in zip(indices, outcomes, strict=True):
            self.outcomes[index] = outcome

    def answer(self, response: pb.ClassifyResponse) -> None:
        """Take the reply.

        Raises:
            InternalError: It can't be read.
        """
        count = len(self._images)
        self.outcomes = decode_results(response, count)
        large = self._question.has_feature_maps
        reply_bytes = response.results[0].ByteSize() if large else 0
        self._size.answered(count, _busy_seconds(response), reply_bytes)
        if count > 1:  # gRPC retries requests, but not a part of one
            self._retry([i for i, o in enumerate(self.outcomes) if isinstance(o, _BUSY)])

    def fail(self, error: ConvscopeError) -> None:
        """Take a failure of the request as a whole."""
        count = len(self._images)
        self._size.failed(count, error)
        self.outcomes = [error] if count == 1 else [_copy(error) for _ in self._images]
        if count == 1:
            return
        if isinstance(error, InvalidInputError):  # that need not be wrong with each image
            self.again = [[index] for index in range(count)]
        elif isinstance(error, OverloadedError) and self._question.is_bulk:
            self._retry(list(range(count)))

    def _retry(self, indices: list[int]) -> None:
        if indices and not self._is_last_try:
            self.again, self.pause_seconds = [indices], _PAUSE_SECONDS


class Packer:
    """Gathers images, with those that could not be encoded, until a request is worth it.

    Args:
        size: How many a request may hold.
    """

    def __init__(self, size: PackSize) -> None:
        self._size = size
        self._items: list[EncodedImage | ConvscopeError] = []
        self._size_bytes = 0
        self.resume()

    def push(
        self, item: EncodedImage | ConvscopeError
    ) -> list[list[EncodedImage | ConvscopeError]]:
        """Add an image; give the packs that are to be sent now."""
        ready = []
        size_bytes = item.size_bytes if isinstance(item, EncodedImage) else 0
        if self._size_bytes + size_bytes > MAX_PACK_BYTES:
            ready += self.rest()
        self._items.append(item)
        self._size_bytes += size_bytes
        patient = perf_counter() - self._opened_at < _PATIENCE_SECONDS
        if len(self._items) >= self._size.images or not patient:
            ready += self.rest()
        return ready

    def rest(self) -> list[list[EncodedImage | ConvscopeError]]:
        """Give what has gathered."""
        items, self._items = self._items, []
        self._size_bytes = 0
        self.resume()
        return [items] if items else []

    def resume(self) -> None:
        """Be patient anew: what was waited for was not an image."""
        self._opened_at = perf_counter()


def _busy_seconds(response: pb.ClassifyResponse) -> float:
    """How long the server was busy with a request, from the first image to the last."""
    results = response.results
    first, last = results[0].stage_times, results[-1].stage_times
    run = last.queue_seconds + last.infer_seconds - first.queue_seconds
    return run + last.decode_seconds * len(results)


def _copy(error: ConvscopeError) -> ConvscopeError:
    """Make an error of its own for another caller, who raises it elsewhere."""
    twin = type(error)(error.message, error.code)
    twin.__cause__ = error.__cause__
    return twin
