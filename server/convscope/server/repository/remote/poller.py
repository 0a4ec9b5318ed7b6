"""Brings what a keeper wants from a remote repository, beside the event loop."""

import asyncio
from collections.abc import Mapping
from functools import partial

from convscope.server.errors import UnavailableError
from convscope.server.repository.catalog import Catalog
from convscope.server.repository.desired import DesiredVersions
from convscope.server.repository.disk import ModelOnDisk
from convscope.server.repository.remote.sync import RepositorySync
from convscope.server.repository.remote.threads import in_daemon_thread
from convscope.server.runtime.versions import Rejection

__all__ = ["RemotePoller"]


class RemotePoller:
    """What stands between a keeper and its directory when that is the mirror of a remote.

    Args:
        mirror: The remote's copy.
        catalog: What answers.
        wanted: What is to answer.
    """

    def __init__(self, sync: RepositorySync, catalog: Catalog, wanted: DesiredVersions) -> None:
        self.rejections: list[Rejection] = []
        self.models: Mapping[str, ModelOnDisk] = {}
        self.heard = asyncio.Event()  # set once it was fetched for the first time, or couldn't be
        self._sync = sync
        self._catalog = catalog
        self._wanted = wanted

    async def fetch(self) -> bool:
        """Bring the mirror's directory in step with the remote.

        `models` is what the remote has then, whether wanted or not, and
        `refusals` why some that is wanted can't be brought.

        Returns:
            Whether the remote could be reached.
        """
        try:
            models = await in_daemon_thread(self._sync.look)
            if models is None:
                return False
            self.models = models
            self.rejections = await in_daemon_thread(partial(self._sync.fetch, self._to_have()))
            return True
        finally:
            self.heard.set()

    async def tidy(self) -> None:
        """Remove from the mirror's directory what is neither wanted nor answers."""
        kept = {name: set(numbers) for name, numbers in self._to_have().items()}
        for name in self._catalog.names:
            kept.setdefault(name, set()).update(self._catalog[name].unloaded)
        await in_daemon_thread(partial(self._sync.keep, kept))

    def try_again(self, model: str) -> None:
        """Have what was refused of a model fetched anew."""
        known = model in self._catalog.names  # who asks for a stranger leaves no trace of it
        self._sync.try_again(model, self._catalog[model].refused if known else ())

    def warn_of_silence(self, seconds: float) -> None:
        """Let everybody know that the remote isn't here after so long."""
        self._sync.warn(f"what is wanted of it hasn't arrived within {seconds:g} s")

    def check_reached(self) -> None:
        """Check that what the remote has is here.

        Raises:
            UnavailableError: It isn't.
        """
        if self._sync.problem is not None:
            raise UnavailableError(
                f"the repository can't be followed: {self._sync.problem}; "
                "what was loaded before answers"
            )

    def _to_have(self) -> dict[str, set[int]]:
        """The versions that are to be on the disk: also those that answer or were refused.

        A version that was refused stays for as long as the remote has it, or
        it would be fetched and refused again and again.
        """
        chosen = {}
        for name, found in self.models.items():
            known = self._catalog[name]
            numbers = {*self._wanted.choose(name, known, found), *known.ready, *known.refused}
            chosen[name] = numbers & found.versions.keys()
        return chosen
