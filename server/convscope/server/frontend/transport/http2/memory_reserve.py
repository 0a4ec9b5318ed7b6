"""Memory that is kept free for the engines of HTTP/2."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["MIN_CHECKED_BYTES", "MemoryReserve"]

_SIZES = tuple(mebibytes * 2**20 for mebibytes in (8, 4, 2))  # several times what a receive takes
# Fewer bytes fit into the memory that Python keeps anyway; the check takes some microseconds.
MIN_CHECKED_BYTES = 8192


class MemoryReserve:
    """Reserves memory, and releases it while an engine processes what has arrived.

    An engine whose allocation fails can't go on, which ends all calls of its connection. With
    the reserve it goes on, and only the calls whose messages need memory are rejected.

    Attributes:
        is_full: Whether the memory could be reserved again.
    """

    def __init__(self) -> None:
        self._reserved: mmap.mmap | None = None
        self._reserve()

    @contextmanager
    def released(self, size: int) -> Iterator[None]:
        """Release the memory for the duration of a with block.

        Args:
            size: How many bytes have arrived; for a few, the memory remains reserved.
        """
        if size < MIN_CHECKED_BYTES:
            yield
            return
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
        try:
            yield
        finally:
            self._reserve()

    def _reserve(self) -> None:
        for size in _SIZES:
            try:
                self._reserved = mmap.mmap(-1, size)
            except (OSError, MemoryError):
                continue
            self.is_full = size == _SIZES[0]
            return
        self.is_full = False
