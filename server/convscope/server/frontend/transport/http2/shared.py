"""What the connections of one listener share."""

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any

from convscope.server.frontend.access.control import AccessControl
from convscope.server.frontend.transport.calls import RejectionReason
from convscope.server.frontend.transport.http2.deadlines import Deadlines
from convscope.server.frontend.transport.http2.engine import engine_factory
from convscope.server.frontend.transport.http2.heads import HeadCache
from convscope.server.frontend.transport.http2.inflating import Inflater
from convscope.server.frontend.transport.http2.limits import Limits
from convscope.server.frontend.transport.http2.rounds import MAX_INPUT_BYTES, Rounds
from convscope.server.frontend.transport.http2.tasks import Tasks
from convscope.server.frontend.transport.http2.turns import Turns
from convscope.server.frontend.transport.http2.uploads import Uploads
from convscope.server.frontend.transport.memory_budget import MemoryBudget

__all__ = ["Shared"]


class Shared:
    """The limits, caches and schedules of all connections.

    Args:
        loop: The event loop.
        limits: The limits.
        budget: The bytes that requests may hold.
        tasks: The tasks of the calls that run.
        find_method: Returns what serves a path, and None for an unknown one.
        on_rejected: Called with each call that ends before its method counts it.
        secure: Whether the connections use TLS.
        access: Admits the calls; None admits all.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        limits: Limits,
        budget: MemoryBudget,
        tasks: Tasks,
        find_method: Callable[[str], Any],
        on_rejected: Callable[[RejectionReason], None],
        *,
        secure: bool,
        access: AccessControl | None = None,
    ) -> None:
        self.loop = loop
        self.limits = limits
        self.tasks = tasks
        self.on_rejected = on_rejected
        self.secure = secure
        self.access = access
        self.new_engine = engine_factory(limits)
        self.heads = HeadCache(find_method, limits.max_metadata_bytes)
        self.deadlines = Deadlines(loop)
        self.rounds = Rounds(loop)
        self.turns = Turns(loop, limits.calls_per_turn)
        self.uploads = Uploads(budget, loop.time)
        self.inflater = Inflater(loop, limits.max_message_bytes)
        self.calls = 0  # open streams of all connections
        self.connections = 0
        # Where a connection finds the bytes that have arrived. It has processed them when the
        # next one receives, so that one place is enough, and it stays in the caches.
        self.input = memoryview(bytearray(MAX_INPUT_BYTES))

    def admits_call(self, streams: int) -> bool:
        """Return whether a connection with as many streams may open another one.

        At the limit of all calls, each connection still has its equal share. So a few
        connections whose calls never end do not stop the others.
        """
        most = self.limits.max_calls
        return self.calls < most or streams < most // max(1, self.connections)
