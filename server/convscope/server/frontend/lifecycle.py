"""Lets engine, metrics and health follow what the repository's keeper loads and unloads."""

import asyncio
from collections.abc import Collection

import structlog
from grpc_health.v1 import health, health_pb2

from convscope.server.inference.engine import Engine
from convscope.server.observability.metrics import Metrics
from convscope.server.process.machine import trim_memory
from convscope.server.repository.catalog import Catalog
from convscope.server.repository.rejection import Rejection
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["ServingLifecycle"]

log = structlog.get_logger(__name__)

# As long as Prometheus looks back for a series that has ended.
FORGET_SECONDS = 300.0

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class ServingLifecycle:
    """Hears of every change, and passes it on; a `LifecycleListener` of the manager.

    Args:
        engine: Runs the versions.
        metrics: Show them.
        health: Tells whether they answer.
        services: The names under which overall health is asked for.
        strict: Whether overall health needs every model to answer.
    """

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        health: health.aio.HealthServicer,
        services: Collection[str],
        *,
        strict: bool,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._health = health
        self._services = services
        self._strict = strict
        self._catalog: Catalog[LoadedVersion] | None = None
        self._told: set[str] = set()
        self._settled = False
        self._expected: set[str] = set()  # what overall health waits for
        self._answering: dict[tuple[str, int], LoadedVersion] = {}

    def follow(self, catalog: Catalog[LoadedVersion]) -> None:
        """Name the catalog that health is read from."""
        self._catalog = catalog

    def ready(self, version: LoadedVersion) -> None:
        """Open a lane for a version."""
        self._engine.add(version)
        if version.key in self._answering:
            self._metrics.replaced(self._answering[version.key])
        self._metrics.ready(version)
        self._answering[version.key] = version

    async def retire(self, version: LoadedVersion) -> None:
        """Close a version's lane after its last request, and give its memory back."""
        await self._engine.retire(version)
        # The same number may have been loaded anew, from other files.
        if self._answering.get(version.key) is version:
            del self._answering[version.key]
            self._metrics.gone(version)
            asyncio.get_running_loop().call_later(FORGET_SECONDS, self._forget, *version.key)
        await asyncio.to_thread(trim_memory)

    def last_used(self, version: LoadedVersion) -> float:
        """Tell when a version was last asked."""
        return self._engine.last_used(version)

    def rejected(self, rejection: Rejection) -> None:
        """Count a version that failed a check."""
        self._metrics.refused(rejection)

    async def reconciled(self) -> None:
        """Tell health and metrics which models answer now."""
        if self._catalog is None:
            return
        models = {name: self._catalog.is_ready(name) for name in self._catalog.models}
        self._metrics.rejections(self._catalog.rejections)
        self._metrics.trials(self._catalog.splits)
        for name, answers in models.items():
            await self._health.set(name, _SERVING if answers else _NOT_SERVING)
        for name in self._told - models.keys():
            await self._health.set(name, _UNKNOWN)
        self._told = set(models)
        # A new model that is refused takes nobody out of rotation who answers for the others.
        expected = set(models) if not self._settled else self._expected & set(models)
        self._expected = expected | {name for name, answers in models.items() if answers}
        self._settled = True
        waiting = [name for name in sorted(expected) if not models[name]]
        overall = _NOT_SERVING if waiting and self._strict else _SERVING
        if overall is _NOT_SERVING:
            log.warning(
                "overall health is NOT_SERVING",
                not_ready=waiting,
                repair="mend or remove the bundles, or start with --no-strict-readiness",
            )
        for service in self._services:
            await self._health.set(service, overall)

    def _forget(self, model: str, number: int) -> None:
        if (model, number) not in self._answering:
            self._metrics.forget(model, number)
