"""Fetches what is desired of a remote repository, without blocking the event loop."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Generic

from convscope.server.errors import UnavailableError
from convscope.server.repository.catalog import Catalog
from convscope.server.repository.desired import DesiredVersions
from convscope.server.repository.loader import V
from convscope.server.repository.plan import desired_versions
from convscope.server.repository.rejection import Rejection
from convscope.server.repository.remote.sync import RepositorySync
from convscope.server.repository.remote.threads import in_daemon_thread
from convscope.server.repository.scan import ModelOnDisk

__all__ = ["RemotePoller"]


class RemotePoller(Generic[V]):
    """Keeps a manager's directory in step with a remote, as far as its versions are desired.

    Args:
        sync: The remote, and its cache: the manager's directory.
        catalog: What serves.
        desired: What should serve.
    """

    def __init__(self, sync: RepositorySync, catalog: Catalog[V], desired: DesiredVersions) -> None:
        self.rejections: list[Rejection] = []
        self.models: Mapping[str, ModelOnDisk] = {}
        self.attempted = asyncio.Event()  # set after the first fetch, whether it succeeds or fails
        self._sync = sync
        self._catalog = catalog
        self._desired = desired

    async def fetch(self) -> bool:
        """Bring the cache in step with the remote.

        Afterwards `models` is what the remote has, desired or not, and
        `rejections` is why some desired versions can't be fetched.

        Returns:
            Whether the remote could be reached.
        """
        try:
            models = await in_daemon_thread(self._sync.list_models)
            if models is None:
                return False
            self.models = models
            self.rejections = await in_daemon_thread(partial(self._sync.fetch, self._needed()))
            return True
        finally:
            self.attempted.set()

    async def prune(self) -> None:
        """Remove from the cache what is neither desired nor serves."""
        kept = {name: set(numbers) for name, numbers in self._needed().items()}
        for name in self._catalog.names:
            kept.setdefault(name, set()).update(self._catalog.get(name).routing.unloaded)
        await in_daemon_thread(partial(self._sync.keep, kept))

    def refetch(self, model: str) -> None:
        """Fetch the rejected versions of a model again, at the next fetch."""
        self._sync.refetch(model, self._catalog.get(model).rejected)

    def warn_of_delay(self, seconds: float) -> None:
        """Log and count that the remote's versions aren't here after this time."""
        self._sync.warn(f"the selected versions have not arrived within {seconds:g} s")

    def check_reached(self) -> None:
        """Check that what the remote has is here.

        Raises:
            UnavailableError: It isn't.
        """
        if self._sync.problem is not None:
            raise UnavailableError(
                f"the repository is not available: {self._sync.problem}; "
                "the versions loaded before still serve"
            )

    def _needed(self) -> dict[str, set[int]]:
        """The versions that must be on disk: also those that serve or were rejected.

        A rejected version stays for as long as the remote has it. Otherwise it
        would be fetched and rejected again and again.
        """
        needed = {}
        for name, found in self.models.items():
            known = self._catalog.get(name)
            desired = desired_versions(self._desired.of(name), known.observe(found))
            needed[name] = {*desired, *known.ready, *known.rejected} & found.versions.keys()
        return needed
