"""The start: where the repository is, and the first load of the versions to serve.

A remote repository may not respond. Nothing here waits for it longer than until
the server is stopped, and a cache that is complete doesn't wait for it long.
"""

import asyncio
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from convscope.bundle.addresses import local_path
from convscope.bundle.suggestions import or_near
from convscope.server.errors import StartError
from convscope.server.observability.metrics import Metrics
from convscope.server.process.directory import check_directory
from convscope.server.repository.manager import ModelManager
from convscope.server.repository.remote.poller import RemotePoller
from convscope.server.repository.remote.sync import RepositorySync
from convscope.server.repository.remote.threads import in_daemon_thread
from convscope.server.repository.settings import ON_DEMAND, RepositorySettings
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["catch_up", "first_load", "open_repository", "unless_stopped"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

# How long the first fetch from a remote may take before the server serves what is cached.
REMOTE_TIMEOUT_SECONDS = 10.0
# How long a load may take to notice that the server is stopped.
STOP_SECONDS = 3.0


async def unless_stopped(work: Awaitable[T], stop: asyncio.Event) -> T | None:
    """Await some work; when the server is stopped first, cancel it and return None."""
    task, stopping = asyncio.ensure_future(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        stopping.cancel()


async def open_repository(
    settings: RepositorySettings, metrics: Metrics, stop: asyncio.Event
) -> tuple[Path, RepositorySync | None] | None:
    """Return the repository's directory, and what copies a remote one into it.

    Returns:
        None if the server is stopped before the remote is known.

    Raises:
        StartError: There is no such directory, or the remote or its cache can't be used.
    """
    check_directory(settings)
    root = local_path(settings.models)
    if root is not None:
        return root, None
    make = partial(
        RepositorySync,
        settings.models,
        settings.repository_cache,
        metrics.sync(settings.poll_seconds),
        stopping=stop.is_set,
    )
    sync = await unless_stopped(in_daemon_thread(make), stop)
    return None if sync is None else (sync.directory, sync)


async def first_load(
    settings: RepositorySettings,
    manager: ModelManager[LoadedVersion],
    sync: RepositorySync | None,
    stop: asyncio.Event,
    *,
    remote_timeout_seconds: float = REMOTE_TIMEOUT_SECONDS,
) -> asyncio.Task[None]:
    """Load the versions to serve; if a remote doesn't respond, those that are cached.

    Args:
        settings: Which versions these are.
        manager: Loads them.
        sync: Copies them to this machine, if the repository is remote.
        stop: Set when the server is stopped: then this returns soon.
        remote_timeout_seconds: How long a complete cache waits for the remote.

    Returns:
        The reconciliation, which goes on if the remote isn't fetched yet; cancel it at the end.

    Raises:
        StartError: There is nothing to serve.
    """
    reconciling = asyncio.create_task(manager.reconcile())
    if manager.poller is None:
        await _until_stopped(reconciling, stop)
    elif await _responds(manager.poller, stop, remote_timeout_seconds):
        await unless_stopped(reconciling, stop)
    else:
        await _until_stopped(asyncio.ensure_future(manager.reconcile_disk()), stop)
        if stop.is_set():
            return reconciling
        if _is_complete(settings, manager):
            manager.poller.warn_of_delay(remote_timeout_seconds)
            reconciling.add_done_callback(_log_failure)
        else:
            log.info("waiting for the repository; the cache is incomplete")
            await unless_stopped(reconciling, stop)
    if not stop.is_set():
        _check_loaded(settings, manager, sync)
    return reconciling


async def catch_up(
    manager: ModelManager[LoadedVersion],
    stop: asyncio.Event,
    *,
    remote_timeout_seconds: float = REMOTE_TIMEOUT_SECONDS,
) -> asyncio.Task[None]:
    """Make what serves what operators have changed since the first load began.

    They may have written to the repository, and had versions tried again that this process has
    rejected.

    Args:
        manager: Has their overrides.
        stop: Set when the server is stopped: then this returns soon.
        remote_timeout_seconds: How long this waits for a remote.

    Returns:
        The reconciliation, which goes on if a remote takes longer; cancel it at the end.
    """
    for model in manager.catalog.names:
        manager.forget_rejections(model)
    is_remote = manager.poller is not None
    if is_remote:
        await unless_stopped(manager.reconcile_disk(), stop)
    reconciling = asyncio.create_task(manager.reconcile())
    try:
        async with asyncio.timeout(remote_timeout_seconds if is_remote else None):
            await unless_stopped(asyncio.shield(reconciling), stop)
    except TimeoutError:
        reconciling.add_done_callback(_log_failure)
    return reconciling


async def _until_stopped(work: asyncio.Future[None], stop: asyncio.Event) -> None:
    """Await some work; when the server is stopped first, leave it a moment to notice that."""
    stopping = asyncio.create_task(stop.wait())
    both: set[asyncio.Future[Any]] = {work, stopping}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    done, _ = await asyncio.wait({work}, timeout=STOP_SECONDS if stop.is_set() else None)
    if done:
        work.result()


async def _responds(
    poller: RemotePoller[LoadedVersion], stop: asyncio.Event, seconds: float
) -> bool:
    """Wait until the first fetch succeeded or failed; return False if that takes too long."""
    try:
        async with asyncio.timeout(seconds):
            await unless_stopped(poller.attempted.wait(), stop)
    except TimeoutError:
        return False
    return True


def _is_complete(settings: RepositorySettings, manager: ModelManager[LoadedVersion]) -> bool:
    catalog = manager.catalog
    missing = settings.selection.missing(catalog.models)
    return not missing and any(map(catalog.is_ready, catalog.models))


def _log_failure(reconciling: asyncio.Task[None]) -> None:
    if not reconciling.cancelled() and (error := reconciling.exception()) is not None:
        log.error("unexpected error while reconciling", exc_info=error)


def _check_loaded(
    settings: RepositorySettings, manager: ModelManager[LoadedVersion], sync: RepositorySync | None
) -> None:
    root, catalog = sync.url if sync else settings.models, manager.catalog
    on_disk = manager.models_on_disk
    if on_disk and (missing := settings.selection.missing(on_disk)):
        raise StartError(
            f"--load names {', '.join(missing)}, and --models {root} has: {', '.join(on_disk)}"
            + or_near(missing[0], [*on_disk, "all", ON_DEMAND])
        )
    if manager.is_unloaded:
        return  # the workers that serve have unloaded it too
    if not catalog.models and on_disk and settings.selection.versions:
        raise StartError(
            f"--versions {settings.versions} names no version of --models {root}, which has: "
            + "; ".join(manager.versions_on_disk)
        )
    if not catalog.models:
        raise StartError(_nothing_to_load(root, sync))
    if not any(map(catalog.is_ready, catalog.models)):
        reasons = "; ".join(f"{r.model} v{r.version}: {r.message}" for r in catalog.rejections)
        raise StartError(f"every bundle of --models {root} was rejected: {reasons}")


def _nothing_to_load(root: str, sync: RepositorySync | None) -> str:
    if sync is None:
        return (
            f"--models {root} holds no model; make one with: "
            f"convscope-exporter export efficientnet_lite0 --repository {root}"
        )
    if sync.problem is not None:
        return (
            f"--models {root} can't be followed: {sync.problem}; and nothing of it is cached in "
            f"{sync.directory}. Check the address, your access and the file system's options"
        )
    return (
        f"--models {root} holds no model to load; publish one with: "
        f"convscope-exporter publish models/MODEL/VERSION {root}"
    )
