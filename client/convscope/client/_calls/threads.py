"""Functions in threads, which may wait for coroutines of the event loop that started them."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

__all__ = ["in_thread", "wait_for"]

T = TypeVar("T")

# `asyncio.to_thread` copies the context.
_LOOP: ContextVar[asyncio.AbstractEventLoop] = ContextVar("loop")


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Return the result of a function that blocks, without blocking the event loop."""
    _LOOP.set(asyncio.get_running_loop())
    return await asyncio.to_thread(function, *arguments)


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine, from a function that runs `in_thread`."""
    return asyncio.run_coroutine_threadsafe(coroutine, _LOOP.get()).result()
