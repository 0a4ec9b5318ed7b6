"""The bound on the memory of versions that are loaded on demand, by estimate."""

from collections.abc import Iterable
from dataclasses import dataclass

from convscope.bundle.layout import GRAPH
from convscope.server.errors import BundleRejectedError
from convscope.server.repository.loader import Version
from convscope.server.repository.scan import Signature

__all__ = ["MemoryBudget", "graph_bytes"]


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """How much memory the loaded versions may take.

    Args:
        max_bytes: The bound; None for none.
    """

    max_bytes: int | None

    def check(self, needed_bytes: int) -> None:
        """Check that a version fits at all, if nothing else is loaded.

        Raises:
            BundleRejectedError: It doesn't.
        """
        if self.max_bytes is not None and needed_bytes > self.max_bytes:
            raise BundleRejectedError(
                "memory",
                f"it needs about {needed_bytes / 1e6:,.0f} MB, and all models together may take "
                f"{self.max_bytes / 1e6:,.0f} MB here; raise --max-memory-mb",
            )

    def has_room(self, needed_bytes: int, loaded: Iterable[Version]) -> bool:
        """Whether a version fits beside the loaded ones."""
        if self.max_bytes is None:
            return True
        return needed_bytes + sum(version.memory_bytes for version in loaded) <= self.max_bytes


def graph_bytes(files: Signature) -> int:
    """Return the size of a version's graph."""
    return sum(size for name, _, size, *_ in files if name == GRAPH)
