"""Threads for calls that may never end, such as those that wait for another machine."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

__all__ = ["in_daemon_thread"]

Result = TypeVar("Result")


async def in_daemon_thread(function: Callable[[], Result], name: str = "remote") -> Result:
    """Run a function in a daemon thread, so that it can't delay the end of the process.

    A connection that hangs may time out only after minutes.

    Args:
        function: The function.
        name: The thread's name.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def resolve(result: Result | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as caught:  # noqa: BLE001 - the caller receives it
            error = caught
        with suppress(RuntimeError):  # the loop is closed: nothing waits for the result
            loop.call_soon_threadsafe(resolve, result, error)

    Thread(target=run, name=name, daemon=True).start()
    return await future
