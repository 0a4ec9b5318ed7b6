"""One version's pipeline: priorities, deadlines, and what it keeps alive."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.loading import load
from support.requests import make_request
from support.tiny import SIDE, write_signal

from convscope.server.errors import (
    InvalidInputError,
    OverloadedError,
    ServingError,
    UnavailableError,
)
from convscope.server.inference.decoding.header import Encoded
from convscope.server.inference.engine import Engine
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.inference.requests import InferenceResult, Pixels, ReadyTensor
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import Target
from convscope.server.runtime.versions import Crop, DecodeCost, LoadedVersion

TIMEOUT_SECONDS = 20.0
Array = NDArray[np.uint8]
MAPS = ("conv",)


class SlowPreprocessor:
    """A preprocessor that takes as long as the test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.running = self.most = 0
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()

    def prepare(self, pixels: Array, /) -> Array:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(self.seconds)
        assert self.gate.wait(TIMEOUT_SECONDS)
        with self._lock:
            self.running -= 1
        return pixels

    def cost(self, data: Encoded, /) -> DecodeCost:
        raise NotImplementedError

    def decode(self, data: Encoded, cost: DecodeCost | None = None, /) -> Array:
        raise NotImplementedError

    def decode_with_crop(
        self, data: Encoded, cost: DecodeCost | None = None, /
    ) -> tuple[Array, Crop]:
        raise NotImplementedError

    def prepare_with_crop(self, pixels: Array, /) -> tuple[Array, Crop]:
        raise NotImplementedError


@pytest.fixture
def version(root: Path) -> LoadedVersion:
    return load(root).resolve(Target("good"))


class Started:
    """An engine with one version."""

    def __init__(self, version: LoadedVersion, decode_workers: int) -> None:
        self.engine = Engine(PipelineLimits(64, 0.0, decode_workers), Metrics().of)
        self.engine.add(version)
        self._version = version

    async def run(
        self, *inputs: Pixels | ReadyTensor, **options: Any
    ) -> Sequence[InferenceResult | ServingError]:
        return await self.engine.run(self._version, make_request(*inputs, **options))

    async def result_of(self, item: Pixels | ReadyTensor, **options: Any) -> InferenceResult:
        (result,) = await self.run(item, **options)
        assert isinstance(result, InferenceResult)
        return result


@asynccontextmanager
async def started(version: LoadedVersion, *, decode_workers: int = 1) -> AsyncIterator[Started]:
    made = Started(version, decode_workers)
    try:
        yield made
    finally:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await made.engine.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


def pixels() -> Array:
    return np.zeros((SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize("ready", [False, True], ids=["decoded", "ready"])
async def test_idle_pipeline_keeps_nothing_of_its_last_request(
    version: LoadedVersion, ready: bool
) -> None:
    async with started(version) as pipeline:
        array = pixels()
        item = ReadyTensor(array) if ready else Pixels(array)
        result = await pipeline.result_of(item, feature_maps=MAPS)
        del item
        seen: list[weakref.ref[Any]] = [
            weakref.ref(array),
            weakref.ref(result.output.feature_maps["conv"]),
        ]
        del array, result
        await until(lambda: gc.collect() >= 0 and not any(ref() is not None for ref in seen))


async def test_slow_bulk_requests_do_not_reject_interactive_ones(version: LoadedVersion) -> None:
    slow = SlowPreprocessor()
    async with started(replace(version, preprocessor=slow)) as pipeline:
        await pipeline.result_of(Pixels(pixels()))  # fast
        # Bulk requests that take much longer than estimated, and end at their deadline.
        slow.gate.clear()
        deadline = asyncio.get_running_loop().time() + 60
        bulk = [
            asyncio.create_task(pipeline.run(Pixels(pixels()), deadline=deadline, bulk=True))
            for _ in range(40)
        ]
        await asyncio.sleep(0.5)
        for task in bulk:
            task.cancel()
        slow.gate.set()
        await asyncio.gather(*bulk, return_exceptions=True)
        # A slow image makes the estimate of the next one 0.3 s.
        slow.seconds = 3.0
        await pipeline.result_of(Pixels(pixels()))
        slow.seconds = 0.0
        slow.gate.clear()
        held = asyncio.create_task(pipeline.result_of(Pixels(pixels())))
        await until(lambda: slow.running == 1)
        deadline = asyncio.get_running_loop().time() + 1.0
        urgent = asyncio.create_task(pipeline.result_of(Pixels(pixels()), deadline=deadline))
        await asyncio.sleep(0)
        slow.gate.set()
        await asyncio.gather(held, urgent)


async def test_bulk_and_interactive_images_share_the_decode_workers(
    version: LoadedVersion,
) -> None:
    slow = SlowPreprocessor()
    slow.seconds = 0.005
    async with started(replace(version, preprocessor=slow), decode_workers=2) as pipeline:
        await asyncio.gather(
            *(pipeline.run(*[Pixels(pixels())] * 8, bulk=bulk) for bulk in (True, False))
        )
    assert slow.most == 2


async def test_full_decoder_rejects_images_of_its_priority_only(version: LoadedVersion) -> None:
    slow = SlowPreprocessor()
    slow.gate.clear()
    async with started(replace(version, preprocessor=slow)) as pipeline:
        held = [asyncio.create_task(pipeline.run(Pixels(pixels())))]
        await until(lambda: slow.running == 1)
        held.append(asyncio.create_task(pipeline.run(*[Pixels(pixels())] * 63, bulk=True)))
        await asyncio.sleep(0)
        with pytest.raises(
            OverloadedError, match="63 images wait to be decoded; at most 64 of each priority"
        ):
            await pipeline.run(*[Pixels(pixels())] * 2, bulk=True)
        held.append(asyncio.create_task(pipeline.run(Pixels(pixels()))))
        await asyncio.sleep(0)
        slow.gate.set()
        assert [len(results) for results in await asyncio.gather(*held)] == [1, 63, 1]


async def test_session_with_feature_maps_is_built_once_for_all_that_wait(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()
    builds: list[str] = []
    build = version.model.load_feature_maps

    def held_build() -> None:
        builds.append(threading.current_thread().name)
        assert may_end.wait(TIMEOUT_SECONDS)
        build()

    monkeypatch.setattr(version.model, "load_feature_maps", held_build)
    async with started(version) as pipeline:
        item = ReadyTensor(pixels())
        first, *others = (
            asyncio.create_task(pipeline.result_of(item, feature_maps=MAPS)) for _ in range(20)
        )
        await until(lambda: bool(builds))
        first.cancel()  # the build continues for the others
        with suppress(asyncio.CancelledError):
            await first
        plain = await pipeline.result_of(item)  # does not wait
        assert plain.output.feature_maps == {}
        may_end.set()
        results = await asyncio.gather(*others)
    assert {"conv"} == {name for result in results for name in result.output.feature_maps}
    assert len(builds) == 1
    assert builds[0].startswith("session-builder")


async def test_session_is_built_again_after_a_failure(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, failures = version.model.load_feature_maps, iter([FileNotFoundError("gone")])

    def flaky_build() -> Any:
        for error in failures:
            raise error
        return build()

    monkeypatch.setattr(version.model, "load_feature_maps", flaky_build)
    async with started(version) as pipeline:
        item = ReadyTensor(pixels())
        with pytest.raises(UnavailableError, match="the files of good v1 are gone"):
            await pipeline.run(item, feature_maps=MAPS)
        result = await pipeline.result_of(item, feature_maps=MAPS)
        assert "conv" in result.output.feature_maps


async def test_feature_maps_of_a_closed_pipeline_are_unavailable(version: LoadedVersion) -> None:
    async with started(version) as pipeline:
        await pipeline.engine.close()
        with pytest.raises(UnavailableError, match="the server is shutting down"):
            await pipeline.run(ReadyTensor(pixels()), feature_maps=MAPS)


async def test_image_for_a_model_without_images_does_not_affect_the_tensors_of_its_request(
    tmp_path: Path,
) -> None:
    write_signal(tmp_path)
    signal = (await asyncio.to_thread(load, tmp_path)).resolve(Target("signal"))
    async with started(signal) as pipeline:
        tensor = ReadyTensor(np.zeros(signal.input_shape, np.float32))
        first, second = await pipeline.run(tensor, Pixels(pixels()))
    assert isinstance(first, InferenceResult)
    assert isinstance(second, InvalidInputError)
    assert "signal accepts no images; send a float32 tensor" in second.message
