"""Keeps what answers in step with what lies on disk and with what an operator asks for.

A new version is loaded beside the one that answers: files, gates and warm-up
first, then one swap. The old one goes when its last request is done. One that
fails changes nothing, and isn't tried again until its files change.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from convscope.server.bundle import GRAPH
from convscope.server.errors import (
    BundleRefusedError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
)
from convscope.server.model import memory_bytes
from convscope.server.repository.aliases import check_alias, write_alias
from convscope.server.repository.catalog import Catalog, CatalogedModel, listed
from convscope.server.repository.disk import ModelOnDisk, Signature, scan
from convscope.server.repository.loading import Loader
from convscope.server.repository.selection import Selection
from convscope.server.repository.versions import LoadedVersion, Refusal
from convscope.server.repository.wanted import Wanted

__all__ = ["Keeper", "Listener"]

log = structlog.get_logger(__name__)

# So long a version that was loaded on demand stays at least.
RESIDENCE_SECONDS = 0.2
# A version that was loaded beside others has one for a lone call, and one for a crowd.
SESSIONS = 2


class Listener(Protocol):
    """Follows what answers, on the event loop."""

    def ready(self, version: LoadedVersion) -> None:
        """Hear of a version just before the first request can reach it."""

    async def retire(self, version: LoadedVersion) -> None:
        """Hear of a version that no new request reaches; return when its last one is done."""

    def last_used(self, version: LoadedVersion) -> float:
        """Tell when a version was last asked, in seconds of the loop's clock."""

    def refused(self, refusal: Refusal) -> None:
        """Hear of a version that failed a check."""

    async def settled(self) -> None:
        """Hear that a change is complete."""


class Keeper:
    """Loads, swaps and unloads the versions of one repository.

    Args:
        root: The repository's directory.
        loader: Loads one version.
        selection: Which versions are wanted.
        listener: Hears of every change.
        max_bytes: How much memory versions that are loaded on demand may take,
            by estimate; None for any.
        stopping: Whether the server is to end: then nothing more is loaded.
    """

    def __init__(
        self,
        root: Path,
        loader: Loader,
        selection: Selection,
        listener: Listener,
        *,
        max_bytes: int | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.catalog = Catalog()
        self._root = root
        self._loader = loader
        self._on_demand = selection.on_demand
        self._wanted = Wanted(selection)
        self._listener = listener
        self._max_bytes = max_bytes
        self._stopping = stopping
        self._lock = asyncio.Lock()
        self._hot = False
        self._seen: dict[str, ModelOnDisk] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    async def watch(self, seconds: float) -> None:
        """Look for changes again and again, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except Exception:  # whatever happens once, it is looked again
                log.exception("unforeseen error while looking for changes")

    async def refresh(self, again: str | None = None) -> None:
        """Bring what answers in step with the disk.

        The first time nobody is served yet; afterwards loads keep out of the
        way of those who are.

        Args:
            again: A model that is looked at although nothing has changed.
        """
        async with self._lock:
            try:
                on_disk = await asyncio.to_thread(scan, self._root)
            except OSError as error:
                log.error("repository can't be read; what is loaded stays", reason=error.strerror)
                return
            changed = False
            for name in sorted({*on_disk, *self.catalog.names}):
                found = on_disk.get(name, ModelOnDisk())
                if self._stopping():
                    return
                same = found == self._seen.get(name) and not self.catalog[name].outdated
                if found is not None and (not same or name == again):
                    await self._refresh_model(name, found)
                    changed = True
            self._hot = True
            if changed:
                await self._listener.settled()

    async def load(self, model: str, version: int | None = None) -> None:
        """Serve again what was unloaded, and try again what was refused.

        Args:
            model: Which one.
            version: One that is to answer whatever the selection says.

        Raises:
            NotFoundError: There is no such model or version on the disk.
            BundleRefusedError: The version failed a check; without a version,
                the latest one did. What answered before still does.
        """
        found = await self._look_up(model, version)
        self._wanted.bring(model, version)
        known = self.catalog[model]
        known.refused = {}
        await self.refresh(again=model)
        asked = version if version is not None else max(found.versions)
        if self._on_demand:
            await self.demand(model, asked)
        if refusal := known.refused.get(asked):
            self._wanted.unpin(model, asked)
            raise BundleRefusedError(
                refusal.reason, f"{model} v{asked} was refused: {refusal.message}"
            )

    async def unload(self, model: str, version: int | None = None) -> None:
        """Stop to serve a model, or one version of it, until it is loaded again by `load`.

        Raises:
            NotFoundError: There is no such model or version on the disk.
        """
        ready = self.catalog[model].ready if model in self.catalog.models else {}
        if version not in ready and not (version is None and ready):
            await self._look_up(model, version)
        self._wanted.put_away(model, version)
        await self.refresh(again=model)

    async def set_alias(self, model: str, alias: str, version: int | None) -> None:
        """Make an alias name a version, which is loaded first; None drops the alias.

        Raises:
            NotFoundError: There is no such model or version on the disk.
            InvalidInputError: The alias can't be one.
            BundleRefusedError: The version failed a check; the alias is as it was.
            UnavailableError: The repository can't be written to.
        """
        check_alias(alias)
        if version is not None:
            await self.load(model, version)
        else:
            await self._look_up(model, None)
        async with self._lock:
            await asyncio.to_thread(write_alias, self._root / model, alias, version)
        if version is not None:
            self._wanted.unpin(model, version)  # the alias holds it now
        await self.refresh(again=model)

    async def _look_up(self, model: str, version: int | None) -> ModelOnDisk:
        on_disk = await asyncio.to_thread(scan, self._root)
        found = on_disk.get(model)
        if found is None or not found.versions:
            raise NotFoundError(f"no model {model[:80]!r}; the repository has: {listed(on_disk)}")
        if version is not None and version not in found.versions:
            there = listed(sorted(found.versions))
            raise NotFoundError(f"{model} has no version {version}; the repository has: {there}")
        return found

    async def demand(self, model: str, version: int) -> None:
        """Load a dormant version, unless it is loaded meanwhile or no longer there.

        Raises:
            BundleRefusedError: It failed a check; another may answer in its place.
            OverloadedError: It can't fit into the memory that there is for all.
            UnavailableError: The server is to end.
        """
        async with self._lock:
            known, found = self.catalog[model], self._seen[model]
            if version not in known.dormant or version in known.ready:
                return
            if self._stopping():
                raise UnavailableError("the server is shutting down; call another one")
            await self._load(model, version, found.versions[version])
            refusal = known.refused.get(version)
            if refusal is not None:
                known.dormant = frozenset(self._wanted.choose(model, known, found))
            await self._listener.settled()
        if refusal is not None:
            raise BundleRefusedError(refusal.reason, refusal.message)

    async def _make_room(self, model: str, signature: Signature) -> None:
        """Unload what wasn't asked for the longest, until a version of these files fits."""
        if self._max_bytes is None:
            return
        size = sum(size for name, _, size, *_ in signature if name == GRAPH)
        needed = memory_bytes(size, SESSIONS)
        if needed > self._max_bytes:
            raise OverloadedError(
                f"{model} needs about {needed / 1e6:,.0f} MB, and all models together may take "
                f"{self._max_bytes / 1e6:,.0f} MB here; raise --max-memory-mb"
            )
        loop = asyncio.get_running_loop()
        while (loaded := list(self.catalog)) and (
            sum(version.model.memory_bytes for version in loaded) + needed > self._max_bytes
        ):
            oldest = min(loaded, key=self._listener.last_used)
            # Who waited for it must have had a turn, or two models could drive each other out.
            rest = self._listener.last_used(oldest) + RESIDENCE_SECONDS - loop.time()
            if rest > 0:
                await asyncio.sleep(rest)
                continue
            name, number = oldest.key
            del self.catalog[name].ready[number]
            log.info("version unloaded to make room", model=name, version=number)
            await self._listener.retire(oldest)

    async def close(self) -> None:
        """Wait for a load that is under way, and for the versions that are on their way out."""
        async with self._lock:
            pass
        await asyncio.gather(*self._retiring, return_exceptions=True)

    async def _refresh_model(self, name: str, found: ModelOnDisk) -> None:
        known = self.catalog[name]
        self._forget_changed(known, found)
        # What sleeps is loaded when it is asked for; what answers is followed by what loads.
        if not self._on_demand or known.ready:
            await self._load_wanted(name, known, found)
        if self._stopping():
            return
        wanted = self._wanted.choose(name, known, found)
        known.aliases = self._wanted.aliases(name, known, found)
        known.dormant = frozenset(wanted) if self._on_demand else frozenset()
        for number in sorted(known.ready.keys() - set(wanted)):
            self._retire(known.ready.pop(number))
        self._seen[name] = found

    def _forget_changed(self, known: CatalogedModel, found: ModelOnDisk) -> None:
        """Forget why a version was refused once its files are others, or gone."""
        for number in list(known.refused):
            if found.versions.get(number) != known.signatures.get(number):
                del known.refused[number]

    async def _load_wanted(self, name: str, known: CatalogedModel, found: ModelOnDisk) -> None:
        """Load what is wanted and not there; a refusal may make another one wanted."""
        while not self._stopping():
            missing = [
                number
                for number in self._wanted.choose(name, known, found)
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
        if self._on_demand:
            await self._make_room(name, signature)
        try:
            loaded = await asyncio.to_thread(
                self._loader.load, self._root / name / str(number), hot=self._hot, like=like
            )
        except BundleRefusedError as error:
            known.signatures[number] = signature
            known.refused[number] = Refusal(name, number, error.reason, error.message)
            log.error(
                "bundle refused",
                model=name,
                version=number,
                reason=error.reason,
                message=error.message,
            )
            self._listener.refused(known.refused[number])
            return
        known.signatures[number] = signature
        self._listener.ready(loaded)
        before = known.ready.get(number)
        known.ready[number] = loaded
        if before is not None:
            self._retire(before)

    def _retire(self, version: LoadedVersion) -> None:
        """Let a version end in its own time."""
        model, number = version.key
        log.info("version retires", model=model, version=number)
        task = asyncio.create_task(self._listener.retire(version))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
