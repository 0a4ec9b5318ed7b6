"""Brings inputs to the graph's own shape, several at once and off the event loop."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import InvalidInputError, OverloadedError, ServingError
from convscope.server.inference.decoding.preprocessor import Preprocessor
from convscope.server.inference.requests import EncodedImage, Pixels
from convscope.server.observability.stages import StageSeconds

__all__ = ["DecodePool"]

# How much the newest image counts in the estimate of how long one takes.
_NEWS = 0.1
# A slow one may have had a reason that has passed.
_GOOD_NEWS = 0.5


class DecodePool:
    """Threads that decode the images for one model.

    Args:
        preprocessor: The way of an image.
        workers: Images decoded at once. A thread is made when first needed.
        max_waiting: Images that may wait or be under way.
    """

    def __init__(self, preprocessor: Preprocessor, workers: int, max_waiting: int) -> None:
        self._preprocessor = preprocessor
        self._workers = workers
        self._max_waiting = max_waiting
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decoder")
        self._waiting = 0
        self._seconds_per_image = 0.0

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting(self) -> int:
        """The images that wait or are under way."""
        return self._waiting

    @property
    def fill_ratio(self) -> float:
        """How much of its bound waits or is under way; above 1 if many images came alone."""
        return self._waiting / self._max_waiting

    def seconds_until_done(self, images: int) -> float:
        """Estimate how long images that come now take, from those so far."""
        return (self._waiting + images) / self._workers * self._seconds_per_image

    async def decode(
        self, inputs: Sequence[EncodedImage | Pixels], seconds: Sequence[StageSeconds]
    ) -> list[NDArray[np.uint8] | ServingError]:
        """Give the graph's input for each image, [H, W, C], or why there is none.

        Raises:
            OverloadedError: Too many images wait.
        """
        if self._waiting and self._waiting + len(inputs) > self._max_waiting:
            raise OverloadedError(
                f"{self._waiting} images wait to be decoded; at most {self._max_waiting} may; "
                "retry later"
            )
        loop = asyncio.get_running_loop()
        self._waiting += len(inputs)
        queued_at = perf_counter()
        try:
            calls = [
                loop.run_in_executor(self._threads, self._decode, item, times, queued_at)
                for item, times in zip(inputs, seconds, strict=True)
            ]
            return [await calls[0]] if len(calls) == 1 else list(await asyncio.gather(*calls))
        finally:
            self._waiting -= len(inputs)

    def _decode(
        self, item: EncodedImage | Pixels, seconds: StageSeconds, queued_at: float
    ) -> NDArray[np.uint8] | ServingError:
        """Prepare one image, in a thread."""
        started_at = perf_counter()
        seconds.queue = started_at - queued_at
        seconds.decode_began = started_at
        try:
            if isinstance(item, EncodedImage):
                return self._preprocessor.decode(item.data)
            return self._preprocessor.prepare(item.array)
        except InvalidInputError as error:
            return error
        finally:
            seconds.decode = perf_counter() - started_at
            known = self._seconds_per_image or seconds.decode
            news = _GOOD_NEWS if seconds.decode < known else _NEWS
            self._seconds_per_image = known + news * (seconds.decode - known)
