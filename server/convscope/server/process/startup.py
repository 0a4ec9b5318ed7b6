"""The start: where the repository lies, and the first load of what is to answer.

Another machine may have a part in both, and may keep silent: nothing here
waits for it longer than until the server is told to end, and a cache that can
answer doesn't wait for long.
"""

import asyncio
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from convscope.bundle.addresses import local_path
from convscope.bundle.suggestions import or_near
from convscope.server.config.settings import ON_DEMAND, Settings
from convscope.server.errors import StartError
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.manager import ModelManager
from convscope.server.repository.remote.poller import RemotePoller
from convscope.server.repository.remote.sync import RepositorySync
from convscope.server.repository.remote.threads import in_daemon_thread
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["first_load", "open_repository", "unless_stopped"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

# So long a remote may take until what is wanted of it is here, before what is cached is served.
PATIENCE_SECONDS = 10.0


async def unless_stopped(work: Awaitable[T], stop: asyncio.Event) -> T | None:
    """Await some work, or cancel it as soon as the server is to end and give None."""
    task, stopping = asyncio.ensure_future(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        stopping.cancel()


async def open_repository(
    settings: Settings, metrics: Metrics, stop: asyncio.Event
) -> tuple[Path, RepositorySync | None] | None:
    """Give the repository's directory, and what brings a remote one there.

    Returns:
        None if the server is to end before the remote is known.

    Raises:
        StartError: There is no such directory, or the remote or its cache can't be used.
    """
    root = local_path(settings.models)
    if root is not None:
        if not root.is_dir():
            raise StartError(f"--models {root} is not a directory")
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
    settings: Settings,
    manager: ModelManager[LoadedVersion],
    sync: RepositorySync | None,
    stop: asyncio.Event,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
) -> asyncio.Task[None]:
    """Load all that is to answer from the start; of a remote that is silent, what is cached.

    Args:
        settings: Where the repository lies, and what is wanted of it.
        manager: Loads it.
        sync: Fetches it, if it is a remote.
        stop: Whether the server is to end: then this returns soon.
        patience_seconds: How long a remote may keep a cache waiting that can answer.

    Returns:
        The reconciliation, which goes on if the remote isn't fetched yet; cancel it at the end.

    Raises:
        StartError: There is nothing to serve.
    """
    reconciling = asyncio.create_task(manager.reconcile())
    if manager.poller is None:
        await reconciling  # which ends by itself when the server is to end
    elif await _is_heard(manager.poller, stop, patience_seconds):
        await unless_stopped(reconciling, stop)
    else:
        await manager.reconcile_disk()
        if _is_enough(settings, manager):
            manager.poller.warn_of_delay(patience_seconds)
            reconciling.add_done_callback(_report)
        else:
            log.info("waiting for the repository; what is cached isn't all that is wanted")
            await unless_stopped(reconciling, stop)
    if not stop.is_set():
        _check_loaded(settings, manager, sync)
    return reconciling


async def _is_heard(
    poller: RemotePoller[LoadedVersion], stop: asyncio.Event, seconds: float
) -> bool:
    """Wait until a remote was fetched once, or couldn't be; False if that takes too long."""
    try:
        async with asyncio.timeout(seconds):
            await unless_stopped(poller.attempted.wait(), stop)
    except TimeoutError:
        return False
    return True


def _is_enough(settings: Settings, manager: ModelManager[LoadedVersion]) -> bool:
    catalog = manager.catalog
    missing = settings.selection.missing(catalog.models)
    return not missing and any(map(catalog.is_ready, catalog.models))


def _report(reconciling: asyncio.Task[None]) -> None:
    if not reconciling.cancelled() and (error := reconciling.exception()) is not None:
        log.error("unexpected error while reconciling", exc_info=error)


def _check_loaded(
    settings: Settings, manager: ModelManager[LoadedVersion], sync: RepositorySync | None
) -> None:
    root, catalog = sync.url if sync else settings.models, manager.catalog
    there = manager.models_on_disk
    if there and (missing := settings.selection.missing(there)):
        raise StartError(
            f"--load names {', '.join(missing)}, and --models {root} has: {', '.join(there)}"
            + or_near(missing[0], [*there, "all", ON_DEMAND])
        )
    if not catalog.models:
        raise StartError(_nothing_to_load(root, sync))
    if not any(map(catalog.is_ready, catalog.models)):
        reasons = "; ".join(f"{r.model} v{r.version}: {r.message}" for r in catalog.rejections)
        raise StartError(f"every bundle of --models {root} was rejected: {reasons}")


def _nothing_to_load(root: str, sync: RepositorySync | None) -> str:
    if sync is None:
        if (Path(root) / "manifest.json").exists() or any(Path(root).glob("*/manifest.json")):
            return f"--models {root} is a model, and no repository of models: give its parent"
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
        f"--models {root} holds no model that is wanted; publish one with: "
        f"convscope-exporter publish models/MODEL/VERSION {root}"
    )
