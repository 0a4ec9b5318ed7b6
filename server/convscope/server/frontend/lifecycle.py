"""Keeps the engine, the metrics and health up to date with what is loaded and unloaded."""

import asyncio
from collections.abc import Callable, Collection

import structlog
from grpc_health.v1 import health, health_pb2

from convscope.server.inference.engine import Engine
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import Catalog
from convscope.server.repository.rejection import Rejection
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import manifest_pb2

__all__ = ["ServingLifecycle"]

log = structlog.get_logger(__name__)

# How far back Prometheus looks for a series that has ended.
FORGET_SECONDS = 300.0

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class ServingLifecycle:
    """Passes on every change of what is loaded; a `LifecycleListener` of the repository.

    Args:
        engine: Runs the versions.
        metrics: The metrics that show them.
        health: Reports whether they are ready.
        services: The names under which overall health is reported.
        strict: Whether overall health needs every model to be ready.
        after_retire: Called in a thread after a version's memory was released.
    """

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        health: health.aio.HealthServicer,
        services: Collection[str],
        *,
        strict: bool,
        after_retire: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._health = health
        self._services = services
        self._strict = strict
        self._after_retire = after_retire
        self._catalog: Catalog[LoadedVersion] | None = None
        self._reported: set[str] = set()  # the models that health knows
        self._is_reconciled = False
        self._expected: set[str] = set()  # the models that overall health depends on
        self._ready: dict[tuple[str, int], LoadedVersion] = {}

    def follow(self, catalog: Catalog[LoadedVersion]) -> None:
        """Set the catalog that health is read from."""
        self._catalog = catalog

    def ready(self, version: LoadedVersion) -> None:
        """Open a pipeline for a version."""
        self._engine.add(version)
        model, precision = version.model, manifest_pb2.Precision.Name(version.manifest.precision)
        self._metrics.ready(
            version.key,
            provider=model.provider,
            precision=precision.removeprefix("PRECISION_").lower(),
            compute_precision=model.compute_precision,
            relative_speeds={
                (one.provider, one.precision): one.relative_speed for one in version.candidates
            },
            fallback_from=model.fallback_from,
            engine_pending=lambda: model.awaits_engine,
        )
        self._metrics.of(version.key).sessions(
            lambda: model.has_feature_map_session,
            lambda: model.has_explained_session,
            lambda: model.memory_bytes,
        )
        self._ready[version.key] = version

    async def retire(self, version: LoadedVersion) -> None:
        """Close a version's pipeline after its last request, and release its memory."""
        await self._engine.retire(version)
        # The same number may have been loaded again, from other files.
        if self._ready.get(version.key) is version:
            del self._ready[version.key]
            self._metrics.gone(version.key)
            asyncio.get_running_loop().call_later(FORGET_SECONDS, self._forget, version.key)
        await asyncio.to_thread(self._after_retire)

    def last_used(self, version: LoadedVersion) -> float:
        """Return when a version had its last request, in seconds of the loop's clock."""
        return self._engine.last_used(version)

    def rejected(self, rejection: Rejection) -> None:
        """Count a version that failed a check."""
        self._metrics.rejected(rejection.reason)

    async def reconciled(self) -> None:
        """Update health and metrics after a change."""
        if self._catalog is None:
            return
        models = {name: self._catalog.is_ready(name) for name in self._catalog.models}
        rejections = self._catalog.rejections
        self._metrics.rejections((r.model, r.version, r.reason) for r in rejections)
        self._metrics.traffic_shares(self._catalog.splits)
        for name, ready in models.items():
            await self._health.set(name, _SERVING if ready else _NOT_SERVING)
        for name in self._reported - models.keys():
            await self._health.set(name, _UNKNOWN)
        self._reported = set(models)
        overall = self._overall(models)
        for service in self._services:
            await self._health.set(service, overall)

    def _overall(self, models: dict[str, bool]) -> health_pb2.HealthCheckResponse.ServingStatus:
        """Return overall health.

        A new model that is rejected doesn't make a server NOT_SERVING that serves others.
        """
        expected = self._expected & set(models) if self._is_reconciled else set(models)
        self._expected = expected | {name for name, ready in models.items() if ready}
        self._is_reconciled = True
        not_ready = [name for name in sorted(expected) if not models[name]]
        if not (not_ready and self._strict):
            return _SERVING
        log.warning(
            "overall health is NOT_SERVING",
            not_ready=not_ready,
            repair="fix or remove the bundles, or start with --no-strict-readiness",
        )
        return _NOT_SERVING

    def _forget(self, key: tuple[str, int]) -> None:
        if key not in self._ready:
            self._metrics.forget(key)
