"""The memory of this process: what the garbage collector walks, what the C library keeps."""

import ctypes
import gc

__all__ = ["freeze_loaded_objects", "trim_memory"]


def freeze_loaded_objects() -> None:
    """Exempt the loaded objects from garbage collection, and return free memory to the system.

    Otherwise every full collection would walk all of them.
    """
    gc.collect()
    gc.freeze()
    trim_memory()


def trim_memory() -> None:
    """Return free memory to the system.

    The C library keeps it for reuse: tens of megabytes after a graph was parsed.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)
