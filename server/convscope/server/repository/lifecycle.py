"""The listener that follows versions through their lives."""

from typing import Protocol, TypeVar

from convscope.server.repository.loader import Version
from convscope.server.repository.rejection import Rejection

__all__ = ["LifecycleListener"]

V_contra = TypeVar("V_contra", bound=Version, contravariant=True)


class LifecycleListener(Protocol[V_contra]):
    """Follows what the manager loads and unloads, on the event loop."""

    def ready(self, version: V_contra) -> None:
        """Called just before the first request can reach a version."""

    async def retire(self, version: V_contra) -> None:
        """Called when no new request can reach a version; return after its last one."""

    def last_used(self, version: V_contra) -> float:
        """Return when a version was last used, in seconds of the loop's clock."""

    def rejected(self, rejection: Rejection) -> None:
        """Called when a version failed a check."""

    async def reconciled(self) -> None:
        """Called when a change is complete."""
