"""Wires the server together, and takes it from load through readiness to drain."""

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import cast

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from convscope.server.engine import Engine
from convscope.server.errors import StartError
from convscope.server.execution import Wishes
from convscope.server.interceptors import Interceptor
from convscope.server.lane import LaneLimits
from convscope.server.machine import settle_memory
from convscope.server.metrics import Metrics, MetricsServer
from convscope.server.preprocess import ImageLimits
from convscope.server.providers import ProviderPolicy
from convscope.server.repository import Loader, Repository, load_repository
from convscope.server.servicer import ClassifierServicer
from convscope.server.settings import Settings, split_address
from convscope.server.tuning import Tuner
from convscope.server.worker import announce
from convscope.v1 import inference_pb2, inference_pb2_grpc

__all__ = ["serve"]

log = structlog.get_logger(__name__)

SERVICE = inference_pb2.DESCRIPTOR.services_by_name["ClassifierService"].full_name
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


_REPLY_BYTES_BESIDE_MAPS = 64 * 1024


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
    repository = await asyncio.to_thread(_load, settings)
    if stop.is_set():
        return
    settle_memory()
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        metrics.loaded(repository)
        engine = Engine(repository, _lane_limits(settings), metrics.of)
        engine.start()
        stack.push_async_callback(engine.close)
        listeners = await _listen(settings, engine, metrics, stack)
        await _set_health(listeners.health, repository, settings)
        log.info(
            "serving" if settings.worker_socket is None else "worker serving",
            grpc_port=listeners.grpc_port,
            metrics_port=listeners.metrics_port,
            models=[f"{model} v{number}" for model, number in (v.key for v in repository)],
            refused=[f"{r.model} v{r.version}" for r in repository.refusals],
        )
        if settings.worker_socket is not None:
            announce(settings.worker_socket, listeners.metrics_port, stop.set)
        await stop.wait()
        await _drain(listeners, settings)


def _check_exposure(settings: Settings) -> None:
    secure = bool(settings.tls_certificate and settings.tls_key)
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise StartError("--tls-certificate and --tls-key go together")
    host, _ = split_address(settings.grpc_address)
    loopback = host in ("localhost", "[::1]") or host.startswith("127.")
    if not (loopback or secure or settings.allow_insecure):
        raise StartError(
            f"{settings.grpc_address} can be reached from other machines, and without TLS anyone "
            "there can call it; give --tls-certificate and --tls-key, or --allow-insecure"
        )


def _load(settings: Settings) -> Repository:
    root = settings.models
    if not root.is_dir():
        raise StartError(f"--models {root} is not a directory")
    loader = Loader(
        ProviderPolicy(settings.providers, settings.allow_fallback),
        ImageLimits(settings.max_image_pixels, settings.max_image_side),
        Tuner(_wishes(settings), settings.tuning_cache.expanduser()),
        settings.preload_feature_maps,
    )
    repository = load_repository(root, loader, latest=settings.versions)
    if not repository.models:
        raise StartError(
            f"--models {root} holds no model; make one with: "
            f"convscope-exporter export efficientnet_lite0 --repository {root}"
        )
    if not repository.versions:
        reasons = "; ".join(f"{r.model} v{r.version}: {r.message}" for r in repository.refusals)
        raise StartError(f"every bundle of --models {root} was refused: {reasons}")
    return repository


def _wishes(settings: Settings) -> Wishes:
    return Wishes(
        cores=settings.core_count,
        runners=settings.runners,
        threads=settings.threads,
        max_batch=settings.max_batch,
        measure=not settings.no_tuning,
    )


def _lane_limits(settings: Settings) -> LaneLimits:
    return LaneLimits(settings.max_queue, settings.max_delay_seconds, settings.decode_workers)


async def _listen(
    settings: Settings, engine: Engine, metrics: Metrics, stack: AsyncExitStack
) -> _Listeners:
    """Bind and start both listeners; only now, so that nobody connects to a server that loads."""
    server = grpc.aio.server(
        options=[
            # Twice the limit, so that a request just over it gets our message.
            ("grpc.max_receive_message_length", 2 * settings.max_request_bytes),
            ("grpc.max_send_message_length", settings.max_reply_bytes),
            ("grpc.so_reuseport", int(settings.worker_socket is not None)),
        ],
    )
    interceptor = cast(
        "grpc.aio.Server",  # as far as the functions that add a servicer are concerned
        Interceptor(
            server,
            metrics,
            max_request_bytes=settings.max_request_bytes,
            access_log=not settings.no_access_log,
        ),
    )
    servicer = ClassifierServicer(
        engine,
        metrics,
        max_inputs=settings.max_inputs,
        # The rest is for the classes.
        max_feature_map_bytes=min(
            settings.max_feature_map_bytes,
            max(0, settings.max_reply_bytes - _REPLY_BYTES_BESIDE_MAPS),
        ),
    )
    inference_pb2_grpc.add_ClassifierServiceServicer_to_server(servicer, interceptor)
    health_servicer = health.aio.HealthServicer()
    await health_servicer.set("", _NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, interceptor)
    if not settings.no_reflection:
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
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


async def _set_health(
    servicer: health.aio.HealthServicer, repository: Repository, settings: Settings
) -> None:
    ready = {model: repository.is_ready(model) for model in repository.models}
    for model, is_ready in ready.items():
        await servicer.set(model, _SERVING if is_ready else _NOT_SERVING)
    overall = _SERVING if all(ready.values()) or settings.no_strict_readiness else _NOT_SERVING
    if overall is _NOT_SERVING:
        log.warning(
            "overall health is NOT_SERVING",
            not_ready=[model for model, is_ready in ready.items() if not is_ready],
            repair="mend or remove the bundles, or start with --no-strict-readiness",
        )
    await servicer.set(SERVICE, overall)
    await servicer.set("", overall)


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
