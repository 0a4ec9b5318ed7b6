"""A request with one image."""

from time import perf_counter
from types import TracebackType
from typing import Self

from convscope.client._calls.request_ids import with_request_id
from convscope.client._calls.requests import EncodedImage, RequestTemplate, encode_request
from convscope.client._inputs.checks import CheckedMetadata
from convscope.client._results.results import decode_results, result_or_raise
from convscope.client._results.sent_image import CallFacts
from convscope.client.errors import ConvscopeError
from convscope.client.types import Classification
from convscope.v1 import inference_pb2 as pb

__all__ = ["SingleRequest"]


class SingleRequest:
    """A request with one image. It does no I/O.

    A driver sends `message` with `metadata` inside the with block, which adds the name of the
    image and the request id to an error.

    Args:
        template: The request without its image.
        image: The image.
        metadata: The metadata of the call.
    """

    def __init__(
        self, template: RequestTemplate, image: EncodedImage, metadata: CheckedMetadata
    ) -> None:
        self.message = encode_request(template, [image])
        self.metadata, self._request_id = with_request_id(metadata)
        self._image = image.sent
        self._sent_at = perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, ConvscopeError):
            error.image, error.request_id = self._image.name, self._request_id

    def result(self, response: pb.ClassifyResponse) -> Classification:
        """Return the result of the reply, which has just arrived.

        Raises:
            ConvscopeError: It is an error, or the reply can't be read.
        """
        facts = CallFacts(self._request_id, perf_counter() - self._sent_at)
        (outcome,) = decode_results(response, [self._image], facts)
        return result_or_raise(outcome)
