"""How a process returns memory to the system."""

import ctypes
from contextlib import suppress

__all__ = ["keep_freed_memory"]

# Parameters of mallopt() in glibc, which have no names in Python.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_BLOCK = 32 * 2**20  # glibc accepts no higher threshold
KEPT = 256 * 2**20


def keep_freed_memory() -> None:
    """Let this process keep its freed memory for the next tensors of usual sizes.

    By default, glibc returns most tensors to the system as soon as they are freed. The system
    clears the memory for each new one, which takes a large part of an export, above all on a
    virtual machine. Other C libraries have no such parameters, and keep their behavior.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  # other libraries number their parameters otherwise
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
        library.mallopt(M_TRIM_THRESHOLD, KEPT)
