"""What an operator changes on a running server: loads, exclusions, aliases, traffic splits."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Generic

import structlog

from convscope.bundle.suggestions import it_has
from convscope.bundle.traffic import Kind, TrafficSplit
from convscope.server.errors import (
    BundleRejectedError,
    NotFoundError,
    ReadOnlyError,
    UnknownModelError,
)
from convscope.server.repository.catalog import Catalog, listed
from convscope.server.repository.edits import (
    check_alias,
    check_split,
    write_alias,
    write_split,
)
from convscope.server.repository.loader import V
from convscope.server.repository.manager import ModelManager
from convscope.server.repository.scan import ModelOnDisk, scan

__all__ = ["Operator"]

log = structlog.get_logger(__name__)


class Operator(Generic[V]):
    """Overrides what is desired of a repository, and reports the outcome.

    Args:
        manager: Makes what serves what is desired.
    """

    def __init__(self, manager: ModelManager[V]) -> None:
        self._manager = manager

    @property
    def catalog(self) -> Catalog[V]:
        """What serves now."""
        return self._manager.catalog

    def problems(self, model: str) -> list[str]:
        """Return what is being loaded, what is unloaded, and what aliases and splits can't have."""
        overrides = self._manager.desired.of(model).overrides
        unloaded = {f"v{number} is unloaded": f"{model} {number}" for number in overrides.excluded}
        if overrides.excludes_model:
            unloaded = {f"{model} is unloaded": model}
        return [
            *self._loading(model),
            *(
                f"{what}; `convscope admin load {names}` loads it again"
                for what, names in sorted(unloaded.items())
            ),
            *self.catalog.get(model).routing.problems,
        ]

    def _loading(self, model: str) -> list[str]:
        """Return how long a version of a model has been loading, if one is."""
        loading = self._manager.loading
        if loading is None or loading.model != model:
            return []
        return [f"v{loading.version} has been loading for {loading.seconds:.0f} s"]

    async def load(self, model: str, version: int | None = None) -> None:
        """Serve again what was excluded, and try rejected versions again.

        Args:
            model: The model.
            version: A version that serves from now on, whatever the selection says.

        Raises:
            NotFoundError: There is no such model or version in the repository.
            BundleRejectedError: The version failed a check; without a version,
                the latest one did. What served before still does.
            UnavailableError: The repository is a remote, and can't be reached; nothing has changed.
        """
        await self._manager.refetch(model)  # finds versions that were published a moment ago
        found = await self._look_up(model, version)
        overrides = self._manager.desired.overrides(model)
        before = overrides.copy()
        overrides.load(version)
        after = overrides.to_json()
        if version is None:
            self._manager.forget_rejections(model)
        log.info("operator loads", model=model, version=version)
        asked = version if version is not None else max(found.versions)
        try:
            await self._try_again(model, asked)
        except BundleRejectedError:
            overrides.unpin(asked)
            raise
        except Exception:
            if overrides.to_json() == after:  # otherwise another operator's change counts
                overrides.restore(before)
            await self._manager.reconcile_disk()
            raise

    async def _try_again(self, model: str, version: int) -> None:
        """Load a desired version, also one that was rejected before.

        Raises:
            BundleRejectedError: It is rejected.
            UnavailableError: The repository is a remote, and can't be reached.
        """
        self._manager.forget_rejections(model, version)
        await self._manager.reconcile()
        if self._manager.poller is not None and version not in self.catalog.get(model).serving:
            self._manager.poller.check_reached()
        if version in self.catalog.get(model).routing.unloaded:
            await self._manager.load_on_demand(model, version)
        if rejection := self.catalog.get(model).rejected.get(version):
            raise BundleRejectedError(
                rejection.reason, f"{model} v{version} was rejected: {rejection.message}"
            )

    async def unload(self, model: str, version: int | None = None) -> None:
        """Stop serving a model, or one version of it, until `load` includes it again.

        Raises:
            NotFoundError: There is no such model or version on disk.
        """
        ready = self.catalog.get(model).ready
        if version not in ready and not (version is None and ready):
            await self._look_up(model, version)
        self._manager.desired.overrides(model).exclude(version)
        log.info("operator unloads", model=model, version=version)
        await self._manager.reconcile_disk()

    async def set_alias(self, model: str, alias: str, version: int | None) -> None:
        """Make an alias name a version, which is loaded first; None removes the alias.

        Raises:
            NotFoundError: There is no such model or version on disk.
            InvalidInputError: The name isn't a valid alias.
            BundleRejectedError: The version failed a check; the alias is unchanged.
            ReadOnlyError: The directory is the cache of a remote.
            UnavailableError: The repository can't be written to.
        """
        self._check_writable("aliases", "promote MODEL VERSION --alias ALIAS")
        check_alias(alias)
        await self._look_up(model, version)
        async with self._loaded(model, version):
            await asyncio.to_thread(write_alias, self._manager.root, model, alias, version)
            log.info("alias set", model=model, alias=alias, version=version)

    async def set_split(self, model: str, kind: Kind, split: TrafficSplit | None) -> None:
        """Send a share of a model's requests to another version, loaded first; None ends it.

        Args:
            model: The model.
            kind: "canary" or "shadow".
            split: The share and where it goes.

        Raises:
            NotFoundError: There is no such model, version or alias on disk.
            InvalidInputError: The share or the alias isn't valid.
            BundleRejectedError: The version failed a check; nothing has changed.
            ReadOnlyError: The directory is the cache of a remote.
            UnavailableError: The repository can't be written to.
        """
        self._check_writable("traffic splits", f"{kind} MODEL VERSION --share SHARE")
        found = await self._look_up(model, None)
        number = None
        if split is not None:
            check_split(kind, split)
            number = _number(model, split, found.aliases or {})
            await self._look_up(model, number)
        async with self._loaded(model, number):
            await asyncio.to_thread(write_split, self._manager.root, model, kind, split)
            shown = {} if split is None else asdict(split)
            event = "traffic split set" if split else "traffic split ended"
            log.info(event, model=model, kind=kind, **shown)

    def _check_writable(self, what: str, command: str) -> None:
        if self._manager.poller is not None:
            raise ReadOnlyError(
                f"the {what} of a remote repository can't be changed here; run "
                f"convscope-exporter {command} --repository URL"
            )

    @asynccontextmanager
    async def _loaded(self, model: str, version: int | None) -> AsyncIterator[None]:
        """Load a version beside the others, and keep it until something names it.

        An excluded version is excluded again if the context fails.
        """
        try:
            if version is None:
                yield
            else:
                with self._manager.desired.overrides(model).reserve(version):
                    await self._try_again(model, version)
                    yield
        finally:
            await self._manager.reconcile()

    async def _look_up(self, model: str, version: int | None) -> ModelOnDisk:
        poller = self._manager.poller
        known: Mapping[str, ModelOnDisk | None] = poller.models if poller else {}
        known = known or await asyncio.to_thread(scan, self._manager.root)
        found = known.get(model)
        if found is None or not found.versions:
            raise UnknownModelError(model, known, place="the repository")
        if version is not None and version not in found.versions:
            numbers = listed(sorted(found.versions))
            raise NotFoundError(f"{model} has no version {version}; the repository has: {numbers}")
        return found


def _number(model: str, split: TrafficSplit, aliases: Mapping[str, int]) -> int:
    """The version that a traffic split goes to; its aliases must exist."""
    for name in (split.to, split.of):
        if isinstance(name, str) and name not in aliases:
            raise NotFoundError(f"{model} has no alias {name[:80]!r}; {it_has(sorted(aliases))}")
    return split.to if isinstance(split.to, int) else aliases[split.to]
