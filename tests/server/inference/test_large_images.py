"""Large images: how many are decoded at once, how many may wait, and what overtakes them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.images import encode, picture, solid_png
from support.loading import load
from support.requests import make_request
from support.tiny import SIDE

from convscope.server.errors import InvalidInputError, OverloadedError, ServingError
from convscope.server.inference import pipeline
from convscope.server.inference.decoding.header import Encoded
from convscope.server.inference.decoding.pool import THREAD_BYTES
from convscope.server.inference.decoding.preprocessor import ImageLimits, Preprocessor
from convscope.server.inference.engine import Engine
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.inference.requests import EncodedImage, InferenceResult, Pixels
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import Target
from convscope.server.runtime.model import ModelOutput
from convscope.server.runtime.versions import DecodeCost, LoadedVersion

TIMEOUT_SECONDS = 60.0
SMALL = EncodedImage(encode(picture(60, 40)))


@cache
def large(megapixels: int = 28, seed: int = 0) -> EncodedImage:
    """Return an image that takes more than the share of one thread, and a name by its seed."""
    return EncodedImage(solid_png(6000, megapixels * 1_000_000 // 6000 + seed))


class WatchedPreprocessor(Preprocessor):
    """Records what is decoded at once; large images wait at a gate, which is open at first."""

    def __init__(self, *options: Any) -> None:
        super().__init__(*options)
        self.gate = threading.Event()
        self.gate.set()
        self.started: list[bytes] = []
        self.running: list[int] = []  # bytes of memory
        self.most_bytes = self.most_images = 0
        self._lock = threading.Lock()

    def decode(self, data: Encoded, cost: DecodeCost | None = None) -> NDArray[np.uint8]:
        size = self.cost(data).memory_bytes
        with self._lock:
            self.started.append(bytes(data))
            self.running.append(size)
            self.most_bytes = max(self.most_bytes, sum(self.running))
            self.most_images = max(self.most_images, len(self.running))
        try:
            if size > THREAD_BYTES:
                assert self.gate.wait(TIMEOUT_SECONDS)
            return super().decode(data, cost)
        finally:
            with self._lock:
                self.running.remove(size)


class Started:
    """An engine with one version, and its watched preprocessor."""

    def __init__(self, version: LoadedVersion, workers: int, max_queue: int) -> None:
        limits = ImageLimits(max_pixels=50_000_000, max_side=9000)
        rule = version.manifest.preprocessing
        self.decoder = WatchedPreprocessor(rule, SIDE, SIDE, limits)
        self.version = replace(version, preprocessor=self.decoder)
        self.engine = Engine(PipelineLimits(max_queue, 0.0, workers), Metrics().of)
        self.engine.add(self.version)

    async def run(
        self, *images: EncodedImage | Pixels, **options: Any
    ) -> Sequence[InferenceResult | ServingError]:
        return await self.engine.run(self.version, make_request(*images, **options))

    def submit(
        self, *images: EncodedImage, **options: Any
    ) -> "asyncio.Task[Sequence[InferenceResult | ServingError]]":
        return asyncio.create_task(self.run(*images, **options))

    async def hold_large(
        self, megapixels: int = 28
    ) -> "asyncio.Task[Sequence[InferenceResult | ServingError]]":
        """Submit a large image that waits at the gate while it is being decoded."""
        self.decoder.gate.clear()
        held = self.submit(large(megapixels))
        await until(lambda: bool(self.decoder.running))
        return held


@asynccontextmanager
async def started(root: Path, *, workers: int = 2, max_queue: int = 64) -> AsyncIterator[Started]:
    catalog = await asyncio.to_thread(load, root)
    made = Started(catalog.resolve(Target("good")), workers, max_queue)
    try:
        yield made
    finally:
        made.decoder.gate.set()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await made.engine.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


def is_answered(results: Sequence[InferenceResult | ServingError]) -> bool:
    return bool(results) and all(isinstance(result, InferenceResult) for result in results)


async def test_images_of_50_megapixels_do_not_exceed_the_memory(root: Path) -> None:
    async with started(root, workers=3) as server:
        image = EncodedImage(solid_png(8000, 6250))
        assert THREAD_BYTES < server.decoder.cost(image.data).memory_bytes < 3 * THREAD_BYTES
        answers = await asyncio.gather(*(server.run(image) for _ in range(5)), server.run(SMALL))
        assert all(map(is_answered, answers))
    assert server.decoder.most_bytes <= 3 * THREAD_BYTES


async def test_image_larger_than_the_memory_is_decoded(root: Path) -> None:
    async with started(root, workers=1) as server:
        image = EncodedImage(solid_png(8000, 6250))
        assert server.decoder.cost(image.data).memory_bytes > THREAD_BYTES
        assert is_answered(await server.run(image))


async def test_small_images_are_decoded_as_before_next_to_large_ones(root: Path) -> None:
    async with started(root, workers=3) as server:
        held = [await server.hold_large(), server.submit(large(seed=1)), server.submit(large())]
        for _ in range(3):
            small = await asyncio.gather(*(server.run(SMALL) for _ in range(16)))
            assert all(map(is_answered, small))
        assert len(server.decoder.running) == 2  # two large images fit into the memory of three
        server.decoder.gate.set()
        assert all(map(is_answered, await asyncio.gather(*held)))


async def test_small_images_of_one_request_use_all_threads(root: Path) -> None:
    photo = EncodedImage(encode(picture(1000, 700)))
    async with started(root, workers=3) as server:
        assert is_answered(await server.run(*[photo] * 30))
    assert server.decoder.most_images == 3


async def test_interactive_large_image_starts_before_bulk_ones_that_came_earlier(
    root: Path,
) -> None:
    async with started(root) as server:
        held = [await server.hold_large()]
        held += [server.submit(large(seed=seed), bulk=True) for seed in (1, 2)]
        await asyncio.sleep(0)
        held.append(server.submit(large(seed=3)))
        assert is_answered(await server.run(SMALL, bulk=True))  # large images were overtaken
        server.decoder.gate.set()
        assert all(map(is_answered, await asyncio.gather(*held)))
    assert [data for data in server.decoder.started if data != SMALL.data] == [
        large(seed=seed).data for seed in (0, 3, 1, 2)
    ]


async def test_large_images_keep_their_order_although_a_later_one_would_fit(root: Path) -> None:
    async with started(root, workers=3) as server:
        held = [await server.hold_large(49)]
        order = [large(49), large(49, seed=1), large(28)]
        held += [server.submit(image) for image in order[1:]]
        assert is_answered(await server.run(SMALL))
        assert len(server.decoder.running) == 1
        server.decoder.gate.set()
        assert all(map(is_answered, await asyncio.gather(*held)))
    assert [data for data in server.decoder.started if data != SMALL.data] == [
        image.data for image in order
    ]


async def test_small_images_wait_for_the_large_one_of_their_request(root: Path) -> None:
    """Otherwise their results could wait in any number."""
    async with started(root) as server:
        held = [await server.hold_large(), server.submit(large(seed=1), SMALL, SMALL)]
        await asyncio.sleep(0)
        other = EncodedImage(encode(picture(50, 50)))
        assert is_answered(await server.run(other))
        assert server.decoder.started == [large().data, other.data]
        server.decoder.gate.set()
        assert all(map(is_answered, await asyncio.gather(*held)))


async def test_cancelled_large_image_makes_room(root: Path) -> None:
    async with started(root) as server:
        held, gone, last = await server.hold_large(), *map(server.submit, (large(), large(seed=2)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        server.decoder.gate.set()
        assert is_answered(await held)
        assert is_answered(await last)
    assert len(server.decoder.started) == 2


async def test_flood_of_large_images_is_rejected_and_small_ones_are_answered(root: Path) -> None:
    async with started(root, max_queue=20) as server:  # 80 megapixels
        held = [await server.hold_large()]
        flood = [server.submit(large()) for _ in range(10)]
        await asyncio.sleep(0)
        small = await asyncio.gather(*(server.run(SMALL) for _ in range(18)))
        assert all(map(is_answered, small))
        rejected = [task.exception() for task in flood if task.done()]
        assert len(rejected) == 8
        assert all(isinstance(error, OverloadedError) for error in rejected)
        assert {getattr(error, "code", None) for error in rejected} == {
            grpc.StatusCode.RESOURCE_EXHAUSTED
        }
        assert "fewer of those above 4 megapixels" in str(rejected[0])
        server.decoder.gate.set()
        held += [task for task in flood if not task.done()]
        assert all(map(is_answered, await asyncio.gather(*held)))
        assert is_answered(await server.run(large()))


async def test_image_without_a_header_is_invalid_also_when_the_queue_is_full(root: Path) -> None:
    async with started(root, workers=1, max_queue=2) as server:
        photo = EncodedImage(encode(picture(1200, 900)))
        held = [await server.hold_large(), server.submit(photo), server.submit(photo)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await server.run(SMALL)
        (error,) = await server.run(EncodedImage(b"\x89PNG\r\n\x1a\n" + bytes(30)))
        assert isinstance(error, InvalidInputError)
        assert error.message == "the 38 bytes are not an image; use JPEG, PNG, WebP, BMP or GIF"
        server.decoder.gate.set()
        await asyncio.gather(*held, return_exceptions=True)  # the runner has the same small queue


async def test_invalid_header_does_not_affect_the_other_images_of_its_request(root: Path) -> None:
    async with started(root) as server:
        too_large = EncodedImage(encode(Image.new("1", (10_000, 10))))
        first, bad, wide, last = await server.run(SMALL, EncodedImage(b"GIF89a"), too_large, SMALL)
    assert is_answered([first, last])
    assert isinstance(bad, InvalidInputError)
    assert isinstance(wide, InvalidInputError)
    assert "10,000 x 10 pixels" in wide.message


async def test_decoded_images_that_wait_for_a_runner_are_bounded_by_their_bytes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MAX_DECODED_BYTES", 2 * SIDE * SIDE * 3)
    async with started(root) as server:
        model, gate, running = server.version.model, threading.Event(), threading.Event()
        run = model.run

        def held_run(*args: Any, **options: Any) -> ModelOutput:
            running.set()
            assert gate.wait(TIMEOUT_SECONDS)
            return run(*args, **options)

        monkeypatch.setattr(model, "run", held_run)
        held = [server.submit(SMALL)]
        await until(running.is_set)
        held += [server.submit(SMALL) for _ in range(2)]
        await until(lambda: len(server.decoder.started) == 3 and not server.decoder.running)
        with pytest.raises(OverloadedError, match=r"the queue of good is full \(2 images\)"):
            await server.run(SMALL)
        gate.set()
        assert all(map(is_answered, await asyncio.gather(*held)))
