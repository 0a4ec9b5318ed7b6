"""CPU time of process trees and of the whole machine, from Linux's /proc."""

import ctypes
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError

__all__ = ["Usage", "Watch", "adopt_orphans", "family", "tree_seconds"]

TICKS = os.sysconf("SC_CLK_TCK")
# A process that ends during a scan moves its time to its parent, which may have been read before.
SCANS = 5
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Usage:
    """The CPU time that was used in a window.

    Args:
        began: The start of the window, in seconds since the epoch.
        seconds: The duration of the window.
        others: The share of the machine, from 0 to 1, that other programs and the hypervisor used.
        cpu_seconds: The CPU time of each watched process tree, by name.
    """

    began: float
    seconds: float
    others: float
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> float:
        """Return the end of the window, in seconds since the epoch."""
        return self.began + self.seconds

    def cores(self, name: str) -> float:
        """Return how many cores a watched process tree kept busy on average."""
        return self.cpu_seconds[name] / self.seconds


class Watch:
    """Measures the CPU time from its creation until `read`.

    What the bench uses is the time of its own process and of all its descendants: the servers,
    the peers and the load generators. The rest of the machine's busy time belongs to others.

    Args:
        trees: The roots of the process trees that are reported separately, by name.
    """

    def __init__(self, **trees: Sequence[int]) -> None:
        self._trees = trees
        self._before = _Reading.take(trees)

    def read(self) -> Usage:
        """Return the usage since the creation."""
        before, after = self._before, _Reading.take(self._trees)
        total = after.total - before.total
        others = (after.busy - before.busy) - (after.own - before.own)
        return Usage(
            before.at,
            after.at - before.at,
            max(0.0, others / total) if total else 0.0,
            {name: after.trees[name] - before.trees[name] for name in self._trees},
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    at: float
    busy: float
    total: float
    own: float
    trees: dict[str, float]

    @classmethod
    def take(cls, roots: Mapping[str, Sequence[int]]) -> "_Reading":
        trees = {name: sum(map(tree_seconds, pids)) for name, pids in roots.items()}
        busy, total = _machine_seconds()
        return cls(time.time(), busy, total, tree_seconds(os.getpid()), trees)


def tree_seconds(pid: int) -> float:
    """Return the user and system time of a process and its descendants, ended ones included.

    A process contains the time of the children that it waited for. It is consistent to add this
    to the time of the children that exist.

    Raises:
        BenchError: The process does not exist.
    """
    for _ in range(SCANS):
        try:
            return sum(_process_seconds(each) for each in family(pid))
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise BenchError(f"the CPU time of process {pid} can't be read")


def family(pid: int) -> list[int]:
    """Return the ids of a process and its descendants.

    Raises:
        FileNotFoundError: The process, or one of its descendants, ended meanwhile.
    """
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            found.extend(int(child) for child in (task / "children").read_text().split())
    return found


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent ends, so that they count."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _process_seconds(pid: int) -> float:
    # The name, in parentheses, may contain spaces. utime, stime, cutime and cstime are the
    # 14th to 17th fields.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(each) for each in fields[11:15]) / TICKS


def _machine_seconds() -> tuple[float, float]:
    """Return the busy time and the total time of all cores. Stolen time counts as busy."""
    with Path("/proc/stat").open() as stat:
        # user, nice, system, idle, iowait, irq, softirq, steal; user contains the guests' time.
        fields = [int(each) for each in stat.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS, sum(fields) / TICKS
