"""The memory, descriptors and threads of a server and its descendants."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Self

from bench.cpu import family

__all__ = ["Usage", "processes"]

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Process:
    """One process.

    Args:
        name: What it is, with its id.
        mib: Its resident memory, in MiB.
        descriptors: How many it has open.
        threads: How many it has.
    """

    name: str
    mib: float
    descriptors: float
    threads: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes take, by id."""

    by_pid: dict[int, Process]

    @classmethod
    def median(cls, samples: Sequence[Self]) -> Self:
        """Return the median of each process that the last sample has."""
        found = {}
        for pid in samples[-1].by_pid:
            seen = [sample.by_pid[pid] for sample in samples if pid in sample.by_pid]
            found[pid] = Process(
                seen[0].name,
                median(one.mib for one in seen),
                median(one.descriptors for one in seen),
                median(one.threads for one in seen),
            )
        return cls(found)

    def rows(self) -> Iterator[str]:
        """Return the cells of each process."""
        for one in self.by_pid.values():
            yield f"{one.name} | {one.mib:.1f} | {one.descriptors:.0f} | {one.threads:.0f}"

    def growth_since(self, before: Self) -> dict[str, float]:
        """Return by how many MiB each process grew that existed before."""
        return {
            one.name: one.mib - before.by_pid[pid].mib
            for pid, one in self.by_pid.items()
            if pid in before.by_pid
        }


def processes(pid: int) -> Usage:
    """Return what a process and its descendants take now."""
    found = {}
    for each in _family(pid):
        directory = Path(f"/proc/{each}")
        try:
            status = dict(
                line.split(":", 1) for line in (directory / "status").read_text().splitlines()
            )
            descriptors = len(list((directory / "fd").iterdir()))
            name = "server" if each == pid else _name(directory, status, pid)
        except OSError:  # it ended meanwhile
            continue
        if "VmRSS" in status:
            mib = int(status["VmRSS"].split()[0]) * 1024 / MIB
            found[each] = Process(f"{name} {each}", mib, descriptors, int(status["Threads"]))
    return Usage(found)


def _name(directory: Path, status: Mapping[str, str], server: int) -> str:
    command = (directory / "cmdline").read_bytes()
    if b"decoding.webp" in command:
        return "decoder"
    # A validator that was forked has the command of what it was forked from.
    is_worker = b"--worker-socket" in command and int(status["PPid"]) == server
    return "worker" if is_worker else "validator"


def _family(pid: int) -> list[int]:
    while True:
        try:
            return family(pid)
        except OSError:  # a process ended meanwhile
            continue
