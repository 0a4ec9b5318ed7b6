"""What validating one version may take."""

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Limits", "machine_bytes", "megabytes", "shown_seconds"]

CGROUP = Path("/sys/fs/cgroup")
# By default, a version may take this much, and a multiple of its graph's size: the graph is
# parsed, checked, cut, and then held by a session, plain and packed.
BASE_BYTES = 2**30
GRAPH_FACTOR = 6
# For each input of a full batch. A VGG16 takes 25 MB for an image of 224 x 224.
INPUT_BYTES = 32 * 2**20
# On a busy machine, requests come first, so that a second of CPU takes several.
CLOCK_FACTOR = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What validating one version may take.

    Args:
        seconds: Seconds of CPU. By the clock, it may take five times as long.
        memory_bytes: The memory, beside that of the process before; None derives it from the
            machine and from the size of the graph.
    """

    seconds: float = 60.0
    memory_bytes: int | None = None

    @property
    def clock_seconds(self) -> float:
        """Seconds by the clock."""
        return CLOCK_FACTOR * self.seconds

    def memory_for(self, graph_bytes: int, batch: int = 0) -> int:
        """Return the limit of the memory.

        Args:
            graph_bytes: The size of the graph.
            batch: The inputs of the batch that it holds for.
        """
        if self.memory_bytes is not None:
            return self.memory_bytes
        size = BASE_BYTES + GRAPH_FACTOR * graph_bytes + INPUT_BYTES * batch
        return min(size, machine_bytes() // 2)


def megabytes(size: float) -> str:
    """Return a size for a message."""
    return f"{size / 1e6:,.{0 if size >= 1e7 else 1}f} MB"


def shown_seconds(seconds: float) -> str:
    """Return a time for a message."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2g} s"


def machine_bytes(cgroup: Path = CGROUP) -> int:
    """Return the memory of this machine, or what a container may take of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Version 2 of control groups, and version 1, whose number for no limit is larger than any.
    for path in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        try:
            return min(total, int(path.read_text()))
        except (OSError, ValueError):  # ValueError: "max"
            continue
    return total
