"""Keeps what answers in step with what lies in the repository and with what is wanted of it.

A new version is loaded beside the one that answers: files, gates and warm-up
first, then one swap. The old one goes when its last request is done. One that
fails changes nothing, and isn't tried again until its files change.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from convscope.server.errors import BundleRejectedError, OverloadedError, UnavailableError
from convscope.server.repository.catalog import Catalog, CatalogedModel
from convscope.server.repository.desired import DesiredVersions
from convscope.server.repository.disk import ModelOnDisk, Signature, scan
from convscope.server.repository.memory import Memory
from convscope.server.repository.remote.poller import RemotePoller
from convscope.server.repository.remote.sync import RepositorySync
from convscope.server.repository.selection import Selection
from convscope.server.runtime.loading import Loader
from convscope.server.runtime.versions import LoadedVersion, Rejection

__all__ = ["LifecycleListener", "ModelManager"]

log = structlog.get_logger(__name__)


class LifecycleListener(Protocol):
    """Follows what answers, on the event loop."""

    def ready(self, version: LoadedVersion) -> None:
        """Hear of a version just before the first request can reach it."""

    async def retire(self, version: LoadedVersion) -> None:
        """Hear of a version that no new request reaches; return when its last one is done."""

    def last_used(self, version: LoadedVersion) -> float:
        """Tell when a version was last asked, in seconds of the loop's clock."""

    def refused(self, rejection: Rejection) -> None:
        """Hear of a version that failed a check."""

    async def settled(self) -> None:
        """Hear that a change is complete."""


class ModelManager:
    """Loads, swaps and unloads the versions of one repository.

    Args:
        root: The repository's directory.
        loader: Loads one version.
        selection: Which versions are wanted.
        listener: Hears of every change.
        max_bytes: How much memory versions that are loaded on demand may take,
            by estimate; None for any.
        stopping: Whether the server is to end: then nothing more is loaded.
        mirror: Brings what is wanted into the directory, if that is the copy of a remote.
    """

    def __init__(
        self,
        root: Path,
        loader: Loader,
        selection: Selection,
        listener: LifecycleListener,
        *,
        max_bytes: int | None = None,
        stopping: Callable[[], bool] = lambda: False,
        sync: RepositorySync | None = None,
    ) -> None:
        self.catalog = Catalog()
        self.root = root
        self._loader = loader
        self._on_demand = selection.on_demand
        self.wanted = DesiredVersions(selection)
        self._listener = listener
        self._memory = Memory(self.catalog, listener, max_bytes)
        self._stopping = stopping
        self.poller = RemotePoller(sync, self.catalog, self.wanted) if sync else None
        self._fetching = asyncio.Lock()
        self._lock = asyncio.Lock()
        self._hot = False
        self._seen: dict[str, ModelOnDisk] = {}
        self._unfetched: list[Rejection] = []
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def models_on_disk(self) -> list[str]:
        """The models of the repository that have a version, wanted or not."""
        return sorted(name for name, found in self._seen.items() if found.versions)

    async def watch(self, seconds: float) -> None:
        """Look for changes again and again, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except Exception:  # whatever happens once, it is looked again
                log.exception("unforeseen error while looking for changes")

    async def refresh(self, again: str | None = None) -> None:
        """Bring what answers in step with the repository.

        The first time nobody is served yet; afterwards loads keep out of the
        way of those who are.

        Args:
            again: A model that is looked at although nothing has changed.
        """
        if self.poller is None:
            await self.follow_disk(again)
            return
        async with self._fetching:
            await self._follow_upstream(self.poller, again)

    async def _follow_upstream(self, poller: RemotePoller, again: str | None) -> None:
        """Fetch what is wanted, and load it; a refusal may make another one wanted."""
        while True:
            refused = {(r.model, r.version) for r in self.catalog.rejections}
            # Without the lock: a remote that doesn't answer must keep nobody waiting.
            reached = await poller.fetch()
            await self.follow_disk(again)
            if self._stopping() or not reached:
                return
            if {(r.model, r.version) for r in self.catalog.rejections} <= refused:
                break
        await poller.tidy()

    async def follow_disk(self, again: str | None = None) -> None:
        """Load, swap and unload as the directory says now."""
        async with self._lock:
            try:
                on_disk = await asyncio.to_thread(scan, self.root)
            except OSError as error:
                log.error("repository can't be read; what is loaded stays", reason=error.strerror)
                return
            changed = self._note_unfetched()
            for name in sorted({*on_disk, *self.catalog.names}):
                found = on_disk.get(name, ModelOnDisk())
                if self._stopping():
                    return
                same = found == self._seen.get(name) and not self.catalog[name].outdated
                if found is not None and (not same or name == again):
                    changed |= await self._try_to_refresh(name, found)
            self._hot = True
            if changed:
                await self._listener.settled()

    async def look_upstream(self, model: str) -> None:
        """Learn what a remote has of a model now, whatever failed before; nothing without one."""
        if self.poller is None:
            return
        async with self._fetching:  # a poll's thread may be about to change the mirror too
            self.poller.try_again(model)
            await self.poller.fetch()

    async def demand(self, model: str, version: int, *, evict: bool = True) -> None:
        """Load a dormant version, unless it is loaded meanwhile or no longer there.

        Args:
            model: Its model.
            version: Its number.
            evict: Whether others may be unloaded to make room for it.

        Raises:
            BundleRejectedError: It failed a check; another may answer in its place.
            OverloadedError: There is no room for it, and none may be made.
            UnavailableError: The server is to end.
        """
        async with self._lock:
            known, found = self.catalog[model], self._seen[model]
            if version not in known.unloaded or version in known.ready:
                return
            if self._stopping():
                raise UnavailableError("the server is shutting down; call another one")
            if not evict and not self._memory.has_room(found.versions[version]):
                raise OverloadedError(f"there is no memory left for {model} v{version}")
            await self._load(model, version, found.versions[version])
            rejection = known.refused.get(version)
            if rejection is not None:
                known.unloaded = frozenset(self.wanted.choose(model, known, found))
            await self._listener.settled()
        if rejection is not None:
            raise BundleRejectedError(rejection.reason, rejection.message)

    async def close(self) -> None:
        """Wait for a load that is under way, and for the versions that are on their way out."""
        async with self._lock:
            pass
        await asyncio.gather(*self._retiring, return_exceptions=True)

    async def _try_to_refresh(self, name: str, found: ModelOnDisk) -> bool:
        """Follow one model; whatever becomes of it, the others are followed too."""
        try:
            await self._refresh_model(name, found)
        except Exception:
            log.exception("unforeseen error while following a model", model=name)
            return False
        return True

    async def _refresh_model(self, name: str, found: ModelOnDisk) -> None:
        known = self.catalog[name]
        self._forget_changed(known, found)
        # What sleeps is loaded when it is asked for; what answers is followed by what loads.
        if not self._on_demand or known.ready:
            await self._load_wanted(name, known, found)
        if self._stopping():
            return
        wanted = self.wanted.choose(name, known, found)
        known.aliases = self.wanted.aliases(name, known, found)
        known.traffic = self.wanted.traffic(known, found)
        known.chosen = self.wanted.chosen(name, known, found)
        known.unloaded = frozenset(wanted) if self._on_demand else frozenset()
        for number in sorted(known.ready.keys() - set(wanted)):
            self._retire(known.ready.pop(number))
        problems = self.wanted.problems(known, found)
        for problem in set(problems) - set(known.problems):
            log.warning("alias or trial without effect", model=name, problem=problem)
        known.problems = problems
        self._seen[name] = found

    def _forget_changed(self, known: CatalogedModel, found: ModelOnDisk) -> None:
        """Forget why a version was refused once its files are others, or gone."""
        for number in list(known.refused):
            if known.refused[number] in self._unfetched:
                continue  # it has no files here
            if found.versions.get(number) != known.signatures.get(number):
                del known.refused[number]

    async def _load_wanted(self, name: str, known: CatalogedModel, found: ModelOnDisk) -> None:
        """Load what is wanted and not there; a refusal may make another one wanted."""
        while not self._stopping():
            missing = [
                number
                for number in self.wanted.choose(name, known, found)
                if number not in known.ready
                or known.signatures.get(number) != found.versions[number]
                or number in known.outdated
            ]
            if not missing:
                return
            await self._load(name, missing[0], found.versions[missing[0]])

    async def _load(self, name: str, number: int, signature: Signature) -> None:
        """Load one version and let it answer, or note why it can't."""
        known = self.catalog[name]
        like = known.ready[max(known.ready)].execution if known.ready else None
        try:
            if self._on_demand:
                await self._memory.make_room(signature)
            loaded = await asyncio.to_thread(
                self._loader.load, self.root / name / str(number), hot=self._hot, like=like
            )
        except BundleRejectedError as error:
            known.signatures[number] = signature
            self._reject(Rejection(name, number, error.reason, error.message))
            return
        known.signatures[number] = signature
        self._listener.ready(loaded)
        before = known.ready.get(number)
        known.ready[number] = loaded
        if before is not None:
            self._retire(before)

    def _note_unfetched(self) -> bool:
        """Note which versions of a remote can't be had and why; returns whether that changed."""
        now = self.poller.rejections if self.poller is not None else []
        before, self._unfetched = self._unfetched, now
        for rejection in before:
            known = self.catalog[rejection.model]
            if rejection not in now and known.refused.get(rejection.version) == rejection:
                del known.refused[rejection.version]
        new = [r for r in now if self.catalog[r.model].refused.get(r.version) != r]
        for rejection in new:
            self._reject(rejection)
        return before != now or bool(new)

    def _reject(self, rejection: Rejection) -> None:
        """Note why a version doesn't answer, and let everybody know."""
        self.catalog[rejection.model].refused[rejection.version] = rejection
        log.error(
            "bundle refused",
            model=rejection.model,
            version=rejection.version,
            reason=rejection.reason,
            message=rejection.message,
        )
        self._listener.refused(rejection)

    def _retire(self, version: LoadedVersion) -> None:
        """Let a version end in its own time."""
        model, number = version.key
        log.info("version retires", model=model, version=number)
        task = asyncio.create_task(self._listener.retire(version))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
