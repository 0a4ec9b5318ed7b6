"""The memory of a process and its children, and its growth."""

from collections.abc import Sequence
from pathlib import Path

from bench.cpu import family

__all__ = ["resident_mb", "slope"]

MEGABYTE = 1e6


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its descendants, in units of 10^6 bytes."""
    return sum(_resident_bytes(each) for each in family(pid)) / MEGABYTE


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the least-squares slope of y over x."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)


def _resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
