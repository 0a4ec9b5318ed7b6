"""The memory of large messages, which a thread of its own returns to the system.

To return 8 MB takes almost a millisecond. Hundreds of uploads that are rejected together would
stop the event loop for as long as all of that takes.
"""

import mmap
import os
from functools import cache
from queue import SimpleQueue
from threading import Thread

__all__ = ["MappedMemory"]


class MappedMemory(mmap.mmap):
    """Memory that is used only as far as bytes were written.

    Nobody has to close it: when nothing refers to it any longer, the thread does.
    """

    __slots__ = ()

    def __del__(self) -> None:
        """Live on in the queue, until the thread has it."""
        if not self.closed:
            _unused().put(self)


@cache
def _unused() -> "SimpleQueue[MappedMemory]":
    queue: SimpleQueue[MappedMemory] = SimpleQueue()
    Thread(target=_close_all, args=(queue,), name="unmap", daemon=True).start()
    return queue


def _close_all(queue: "SimpleQueue[MappedMemory]") -> None:
    while True:
        queue.get().close()


# A forked process has none of the threads.
os.register_at_fork(after_in_child=_unused.cache_clear)
