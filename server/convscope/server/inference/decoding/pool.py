"""Converts images to the graph's input, several at once and off the event loop."""

from collections.abc import Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import InvalidInputError, OverloadedError, ServingError
from convscope.server.inference.batcher import Batcher
from convscope.server.inference.queue import QueueFullError
from convscope.server.inference.requests import EncodedImage, Pixels
from convscope.server.observability.stages import StageSeconds
from convscope.server.runtime.versions import ImagePreprocessor

__all__ = ["DecodePool"]

Image = EncodedImage | Pixels
Decoded = NDArray[np.uint8] | ServingError
# An image, and where its decoding time is noted.
_Job = tuple[Image, StageSeconds]


class DecodePool:
    """Threads that decode the images for one model, interactive images before bulk images.

    It is a batcher whose batches are single images.

    Args:
        preprocessor: Converts one image.
        workers: Images decoded at once.
        max_waiting: Images of each priority that may wait.
    """

    def __init__(self, preprocessor: ImagePreprocessor, workers: int, max_waiting: int) -> None:
        self._preprocessor = preprocessor
        self._max_waiting = max_waiting
        self._batcher: Batcher[_Job, Decoded] = Batcher(
            self._decode_batch,
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

    async def decode(
        self,
        images: Sequence[Image],
        seconds: Sequence[StageSeconds],
        *,
        deadline: float | None = None,
        bulk: bool = False,
    ) -> list[Decoded]:
        """Return the graph's input or an error for each image, uint8 [H, W, C].

        Args:
            images: The images of one request.
            seconds: Where each image's time in the queue and in the decoder is noted.
            deadline: The `loop.time()` after which no image must start.
            bulk: Whether all interactive images are decoded first.

        Raises:
            OverloadedError: Too many images wait.
            ExpiredError: The deadline passed before an image was started.
            ClosedError: The pool is closed, or was closed while an image waited.
        """
        jobs = list(zip(images, seconds, strict=True))
        try:
            if len(jobs) == 1:
                all_completed = [await self._batcher.submit(jobs[0], deadline=deadline, bulk=bulk)]
            else:
                all_completed = await self._batcher.submit_all(
                    jobs, [1] * len(jobs), deadline=deadline, bulk=bulk
                )
        except QueueFullError as error:
            raise OverloadedError(
                f"{self.waiting} images wait to be decoded; at most {self._max_waiting} of each "
                "priority may wait; retry later"
            ) from error
        for completed, times in zip(all_completed, seconds, strict=True):
            times.queue = completed.queue_seconds
        return [completed.result for completed in all_completed]

    def _decode_batch(self, batch: Sequence[_Job]) -> list[Decoded]:
        """Convert the one image of a batch, in a thread."""
        return [self._convert(image, seconds) for image, seconds in batch]

    def _convert(self, image: Image, seconds: StageSeconds) -> Decoded:
        seconds.decode_began = perf_counter()
        try:
            if isinstance(image, EncodedImage):
                return self._preprocessor.decode(image.data)
            return self._preprocessor.prepare(image.array)
        except InvalidInputError as error:
            return error
        finally:
            seconds.decode = perf_counter() - seconds.decode_began
