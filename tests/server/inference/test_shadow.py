"""Shadow copies wait for free cores, are bounded, and never affect requests."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from structlog.testing import capture_logs
from support.loading import load
from support.tiny import SIDE, write_tiny

from convscope.server.errors import DeadlineError, OverloadedError, ServingError
from convscope.server.inference import shadow
from convscope.server.inference.engine import Engine
from convscope.server.inference.requests import (
    InferenceRequest,
    InferenceResult,
    ReadyTensor,
)
from convscope.server.inference.shadow import MAX_WAITING, MAX_WAITING_BYTES, ShadowTraffic
from convscope.server.observability.metrics import Metrics
from convscope.server.observability.stages import StageSeconds
from convscope.server.repository.catalog import Catalog, Target
from convscope.server.runtime.model import ModelOutput
from convscope.server.runtime.versions import LoadedVersion

STAGES = StageSeconds()


class SlowEngine:
    """An engine whose runs end when the test allows it, with class 0 for each input."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.begun = 0
        self.may_end = asyncio.Event()

    async def run(self, version: LoadedVersion, request: InferenceRequest) -> list[InferenceResult]:
        assert request.bulk
        assert request.untracked
        self.begun += 1
        await self.may_end.wait()
        return [result(0) for _ in request.inputs]


def result(best: int, lead: float = 0.7, infer: float = 0.0) -> InferenceResult:
    probabilities = np.full(3, (1 - lead) / 3, np.float32)
    probabilities[best] += lead
    output = ModelOutput(probabilities[np.newaxis], {}, None)
    top = float(probabilities[best])
    return InferenceResult([best], [top], None, output, 0, StageSeconds(infer=infer))


def answered(*probabilities: float) -> InferenceResult:
    row = np.array(probabilities, np.float32)
    output = ModelOutput(row[np.newaxis], {}, None)
    return InferenceResult([int(row.argmax())], [float(row.max())], None, output, 0, STAGES)


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
    def copy(*results: InferenceResult | ServingError, side: int = SIDE) -> None:
        tensor = ReadyTensor(np.zeros((side, side, 3), np.uint8))
        version = catalog.resolve(Target("tiny", 1))
        shadow_traffic.copy(version, 2, [tensor] * len(results), results, "id")

    return copy


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def counted(metrics: Metrics, outcome: str) -> float:
    return total(metrics, "convscope_shadow_inputs_total", outcome=outcome)


def total(metrics: Metrics, name: str, **labels: str) -> float:
    labels = {"model": "tiny", "version": "1", "shadow": "2"} | labels
    return metrics.registry.get_sample_value(name, labels) or 0.0


async def test_copy_waits_while_requests_need_the_cores(
    copy: Callable[..., None], engine: SlowEngine, metrics: Metrics
) -> None:
    engine.may_end.set()
    engine.in_flight = 1  # of two cores, none is left over
    copy(result(0))
    await asyncio.sleep(0.05)
    assert engine.begun == 0
    engine.in_flight = 0
    await until(lambda: counted(metrics, "agreed") == 1)


async def test_slow_shadow_delays_no_request_and_copies_are_bounded(
    copy: Callable[..., None], engine: SlowEngine, metrics: Metrics
) -> None:
    copy(result(0))
    await until(lambda: engine.begun == 1)
    for _ in range(MAX_WAITING + 5):
        copy(result(0), result(0))
    assert counted(metrics, "dropped") == 2 * 5
    engine.may_end.set()
    await until(lambda: counted(metrics, "agreed") == 1 + 2 * MAX_WAITING)


async def test_different_best_class_is_a_disagreement_and_is_measured(
    copy: Callable[..., None], engine: SlowEngine, metrics: Metrics
) -> None:
    """Of the first class, 0.8 remains 0.8; of the second, 0.1 was 0.8 before."""
    engine.may_end.set()
    copy(result(0, infer=0.02), result(1, infer=0.04), DeadlineError("late"))
    await until(lambda: counted(metrics, "disagreed") == 1)
    assert counted(metrics, "agreed") == 1
    assert total(metrics, "convscope_shadow_difference_sum") == pytest.approx(0.7)
    assert total(metrics, "convscope_shadow_top1_change_sum") == pytest.approx(0.7)
    assert total(metrics, "convscope_shadow_infer_seconds_sum", side="answer") == pytest.approx(
        0.06
    )
    assert total(metrics, "convscope_shadow_infer_seconds_count", side="shadow") == 2


async def test_clear_results_are_counted_separately_and_disagreements_logged_with_their_request(
    copy: Callable[..., None], engine: SlowEngine, metrics: Metrics
) -> None:
    engine.may_end.set()
    with capture_logs() as logs:
        copy(*[result(1, lead=0.05)] * 5, *[result(1, lead=0.2)] * 3, result(0, lead=0.2))
        await until(lambda: counted(metrics, "agreed") == 1)
    assert counted(metrics, "disagreed") == 8
    clear = "convscope_shadow_clear_inputs_total"
    assert total(metrics, clear, outcome="disagreed") == 3
    assert total(metrics, clear, outcome="agreed") == 1
    seen = [line for line in logs if line["event"] == "shadow disagreed"]
    assert [line["margin"] for line in seen] == [0.05, 0.2]  # one of each kind within a second
    assert seen[1]["request_id"] == "id"
    assert (seen[1]["label"], seen[1]["shadow_label"]) == ("green", "red")
    assert (seen[1]["probability"], seen[1]["shadow_probability"]) == (0.4667, 0.8)


@pytest.fixture
def independent(tmp_path: Path) -> Catalog[LoadedVersion]:
    """Versions whose classes are independent."""
    for version in (1, 2):
        write_tiny(tmp_path, version=version, activation="Sigmoid")
    return load(tmp_path, latest=2)


async def test_all_classes_that_are_probable_are_compared(
    independent: Catalog[LoadedVersion], engine: SlowEngine, metrics: Metrics
) -> None:
    """The shadow names red; the answers name red and green, and red alone."""

    async def find(target: Target) -> LoadedVersion:
        return independent.resolve(target)

    made = ShadowTraffic(find, cast(Engine, engine), metrics.shadow, cores=2)
    engine.may_end.set()
    answers = [answered(0.9, 0.8, 0.1), answered(0.7, 0.3, 0.1), answered(0.8, 0.52, 0.1)]
    inputs = [ReadyTensor(np.zeros((SIDE, SIDE, 3), np.uint8))] * len(answers)
    with capture_logs() as logs:
        made.copy(independent.resolve(Target("tiny", 1)), 2, inputs, answers, "id")
        await until(lambda: counted(metrics, "disagreed") == 2)
    await made.close()
    assert counted(metrics, "agreed") == 1
    clear = "convscope_shadow_clear_inputs_total"
    assert (
        total(metrics, clear, outcome="disagreed") == total(metrics, clear, outcome="agreed") == 1
    )
    seen = [line for line in logs if line["event"] == "shadow disagreed"]
    assert [(line["label"], line["probability"]) for line in seen] == [
        ("green", 0.8),
        ("green", 0.52),
    ]
    assert [line["shadow_label"] for line in seen] == ["", ""]


def test_what_is_logged_rarely_is_forgotten_after_its_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(shadow, "monotonic", lambda: now)
    pauses = shadow._Pauses(60.0)
    assert [pauses.is_over(version) for version in (1, 2, 1)] == [True, True, False]
    now = 59.0
    assert [pauses.is_over(version) for version in (1, 3)] == [False, True]
    now = 60.0
    assert pauses.is_over(1)
    assert pauses._last.keys() == {1, 3}


async def test_tensor_of_another_shape_fails_and_the_next_copy_runs(
    copy: Callable[..., None], engine: SlowEngine, metrics: Metrics
) -> None:
    engine.may_end.set()
    copy(result(0), side=SIDE + 1)
    copy(result(0))
    await until(lambda: counted(metrics, "agreed") == 1)
    assert counted(metrics, "failed") == 1
    assert engine.begun == 1


async def test_copies_are_also_bounded_by_their_bytes(
    shadow_traffic: ShadowTraffic, catalog: Catalog[LoadedVersion], metrics: Metrics
) -> None:
    large = [ReadyTensor(np.zeros(MAX_WAITING_BYTES // 2, np.uint8))] * 2
    shadow_traffic.copy(catalog.resolve(Target("tiny", 1)), 2, large, [result(0)] * 2, "id")
    assert counted(metrics, "dropped") == 2


async def test_copy_keeps_nothing_of_a_result_s_batch(
    shadow_traffic: ShadowTraffic, catalog: Catalog[LoadedVersion], engine: SlowEngine
) -> None:
    engine.in_flight = 1
    batch = np.full((64, 3), 0.3, np.float32)
    seen = weakref.ref(batch)
    output = ModelOutput(batch, {"conv": np.zeros((64, 4, 9, 9), np.float32)}, None)
    answered = InferenceResult([0], [0.3], None, output, 0, STAGES)
    tensor = ReadyTensor(np.zeros((SIDE, SIDE, 3), np.uint8))
    shadow_traffic.copy(catalog.resolve(Target("tiny", 1)), 2, [tensor], [answered], "id")
    del batch, output, answered
    gc.collect()
    assert seen() is None


async def test_copies_are_dropped_without_memory_for_the_shadow(
    catalog: Catalog[LoadedVersion], engine: SlowEngine, metrics: Metrics
) -> None:
    async def find(target: Target) -> LoadedVersion:
        raise OverloadedError("there is no memory left")

    shadow_traffic = ShadowTraffic(find, cast(Engine, engine), metrics.shadow, cores=2)
    tensor = ReadyTensor(np.zeros((SIDE, SIDE, 3), np.uint8))
    shadow_traffic.copy(catalog.resolve(Target("tiny", 1)), 2, [tensor], [result(0)], "id")
    await until(lambda: counted(metrics, "dropped") == 1)
    assert counted(metrics, "failed") == 0  # and so nothing is logged
    await shadow_traffic.close()


async def test_series_of_a_shadow_are_removed_with_its_version(
    copy: Callable[..., None], engine: SlowEngine, metrics: Metrics, catalog: Catalog[LoadedVersion]
) -> None:
    engine.may_end.set()
    copy(result(0))
    await until(lambda: counted(metrics, "agreed") == 1)
    metrics.of(catalog.resolve(Target("tiny", 2)).key)
    metrics.forget(("tiny", 2))
    assert counted(metrics, "agreed") == 0
