"""Engine, metrics and health follow what is loaded and unloaded."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from grpc_health.v1 import health, health_pb2
from support.loading import load, make_loader
from support.requests import make_request
from support.tiny import SIDE, write_tiny

from convscope.server.frontend.lifecycle import ServingLifecycle
from convscope.server.inference.engine import Engine
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.inference.requests import Pixels
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import Catalog, Target
from convscope.server.repository.manager import ModelManager
from convscope.server.repository.operator import Operator
from convscope.server.repository.selection import Selection
from convscope.server.runtime.versions import LoadedVersion

TIMEOUT_SECONDS = 20.0
INFO = {
    "model": "tiny",
    "version": "1",
    "provider": "cpu",
    "precision": "fp32",
    "compute_precision": "fp32",
}


class Parts:
    """A lifecycle and what it keeps up to date."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.health = health.aio.HealthServicer()
        self.engine = Engine(PipelineLimits(8, 0.0, 1), self.metrics.of)
        self.released = 0
        self.lifecycle = ServingLifecycle(
            self.engine,
            self.metrics,
            self.health,
            ("service",),
            strict=True,
            after_retire=self.release,
        )

    def release(self) -> None:
        self.released += 1

    def info(self) -> float | None:
        return self.metrics.registry.get_sample_value("convscope_model_info", INFO)

    async def status(self, service: str) -> str:
        request = health_pb2.HealthCheckRequest(service=service)
        reply = await self.health.Check(request, None)
        name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
        return name


def loaded(root: Path) -> LoadedVersion:
    (version,) = load(root)
    return version


@pytest.fixture
def versions(tmp_path: Path) -> tuple[LoadedVersion, LoadedVersion]:
    """The same version, loaded twice."""
    write_tiny(tmp_path)
    return loaded(tmp_path), loaded(tmp_path)


async def test_memory_is_released_after_a_version_has_retired(
    versions: tuple[LoadedVersion, LoadedVersion],
) -> None:
    parts = Parts()
    parts.lifecycle.ready(versions[0])
    assert (parts.info(), parts.released) == (1, 0)
    await parts.lifecycle.retire(versions[0])
    assert (parts.info(), parts.released) == (None, 1)


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Leave reference cycles alone."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
async def test_unloaded_model_does_not_wait_for_the_garbage_collector(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    parts = Parts()
    manager = ModelManager(tmp_path, make_loader(), Selection(), parts.lifecycle)
    parts.lifecycle.follow(manager.catalog)
    await manager.reconcile()
    version = manager.catalog.resolve(Target("tiny"))
    image = Pixels(np.zeros((SIDE, SIDE, 3), np.uint8))
    await parts.engine.run(version, make_request(image, feature_maps=("conv",)))
    model = weakref.ref(version.model)
    del version
    await Operator(manager).unload("tiny")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while model() is not None:
            await asyncio.sleep(0.01)
    await manager.close()


async def test_version_that_was_replaced_by_the_same_number_stays_ready(
    versions: tuple[LoadedVersion, LoadedVersion],
) -> None:
    parts = Parts()
    old, new = versions
    parts.lifecycle.ready(old)
    parts.lifecycle.ready(new)
    await parts.lifecycle.retire(old)
    assert parts.info() == 1
    assert parts.lifecycle.last_used(new) <= asyncio.get_running_loop().time()
    await parts.lifecycle.retire(new)
    assert parts.info() is None


async def test_health_is_that_of_the_catalog() -> None:
    parts = Parts()
    await parts.lifecycle.reconciled()  # no catalog yet, and nothing is claimed
    parts.lifecycle.follow(Catalog())
    await parts.lifecycle.reconciled()
    assert await parts.status("service") == "SERVING"
