"""What an operator asks of a running server: load, unload, aliases, trials."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict

import structlog

from convscope.bundle.traffic import Kind, TrafficSplit
from convscope.server.errors import BundleRejectedError, NotFoundError, ReadOnlyError
from convscope.server.repository.catalog import Catalog, listed
from convscope.server.repository.changes import (
    check_alias,
    check_split,
    write_alias,
    write_split,
)
from convscope.server.repository.disk import ModelOnDisk, scan
from convscope.server.repository.manager import ModelManager

__all__ = ["Operator"]

log = structlog.get_logger(__name__)


class Operator:
    """Changes what is wanted of a repository, and tells what became of it.

    Args:
        keeper: Keeps what answers in step with it.
    """

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager

    @property
    def catalog(self) -> Catalog:
        """What answers now."""
        return self._manager.catalog

    async def load(self, model: str, version: int | None = None) -> None:
        """Serve again what was unloaded, and try again what was refused.

        Args:
            model: Which one.
            version: One that is to answer whatever the selection says.

        Raises:
            NotFoundError: There is no such model or version in the repository.
            BundleRejectedError: The version failed a check; without a version,
                the latest one did. What answered before still does.
            UnavailableError: The repository is a remote, and can't be reached.
        """
        await self._manager.look_upstream(model)  # what was published a moment ago is known then
        found = await self._look_up(model, version)
        self._manager.wanted.bring(model, version)
        log.info("load asked for by an operator", model=model, version=version)
        if version is None:
            self.catalog[model].refused = {}
        asked = version if version is not None else max(found.versions)
        try:
            await self._try_again(model, asked)
        except BundleRejectedError:
            self._manager.wanted.unpin(model, asked)
            raise

    async def _try_again(self, model: str, version: int) -> None:
        """Load what is wanted of a model, a version too that was refused; raises if it still is."""
        known = self.catalog[model]
        known.refused.pop(version, None)
        await self._manager.refresh(again=model)
        there = version in known.ready or version in known.unloaded
        if self._manager.poller is not None and not there:
            self._manager.poller.check_reached()
        if version in known.unloaded:
            await self._manager.demand(model, version)
        if rejection := known.refused.get(version):
            raise BundleRejectedError(
                rejection.reason, f"{model} v{version} was refused: {rejection.message}"
            )

    async def unload(self, model: str, version: int | None = None) -> None:
        """Stop to serve a model, or one version of it, until it is loaded again by `load`.

        Raises:
            NotFoundError: There is no such model or version on the disk.
        """
        ready = self.catalog[model].ready if model in self.catalog.models else {}
        if version not in ready and not (version is None and ready):
            await self._look_up(model, version)
        self._manager.wanted.put_away(model, version)
        log.info("unloaded by an operator", model=model, version=version)
        await self._manager.follow_disk(again=model)

    async def set_alias(self, model: str, alias: str, version: int | None) -> None:
        """Make an alias name a version, which is loaded first; None drops the alias.

        Raises:
            NotFoundError: There is no such model or version on the disk.
            InvalidInputError: The alias can't be one.
            BundleRejectedError: The version failed a check; the alias is as it was.
            ReadOnlyError: The directory is the copy of a remote.
            UnavailableError: The repository can't be written to.
        """
        self._check_writable("aliases", "promote MODEL VERSION --alias ALIAS")
        check_alias(alias)
        await self._look_up(model, version)
        async with self._holding(model, version):
            await asyncio.to_thread(write_alias, self._manager.root, model, alias, version)
            log.info("alias set", model=model, alias=alias, version=version)

    async def set_trial(self, model: str, kind: Kind, trial: TrafficSplit | None) -> None:
        """Send a share of a model's requests to another version, loaded first; None ends it.

        Args:
            model: Which one.
            kind: "canary" or "shadow".
            trial: The share and where it goes.

        Raises:
            NotFoundError: There is no such model, version or alias on the disk.
            InvalidInputError: The share can't be one.
            BundleRejectedError: The version failed a check; nothing has changed.
            ReadOnlyError: The directory is the copy of a remote.
            UnavailableError: The repository can't be written to.
        """
        self._check_writable("trials", f"{kind} MODEL VERSION --share SHARE")
        found = await self._look_up(model, None)
        number = None
        if trial is not None:
            check_split(kind, trial)
            number = _number(model, trial, found.aliases or {})
            await self._look_up(model, number)
        async with self._holding(model, number):
            await asyncio.to_thread(write_split, self._manager.root, model, kind, trial)
            shown = {} if trial is None else asdict(trial)
            log.info("trial set" if trial else "trial ended", model=model, kind=kind, **shown)

    def _check_writable(self, what: str, command: str) -> None:
        if self._manager.poller is not None:
            raise ReadOnlyError(
                f"the {what} of a remote repository are written where it is: "
                f"convscope-exporter {command} --repository URL"
            )

    @asynccontextmanager
    async def _holding(self, model: str, version: int | None) -> AsyncIterator[None]:
        """Load a version beside the others, and keep it while something is made to name it.

        What was unloaded by an operator stays so if that fails.
        """
        wanted = self._manager.wanted
        if version is not None:
            wanted.hold(model, version)
        try:
            if version is not None:
                await self._try_again(model, version)
            yield
            if version is not None:
                wanted.named(model, version)
        finally:
            if version is not None:
                wanted.release(model, version)
            await self._manager.refresh(again=model)

    async def _look_up(self, model: str, version: int | None) -> ModelOnDisk:
        poller = self._manager.poller
        there: Mapping[str, ModelOnDisk | None] = poller.models if poller else {}
        on_disk = there or await asyncio.to_thread(scan, self._manager.root)
        found = on_disk.get(model)
        if found is None or not found.versions:
            raise NotFoundError(f"no model {model[:80]!r}; the repository has: {listed(on_disk)}")
        if version is not None and version not in found.versions:
            numbers = listed(sorted(found.versions))
            raise NotFoundError(f"{model} has no version {version}; the repository has: {numbers}")
        return found


def _number(model: str, trial: TrafficSplit, aliases: Mapping[str, int]) -> int:
    """The version that a trial goes to; its aliases must be there."""
    for name in (trial.to, trial.of):
        if isinstance(name, str) and name not in aliases:
            there = listed(sorted(aliases)) or "none"
            raise NotFoundError(f"{model} has no alias {name[:80]!r}; it has: {there}")
    return trial.to if isinstance(trial.to, int) else aliases[trial.to]
