"""Wires the server together: load, serve, drain."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, cast

import grpc
import structlog

from convscope.bundle.suggestions import or_near
from convscope.server.config.serialization import to_json
from convscope.server.config.settings import Settings
from convscope.server.errors import StartError
from convscope.server.frontend.access.control import AccessControl
from convscope.server.frontend.accounting import Accounting, always_open
from convscope.server.frontend.admin.private_socket import owner_only
from convscope.server.frontend.admin.servicer import AdminServicer
from convscope.server.frontend.admin.workers import WorkersAdminServicer
from convscope.server.frontend.classifier.rehearsal import rehearse
from convscope.server.frontend.health import StartupGate, StartupHealth
from convscope.server.frontend.lifecycle import ServingLifecycle
from convscope.server.frontend.services import add_services, inference_services
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.frontend.transport.calls import Transport
from convscope.server.frontend.transport.memory_budget import MemoryBudget
from convscope.server.frontend.transport.selection import make_transport
from convscope.server.frontend.transport.tls import TlsFiles
from convscope.server.inference.decoding.preprocessor import Preprocessor
from convscope.server.inference.engine import Engine
from convscope.server.inference.handler import InferenceHandler
from convscope.server.observability.metrics import Metrics, MetricsServer
from convscope.server.observability.metrics.merging import MergedMetrics, snapshot
from convscope.server.observability.metrics.totals import from_json as totals_from_json
from convscope.server.observability.metrics.totals import to_json as totals_to_json
from convscope.server.process.drain import drain
from convscope.server.process.first_call import show_first_call
from convscope.server.process.memory import (
    collect_garbage,
    freeze_loaded_objects,
    trim_memory,
)
from convscope.server.process.metrics_listener import listen_for_prometheus
from convscope.server.process.signals import Reloads, reload_on_signal, stop_on_signals
from convscope.server.process.startup import catch_up, first_load, open_repository, unless_stopped
from convscope.server.process.supervisor import supervise
from convscope.server.process.supervisor_channel import SupervisorChannel
from convscope.server.process.unix_sockets import private_directory
from convscope.server.process.worker import SharedState
from convscope.server.repository.home import expand_home
from convscope.server.repository.manager import ModelManager
from convscope.server.repository.operator import Operator
from convscope.server.repository.part import whole_repository
from convscope.server.repository.remote.sync import RepositorySync
from convscope.server.runtime.choices import Choices
from convscope.server.runtime.loading import Loader
from convscope.server.runtime.providers.engines import EngineCache
from convscope.server.runtime.tuning import BATCHES, Tuner
from convscope.server.runtime.validation.cache import ValidationCache
from convscope.server.runtime.validation.client import BundleValidator
from convscope.server.runtime.validation.in_process import InProcessValidator
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import admin_pb2_grpc

if TYPE_CHECKING:  # at run time, only when traces are on
    from convscope.server.observability.tracing import Tracing

__all__ = ["serve", "serve_locally", "serve_with_workers"]

log = structlog.get_logger(__name__)

ADMIN_GRACE_SECONDS = 1.0
# A worker ignores further signals; see `stop_on_signals`.
STOP_HINT = {"to_stop_at_once": "send the same signal again, such as a second Ctrl-C"}


async def serve_with_workers(settings: Settings) -> None:
    """Serve with several processes until SIGTERM or SIGINT; see `supervise`.

    Raises:
        StartError: The server can't start.
    """
    addresses: list[str] = []
    metrics, reloads = Metrics(workers=0), Reloads()
    shared = SharedState(MergedMetrics(metrics.registry))
    with ExitStack() as stack:
        if settings.frontend.admin_address is not None:
            sockets = private_directory()
            stack.callback(rmtree, sockets, ignore_errors=True)
            addresses = [f"unix:{sockets}/{i}" for i in range(settings.process.workers)]
        await supervise(
            settings.process.workers,
            settings.frontend.grpc_address,
            shared,
            partial(_listen_for_prometheus, shared.metrics, settings),
            partial(_settings_for_worker, settings, addresses, shared),
            partial(_listen_for_admins_of_workers, settings, addresses, shared, metrics, reloads),
            reloads,
            partial(show_first_call, settings.frontend),
        )


def _settings_for_worker(
    settings: Settings,
    addresses: Sequence[str],
    shared: SharedState,
    grpc_address: str,
    index: int,
) -> bytes:
    """Return the settings of a worker that starts now, serialized."""
    own = settings.for_worker(
        grpc_address,
        addresses[index] if addresses else None,
        overrides=shared.changes.to_json(),
        provider_choices=shared.provider_choices,
    )
    return to_json(own)


@asynccontextmanager
async def _listen_for_admins_of_workers(
    settings: Settings,
    addresses: Sequence[str],
    shared: SharedState,
    metrics: Metrics,
    reloads: Reloads,
) -> AsyncIterator[None]:
    """Open the listener for operators of several workers, if there is one.

    The supervisor checks who calls, and counts the calls. The sockets of the workers belong to
    this user.
    """
    async with AsyncExitStack() as stack:
        if addresses:
            access = _access(settings.frontend, metrics, reloads, stack)
            budget = _budget(settings.frontend, metrics)
            servicer = WorkersAdminServicer(addresses, shared.changes)
            await _listen_for_admins(settings.frontend, budget, servicer, metrics, access, stack)
        yield


async def serve(
    settings: Settings,
    supervisor: SupervisorChannel | None = None,
    validator: BundleValidator | None = None,
) -> None:
    """Load the models, serve until SIGTERM or SIGINT, drain, and return.

    A server of its own listens first, and reports NOT_SERVING while it loads. A
    worker listens after the load: the port is shared, and the kernel would send
    connections to a worker that can't answer yet.

    Args:
        settings: All settings.
        supervisor: Where a worker reports that it serves, and its metrics.
        validator: Validates the versions; None makes one.

    Raises:
        StartError: There is nothing to serve, or an address can't be bound.
    """
    stop = stop_on_signals(repeat_ends=supervisor is None)
    reloads = Reloads()
    reload_on_signal(reloads.run)
    await _serve(settings, stop, reloads, supervisor, validator)


async def serve_locally(
    settings: Settings,
    stop: asyncio.Event,
    on_ready: Callable[[ModelManager[LoadedVersion]], None],
    *,
    transport: Transport | None = None,
    validator: BundleValidator | None = None,
) -> None:
    """Serve to the process that this is a part of, without signals and metrics.

    Args:
        settings: All settings.
        stop: Ends it.
        on_ready: Called with the manager of the models when the first load is complete.
        transport: Where the calls come from; None for a listener on the address in the settings.
        validator: Validates the versions; None validates them in this process, without limits.

    Raises:
        StartError: There is nothing to serve, or the address can't be bound.
    """
    validator = validator or InProcessValidator()
    await _serve(
        settings, stop, Reloads(), validator=validator, on_ready=on_ready, receiver=transport
    )


async def _serve(
    settings: Settings,
    stop: asyncio.Event,
    reloads: Reloads,
    supervisor: SupervisorChannel | None = None,
    validator: BundleValidator | None = None,
    on_ready: Callable[[ModelManager[LoadedVersion]], None] | None = None,
    receiver: Transport | None = None,
) -> None:
    metrics, health = Metrics(), StartupHealth()
    choices = Choices(settings.runtime.provider_choices)
    async with AsyncExitStack() as stack:
        access = _access(settings.frontend, metrics, reloads, stack)
        metrics_port = None
        if on_ready is None:
            metrics_port = await _show_metrics(settings, metrics, choices, supervisor, stop, stack)
        tracing = _tracing(settings, stack)
        engine = Engine(
            settings.inference.pipeline_limits(settings.runtime.core_count),
            metrics.of,
        )
        stack.push_async_callback(engine.close)
        lifecycle = await _lifecycle(settings, engine, metrics, health)
        validator = validator or BundleValidator()
        stack.callback(validator.close)
        repository = await open_repository(settings.repository, metrics, stop)
        if repository is None:
            return
        root, sync = repository
        if sync is None:
            root = stack.enter_context(whole_repository(root))
        manager = _manager(settings, root, sync, lifecycle, validator, choices, stop)
        stack.push_async_callback(manager.close)
        handler = _handler(settings, manager, engine, metrics)
        stack.push_async_callback(handler.close)
        budget = _budget(settings.frontend, metrics)
        transport, gate = _transport(
            settings, budget, handler, metrics, health, tracing, supervisor, access, receiver
        )
        reloads.add(transport.reload)
        if supervisor is None:
            grpc_port = await _listen(transport, settings.frontend.grpc_address, stack)
            log.info("loading", grpc_port=grpc_port, metrics_port=metrics_port)
        joined = asyncio.Event()
        if settings.frontend.admin_address is not None:
            may_change = gate.checked if supervisor is None else joined.wait
            admin = AdminServicer(Operator(manager), may_change)
            # The supervisor of a worker checks who calls, and counts and logs the calls.
            counted, checked = (metrics, access) if supervisor is None else (None, None)
            await _listen_for_admins(settings.frontend, budget, admin, counted, checked, stack)
        reconciling = await first_load(settings.repository, manager, sync, stop)
        stack.callback(reconciling.cancel)
        if stop.is_set():
            return
        if supervisor is not None:
            await _join(supervisor, manager, joined, stop, stack)
            if stop.is_set():
                return
        validator.close()  # its memory is not needed until another version is loaded
        _warn_of_unknown_models(settings, manager)
        if on_ready is None:
            freeze_loaded_objects()
            collecting = asyncio.create_task(collect_garbage(lambda: transport.open_calls))
            stack.callback(collecting.cancel)
        gate.open()
        await health.open()
        if supervisor is not None:
            grpc_port = await _listen(transport, settings.frontend.grpc_address, stack)
        event = "serving" if supervisor is None else "worker serving"
        log.info(event, grpc_port=grpc_port, metrics_port=metrics_port, **_served(manager))
        if supervisor is not None:
            await supervisor.report_ready()
        elif on_ready is not None:
            on_ready(manager)
        else:
            show_first_call(settings.frontend, grpc_port)
        if settings.repository.poll_seconds:
            watching = asyncio.create_task(manager.watch(settings.repository.poll_seconds))
            stack.callback(watching.cancel)
        await stop.wait()
        await drain(settings.process, health, transport, **({} if supervisor else STOP_HINT))


async def _join(
    supervisor: SupervisorChannel,
    manager: ModelManager[LoadedVersion],
    joined: asyncio.Event,
    stop: asyncio.Event,
    stack: AsyncExitStack,
) -> None:
    """Make the changes of operators since this worker got its settings, before it serves."""
    overrides = await unless_stopped(supervisor.report_loaded(), stop)
    if stop.is_set():
        return
    if overrides is not None:
        manager.desired.replace(overrides)
    joined.set()
    if overrides is not None:
        stack.callback((await catch_up(manager, stop)).cancel)


def _access(
    settings: FrontendSettings, metrics: Metrics, reloads: Reloads, stack: AsyncExitStack
) -> AccessControl | None:
    """Return what admits the calls, if there is a policy."""
    if settings.policy is None:
        return None
    access = AccessControl(
        settings.policy,
        share=settings.policy_share,
        on_denied=metrics.denied_call,
        on_reload=metrics.reloaded,
        access_log=not settings.no_access_log,
        client_certificates=settings.tls_client_ca is not None,
        max_memory_in_flight=settings.max_memory_in_flight,
    )
    reloads.add(access.reload)
    stack.callback(asyncio.create_task(access.follow()).cancel)
    return access


async def _show_metrics(
    settings: Settings,
    metrics: Metrics,
    choices: Choices,
    supervisor: SupervisorChannel | None,
    stop: asyncio.Event,
    stack: AsyncExitStack,
) -> int | None:
    """Show the metrics to Prometheus, or to the supervisor, which merges them."""
    if supervisor is None:
        listener = _listen_for_prometheus(metrics, settings)
        stack.callback(listener.close)
        return listener.port
    stack.push_async_callback(supervisor.close)
    await supervisor.connect(
        partial(snapshot, metrics.registry),
        lambda: totals_to_json(metrics.own_totals()),
        lambda siblings: metrics.set_siblings(totals_from_json(siblings)),
        stop.set,
        choices.take_unreported,
    )
    return None


def _listen_for_prometheus(metrics: Metrics | MergedMetrics, settings: Settings) -> MetricsServer:
    return listen_for_prometheus(metrics, settings.telemetry, TlsFiles.of(settings.frontend))


def _tracing(settings: Settings, stack: AsyncExitStack) -> "Tracing | None":
    """Return what traces the calls, if there is a collector."""
    endpoint = settings.telemetry.otlp_endpoint
    if endpoint is None:
        return None
    try:
        from convscope.server.observability.tracing import Tracing
    except ModuleNotFoundError as error:
        raise StartError(
            f"traces to {endpoint} need OpenTelemetry ({error.name} is missing); "
            "in a clone of the repository, run: pip install '.[server,tracing]'"
        ) from error
    tracing = Tracing(endpoint)
    stack.push_async_callback(tracing.close)
    return tracing


async def _lifecycle(
    settings: Settings, engine: Engine, metrics: Metrics, health: StartupHealth
) -> ServingLifecycle:
    overall = ("", *(service.full_name for service in inference_services(settings.frontend)))
    await health.start(overall)
    strict = not settings.frontend.no_strict_readiness
    return ServingLifecycle(
        engine, metrics, health, overall, strict=strict, after_retire=trim_memory
    )


def _manager(
    settings: Settings,
    root: Path,
    sync: RepositorySync | None,
    lifecycle: ServingLifecycle,
    validator: BundleValidator,
    choices: Choices,
    stop: asyncio.Event,
) -> ModelManager[LoadedVersion]:
    runtime = settings.runtime
    loader = Loader(
        runtime.policies(),
        partial(Preprocessor, limits=settings.inference.image_limits),
        Tuner(runtime.overrides(), rehearse, expand_home(runtime.tuning_cache)),
        runtime.preload_feature_maps,
        stop.is_set,
        validator,
        runtime.load_limits,
        engines=EngineCache(runtime.engine_cache, runtime.max_batch or max(BATCHES), stop.is_set),
        preload_explanations=runtime.preload_explanations,
        trusted=settings.repository.trusted_signers,
        validated=ValidationCache(runtime.validation_cache),
        choices=choices,
    )
    manager = ModelManager(
        root,
        loader,
        settings.repository.selection,
        lifecycle,
        max_bytes=settings.repository.max_memory_bytes,
        stopping=stop.is_set,
        sync=sync,
        overrides=settings.repository.overrides,
    )
    lifecycle.follow(manager.catalog)
    return manager


def _handler(
    settings: Settings, manager: ModelManager[LoadedVersion], engine: Engine, metrics: Metrics
) -> InferenceHandler:
    return InferenceHandler(
        manager,
        engine,
        metrics,
        max_inputs=settings.inference.max_inputs,
        cores=settings.runtime.core_count,
    )


def _transport(
    settings: Settings,
    budget: MemoryBudget,
    handler: InferenceHandler,
    metrics: Metrics,
    health: StartupHealth,
    tracing: "Tracing | None",
    supervisor: SupervisorChannel | None,
    access: AccessControl | None,
    receiver: Transport | None,
) -> tuple[Transport, StartupGate]:
    """Return the transport with all services, and the gate that rejects calls to models."""
    frontend = settings.frontend
    transport = receiver or make_transport(
        frontend,
        budget,
        share_port=supervisor is not None,
        on_rejected=metrics.rejected_call,
        access=access,
        on_reload=partial(metrics.reloaded, "tls"),
    )
    gate = StartupGate()
    counted, guarded = (
        Accounting(
            transport,
            metrics,
            max_request_bytes=frontend.max_request_bytes,
            access_log=not frontend.no_access_log,
            tracing=tracing,
            check_open=check_open,
        )
        for check_open in (always_open, gate.check)
    )
    limits = settings.inference.image_limits
    add_services(transport, guarded, counted, frontend, limits, handler, metrics, health)
    return transport, gate


async def _listen(transport: Transport, address: str, stack: AsyncExitStack) -> int:
    port = transport.bind(address)
    await transport.start()
    stack.push_async_callback(transport.stop, None)
    return port


async def _listen_for_admins(
    frontend: FrontendSettings,
    budget: MemoryBudget,
    servicer: admin_pb2_grpc.AdminServiceServicer,
    metrics: Metrics | None,
    access: AccessControl | None,
    stack: AsyncExitStack,
) -> None:
    """Open the listener for operators.

    Args:
        frontend: Its address and limits.
        budget: The bytes of requests that the process may hold.
        servicer: Answers the calls.
        metrics: Counts the calls. If it is None, they are neither counted nor logged.
        access: Admits the calls; None admits all.
        stack: Closes it.

    Raises:
        StartError: The address can't be bound.
    """
    address, is_shown = str(frontend.admin_address), metrics is not None
    metrics = metrics or Metrics()
    transport = make_transport(
        frontend,
        budget,
        flag="--admin-address",
        tls=False,
        on_rejected=metrics.rejected_call,
        access=access,
    )
    accounting = Accounting(
        transport,
        metrics,
        max_request_bytes=frontend.max_request_bytes,
        access_log=is_shown and not frontend.no_access_log,
    )
    admin_pb2_grpc.add_AdminServiceServicer_to_server(servicer, cast("grpc.aio.Server", accounting))
    with owner_only():
        port = transport.bind(address)
    await transport.start()
    stack.push_async_callback(transport.stop, ADMIN_GRACE_SECONDS)
    if is_shown:
        shown_port = None if address.startswith("unix:") else port
        log.info("admin serving", address=address, port=shown_port)


def _budget(frontend: FrontendSettings, metrics: Metrics) -> MemoryBudget:
    """Return the bytes of requests that the process may hold, shown by its metrics."""
    budget = MemoryBudget(frontend.max_memory_in_flight)
    budget.on_rejected = metrics.request_memory(lambda: budget.used)
    return budget


def _served(manager: ModelManager[LoadedVersion]) -> dict[str, list[str]]:
    """Return what the log reports of the versions."""
    return {
        "models": [f"{model} v{number}" for model, number in (v.key for v in manager.catalog)],
        "rejected": [f"{r.model} v{r.version}" for r in manager.catalog.rejections],
    }


def _warn_of_unknown_models(settings: Settings, manager: ModelManager[LoadedVersion]) -> None:
    models = manager.catalog.models
    for name in settings.runtime.model_providers.keys() - set(models):
        log.warning(
            f"--settings names a model that --models doesn't have{or_near(name, models)}",
            model=name,
        )
