"""Explained and plain requests that run together, fail, leave, or outlive their version."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.explained import write_explained
from support.loading import load
from support.requests import make_request
from support.tiny import SIDE

from convscope.server.errors import DeadlineError, ShuttingDownError
from convscope.server.inference.engine import Engine
from convscope.server.inference.explanations import ExplanationPlan, OcclusionGrid
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.inference.requests import InferenceRequest, InferenceResult, ReadyTensor
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import Target
from convscope.server.runtime.versions import LoadedVersion

TIMEOUT_SECONDS = 20.0
GRAY = np.full(3, 128, np.uint8)
KEY = ("tiny", 1)
Run = Callable[[InferenceRequest], "asyncio.Task[Any]"]


@pytest.fixture
def version(tmp_path: Path) -> LoadedVersion:
    write_explained(tmp_path)
    return load(tmp_path).resolve(Target("tiny"))


def plain(**options: Any) -> InferenceRequest:
    return make_request(ReadyTensor(np.full((SIDE, SIDE, 3), 90, np.uint8)), top_k=3, **options)


def explaining(*classes: int, cells: int = 0, **options: Any) -> InferenceRequest:
    request = plain(logits=True, **options)
    grids = (OcclusionGrid(cells, 1.0),) if cells else ()
    chosen = np.array([classes], np.int64).reshape(1, -1)
    request.explanation = ExplanationPlan(chosen, grids=grids, color=GRAY)
    return request


@asynccontextmanager
async def started(version: LoadedVersion, metrics: Metrics) -> AsyncIterator[tuple[Engine, Run]]:
    engine = Engine(PipelineLimits(64, 0.0, 1), metrics.of)
    engine.add(version)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield engine, lambda request: asyncio.create_task(engine.run(version, request))
    finally:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await engine.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


@contextmanager
def held_runs(version: LoadedVersion) -> Iterator[tuple[threading.Event, list[int]]]:
    """Hold every run without heat until the event is set; list the sizes of the runs."""
    gate, sizes, run = threading.Event(), [], version.model.run

    def held_run(inputs: NDArray[np.generic], **options: Any) -> Any:
        sizes.append(len(inputs))
        assert gate.wait(TIMEOUT_SECONDS)
        return run(inputs, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(version.model, "run", held_run)
        try:
            yield gate, sizes
        finally:
            gate.set()


async def test_heat_that_fails_fails_only_the_requests_for_it(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests of all kinds are in one batch."""

    def failing(*_: Any, **__: Any) -> Any:
        raise ValueError("no heat")

    metrics = Metrics()
    version.model.load_explanations()
    version.model.load_feature_maps()
    monkeypatch.setattr(version.model, "explain", failing)
    async with started(version, metrics) as (_, run):
        with held_runs(version) as (gate, sizes):
            first = run(plain())
            await until(lambda: len(sizes) == 1)
            kinds = [plain(), explaining(0), plain(feature_maps=("conv",)), explaining()]
            calls = [run(request) for request in kinds]
            await asyncio.sleep(0)
            gate.set()
            await first
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(outcome, list) for outcome in outcomes] == [True, False, True, True]
    assert str(outcomes[1]) == "no heat"
    assert metrics.of(KEY).totals().batches == 2


async def test_request_that_leaves_during_its_run_costs_the_others_nothing(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    explain, gate, began = version.model.explain, threading.Event(), threading.Event()

    def held_explain(*arguments: Any, **options: Any) -> Any:
        began.set()
        assert gate.wait(TIMEOUT_SECONDS)
        return explain(*arguments, **options)

    version.model.load_explanations()
    async with started(version, Metrics()) as (engine, run):
        with held_runs(version) as (runs_gate, sizes):
            first = run(plain())
            await until(lambda: len(sizes) == 1)
            monkeypatch.setattr(version.model, "explain", held_explain)
            leaving, staying, other = run(explaining(0)), run(explaining(1)), run(plain())
            await asyncio.sleep(0)
            runs_gate.set()
            await until(began.is_set)
            leaving.cancel()
            with suppress(asyncio.CancelledError):
                await leaving
            gate.set()
            await first
            for (result,) in await asyncio.gather(staying, other):
                assert isinstance(result, InferenceResult)
        assert engine.in_flight == 0


async def test_interactive_requests_overtake_occlusion(version: LoadedVersion) -> None:
    async with started(version, Metrics()) as (_, run):
        with held_runs(version) as (gate, sizes):
            occlusion = run(explaining(cells=7, bulk=True))  # 50 images
            await until(lambda: len(sizes) == 1)
            calls = [run(plain()) for _ in range(3)]
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(*calls)
            (result,) = await occlusion
            assert isinstance(result, InferenceResult)
    # The image itself, the others, and then its 49 squares in batches.
    assert sizes == [1, 3, *[4] * 12, 1]


async def test_deadline_that_passes_while_the_session_is_built_is_kept(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, may_end = version.model.load_explanations, threading.Event()

    def held_build() -> None:
        assert may_end.wait(TIMEOUT_SECONDS)
        build()

    monkeypatch.setattr(version.model, "load_explanations", held_build)
    async with started(version, Metrics()) as (_, run):
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 0.05
        late, patient = run(explaining(0, deadline=deadline)), run(explaining(0))
        await until(lambda: loop.time() > deadline)
        may_end.set()
        with pytest.raises(DeadlineError):
            await late
        (result,) = await patient
        assert isinstance(result, InferenceResult)


async def test_version_retires_after_the_requests_that_wait_for_its_session(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, may_end, began = version.model.load_explanations, threading.Event(), threading.Event()

    def held_build() -> None:
        began.set()
        assert may_end.wait(TIMEOUT_SECONDS)
        build()

    monkeypatch.setattr(version.model, "load_explanations", held_build)
    async with started(version, Metrics()) as (engine, run):
        calls = [run(explaining(0)), run(explaining(-1, cells=3, bulk=True)), run(plain())]
        await until(began.is_set)
        retiring = asyncio.create_task(engine.retire(version))
        await calls[2]
        assert not retiring.done()
        may_end.set()
        for (result,) in await asyncio.gather(*calls):
            assert isinstance(result, InferenceResult)
        await retiring


async def test_requests_that_wait_for_the_session_of_a_closed_engine_are_rejected(
    version: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, may_end, began = version.model.load_explanations, threading.Event(), threading.Event()

    def held_build() -> None:
        began.set()
        assert may_end.wait(TIMEOUT_SECONDS)
        build()

    monkeypatch.setattr(version.model, "load_explanations", held_build)
    async with started(version, Metrics()) as (engine, run):
        parked = run(explaining(0))
        await until(began.is_set)
        await engine.close()
        may_end.set()
        with pytest.raises(ShuttingDownError):
            await parked
