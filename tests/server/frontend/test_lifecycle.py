"""Engine, metrics and health follow what is loaded and unloaded."""

import asyncio
from pathlib import Path

import pytest
from grpc_health.v1 import health, health_pb2
from support.loading import load
from support.tiny import write_tiny

from convscope.server.frontend.lifecycle import ServingLifecycle
from convscope.server.inference.engine import Engine
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import Catalog
from convscope.server.runtime.versions import LoadedVersion

INFO = {"model": "tiny", "version": "1", "provider": "cpu", "precision": "fp32"}


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
