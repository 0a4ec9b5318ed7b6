"""The memory of large messages, which a thread of its own returns to the system.

To return 8 MB takes almost a millisecond. Hundreds of uploads that are rejected together would
stop the event loop for as long as all of that takes.
"""

import mmap
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from queue import SimpleQueue
from threading import Thread
from typing import Self

__all__ = ["MappedMemory"]


class MappedMemory(mmap.mmap):
    """Memory that is used only as far as bytes were written.

    Nobody has to close it: when nothing refers to it any longer, the thread does.

    Args:
        size: Its bytes.
    """

    __slots__ = ("_unmapper",)
    _unmapper: "_Unmapper"

    def __new__(cls, size: int) -> Self:
        """Start the thread, too. `__del__` can't: it runs anywhere, also while a process ends."""
        memory = super().__new__(cls, -1, size)
        memory._unmapper = _running()
        return memory

    def __del__(self, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        """Live on in the queue, until the thread has it."""
        # A forked process has the memory, and none of the threads.
        if not (self.closed or is_ending()) and self._unmapper.is_alive():
            self._unmapper.unused.put(self)


class _Unmapper(Thread):
    def __init__(self) -> None:
        super().__init__(name="unmap", daemon=True)
        self.unused: SimpleQueue[MappedMemory] = SimpleQueue()

    def run(self) -> None:
        while True:
            # A view may be in the same cycle of garbage. The memory is freed with it then.
            with suppress(BufferError):
                self.unused.get().close()


@cache
def _running() -> _Unmapper:
    thread = _Unmapper()
    thread.start()
    return thread


os.register_at_fork(after_in_child=_running.cache_clear)
