"""The tasks of calls, which begin and go on in turns."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Protocol

__all__ = ["TaskOwner", "Tasks"]

# How long the calls may take that begin, or take their next message, in one iteration of the event
# loop. Their number follows the time that those before took.
STEPS_SECONDS = 0.2e-3
FIRST_STEPS, MAX_STEPS = 4, 32


class TaskOwner(Protocol):
    """A call that runs in a task of its own."""

    ended: bool
    task: asyncio.Task[None] | None

    async def run(self) -> None:
        """Run the handler, and send what it returns."""


class Tasks:
    """The tasks of the calls that run.

    In one iteration of the event loop a few calls begin or take their next message, and the
    connections take turns: thousands of calls may have arrived together, on a few connections.

    Args:
        loop: The event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._running: set[asyncio.Task[None]] = set()
        self._steps = 0  # in this iteration
        self._max_steps = FIRST_STEPS
        self._began = 0.0
        # By connection. Each of them returns whether it did something.
        self._waiting: dict[object, deque[Callable[[], bool]]] = {}
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._running)

    def start(self, call: TaskOwner, connection: object) -> None:
        """Run a call of a connection, in its turn."""
        if self._may_step():
            self._run(call)
        else:
            self._waiting.setdefault(connection, deque()).append(partial(self._run, call))

    def _run(self, call: TaskOwner) -> bool:
        if call.ended:
            return False
        call.task = task = self.loop.create_task(call.run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return True

    async def turn(self, connection: object) -> None:
        """Wait until a call of a connection may take its next message."""
        if not self._may_step():
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._waiting.setdefault(connection, deque()).append(partial(_wake, waiter))
            await waiter

    def _may_step(self) -> bool:
        self._schedule()
        if self._steps >= self._max_steps or self._waiting:
            return False
        self._steps += 1
        return True

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._begin_iteration)

    def _begin_iteration(self) -> None:
        self._scheduled = False
        self._steps = 0
        if self._waiting:
            self.loop.call_soon(self._begin_steps)  # before those of the tasks
        while self._waiting and self._steps < self._max_steps:
            connection = next(iter(self._waiting))
            steps = self._waiting.pop(connection)
            self._steps += steps.popleft()()
            if steps:
                self._waiting[connection] = steps  # behind the others
        if self._steps:
            self.loop.call_soon(self._end_steps, self._steps)  # after those of the tasks
            self._schedule()

    def _begin_steps(self) -> None:
        self._began = perf_counter()

    def _end_steps(self, steps: int) -> None:
        seconds = max(perf_counter() - self._began, 1e-6)
        self._max_steps = max(1, min(MAX_STEPS, 2 * steps, int(steps * STEPS_SECONDS / seconds)))

    async def wait(self, seconds: float) -> None:
        """Wait until all have ended, but not longer than this."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)


def _wake(waiter: "asyncio.Future[None]") -> bool:
    if waiter.done():  # its call has ended
        return False
    waiter.set_result(None)
    return True
