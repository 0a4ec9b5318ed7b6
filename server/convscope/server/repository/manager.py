"""The reconciler: it loads, swaps and unloads versions until what serves is what is desired.

A new version is loaded beside the one that serves: files, gates and warm-up
first, then one swap. The old version retires after its last request. A version
that fails a check changes nothing, and is not tried again until its files
change, unless the failure was a transient one of the machine.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic

import structlog

from convscope.server.errors import (
    BundleRejectedError,
    OverloadedError,
    ShuttingDownError,
    UnavailableError,
)
from convscope.server.repository.catalog import Catalog
from convscope.server.repository.desired import Desired, DesiredVersions, Overrides
from convscope.server.repository.executor import Executor, Loading
from convscope.server.repository.lifecycle import LifecycleListener
from convscope.server.repository.loader import Loader, V
from convscope.server.repository.memory import MemoryBudget
from convscope.server.repository.plan import Action, Load, Retire, desired_versions, plan
from convscope.server.repository.rejection import Rejection
from convscope.server.repository.remote.poller import RemotePoller
from convscope.server.repository.remote.sync import RepositorySync
from convscope.server.repository.scan import ModelOnDisk, scan
from convscope.server.repository.selection import Selection
from convscope.server.repository.state import Observed

__all__ = ["ModelManager"]

log = structlog.get_logger(__name__)


# A load in progress notices within a fraction of a second that the server stops.
CLOSE_SECONDS = 3.0


class ModelManager(Generic[V]):
    """Loads, swaps and unloads the versions of one repository.

    Args:
        root: The repository's directory.
        loader: Loads one version.
        selection: Which versions to serve.
        listener: Follows every change.
        max_bytes: How much memory versions that are loaded on demand may take,
            by estimate; None for no bound.
        stopping: Whether the server shuts down: then nothing more is loaded.
        sync: Keeps the directory in step with a remote, if it is the cache of one.
        overrides: What operators changed before, by model; see `Overrides.to_json`.
        clock: Returns the seconds by which retries are timed.
    """

    def __init__(
        self,
        root: Path,
        loader: Loader[V],
        selection: Selection,
        listener: LifecycleListener[V],
        *,
        max_bytes: int | None = None,
        stopping: Callable[[], bool] = lambda: False,
        sync: RepositorySync | None = None,
        overrides: Mapping[str, Any] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.catalog: Catalog[V] = Catalog()
        self.root = root
        self.desired = DesiredVersions(selection, overrides)
        self.poller = RemotePoller(sync, self.catalog, self.desired) if sync else None
        self._executor = Executor(
            root,
            self.catalog,
            loader,
            listener,
            MemoryBudget(max_bytes) if selection.on_demand else None,
            clock,
        )
        self._stopping = stopping
        self._clock = clock
        self._fetching = asyncio.Lock()
        self._lock = asyncio.Lock()
        self._on_disk: dict[str, ModelOnDisk] = {}
        self._skipped: set[str] = set()
        self._settled: dict[str, tuple[Desired, Observed]] = {}

    @property
    def models_on_disk(self) -> list[str]:
        """The models of the repository that have a version, selected or not."""
        return sorted(name for name, found in self._on_disk.items() if found.versions)

    @property
    def versions_on_disk(self) -> list[str]:
        """The models of the repository with their versions, such as "digits v1, v2"."""
        return [
            f"{name} "
            + ", ".join(f"v{version}" for version in sorted(self._on_disk[name].versions))
            for name in self.models_on_disk
        ]

    @property
    def is_unloaded(self) -> bool:
        """Whether nothing is to be served, and something would be if operators hadn't unloaded it.

        The versions that were rejected by then are not to be served.
        """
        remote = self.poller.models if self.poller is not None else {}
        with_overrides: list[int] = []
        without: list[int] = []
        for name, found in (remote or self._on_disk).items():
            desired, observed = self.desired.of(name), self.catalog.get(name).observe(found)
            with_overrides += desired_versions(desired, observed)
            without += desired_versions(replace(desired, overrides=Overrides()), observed)
        return bool(without) and not with_overrides

    @property
    def loading(self) -> Loading | None:
        """The version that is being loaded now, if one is."""
        return self._executor.loading

    async def watch(self, seconds: float) -> None:
        """Reconcile again and again, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.reconcile()
            except Exception:  # the next time it may succeed
                log.exception("unexpected error while reconciling")

    async def reconcile(self) -> None:
        """Make what serves what is desired.

        The first time, no requests are served yet; later loads leave the CPU
        to the requests.
        """
        if self.poller is None:
            await self.reconcile_disk()
            return
        async with self._fetching:
            await self._reconcile_remote(self.poller)

    async def _reconcile_remote(self, poller: RemotePoller[V]) -> None:
        """Fetch and load; a rejected version can make another one desired."""
        while True:
            rejected = self._rejected()
            # Without the lock: a remote that doesn't answer must not block loads.
            reached = await poller.fetch()
            await self.reconcile_disk()
            if self._stopping() or not reached:
                return
            if self._rejected() <= rejected:
                break
        await poller.prune()

    async def reconcile_disk(self) -> None:
        """Make what serves what is desired, with the versions that are on disk now."""
        async with self._lock:
            try:
                on_disk = await asyncio.to_thread(scan, self.root, self._log_skipped)
            except OSError as error:
                log.error("repository can't be read; nothing changes", reason=error.strerror)
                return
            self._note_unfetched()
            for name, found in on_disk.items():  # known from the start, also to operators
                if found is not None:
                    self.catalog.add(name)
            for name in sorted({*on_disk, *self.catalog.names}):
                if self._stopping():
                    return
                found = on_disk.get(name, ModelOnDisk())
                if found is not None:  # otherwise the model can't be read now
                    self._on_disk[name] = found
                    await self._try_to_reconcile(name, found)
            self._executor.hot = True
            await self._executor.report()

    async def refetch(self, model: str) -> None:
        """Read what a remote has of a model now, whatever failed before; nothing without one."""
        if self.poller is None:
            return
        async with self._fetching:  # a poll's thread may be changing the cache
            self.poller.refetch(model)
            await self.poller.fetch()

    def forget_rejections(self, model: str, version: int | None = None) -> None:
        """Forget why a version was rejected, or all versions of a model: they are tried again."""
        self._executor.forget_rejections(model, version)

    async def load_on_demand(self, model: str, version: int, *, evict: bool = True) -> None:
        """Load a version, unless it is loaded meanwhile or no longer desired.

        Args:
            model: Its model.
            version: Its number.
            evict: Whether others may be unloaded to make room for it.

        Raises:
            BundleRejectedError: It failed a check; another one may serve instead.
            OverloadedError: There is no room for it, and none may be made.
            UnavailableError: The server shuts down, or the version is gone.
        """
        async with self._lock:
            known, found = self.catalog.get(model), self._on_disk.get(model, ModelOnDisk())
            if version not in known.routing.unloaded or version in known.ready:
                return
            if self._stopping():
                raise ShuttingDownError()
            if version not in found.versions:
                raise UnavailableError(f"{model} v{version} is being replaced; try again")
            if not evict and not self._executor.has_room(found.versions[version]):
                raise OverloadedError(f"there is no memory left for {model} v{version}")
            rejection = await self._executor.load(model, version, found.versions[version])
            if rejection is not None:
                await self._try_to_reconcile(model, found)
            await self._executor.report()
        if rejection is not None:
            raise BundleRejectedError(rejection.reason, rejection.message)

    async def unload(self, model: str) -> None:
        """Unload the versions of a model that the next request for them loads again.

        Requests in flight are completed. Without loads on demand, nothing is unloaded.
        """
        async with self._lock:
            known = self.catalog.get(model)
            for number in sorted(known.ready.keys() & known.routing.unloaded):
                await self._executor.execute(model, Retire(number))
            await self._executor.report()

    async def close(self) -> None:
        """Wait for a load in progress, but not long, and for the versions that retire."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS), self._lock:
                pass
        except TimeoutError:
            log.warning("a load does not end; the server ends without waiting for it")
        await self._executor.close()

    async def _try_to_reconcile(self, name: str, found: ModelOnDisk) -> None:
        """Reconcile one model; an unexpected error in it doesn't concern the others."""
        try:
            await self._reconcile_model(name, found)
        except ShuttingDownError:
            log.info("load cancelled", model=name)
        except Exception:
            log.exception("unexpected error while reconciling a model", model=name)

    async def _reconcile_model(self, name: str, found: ModelOnDisk) -> None:
        known = self.catalog.add(name)
        must_plan = True
        while must_plan and not self._stopping():
            actions = self._plan(name, known.observe(found, self._clock()))
            for action in actions:
                await self._executor.execute(name, action)
            must_plan = any(isinstance(action, Load) for action in actions)
        if found == ModelOnDisk() and not known.ready and not known.rejected:
            self.catalog.remove(name)
            self._on_disk.pop(name, None)
            self._settled.pop(name, None)

    def _plan(self, name: str, observed: Observed) -> list[Action]:
        """Return what to do about a model, without planning twice that it is nothing.

        Most models are unchanged from poll to poll, and requests wait while a plan is made.
        """
        desired = self.desired.of(name)
        if self._settled.get(name) == (desired, observed) and not observed.must_retry:
            return []
        actions = plan(desired, observed)
        if not actions:
            self._settled[name] = desired, observed
        return actions

    def _log_skipped(self, path: str, reason: str) -> None:
        """Log once that a directory is neither a model nor a version."""
        if path not in self._skipped:
            self._skipped.add(path)
            log.warning("directory skipped", path=path, reason=f"{reason}; rename it")

    def _note_unfetched(self) -> None:
        """Note which versions of a remote were rejected before they were on disk."""
        if self.poller is None:
            return
        found: dict[str, dict[int, Rejection]] = {name: {} for name in self.catalog.names}
        for rejection in self.poller.rejections:
            found.setdefault(rejection.model, {})[rejection.version] = rejection
        for name, rejections in found.items():
            self._executor.reject_unfetched(name, rejections)

    def _rejected(self) -> set[tuple[str, int]]:
        return {(rejection.model, rejection.version) for rejection in self.catalog.rejections}
