"""The memory of a process: what it takes, its peak, and its limit."""

import re
import resource
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from convscope.server.observability.out_of_memory import causes

__all__ = [
    "Meter",
    "anonymous_bytes",
    "lift_memory_limit",
    "limit_memory",
    "requested_bytes",
]

# Threads reserve stacks, and the C library reserves arenas, of which little is used.
RESERVED_BYTES = 512 * 2**20
_PAGE_BYTES = resource.getpagesize()
# What ONNX Runtime's error states if memory can't be allocated.
_REQUESTED = re.compile(r"requested buffer of size (\d+)")


class Meter:
    """Measures the memory of this process, beside what it had at the start.

    Where the system doesn't report it, everything is 0.
    """

    def __init__(self) -> None:
        self._highest_bytes = 0  # before the last reset
        self._start_bytes = 0
        self._start_bytes = self.now_bytes()
        self.reset()
        self._highest_bytes = 0

    def now_bytes(self) -> int:
        """Return the memory now."""
        return _status().get("RssAnon", 0) - self._start_bytes

    def peak_bytes(self) -> int:
        """Return the highest memory since the last reset."""
        status = _status()
        files = status.get("RssFile", 0) + status.get("RssShmem", 0)
        return max(0, status.get("VmHWM", 0) - files - self._start_bytes)

    def highest_bytes(self) -> int:
        """Return the highest memory since the start."""
        return max(self._highest_bytes, self.peak_bytes())

    def reset(self) -> None:
        """Forget the peak."""
        self._highest_bytes = max(self._highest_bytes, self.peak_bytes())
        with suppress(OSError):  # then the peak is that since the start
            Path("/proc/self/clear_refs").write_text("5")


def anonymous_bytes(pid: int) -> int:
    """Return the memory of a process without that of files; 0 if the system doesn't report it."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(pages[1]) - int(pages[2])) * _PAGE_BYTES


def limit_memory(more_bytes: int) -> None:
    """Let each allocation fail with which this process would have so much more memory."""
    status = _status()
    if "VmData" in status:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = status["VmData"] + more_bytes + RESERVED_BYTES
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def lift_memory_limit() -> None:
    """Undo `limit_memory`."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def requested_bytes(error: BaseException) -> int:
    """Return how much could not be allocated, or 0 if the error doesn't state it."""
    found = (_REQUESTED.search(str(one)) for one in causes(error))
    return next((int(match[1]) for match in found if match), 0)


def _status() -> Mapping[str, int]:
    """Return the sizes in the status of this process, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in pairs}
