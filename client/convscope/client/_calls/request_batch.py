"""The images of one request, and the outcome of each."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Final, TypeAlias

from convscope.client._calls.batch_size import BatchSize
from convscope.client._calls.request_ids import with_request_id
from convscope.client._calls.requests import EncodedImage, RequestTemplate, encode_request
from convscope.client._inputs.checks import CheckedMetadata
from convscope.client._results.results import Outcome, decode_results
from convscope.client._results.sent_image import CallFacts
from convscope.client.errors import (
    ConvscopeError,
    InvalidInputError,
    OverloadedError,
    UnavailableError,
)
from convscope.v1 import inference_pb2 as pb

__all__ = ["Item", "RequestBatch"]

Item: TypeAlias = EncodedImage | ConvscopeError
"""An image of a batch, or the reason why it can't be sent."""

_PAUSE_SECONDS: Final = 0.1
_RETRYABLE = OverloadedError, UnavailableError


class RequestBatch:
    """The images of one request, and the outcome of each. It does no I/O.

    A driver sends `request()`, and then calls `succeed` or `fail`. If there are
    `retries` afterwards, it waits for `pause_seconds`, does the same for each of
    them, and calls `merge_retries`. The channel retries whole requests, so a
    batch retries only parts of one.

    Args:
        template: The request without its images.
        items: The images, and errors in the place of those that can't be sent.
        size: Is adjusted to the reply.
        metadata: The metadata of the call.
        is_retry: Whether the images are part of an earlier batch.
        retries_shed: Whether images that a busy server didn't take are sent again.
    """

    def __init__(
        self,
        template: RequestTemplate,
        items: Sequence[Item],
        size: BatchSize,
        *,
        metadata: CheckedMetadata = (),
        is_retry: bool = False,
        retries_shed: bool = True,
    ) -> None:
        self.metadata, self.request_id = with_request_id(metadata)
        self._own_metadata = metadata
        self._sent_at = self._replied_at = 0.0
        self._template = template
        self._items = items
        self._size = size
        self._retries_shed = retries_shed and not is_retry
        self._images = [item for item in items if isinstance(item, EncodedImage)]
        self._retry_positions: list[list[int]] = []
        self.outcomes: list[Outcome] = []
        self.retries: list[RequestBatch] = []
        self.pause_seconds = 0.0
        if not self._images:
            self._store([])

    @property
    def is_empty(self) -> bool:
        """Whether there is no image to send."""
        return not self._images

    def request(self) -> pb.ClassifyRequest:
        """Return the request, which is sent now, with `metadata`."""
        self._sent_at = perf_counter()
        return encode_request(self._template, self._images)

    def replied(self) -> None:
        """Called when the reply arrives, if `succeed` is called later."""
        self._replied_at = perf_counter()

    def succeed(self, response: pb.ClassifyResponse) -> None:
        """Store the results of a reply.

        Raises:
            InternalError: The reply can't be read.
        """
        count = len(self._images)
        seconds = (self._replied_at or perf_counter()) - self._sent_at
        is_large = self._template.has_large_results
        facts = CallFacts(self.request_id, seconds, has_arrays=is_large)
        outcomes = decode_results(response, [image.sent for image in self._images], facts)
        self._store(outcomes)
        reply_bytes = response.results[0].ByteSize() if is_large else 0
        self._size.succeeded(count, _processing_seconds(response), reply_bytes)
        shed = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, _RETRYABLE)]
        if shed and self._retries_shed and count > 1:
            self._retry([shed], _PAUSE_SECONDS)

    def fail(self, error: ConvscopeError) -> None:
        """Store the failure of the whole request."""
        count = len(self._images)
        self._size.failed(count, error)
        self._store([error] if count == 1 else [_copy(error) for _ in self._images])
        if count > 1 and isinstance(error, InvalidInputError):
            # Only one of the images may be invalid, or all of them together too large.
            self._retry([[index] for index in range(count)])

    def merge_retries(self) -> None:
        """Store the outcomes of the retries, which have completed."""
        for positions, batch in zip(self._retry_positions, self.retries, strict=True):
            for position, outcome in zip(positions, batch.outcomes, strict=True):
                self.outcomes[position] = outcome

    def _store(self, outcomes: Sequence[Outcome]) -> None:
        """Store the outcomes of the images, and the errors between them."""
        for image, outcome in zip(self._images, outcomes, strict=True):
            if isinstance(outcome, ConvscopeError):
                outcome.image, outcome.request_id = image.sent.name, self.request_id
        if len(self._images) == len(self._items):
            self.outcomes = list(outcomes)
            return
        remaining = iter(outcomes)
        self.outcomes = [
            item if isinstance(item, ConvscopeError) else next(remaining) for item in self._items
        ]

    def _retry(self, groups: Sequence[Sequence[int]], pause_seconds: float = 0.0) -> None:
        """Plan one more request for each group of images."""
        self.pause_seconds = pause_seconds
        positions = [i for i, item in enumerate(self._items) if isinstance(item, EncodedImage)]
        for group in groups:
            images = [self._images[index] for index in group]
            self.retries.append(
                RequestBatch(
                    self._template, images, self._size, metadata=self._own_metadata, is_retry=True
                )
            )
            self._retry_positions.append([positions[index] for index in group])


def _processing_seconds(response: pb.ClassifyResponse) -> float:
    """Return how long the server took for a request, from the first image to the last."""
    results = response.results
    first, last = results[0].stage_times, results[-1].stage_times
    run = last.queue_seconds + last.infer_seconds - first.queue_seconds
    return run + last.decode_seconds * len(results)


def _copy(error: ConvscopeError) -> ConvscopeError:
    """Copy an error for another caller, because each raises its own."""
    copy = type(error)(error.message, error.code)
    copy.__cause__, copy.grpc_error = error.__cause__, error.grpc_error
    return copy
