"""What the machine gives to this process."""

import ctypes
import gc
import math
import os
from pathlib import Path

__all__ = ["available_cores", "settle_memory", "trim_memory"]

CGROUP = Path("/sys/fs/cgroup")


def available_cores(cgroup: Path = CGROUP) -> int:
    """Count the cores that this process may use: by its affinity, and by its container's quota.

    Threads beyond the quota would only be stopped again and again.
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = _quota(cgroup)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def settle_memory() -> None:
    """Leave what was loaded to itself, and give back what was needed for it only.

    The collector would walk all of it again and again.
    """
    gc.collect()
    gc.freeze()
    trim_memory()


def trim_memory() -> None:
    """Give free memory back to the system.

    The C library keeps it for later: tens of megabytes after a graph was parsed.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)


def _quota(cgroup: Path) -> float | None:
    """The cores that a control group allows, by its second version or its first."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        return float(quota) / float(period) if float(quota) > 0 else None
    except ValueError:  # "max"
        return None
