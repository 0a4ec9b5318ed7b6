"""Forks wait for the calls of other threads.

gRPC prepares itself for a fork only while no thread uses it. Otherwise its locks may be held in
the forked process forever, and calls there hang or crash.
"""

import os
import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

__all__ = ["CALLS", "CONNECTING"]

# gRPC waits as long for its own threads.
_WAIT_SECONDS = 5.0


class CallsInProgress:
    """The calls of this process, of all clients that block; a context manager around each.

    A fork waits until all have ended, but at most five seconds; calls that start meanwhile wait
    for the fork.
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(
            before=self._wait, after_in_parent=self._continue, after_in_child=self._reset
        )

    def _reset(self) -> None:
        # Its lock is reentrant: a signal handler may fork in the middle of `begin`.
        self._changed = threading.Condition()
        self._calls = 0
        self._forks = 0

    def __enter__(self) -> None:
        self.begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def begin(self) -> None:
        """Begin a call; `end` may be called in another thread."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forks)
            self._calls += 1

    def end(self) -> None:
        """End a call."""
        with self._changed:
            self._calls -= 1
            if not self._calls:
                self._changed.notify_all()

    def _wait(self) -> None:
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: not self._calls, _WAIT_SECONDS)

    def _continue(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()


def _lock_held_by_forks() -> AbstractContextManager[Any]:
    """Return a lock that forks take, so that it is free in the forked process."""
    lock = threading.RLock()
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
    )
    return lock


CONNECTING = _lock_held_by_forks()
"""Held while a client that blocks connects or closes, which one thread does at a time."""

CALLS = CallsInProgress()  # after the lock: forks wait for the calls first, and then lock
