"""Images are decoded in one pool, interactive images before bulk images."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from support.images import encode, picture
from support.requests import make_request

from convscope.server.errors import InvalidInputError, OverloadedError
from convscope.server.inference.decoding.header import Encoded
from convscope.server.inference.decoding.pool import DecodePool
from convscope.server.inference.decoding.preprocessor import ImageLimits, Preprocessor
from convscope.server.inference.queue import ClosedError, Entry, ExpiredError
from convscope.server.inference.requests import EncodedImage, InferenceRequest, Pixels
from convscope.server.observability.stages import StageSeconds
from convscope.server.runtime.versions import Crop, DecodeCost, ImagePreprocessor
from convscope.v1 import manifest_pb2 as pb

TIMEOUT_SECONDS = 20.0
PHOTO_PIXELS = 2_000_000
Array = NDArray[np.uint8]


class GatedPreprocessor:
    """A preprocessor that records its images, and waits at a gate in each of them."""

    def __init__(self, *, opened: bool = False) -> None:
        self.started: list[int] = []
        self._gate = threading.Semaphore(10**6 if opened else 0)
        self._photo_gate = threading.Semaphore(10**6 if opened else 0)

    def prepare(self, pixels: Array, /) -> Array:
        self.started.append(int(pixels[0, 0, 0]))
        gate = self._gate if pixels.size < PHOTO_PIXELS else self._photo_gate
        assert gate.acquire(timeout=TIMEOUT_SECONDS)
        return pixels + np.uint8(1)

    def cost(self, data: Encoded, /) -> DecodeCost:
        return DecodeCost(1, 1)

    def decode(self, data: Encoded, cost: DecodeCost | None = None, /) -> Array:
        raise InvalidInputError(f"{len(data)} bytes are not an image")

    def decode_with_crop(
        self, data: Encoded, cost: DecodeCost | None = None, /
    ) -> tuple[Array, Crop]:
        raise NotImplementedError

    def prepare_with_crop(self, pixels: Array, /) -> tuple[Array, Crop]:
        raise NotImplementedError

    def is_last(self, number: int) -> bool:
        return self.started[-1] == number

    def open(self, images: int) -> None:
        self._gate.release(images)

    def open_photos(self, photos: int) -> None:
        self._photo_gate.release(photos)


class Awaited:
    """A pool whose callers wait for their images."""

    def __init__(self, preprocessor: ImagePreprocessor, workers: int, max_waiting: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.pool = DecodePool(
            preprocessor, self._decoded, self._fail, workers=workers, max_waiting=max_waiting
        )

    def _decoded(self, request: InferenceRequest) -> None:
        self._loop.call_soon_threadsafe(self._end, request, None)

    def _fail(self, images: Sequence[Entry[InferenceRequest]], error: BaseException) -> None:
        for one in images:
            self._end(one.request, error)

    def _end(self, request: InferenceRequest, error: BaseException | None) -> None:
        request.done = True
        if request.place.done():
            return
        if error is None:
            request.place.set_result(request.prepared)
        else:
            request.place.set_exception(error)

    async def decode(self, images: Sequence[Pixels | EncodedImage], **options: Any) -> list[Any]:
        request = self.request(images, **options)
        try:
            found: list[Any] = await request.place
        except asyncio.CancelledError:
            request.done = True
            self.pool.discard(request)
            raise
        return found

    def request(self, images: Sequence[Pixels | EncodedImage], **options: Any) -> InferenceRequest:
        """Submit a request, whose `place` is a future of its results."""
        request = make_request(*images, place=self._loop.create_future(), **options)
        request.seconds = [StageSeconds() for _ in images]
        request.prepared = [None] * len(images)
        request.pending = len(images)
        if self.pool.submit([[self.pool.image(request, index) for index in range(len(images))]]):
            raise OverloadedError("full")
        return request


@asynccontextmanager
async def started(
    preprocessor: ImagePreprocessor, *, workers: int = 1, max_waiting: int = 64
) -> AsyncIterator[Awaited]:
    awaited = Awaited(preprocessor, workers, max_waiting)
    awaited.pool.start()
    try:
        yield awaited
    finally:
        if isinstance(preprocessor, GatedPreprocessor):
            preprocessor.open(1000)
            preprocessor.open_photos(1000)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await awaited.pool.close()


def image(number: int) -> Pixels:
    return Pixels(np.full((1, 1, 1), number, np.uint8))


def photo(number: int) -> Pixels:
    return Pixels(np.full((1000, PHOTO_PIXELS // 1000, 1), number, np.uint8))


def decoding(
    awaited: Awaited, *numbers: int, bulk: bool = False
) -> "asyncio.Task[list[Array | Exception]]":
    return asyncio.create_task(awaited.decode([image(n) for n in numbers], bulk=bulk))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


async def test_interactive_images_are_decoded_before_bulk_images_that_came_earlier() -> None:
    preprocessor = GatedPreprocessor()
    async with started(preprocessor) as pool:
        tasks = [decoding(pool, 0)]
        await until(lambda: preprocessor.started == [0])
        tasks += [decoding(pool, 10, 11, bulk=True), decoding(pool, 12, bulk=True)]
        tasks += [decoding(pool, 1, 2), decoding(pool, 3)]
        await until(lambda: pool.pool.waiting == 6)
        preprocessor.open(7)
        await asyncio.gather(*tasks)
    assert preprocessor.started == [0, 1, 2, 3, 10, 11, 12]


async def test_bulk_and_interactive_images_share_the_workers() -> None:
    preprocessor = GatedPreprocessor()
    async with started(preprocessor, workers=2) as pool:
        bulk = decoding(pool, 10, 11, 12, bulk=True)
        await until(lambda: len(preprocessor.started) == 2)
        interactive = decoding(pool, 1)
        await until(lambda: pool.pool.waiting == 2)
        await asyncio.sleep(0.05)
        assert preprocessor.started == [10, 11]  # no third worker takes the interactive image
        preprocessor.open(1)
        await until(lambda: len(preprocessor.started) == 3)
        assert preprocessor.started[-1] == 1
        preprocessor.open(3)
        await asyncio.gather(bulk, interactive)


@pytest.mark.parametrize("workers", [1, 2])
async def test_images_that_take_long_delay_only_one_another(workers: int) -> None:
    """Otherwise one caller could occupy all threads with images that are cheap to send."""
    preprocessor = GatedPreprocessor()
    async with started(preprocessor, workers=workers) as pool:
        slow = [asyncio.create_task(pool.decode([photo(number)])) for number in range(10, 14)]
        await until(lambda: len(preprocessor.started) == workers)
        others = [decoding(pool, number) for number in (1, 2)]
        for number in (1, 2):  # one after the other, on one more thread
            await until(partial(preprocessor.is_last, number))
            assert len(preprocessor.started) == workers + number
            preprocessor.open(1)
        await asyncio.gather(*others)
        assert len(preprocessor.started) == workers + 2
        preprocessor.open_photos(4)
        await asyncio.gather(*slow)


async def test_full_bulk_queue_rejects_bulk_images_only() -> None:
    preprocessor = GatedPreprocessor()
    async with started(preprocessor, max_waiting=3) as pool:
        tasks = [decoding(pool, 0)]
        await until(lambda: preprocessor.started == [0])
        tasks.append(decoding(pool, 10, 11, bulk=True))
        await until(lambda: pool.pool.waiting == 2)
        with pytest.raises(OverloadedError, match="full"):
            await decoding(pool, 12, 13, bulk=True)
        assert pool.pool.waiting == 2  # a rejected request leaves no image in the queue
        tasks.append(decoding(pool, 1, 2, 3))
        await until(lambda: pool.pool.waiting == 5)
        preprocessor.open(6)
        await asyncio.gather(*tasks)


async def test_one_large_photo_does_not_change_the_estimate_for_thumbnails() -> None:
    rule = pb.Preprocessing(
        resize=pb.Resize(rule=pb.RESIZE_RULE_SHORTEST_EDGE, shortest_edge=256),
        color_mode=pb.COLOR_MODE_RGB,
        interpolation=pb.INTERPOLATION_BILINEAR,
    )
    preprocessor = Preprocessor(rule, 224, 224, ImageLimits(16_000_000, 8192))
    small = EncodedImage(encode(picture(160, 120), "JPEG"))
    photo = EncodedImage(encode(PIL.Image.new("RGB", (4000, 3000)), "JPEG"))
    async with started(preprocessor) as awaited:
        pool = awaited.pool
        for _ in range(20):
            await awaited.decode([small])

        def estimate(item: EncodedImage) -> float:
            image = pool.image(make_request(item), 0)
            return pool.seconds_until_done(1, image.work, bulk=False)

        before = estimate(small)
        assert estimate(photo) > 50 * before
        await awaited.decode([photo])
        assert estimate(small) < 3 * before  # a photo takes as long as 50 thumbnails


async def test_results_are_in_the_order_of_the_images_and_timed() -> None:
    async with started(GatedPreprocessor(opened=True), workers=3) as pool:
        request = pool.request([image(n) for n in range(20)])
        found = await request.place
    assert [int(array.item()) for array in found if isinstance(array, np.ndarray)] == [
        n + 1 for n in range(20)
    ]
    assert all(one.decode > 0 and one.decode_began > 0 for one in request.seconds)


async def test_bad_image_is_reported_in_its_place() -> None:
    async with started(GatedPreprocessor(opened=True)) as pool:
        bad, good = await pool.decode([EncodedImage(b"abc"), image(1)])
    assert isinstance(bad, InvalidInputError)
    assert bad.message == "3 bytes are not an image"
    assert isinstance(good, np.ndarray)


async def test_cancelled_image_is_not_decoded() -> None:
    preprocessor = GatedPreprocessor()
    async with started(preprocessor) as pool:
        first, second, third = decoding(pool, 0), decoding(pool, 1), decoding(pool, 2)
        await until(lambda: preprocessor.started == [0] and pool.pool.waiting == 2)
        second.cancel()
        await until(lambda: pool.pool.waiting == 1)
        preprocessor.open(2)
        await asyncio.gather(first, third)
    assert preprocessor.started == [0, 2]


async def test_image_past_its_deadline_is_not_decoded() -> None:
    preprocessor = GatedPreprocessor(opened=True)
    async with started(preprocessor) as pool:
        past = asyncio.get_running_loop().time() - 1
        with pytest.raises(ExpiredError):
            await pool.decode([image(1)], deadline=past)
    assert preprocessor.started == []


async def test_close_rejects_what_waits() -> None:
    preprocessor = GatedPreprocessor()
    async with started(preprocessor) as pool:
        first, second = decoding(pool, 0), decoding(pool, 1)
        await until(lambda: preprocessor.started == [0] and pool.pool.waiting == 1)
        closing = asyncio.create_task(pool.pool.close())
        with pytest.raises(ClosedError):
            await second
        preprocessor.open(1)
        await first
        await closing
    assert preprocessor.started == [0]


async def test_idle_pool_keeps_no_image() -> None:
    async with started(GatedPreprocessor(opened=True)) as pool:
        pixels = image(1)
        seen = weakref.ref(pixels.array)
        (found,) = await pool.decode([pixels])
        assert isinstance(found, np.ndarray)
        decoded = weakref.ref(found)
        del pixels, found
        await until(lambda: gc.collect() >= 0 and seen() is None and decoded() is None)
