"""Any number of images as request batches, and their outcomes in order."""

from collections.abc import Iterable, Iterator, Sequence

from convscope.client._calls.batch_size import MANY_IMAGES, MAX_IMAGES, BatchSize
from convscope.client._calls.batcher import Batcher
from convscope.client._calls.image_encoder import ImageEncoder
from convscope.client._calls.request_batch import Item, RequestBatch
from convscope.client._calls.requests import EncodedImage, RequestTemplate
from convscope.client._connection.retries import DEFAULT_RETRIES, Retries
from convscope.client._inputs.checks import INT32_MAX, CheckedMetadata, check_integer
from convscope.client._inputs.many import check_images
from convscope.client._results.results import Outcome
from convscope.client.errors import ConvscopeError
from convscope.client.types import ImageLike

__all__ = ["ImageStream"]

_FIRST_IMAGES = 4
# When several clients send bulk requests, each fills only a part of the server's queue.
_MAX_IMAGES_IN_FLIGHT = 192
# Occlusion runs many images for each, so that two requests keep a server busy.
_MAX_RUNS_IN_FLIGHT = 100


class ImageStream:
    """The images of one `classify_many`, without the I/O.

    A driver encodes and adds one image after the other, sends the batches that
    it gets, and yields the outcomes of the oldest batch while `is_window_full`.

    Args:
        template: The request without its images.
        images: The images.
        window: How many requests may be in flight.
        return_errors: Whether errors are returned instead of raised.
        encoder: Encodes the images.
        metadata: The metadata of each call.
        retries: How often a request is tried again.

    Raises:
        InvalidInputError: `images` is a single image, or `window` is below 1.
    """

    def __init__(
        self,
        template: RequestTemplate,
        images: Iterable[ImageLike],
        *,
        window: int,
        return_errors: bool,
        encoder: ImageEncoder,
        metadata: CheckedMetadata = (),
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        check_images(images)
        check_integer("window", window, 1, INT32_MAX)
        self.images = images
        self._template = template
        self._encoder = encoder
        self._metadata = metadata
        self._window = window
        self._return_errors = return_errors
        self._retries_shed = retries.attempts > 0
        # A reply may only have room for the feature maps of one image, and an explanation by
        # occlusion is many runs of the network.
        start = 1 if template.has_large_results else _FIRST_IMAGES
        self._max_in_flight = _MAX_IMAGES_IN_FLIGHT
        if template.runs_per_image > 1:
            self._max_in_flight = _MAX_RUNS_IN_FLIGHT // template.runs_per_image
        self._size = BatchSize(start, max(1, min(MAX_IMAGES, self._max_in_flight)))
        self._images_in_flight = self._completed = self._encoded = 0
        self._batcher: Batcher[Item] = Batcher(self._size)
        self.has_ended = False

    @property
    def is_window_full(self) -> bool:
        """Whether a batch must complete before the next one is sent."""
        expected = self._images_in_flight + self._size.images
        return self._batcher.in_flight >= self._window or expected > self._max_in_flight

    def is_slow(self, image: ImageLike) -> bool:
        """Report whether encoding an image may block for long."""
        return self._encoder.is_slow(image) or (
            self._encoded == MANY_IMAGES and self._encoder.known_max_inputs is None
        )

    def encode(self, image: ImageLike) -> Item:
        """Encode an image, or return the reason why it can't be sent."""
        if self._encoded == MANY_IMAGES:
            self._size.set_limit(self._encoder.learn_max_inputs(self._metadata))
        self._encoded += 1
        try:
            return self._encoder.encode(self._template, image, self._metadata, keeps_image=False)
        except ConvscopeError as error:
            return error

    def add(self, item: Item, now: float) -> list[RequestBatch]:
        """Add an image, and return the batches that should be sent now."""
        if isinstance(item, EncodedImage):
            self._batcher.add(item, len(item.field))
        else:
            self._batcher.add(item, 0)
            self.has_ended = not self._return_errors
        batches = self._batcher.ready(now)
        return self._batches(batches) if batches else []

    def resume(self, now: float) -> None:
        """Called when the driver is ready for the next image, after other work.

        An image that was read must not wait for one that is slow to arrive. Time
        in which the caller handled outcomes doesn't count.
        """
        self._batcher.restart_linger(now)

    def flush(self) -> list[RequestBatch]:
        """Return the last batches."""
        return self._batches(self._batcher.flush())

    def outcomes(self, batch: RequestBatch) -> Iterator[Outcome]:
        """Yield the outcomes of a batch that has completed.

        Raises:
            ConvscopeError: One is an error, and errors are not returned.
        """
        self._batcher.completed()
        self._images_in_flight -= len(batch.outcomes)
        for index, outcome in enumerate(batch.outcomes, self._completed):
            if isinstance(outcome, ConvscopeError):
                self._fail(outcome, index)
            yield outcome
        self._completed += len(batch.outcomes)

    def _fail(self, error: ConvscopeError, index: int) -> None:
        """Add to an error which image it is of, and raise it unless errors are returned."""
        error.index = index
        if not self._return_errors:
            # Part of a traceback, and not of the message.
            name = f": {error.image}" if error.image else ""
            error.add_note(f"The image at index {index}{name}")
            raise error

    def _batches(self, batches: Sequence[list[Item]]) -> list[RequestBatch]:
        self._images_in_flight += sum(map(len, batches))
        return [
            RequestBatch(
                self._template,
                items,
                self._size,
                metadata=self._metadata,
                retries_shed=self._retries_shed,
            )
            for items in batches
        ]
