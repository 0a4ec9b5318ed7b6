"""One turn of the event loop: hand over the calls that arrived, then send what is queued."""

from asyncio import AbstractEventLoop
from collections import deque
from typing import Protocol

from convscope.server.frontend.transport.http2.group_call import GroupCall, GroupMethod

__all__ = ["Turns"]

# So many bytes of a message count as one more call. A message of 256 KiB may contain 64 images,
# and their headers are read in the turn.
BYTES_PER_CALL_BITS = 14


class TurnConnection(Protocol):
    """A connection with calls to hand over or bytes to send."""

    ready: deque[GroupCall]

    def may_begin_calls(self) -> bool:
        """Return whether its calls may be handed over; if not, it returns later by itself."""

    def flush(self) -> None:
        """Send what is queued."""


class Turns:
    """Schedules the turns.

    Args:
        loop: The event loop.
        max_calls: Calls of one turn, fewer if their messages are larger than 16 KiB.
    """

    def __init__(self, loop: AbstractEventLoop, max_calls: int) -> None:
        self._loop = loop
        self._max_calls = max_calls
        self._scheduled = False
        self._waiting: deque[TurnConnection] = deque()
        self._dirty: list[TurnConnection] = []

    def add_ready(self, connection: TurnConnection) -> None:
        """Hand over the calls of a connection in the next turns."""
        self._waiting.append(connection)
        self._schedule()

    def add_dirty(self, connection: TurnConnection) -> None:
        """Send what a connection has queued at the end of this turn, or in the next one."""
        self._dirty.append(connection)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        try:
            self._hand_over()
            dirty, self._dirty = self._dirty, []
            for connection in dirty:
                connection.flush()
        finally:
            self._scheduled = False
            if self._waiting or self._dirty:
                self._schedule()

    def _hand_over(self) -> None:
        groups: dict[GroupMethod, list[GroupCall]] = {}
        room = self._max_calls
        waiting = self._waiting
        while waiting and room > 0:
            connection = waiting.popleft()
            if not connection.may_begin_calls():
                continue
            ready = connection.ready
            # An equal share; with few connections most turns take everything.
            for _ in range(min(len(ready), max(1, room // (len(waiting) + 1)))):
                if room <= 0:
                    break
                call = ready.popleft()
                if not call.ended:
                    room -= 1 + (len(call.message) >> BYTES_PER_CALL_BITS)
                    group = groups.get(call.head.method)
                    if group is None:
                        groups[call.head.method] = [call]
                    else:
                        group.append(call)
            if ready:
                waiting.append(connection)
        for method, calls in groups.items():
            method.handle(calls)
