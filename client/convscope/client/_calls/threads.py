"""Functions in threads, which may wait for coroutines of the event loop that started them."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import lru_cache
from typing import Any, TypeVar

__all__ = ["in_thread", "wait_for"]

T = TypeVar("T")

_LOOP: ContextVar[asyncio.AbstractEventLoop] = ContextVar("loop")
_THREADS = 8
_POLL_SECONDS = 1.0


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Return the result of a function that blocks, without blocking the event loop."""
    loop = asyncio.get_running_loop()
    _LOOP.set(loop)
    context = copy_context()
    return await loop.run_in_executor(
        _executor(os.getpid()), lambda: context.run(function, *arguments)
    )


@lru_cache(1)
def _executor(process: int) -> ThreadPoolExecutor:
    """Return the threads of a process; a forked one has none of its parent's.

    They are not those of `asyncio.to_thread`: a function that waits for a call would keep the
    thread that the call needs for its token.
    """
    return ThreadPoolExecutor(_THREADS, thread_name_prefix=f"convscope-{process}")


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine, from a function that runs `in_thread`.

    Raises:
        RuntimeError: The event loop was closed.
    """
    loop = _LOOP.get()
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    while True:
        try:
            return future.result(_POLL_SECONDS)
        except TimeoutError:
            if future.done():
                raise  # of the coroutine
            if loop.is_closed():  # the coroutine never runs
                raise RuntimeError("the event loop is closed") from None
