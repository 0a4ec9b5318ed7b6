"""Explanations in one version's pipeline: their session, and the runs of occlusion."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.explained import write_explained
from support.loading import load
from support.requests import make_request
from support.tiny import CHANNELS, LABELS, SIDE

from convscope.server.errors import DeadlineError, NonFiniteError, ServingError, UnavailableError
from convscope.server.inference.batch import Part
from convscope.server.inference.engine import Engine
from convscope.server.inference.explained_runs import explained_classes
from convscope.server.inference.explanations import ExplanationPlan, Occluded, OcclusionGrid
from convscope.server.inference.heat import eigen_cam
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.inference.requests import InferenceRequest, InferenceResult, ReadyTensor
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import Target
from convscope.server.runtime.versions import LoadedVersion

TIMEOUT_SECONDS = 20.0
GRID = OcclusionGrid(4, 1.0)
GRAY = np.full(3, 128, np.uint8)


@pytest.fixture
def version(tmp_path: Path) -> LoadedVersion:
    write_explained(tmp_path)
    return load(tmp_path).resolve(Target("tiny"))


def explaining(
    *classes: int, grids: tuple[OcclusionGrid, ...] = (), inputs: int = 1, **options: Any
) -> InferenceRequest:
    pixels = [np.full((SIDE, SIDE, 3), 50 * n, np.uint8) for n in range(1, inputs + 1)]
    request = make_request(*map(ReadyTensor, pixels), logits=True, top_k=3, **options)
    chosen = np.array([classes], np.int64).reshape(1, -1)
    request.explanation = ExplanationPlan(chosen, grids=grids, color=GRAY)
    return request


@asynccontextmanager
async def started(version: LoadedVersion) -> AsyncIterator[Engine]:
    engine = Engine(PipelineLimits(64, 0.0, 1), Metrics().of)
    engine.add(version)
    try:
        yield engine
    finally:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await engine.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


async def test_session_is_built_once_while_plain_requests_continue(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, builds = threading.Event(), []
    build = version.model.load_explanations

    def held_build() -> None:
        builds.append(1)
        assert may_end.wait(TIMEOUT_SECONDS)
        build()

    monkeypatch.setattr(version.model, "load_explanations", held_build)
    async with started(version) as engine:
        both = explaining(0, feature_maps=("conv",))
        requests = [both, *(explaining(-1, -2) for _ in range(9))]
        runs = [asyncio.create_task(engine.run(version, request)) for request in requests]
        left = asyncio.create_task(engine.run(version, explaining(0)))
        await until(lambda: bool(builds))
        left.cancel()
        with suppress(asyncio.CancelledError):
            await left
        (plain,) = await engine.run(version, make_request(both.inputs[0]))  # type: ignore[arg-type]
        assert isinstance(plain, InferenceResult)
        assert plain.output.heat is None
        occluded = explaining(grids=(GRID,))  # needs no such session
        await engine.run(version, occluded)
        may_end.set()
        results = [found for (found,) in await asyncio.gather(*runs)]
    assert len(builds) == 1
    for result in results:
        assert isinstance(result, InferenceResult)
        assert result.output.heat is not None
    assert isinstance(results[0], InferenceResult)
    assert set(results[0].output.feature_maps) == {"conv"}


async def test_session_is_built_again_after_a_failure(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, failures = version.model.load_explanations, iter([FileNotFoundError("gone")])

    def flaky_build() -> None:
        for error in failures:
            raise error
        build()

    monkeypatch.setattr(version.model, "load_explanations", flaky_build)
    async with started(version) as engine:
        with pytest.raises(UnavailableError, match="the files of tiny v1 are gone"):
            await engine.run(version, explaining(0))
        (result,) = await engine.run(version, explaining(0))
        assert isinstance(result, InferenceResult)


async def test_occluded_rows_run_in_batches_and_belong_to_their_inputs(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sizes = version.model.run, []

    def recorded_run(inputs: NDArray[np.generic], **options: Any) -> Any:
        sizes.append(len(inputs))
        return run(inputs, **options)

    monkeypatch.setattr(version.model, "run", recorded_run)
    request = explaining(-1, grids=(GRID, OcclusionGrid(2, 2.0)), inputs=3)
    request.inputs = [request.inputs[0], ServingError("broken"), request.inputs[2]]
    async with started(version) as engine:
        first, broken, third = await engine.run(version, request)
    assert isinstance(broken, ServingError)
    assert max(sizes) <= version.execution.max_batch
    assert sum(sizes) == 2 * (16 + 4)
    plan, grid = request.explanation, GRID
    assert plan is not None
    assert plan.occluded_logits(grid, 0).shape == (16, len(LABELS))
    for index, result in ((0, first), (2, third)):
        assert isinstance(result, InferenceResult)
        item = request.inputs[index]
        assert isinstance(item, ReadyTensor)
        image = item.array.astype(np.uint8)
        images = np.stack([Occluded(image, grid, cell, GRAY).pixels() for cell in range(16)])
        logits = run(images, logits=True).logits
        assert logits is not None
        assert np.abs(plan.occluded_logits(grid, index) - logits).max() < 1e-4
        assert result.seconds.infer > 0


async def test_cancelled_occlusion_leaves_the_queue(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, gate, runs = version.model.run, threading.Event(), []

    def held_run(inputs: NDArray[np.generic], **options: Any) -> Any:
        runs.append(len(inputs))
        assert gate.wait(TIMEOUT_SECONDS)
        return run(inputs, **options)

    monkeypatch.setattr(version.model, "run", held_run)
    async with started(version) as engine:
        request = explaining(grids=(GRID,), bulk=True)
        occlusion = asyncio.create_task(engine.run(version, request))
        await until(lambda: bool(runs))
        quick = asyncio.create_task(engine.run(version, explaining()))
        await asyncio.sleep(0)
        occlusion.cancel()
        with suppress(asyncio.CancelledError):
            await occlusion
        gate.set()
        (result,) = await quick
        assert isinstance(result, InferenceResult)
    assert sum(runs) <= 1 + version.execution.max_batch + 1  # what ran, and the other request


async def test_occlusion_ends_at_its_deadline(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, runs = version.model.run, []

    def slow_run(inputs: NDArray[np.generic], **options: Any) -> Any:
        runs.append(len(inputs))
        threading.Event().wait(0.1)
        return run(inputs, **options)

    monkeypatch.setattr(version.model, "run", slow_run)
    grid = OcclusionGrid(12, 1.0)
    async with started(version) as engine:
        deadline = asyncio.get_running_loop().time() + 0.25
        with pytest.raises(DeadlineError):
            await engine.run(version, explaining(grids=(grid,), bulk=True, deadline=deadline))
        (result,) = await engine.run(version, explaining())
        assert isinstance(result, InferenceResult)
    assert sum(runs) < grid.size


def test_requests_with_fewer_classes_repeat_their_own() -> None:
    """The best class of an input may have infinite heat that its request didn't ask for."""
    wide, narrow, tensor = explaining(-1, 0, 2), explaining(1, inputs=2), explaining()
    requests = [wide, narrow, tensor]
    parts = [Part(one, list(range(len(one.inputs)))) for one in requests]
    classes, _ = explained_classes(parts)
    assert classes.tolist() == [[-1, 0, 2], [1, 1, 1], [1, 1, 1], [-1, -1, -1]]


async def test_input_with_a_square_that_has_no_result_has_none(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = version.model.run

    def spoiled_run(inputs: NDArray[np.generic], **options: Any) -> Any:
        output = run(inputs, **options)
        is_last = (inputs[:, -1, -1] == 128).all(axis=1)  # the last square is gray
        assert output.logits is not None
        output.logits[is_last] = np.nan
        return output

    monkeypatch.setattr(version.model, "run", spoiled_run)
    async with started(version) as engine:
        (result,) = await engine.run(version, explaining(grids=(GRID,)))
    assert isinstance(result, NonFiniteError)


def test_eigen_cam_is_the_same_by_either_product() -> None:
    random = np.random.default_rng(0)
    tensor = random.normal(size=(40, 3, 5)).astype(np.float32)
    tensor[:, 1, 2] += 5 * np.abs(random.normal(size=40)).astype(np.float32)
    wide = eigen_cam(tensor)
    rows = tensor.reshape(40, -1).T.astype(np.float64)
    centered = rows - rows.mean(axis=0)
    direction = np.linalg.svd(centered)[2][0]
    np.testing.assert_allclose(np.abs(wide.ravel()), np.abs(centered @ direction), rtol=1e-3)
    assert wide.argmax() == 7  # the mean is largest there
    narrow = eigen_cam(tensor[:CHANNELS])
    expected = rows[:, :CHANNELS] - rows[:, :CHANNELS].mean(axis=0)
    direction = np.linalg.svd(expected)[2][0]
    np.testing.assert_allclose(np.abs(narrow.ravel()), np.abs(expected @ direction), rtol=1e-3)


def test_eigen_cam_of_a_constant_tensor_is_zero() -> None:
    assert not eigen_cam(np.ones((4, 3, 3), np.float32)).any()
