"""The processes of this machine, as the system shows them."""

import os
from pathlib import Path

__all__ = ["anonymous_mb", "descendants", "is_running"]


def descendants(pid: int) -> set[int]:
    """Return the processes that a process has started, and those that they have started."""
    parents: dict[int, int] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and (stat := _stat(int(path.name))):
            parents[int(path.name)] = int(stat[1])
    found, added = set[int](), {pid}
    while added:
        added = {child for child, parent in parents.items() if parent in added}
        found |= added
    return found


def is_running(pid: int) -> bool:
    """Report whether a process exists and is not a zombie."""
    stat = _stat(pid)
    return bool(stat) and stat[0] != "Z"


def anonymous_mb(pid: int) -> float:
    """Return the memory of a process without that of files, in units of 10^6 bytes."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _stat(pid: int) -> list[str]:
    """Return the fields of a process's status after its name; nothing if it doesn't exist."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
