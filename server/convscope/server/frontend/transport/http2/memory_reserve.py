"""Memory that is kept free for the engines of HTTP/2."""

import mmap
from contextlib import suppress

from convscope.server.observability.out_of_memory import has_memory

__all__ = ["MemoryReserve"]

_RESERVE_BYTES = 4 * 2**20  # several times what one receive allocates
# Fewer bytes fit into the memory that Python keeps anyway; the check takes some microseconds.
_MIN_CHECKED_BYTES = 8192


class MemoryReserve:
    """Releases its memory when the process has no other left.

    An engine whose allocation fails can't go on, which ends all calls of its connection. With
    the reserve it goes on, and only the calls whose messages need memory are rejected.
    """

    def __init__(self) -> None:
        self._reserved: mmap.mmap | None = None
        self._renew()

    def check(self, size: int) -> bool:
        """Return whether there is memory to process bytes, not counting the reserve.

        Args:
            size: How many bytes have arrived.
        """
        if size < _MIN_CHECKED_BYTES:
            return True
        if has_memory(_RESERVE_BYTES):
            if self._reserved is None:
                self._renew()
            return True
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
        return False

    def _renew(self) -> None:
        with suppress(OSError, MemoryError):
            self._reserved = mmap.mmap(-1, _RESERVE_BYTES)
