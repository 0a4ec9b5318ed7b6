"""The memory that versions may take that are loaded on demand."""

import asyncio
from typing import Protocol

import structlog

from convscope.bundle.layout import GRAPH
from convscope.server.errors import BundleRejectedError
from convscope.server.repository.catalog import Catalog
from convscope.server.repository.disk import Signature
from convscope.server.runtime.model import memory_bytes
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["Memory"]

log = structlog.get_logger(__name__)

# So long a version that was loaded on demand stays at least.
RESIDENCE_SECONDS = 0.2
# A version that was loaded beside others has one for a lone call, and one for a crowd.
SESSIONS = 2


class Users(Protocol):
    """Knows who uses what is loaded."""

    def last_used(self, version: LoadedVersion) -> float:
        """Tell when a version was last asked, in seconds of the loop's clock."""

    async def retire(self, version: LoadedVersion) -> None:
        """Hear of a version that no new request reaches; return when its last one is done."""


class Memory:
    """Keeps the versions of a catalog below a bound, by estimate.

    Args:
        catalog: What is loaded.
        users: Know when it was used, and let go of it.
        max_bytes: The bound; None for any.
    """

    def __init__(self, catalog: Catalog, users: Users, max_bytes: int | None) -> None:
        self._catalog = catalog
        self._users = users
        self._max_bytes = max_bytes

    def has_room(self, signature: Signature) -> bool:
        """Whether a version of these files fits beside what is loaded."""
        if self._max_bytes is None:
            return True
        taken = sum(version.model.memory_bytes for version in self._catalog)
        return taken + _needed_bytes(signature) <= self._max_bytes

    async def make_room(self, signature: Signature) -> None:
        """Unload what wasn't asked for the longest, until a version of these files fits.

        Raises:
            BundleRejectedError: It never will.
        """
        needed = _needed_bytes(signature)
        if self._max_bytes is not None and needed > self._max_bytes:
            raise BundleRejectedError(
                "memory",
                f"it needs about {needed / 1e6:,.0f} MB, and all models together may take "
                f"{self._max_bytes / 1e6:,.0f} MB here; raise --max-memory-mb",
            )
        loop = asyncio.get_running_loop()
        while not self.has_room(signature) and (loaded := list(self._catalog)):
            oldest = min(loaded, key=self._users.last_used)
            # Who waited for it must have had a turn, or two models could drive each other out.
            rest = self._users.last_used(oldest) + RESIDENCE_SECONDS - loop.time()
            if rest > 0:
                await asyncio.sleep(rest)
                continue
            name, number = oldest.key
            del self._catalog[name].ready[number]
            log.info("version unloaded to make room", model=name, version=number)
            await self._users.retire(oldest)


def _needed_bytes(signature: Signature) -> int:
    """Estimate what a version of these files takes."""
    return memory_bytes(sum(size for name, _, size, *_ in signature if name == GRAPH), SESSIONS)
