"""The memory of this process: what the garbage collector walks, what the C library keeps."""

import asyncio
import ctypes
import gc
import os
from collections.abc import Callable

__all__ = ["collect_garbage", "freeze_loaded_objects", "keep_freed_memory", "trim_memory"]

# Freed memory at the end of the heap up to this size stays with the process. The default is
# 128 KiB, so that the buffers of a few tensors go back to the system, and each of their pages
# is faulted in and cleared again for the next request.
KEPT_BYTES = 32 * 2**20
# Smaller blocks come from the heap. A larger one is mapped, and unmapped when it is freed.
MAX_HEAP_BLOCK_BYTES = 2 * 2**20
# Heaps of threads. `malloc_trim` doesn't reach the free end of any but the first, so that each of
# the others can keep KEPT_BYTES for ever. The default is eight for each core.
MAX_HEAPS = 1
# Young objects are collected after so many, and those that stayed after so many collections, which
# takes up to a millisecond. By default it is ten of them.
YOUNG_OBJECTS, YOUNG_COLLECTIONS = 700, 3
# A full collection is due after so many of the latter, and with more open calls only after many.
DUE, OVERDUE = 30, 300
FEW_CALLS = 100
CHECK_SECONDS = 5.0
_NEVER = 2**31 - 1
# The numbers of these parameters in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_ENVIRONMENT = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """Let the C library reuse freed memory instead of returning it after each request.

    The environment variables of the C library take precedence.
    """
    set_parameter = getattr(ctypes.CDLL(None), "mallopt", None)  # other libraries don't have it
    if set_parameter is None or any(name in os.environ for name in _ENVIRONMENT):
        return
    if "MALLOC_ARENA_MAX" not in os.environ:
        set_parameter(_ARENA_MAX, MAX_HEAPS)
    set_parameter(_TRIM_THRESHOLD, KEPT_BYTES)
    set_parameter(_MMAP_THRESHOLD, MAX_HEAP_BLOCK_BYTES)


def freeze_loaded_objects() -> None:
    """Exempt the loaded objects from garbage collection, and return free memory to the system.

    Otherwise every full collection would walk all of them.
    """
    gc.collect()
    gc.freeze()
    trim_memory()


async def collect_garbage(open_calls: Callable[[], int | None]) -> None:
    """Collect all garbage when few calls are open, for ever, rather than when Python would.

    A full collection walks the objects of all open calls: with 4,000 of them it takes 50 ms, in
    which nothing else runs.

    Args:
        open_calls: Returns how many calls are open; None if that is unknown, and may be many.
    """
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_COLLECTIONS, _NEVER)
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        _, _, collections = gc.get_count()
        calls = open_calls()
        if collections > (OVERDUE if calls is None or calls > FEW_CALLS else DUE):
            gc.collect()


def trim_memory() -> None:
    """Return free memory to the system.

    The C library keeps it for reuse: tens of megabytes after a graph was parsed.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)
