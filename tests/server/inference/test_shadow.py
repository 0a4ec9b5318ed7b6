"""Copies wait for their turn, are bounded, and nothing that happens to them is anybody's loss."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from typing import cast

import numpy as np
import pytest
from support.loading import load
from support.tiny import SIDE, write_tiny

from convscope.server.errors import DeadlineError, OverloadedError, ServingError
from convscope.server.inference.engine import Engine
from convscope.server.inference.requests import (
    InferenceRequest,
    InferenceResult,
    Input,
    ReadyTensor,
)
from convscope.server.inference.shadow import MAX_WAITING, MAX_WAITING_BYTES, ShadowTraffic
from convscope.server.observability.metrics import Metrics
from convscope.server.observability.stages import StageSeconds
from convscope.server.repository.catalog import Catalog, Target
from convscope.server.runtime.versions import LoadedVersion

STAGES = StageSeconds()


class SlowEngine:
    """An engine whose runs end when the test says so, and then give each input's class 0."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.begun = 0
        self.may_end = asyncio.Event()

    async def run(
        self, version: LoadedVersion, inputs: Sequence[Input], question: InferenceRequest
    ) -> list[InferenceResult]:
        assert question.bulk
        assert question.aside
        self.begun += 1
        await self.may_end.wait()
        return [answer(0) for _ in inputs]


def answer(best: int) -> InferenceResult:
    probabilities = np.full(3, 0.1, np.float32)
    probabilities[best] = 0.8
    return InferenceResult([best], [0.8], {}, probabilities, StageSeconds())


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog[LoadedVersion]:
    root = tmp_path_factory.mktemp("repository")
    for version in (1, 2):
        write_tiny(root, version=version)
    return load(root, latest=2)


@pytest.fixture
def engine() -> SlowEngine:
    return SlowEngine()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def shadow_traffic(
    catalog: Catalog[LoadedVersion], engine: SlowEngine, metrics: Metrics
) -> AsyncIterator[ShadowTraffic]:
    async def find(target: Target) -> LoadedVersion:
        return catalog.resolve(target)

    made = ShadowTraffic(find, cast(Engine, engine), metrics.shadow, cores=2)
    yield made
    await made.close()


@pytest.fixture
def copy(catalog: Catalog[LoadedVersion], shadow_traffic: ShadowTraffic) -> Callable[..., None]:
    def copy(*answers: InferenceResult | ServingError, side: int = SIDE) -> None:
        tensor = ReadyTensor(np.zeros((side, side, 3), np.uint8))
        version = catalog.resolve(Target("tiny", 1))
        shadow_traffic.copy(version, 2, [tensor] * len(answers), answers)

    return copy


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def counted(metrics: Metrics, outcome: str) -> float:
    labels = {"model": "tiny", "version": "1", "shadow": "2", "outcome": outcome}
    return metrics.registry.get_sample_value("convscope_shadow_inputs_total", labels) or 0.0


async def test_copy_waits_while_requests_need_the_cores(
    copy: Callable[..., None], engine: SlowEngine, metrics: Metrics
) -> None:
    engine.may_end.set()
    engine.in_flight = 1  # of two cores, none is left over
    copy(answer(0))
    await asyncio.sleep(0.05)
    assert engine.begun == 0
    engine.in_flight = 0
    await until(lambda: counted(metrics, "agreed") == 1)


async def test_slow_shadow_is_waited_for_by_nobody_and_copies_are_bounded(
    copy: Callable[..., None], engine: SlowEngine, metrics: Metrics
) -> None:
    copy(answer(0))
    await until(lambda: engine.begun == 1)
    for _ in range(MAX_WAITING + 5):
        copy(answer(0), answer(0))
    assert counted(metrics, "dropped") == 2 * 5
    engine.may_end.set()
    await until(lambda: counted(metrics, "agreed") == 1 + 2 * MAX_WAITING)


async def test_other_best_class_is_a_disagreement_of_its_size(
    copy: Callable[..., None], engine: SlowEngine, metrics: Metrics
) -> None:
    engine.may_end.set()
    copy(answer(0), answer(1), DeadlineError("late"))
    await until(lambda: counted(metrics, "disagreed") == 1)
    assert counted(metrics, "agreed") == 1
    labels = {"model": "tiny", "version": "1", "shadow": "2"}
    value = metrics.registry.get_sample_value("convscope_shadow_difference_sum", labels)
    assert value == pytest.approx(0.7)


async def test_tensor_of_another_shape_fails_and_the_next_copy_runs(
    copy: Callable[..., None], engine: SlowEngine, metrics: Metrics
) -> None:
    engine.may_end.set()
    copy(answer(0), side=SIDE + 1)
    copy(answer(0))
    await until(lambda: counted(metrics, "agreed") == 1)
    assert counted(metrics, "failed") == 1
    assert engine.begun == 1


async def test_copies_are_bounded_by_their_bytes_too(
    shadow_traffic: ShadowTraffic, catalog: Catalog[LoadedVersion], metrics: Metrics
) -> None:
    large = [ReadyTensor(np.zeros(MAX_WAITING_BYTES // 2, np.uint8))] * 2
    shadow_traffic.copy(catalog.resolve(Target("tiny", 1)), 2, large, [answer(0)] * 2)
    assert counted(metrics, "dropped") == 2


async def test_copy_keeps_nothing_of_an_answer_s_batch(
    shadow_traffic: ShadowTraffic, catalog: Catalog[LoadedVersion], engine: SlowEngine
) -> None:
    engine.in_flight = 1
    batch = np.full((64, 3), 0.3, np.float32)
    seen = weakref.ref(batch)
    answered = InferenceResult(
        [0], [0.3], {"conv": np.zeros((4, 9, 9), np.float32)}, batch[0], STAGES
    )
    tensor = ReadyTensor(np.zeros((SIDE, SIDE, 3), np.uint8))
    shadow_traffic.copy(catalog.resolve(Target("tiny", 1)), 2, [tensor], [answered])
    del batch, answered
    gc.collect()
    assert seen() is None


async def test_shadow_for_which_there_is_no_memory_drops_its_copies(
    catalog: Catalog[LoadedVersion], engine: SlowEngine, metrics: Metrics
) -> None:
    async def find(target: Target) -> LoadedVersion:
        raise OverloadedError("there is no memory left")

    shadow_traffic = ShadowTraffic(find, cast(Engine, engine), metrics.shadow, cores=2)
    tensor = ReadyTensor(np.zeros((SIDE, SIDE, 3), np.uint8))
    shadow_traffic.copy(catalog.resolve(Target("tiny", 1)), 2, [tensor], [answer(0)])
    await until(lambda: counted(metrics, "dropped") == 1)
    assert counted(metrics, "failed") == 0  # and so nothing is logged
    await shadow_traffic.close()


async def test_forgotten_version_takes_its_shadow_s_series_along(
    copy: Callable[..., None], engine: SlowEngine, metrics: Metrics, catalog: Catalog[LoadedVersion]
) -> None:
    engine.may_end.set()
    copy(answer(0))
    await until(lambda: counted(metrics, "agreed") == 1)
    metrics.of(catalog.resolve(Target("tiny", 2)))
    metrics.forget("tiny", 2)
    assert counted(metrics, "agreed") == 0
