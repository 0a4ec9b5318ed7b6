"""Converts images to the graph's input, several at once and off the event loop."""

from collections.abc import Callable, Sequence
from threading import Lock
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import InvalidInputError, ServingError
from convscope.server.inference.batcher import Batcher
from convscope.server.inference.queue import Entry
from convscope.server.inference.requests import EncodedImage, InferenceRequest, Pixels
from convscope.server.runtime.versions import ImagePreprocessor

__all__ = ["DecodePool", "Image"]


class Image(Entry[InferenceRequest]):
    """An image of a request that waits for a decoder.

    Args:
        request: The request.
        index: The position of the image in it.
    """

    __slots__ = ("index",)

    def __init__(self, request: InferenceRequest, index: int) -> None:
        super().__init__(request, 1)
        self.index = index


class DecodePool:
    """Threads that decode the images for one model, interactive images before bulk images.

    It is a batcher whose batches are single images. The thread that decodes the last
    image of a request passes the request on.

    Args:
        preprocessor: Converts one image.
        decoded: Called in a decoder's thread with each request whose images are decoded.
        fail: Called on the event loop with images that were not decoded, and the reason.
        workers: Images decoded at once.
        max_waiting: Images of each priority that may wait.
    """

    def __init__(
        self,
        preprocessor: ImagePreprocessor,
        decoded: Callable[[InferenceRequest], None],
        fail: Callable[[Sequence[Entry[InferenceRequest]], BaseException], None],
        *,
        workers: int,
        max_waiting: int,
    ) -> None:
        self._preprocessor = preprocessor
        self._decoded = decoded
        self._lock = Lock()
        self._batcher: Batcher[Image, None] = Batcher(
            self._decode_batch,
            lambda batch, nothing: None,
            fail,
            max_batch=1,
            max_queue=max_waiting,
            runners=workers,
            name="decoder",
        )

    @property
    def waiting(self) -> int:
        """The images that wait."""
        return self._batcher.waiting

    @property
    def busy(self) -> bool:
        """Whether an image is being decoded or waits."""
        return self._batcher.busy

    @property
    def fill_ratio(self) -> float:
        """The fill level of the fuller queue; above 1 if a single large request was accepted."""
        return self._batcher.fill_ratio

    def waiting_before(self, *, bulk: bool) -> int:
        """The images that are decoded before one that arrives now."""
        return self._batcher.waiting_before(bulk=bulk)

    def seconds_until_done(self, images: int, *, bulk: bool) -> float:
        """Estimate how long images that arrive now take, from the images so far."""
        return self._batcher.seconds_until_done(images, bulk=bulk)

    def start(self) -> None:
        """Start to decode, on the running event loop."""
        self._batcher.start()

    async def close(self) -> None:
        """Reject the waiting images, and wait for those that are being decoded."""
        await self._batcher.close()
        # The function may hold the owner of this pool, and so the model.
        self._decoded = lambda request: None

    def submit(self, groups: Sequence[Sequence[Image]]) -> list[Sequence[Image]]:
        """Queue all images of each request or none; return the groups without room.

        The requests have their `prepared` inputs and `seconds`, in which the results
        are noted, and the number of their images in `pending`.

        Raises:
            ClosedError: The pool is closed; nothing was queued.
        """
        return self._batcher.submit(groups)

    def discard(self, request: InferenceRequest) -> None:
        """Remove the waiting images of a request that is done."""
        self._batcher.discard(request)

    def _decode_batch(self, batch: Sequence[Image]) -> None:
        """Convert the one image of a batch, in a thread."""
        (image,) = batch
        request = image.request
        request.prepared[image.index] = self._convert(image)
        with self._lock:
            request.pending -= 1
            is_last = not request.pending
        if is_last and not request.done:
            self._decoded(request)

    def _convert(self, image: Image) -> NDArray[np.uint8] | ServingError:
        item, seconds = image.request.inputs[image.index], image.request.seconds[image.index]
        seconds.decode_began = began = perf_counter()
        seconds.queue = began - image.queued_at
        try:
            if isinstance(item, EncodedImage):
                return self._preprocessor.decode(item.data)
            if isinstance(item, Pixels):
                return self._preprocessor.prepare(item.array)
            raise TypeError("the input is no image")
        except InvalidInputError as error:
            return error
        finally:
            seconds.decode = perf_counter() - began
