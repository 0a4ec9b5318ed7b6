"""Threads that encode large replies, so that the event loop is not blocked."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["ReplyEncoder"]

# Encoding mostly holds the interpreter's lock, so more threads would not be faster.
THREADS = 2

P = ParamSpec("P")
T = TypeVar("T")


class ReplyEncoder:
    """Encodes large replies in its own threads, which nothing else occupies."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="reply-encoder")

    async def run(self, encode: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a thread, and return its result."""
        call = self._threads.submit(encode, *args, **kwargs)
        return await asyncio.wrap_future(call)

    def close(self) -> None:
        """End the threads; replies that are not being encoded yet are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
