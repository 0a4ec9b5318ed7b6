"""Wires the server together, and takes it from load through readiness to drain."""

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc
import structlog
from grpc_health.v1 import health

from convscope.bundle.suggestions import or_near
from convscope.server.config.settings import Settings, is_loopback, split_address
from convscope.server.errors import StartError
from convscope.server.frontend.accounting import Accounting
from convscope.server.frontend.admin.servicer import AdminServicer
from convscope.server.frontend.lifecycle import ServingLifecycle
from convscope.server.frontend.reflection import add_reflection
from convscope.server.frontend.services import add_services, doors
from convscope.server.inference.decoding.preprocessor import ImageLimits
from convscope.server.inference.engine import Engine
from convscope.server.inference.handler import InferenceHandler
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.observability.metrics import Metrics, MetricsServer
from convscope.server.process.machine import settle_memory
from convscope.server.process.startup import first_load, open_repository
from convscope.server.process.worker import announce
from convscope.server.repository.manager import ModelManager
from convscope.server.repository.operator import Operator
from convscope.server.repository.remote.sync import RepositorySync
from convscope.server.runtime.execution import ExecutionOverrides
from convscope.server.runtime.loading import Loader
from convscope.server.runtime.providers import EngineCache, ProviderPolicies, ProviderPolicy
from convscope.server.runtime.tuning import BATCHES, Tuner
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import admin_pb2_grpc

if TYPE_CHECKING:  # at run time, only when traces are wanted
    from convscope.server.observability.tracing import Tracing

__all__ = ["serve"]

log = structlog.get_logger(__name__)

ADMIN_GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Listeners:
    grpc_server: grpc.aio.Server
    health: health.aio.HealthServicer
    grpc_port: int
    metrics_port: int


async def serve(settings: Settings) -> None:
    """Load every model, answer until SIGTERM or SIGINT, drain, and return.

    Raises:
        StartError: There is nothing to serve, or no address to serve it on.
    """
    _check_exposure(settings)
    stop = _stop_signal()
    metrics = Metrics()
    health_servicer = health.aio.HealthServicer()
    tracing = _tracing(settings)
    async with AsyncExitStack() as stack:
        if tracing is not None:
            stack.push_async_callback(tracing.close)
        engine = Engine(_pipeline_limits(settings), metrics.of)
        stack.push_async_callback(engine.close)
        lifecycle = ServingLifecycle(
            engine,
            metrics,
            health_servicer,
            ("", *(service.full_name for service in doors(settings))),
            strict=not settings.no_strict_readiness,
        )
        repository = await open_repository(settings, metrics, stop)
        if repository is None:
            return
        root, sync = repository
        manager = _manager(settings, root, sync, lifecycle, stop)
        stack.push_async_callback(manager.close)
        reconciling = await first_load(settings, manager, sync, stop)
        stack.callback(reconciling.cancel)
        if stop.is_set():
            return
        _warn_of_unknown_models(settings, manager)
        settle_memory()
        listeners = await _listen(
            settings, manager, engine, metrics, tracing, health_servicer, stack
        )
        if settings.admin_address is not None:
            await _listen_for_admins(settings, manager, metrics, stack)
        log.info(
            "serving" if settings.worker_socket is None else "worker serving",
            grpc_port=listeners.grpc_port,
            metrics_port=listeners.metrics_port,
            models=[f"{model} v{number}" for model, number in (v.key for v in manager.catalog)],
            rejected=[f"{r.model} v{r.version}" for r in manager.catalog.rejections],
        )
        if settings.worker_socket is not None:
            announce(settings.worker_socket, listeners.metrics_port, stop.set)
        if settings.poll_seconds:
            watching = asyncio.create_task(manager.watch(settings.poll_seconds))
            stack.callback(watching.cancel)
        await stop.wait()
        await _drain(listeners, settings)


def _check_exposure(settings: Settings) -> None:
    secure = bool(settings.tls_certificate and settings.tls_key)
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise StartError("--tls-certificate and --tls-key go together")
    if not (is_loopback(settings.grpc_address) or secure or settings.allow_insecure):
        raise StartError(
            f"{settings.grpc_address} can be reached from other machines, and without TLS anyone "
            "there can call it; give --tls-certificate and --tls-key, or --allow-insecure"
        )


def _manager(
    settings: Settings,
    root: Path,
    sync: RepositorySync | None,
    lifecycle: ServingLifecycle,
    stop: asyncio.Event,
) -> ModelManager[LoadedVersion]:
    if settings.max_memory_mb is not None and not settings.selection.on_demand:
        raise StartError("--max-memory-mb bounds what is loaded on demand; add --load on-demand")
    loader = Loader(
        _policies(settings),
        ImageLimits(settings.max_image_pixels, settings.max_image_side),
        Tuner(_overrides(settings), settings.tuning_cache.expanduser()),
        settings.preload_feature_maps,
        stop.is_set,
        engines=EngineCache(
            settings.tuning_cache.expanduser().parent / "tensorrt",
            settings.max_batch or max(BATCHES),
            stop.is_set,
        ),
    )
    manager = ModelManager(
        root,
        loader,
        settings.selection,
        lifecycle,
        max_bytes=settings.max_memory_bytes,
        stopping=stop.is_set,
        sync=sync,
    )
    lifecycle.follow(manager.catalog)
    return manager


def _warn_of_unknown_models(settings: Settings, manager: ModelManager[LoadedVersion]) -> None:
    models = manager.catalog.models
    for name in _policies(settings).models.keys() - set(models):
        log.warning(
            f"--settings names a model that --models doesn't have{or_near(name, models)}",
            model=name,
        )


def _policies(settings: Settings) -> ProviderPolicies:
    default = ProviderPolicy(settings.providers, settings.allow_fallback, cores=settings.core_count)
    return settings.settings.policies(default) if settings.settings else ProviderPolicies(default)


def _overrides(settings: Settings) -> ExecutionOverrides:
    return ExecutionOverrides(
        cores=settings.core_count,
        runners=settings.runners,
        threads=settings.threads,
        max_batch=settings.max_batch,
        measure=not settings.no_tuning,
    )


def _pipeline_limits(settings: Settings) -> PipelineLimits:
    return PipelineLimits(settings.max_queue, settings.max_delay_seconds, settings.decode_workers)


async def _listen(
    settings: Settings,
    manager: ModelManager[LoadedVersion],
    engine: Engine,
    metrics: Metrics,
    tracing: "Tracing | None",
    health_servicer: health.aio.HealthServicer,
    stack: AsyncExitStack,
) -> _Listeners:
    """Bind and start both listeners; only now, so that nobody connects to a server that loads."""
    server = grpc.aio.server(
        interceptors=() if tracing is None else (tracing.interceptor,),
        options=[
            # Twice the limit, so that a request just over it gets our message.
            ("grpc.max_receive_message_length", 2 * settings.max_request_bytes),
            ("grpc.max_send_message_length", settings.max_reply_bytes),
            ("grpc.so_reuseport", int(settings.worker_socket is not None)),
        ],
    )
    interceptor = cast(
        "grpc.aio.Server",  # as far as the functions that add a servicer are concerned
        Accounting(
            server,
            metrics,
            max_request_bytes=settings.max_request_bytes,
            access_log=not settings.no_access_log,
            tracing=tracing,
        ),
    )
    handler = InferenceHandler(
        manager, engine, metrics, max_inputs=settings.max_inputs, cores=settings.core_count
    )
    stack.push_async_callback(handler.close)
    services = add_services(settings, handler, metrics, health_servicer, interceptor, server)
    if not settings.no_reflection:
        add_reflection(services, server)
    grpc_port = _bind(server, settings)
    try:
        metrics_server = MetricsServer(metrics.registry, *split_address(settings.metrics_address))
    except OSError as error:
        raise StartError(
            f"--metrics-address {settings.metrics_address} can't be used: {error.strerror}"
        ) from error
    stack.callback(metrics_server.close)
    await server.start()
    return _Listeners(server, health_servicer, grpc_port, metrics_server.port)


async def _listen_for_admins(
    settings: Settings,
    manager: ModelManager[LoadedVersion],
    metrics: Metrics,
    stack: AsyncExitStack,
) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    interceptor = cast(
        "grpc.aio.Server",
        Accounting(
            server,
            metrics,
            max_request_bytes=settings.max_request_bytes,
            access_log=not settings.no_access_log,
        ),
    )
    admin_pb2_grpc.add_AdminServiceServicer_to_server(AdminServicer(Operator(manager)), interceptor)
    try:
        port = server.add_insecure_port(str(settings.admin_address))
    except RuntimeError as error:
        raise StartError(f"--admin-address {settings.admin_address} can't be bound") from error
    await server.start()
    stack.push_async_callback(server.stop, ADMIN_GRACE_SECONDS)
    log.info("admin serving", address=settings.admin_address, port=port)


def _tracing(settings: Settings) -> "Tracing | None":
    """Make what traces the calls, if there is somewhere to send the traces."""
    if settings.otlp_endpoint is None:
        return None
    try:
        from convscope.server.observability.tracing import Tracing
    except ModuleNotFoundError as error:
        raise StartError(
            f"traces to {settings.otlp_endpoint} need OpenTelemetry ({error.name} is missing); "
            "pip install 'convscope[tracing]'"
        ) from error
    return Tracing(settings.otlp_endpoint)


def _bind(server: grpc.aio.Server, settings: Settings) -> int:
    try:
        if settings.tls_certificate and settings.tls_key:
            pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
            credentials = grpc.ssl_server_credentials([pair])
            return server.add_secure_port(settings.grpc_address, credentials)
        return server.add_insecure_port(settings.grpc_address)
    except RuntimeError as error:
        tls = ", and are --tls-certificate and --tls-key PEM files?" if settings.tls_key else "?"
        raise StartError(
            f"--grpc-address {settings.grpc_address} can't be bound; is another server there{tls}"
        ) from error


def _stop_signal() -> asyncio.Event:
    """Give the event that the first SIGTERM or SIGINT sets; the second one ends the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin, number)
    return stop


async def _drain(listeners: _Listeners, settings: Settings) -> None:
    log.info(
        "draining", accept_seconds=settings.drain_seconds, grace_seconds=settings.grace_seconds
    )
    await listeners.health.enter_graceful_shutdown()
    await asyncio.sleep(settings.drain_seconds)
    await listeners.grpc_server.stop(settings.grace_seconds)
    log.info("stopped")
