"""Converts images to the graph's input, several at once and off the event loop.

The size in an image's header determines what its decoding may take, in memory and in time.
Most images take less than `THREAD_BYTES`, so as many as there are threads can be decoded
at once. Large images wait until those that are being decoded leave room for them, and
small images overtake them. When large images occupy all threads, small ones have another one:
an image that is expensive to decode must not delay the others.
"""

from collections.abc import Callable, Sequence
from threading import Lock
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import ServingError
from convscope.server.inference.batcher import Batcher
from convscope.server.inference.queue import Entry
from convscope.server.inference.requests import EncodedImage, InferenceRequest, Pixels
from convscope.server.runtime.versions import Crop, DecodeCost, ImagePreprocessor

__all__ = ["QUEUE_PIXELS", "THREAD_BYTES", "DecodePool", "Image"]

# The share of one thread in the memory of what is decoded at once. A PNG or a lossy WebP of 27
# megapixels takes as much, a lossless WebP of 12, a progressive JPEG of 30, and no other JPEG
# that is decoded to scale.
THREAD_BYTES = 128 * 2**20
# Decoding an image with more pixels or bytes may take longer than a tenth of a second.
LARGE_PIXELS = 1_000_000
LARGE_ENCODED_BYTES = 512 * 1024
# The share of one image in the queue. The largest request that the default limits allow,
# 64 images of 16 megapixels, fills the default queue of 256 images.
QUEUE_PIXELS = 4_000_000
# Decoding the smallest image takes about as long as so many pixels of a larger one.
_FIXED_PIXELS = 50_000


class Image(Entry[InferenceRequest]):
    """An image of a request that waits for a decoder.

    Args:
        request: The request.
        index: The position of the image in it.
        cost: What its decoding takes.
        encoded_bytes: Its size, or 0 if it has been decoded.
    """

    __slots__ = ("cost", "index")

    def __init__(
        self, request: InferenceRequest, index: int, cost: DecodeCost, encoded_bytes: int = 0
    ) -> None:
        is_large = encoded_bytes > LARGE_ENCODED_BYTES or cost.pixels > LARGE_PIXELS
        super().__init__(
            request,
            1,
            cost.pixels + _FIXED_PIXELS,
            is_large=is_large,
        )
        self.index = index
        self.cost = cost


class DecodePool:
    """Threads that decode the images for one model, interactive images before bulk images.

    It is a batcher whose batches are single images. The thread that decodes the last
    image of a request passes the request on. One thread more than `workers` decodes only
    while large images occupy all others.

    Args:
        preprocessor: Converts one image.
        decoded: Called in a decoder's thread with each request whose images are decoded.
        fail: Called on the event loop with images that were not decoded, and the reason.
        workers: Images decoded at once. Large images take at most `THREAD_BYTES` for each
            of them, and a single one always starts.
        max_waiting: Images of each priority that may wait, and fewer if they have more
            than `QUEUE_PIXELS`.
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
        self._workers = workers
        self._running = 0  # images that are being decoded
        self._running_large = 0
        self._max_large_bytes = workers * THREAD_BYTES
        self._large_bytes = 0  # of the large images that are being decoded
        self._lock = Lock()
        self._batcher: Batcher[Image, None] = Batcher(
            self._decode_batch,
            lambda batch, nothing: None,
            fail,
            max_batch=1,
            max_queue=max_waiting,
            runners=workers + 1,
            name="decoder",
            max_work=max_waiting * QUEUE_PIXELS,
            may_start=self._may_start,
            parallel=workers,
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

    def seconds_until_done(self, images: int, work: int, *, bulk: bool) -> float:
        """Estimate how long images that arrive now take, from the images so far.

        Args:
            images: How many.
            work: The sum of their work.
            bulk: Whether they are bulk images.
        """
        return self._batcher.seconds_until_done(images, work, bulk=bulk)

    def start(self) -> None:
        """Start to decode, on the running event loop."""
        self._batcher.start()

    async def close(self) -> None:
        """Reject the waiting images, and wait for those that are being decoded."""
        await self._batcher.close()
        # The function may hold the owner of this pool, and so the model.
        self._decoded = lambda request: None

    def image(self, request: InferenceRequest, index: int) -> Image:
        """Return an image of a request, which can be submitted; it reads the header only.

        Raises:
            InvalidInputError: It can't be decoded, or exceeds a limit.
        """
        item = request.inputs[index]
        if isinstance(item, EncodedImage):
            return Image(request, index, self._preprocessor.cost(item.data), len(item.data))
        if isinstance(item, Pixels):
            height, width, _ = item.array.shape
            return Image(request, index, DecodeCost(height * width, 0))
        raise TypeError("the input is no image")

    def submit(self, groups: Sequence[Sequence[Image]]) -> list[Sequence[Image]]:
        """Queue all images of each request or none; return the groups without room.

        The requests have their `prepared` inputs and `seconds`, in which the results
        are noted, and the number of their images in `pending`.

        Raises:
            ClosedError: The pool is closed; nothing was queued.
        """
        for group in groups:
            if any(image.is_large for image in group):
                # Otherwise the small images would overtake the large one, and the results of
                # many requests would wait for the rest of their request.
                for image in group:
                    image.is_large = True
        return self._batcher.submit(groups)

    def discard(self, request: InferenceRequest) -> None:
        """Remove the waiting images of a request that is done."""
        self._batcher.discard(request)

    def _may_start(self, image: Image) -> bool:
        """Count an image, unless those that are being decoded leave no room for it."""
        size = image.cost.memory_bytes
        with self._lock:
            is_full = self._running >= self._workers
            if image.is_large:
                if is_full or (
                    self._large_bytes and self._large_bytes + size > self._max_large_bytes
                ):
                    return False
                self._running_large += 1
                self._large_bytes += size
            elif is_full and self._running > self._running_large:
                return False
            self._running += 1
        return True

    def _ended(self, image: Image) -> None:
        """Count an image no longer."""
        with self._lock:
            self._running -= 1
            if image.is_large:
                self._running_large -= 1
                self._large_bytes -= image.cost.memory_bytes

    def _decode_batch(self, batch: Sequence[Image]) -> None:
        """Convert the one image of a batch, in a thread."""
        (image,) = batch
        request = image.request
        try:
            request.prepared[image.index] = self._convert(image)
        finally:
            self._ended(image)
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
            if image.request.crops is not None:
                return self._convert_with_crop(image, image.request.crops)
            if isinstance(item, EncodedImage):
                return self._preprocessor.decode(item.data, image.cost)
            if isinstance(item, Pixels):
                return self._preprocessor.prepare(item.array)
            raise TypeError("the input is no image")
        except ServingError as error:
            return error
        finally:
            seconds.decode = perf_counter() - began

    def _convert_with_crop(self, image: Image, crops: dict[int, Crop]) -> NDArray[np.uint8]:
        """Convert an image, and note which part of it the network sees."""
        item = image.request.inputs[image.index]
        if isinstance(item, EncodedImage):
            array, crop = self._preprocessor.decode_with_crop(item.data, image.cost)
        elif isinstance(item, Pixels):
            array, crop = self._preprocessor.prepare_with_crop(item.array)
        else:
            raise TypeError("the input is no image")
        crops[image.index] = crop
        return array
