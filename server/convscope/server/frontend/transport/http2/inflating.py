"""Inflates compressed messages: short ones at once, long ones in a thread."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from convscope.server.frontend.transport.http2.messages import inflate, no_memory
from convscope.server.frontend.transport.http2.wire import BadRequestError

__all__ = ["Inflater"]

# A message of 16 MiB takes 45 ms, and perhaps only 16 KiB on the wire. A few connections could
# stop the event loop for minutes with them. One of this size takes less than a thread switch.
MAX_SHORT_BYTES = 16 * 1024


class Inflater:
    """Inflates the messages of all connections.

    Args:
        loop: The event loop.
        max_bytes: The size of an inflated message.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, max_bytes: int) -> None:
        self._loop = loop
        self._max_bytes = max_bytes
        # Compressed messages must not take all cores, so they have one thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inflater")

    def try_short(
        self, data: bytes | memoryview, encoding: str | None
    ) -> bytes | memoryview | None:
        """Return a message inflated if it is short; None if it is long, or damaged."""
        limit = min(MAX_SHORT_BYTES, self._max_bytes)
        if len(data) > limit:
            return None
        try:
            return inflate(data, encoding, limit)
        except BadRequestError:
            return None

    def inflate(
        self, data: bytes | memoryview, encoding: str | None, is_ended: Callable[[], bool]
    ) -> "asyncio.Future[bytes | memoryview]":
        """Inflate a message in the thread.

        Args:
            data: The message.
            encoding: How it is compressed.
            is_ended: Whether the call has ended, and nothing needs to be done.

        Returns:
            A future of the inflated message, or of a BadRequestError.
        """
        return self._loop.run_in_executor(self._thread, self._inflate, data, encoding, is_ended)

    def close(self) -> None:
        """End the thread; messages that wait for it are dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _inflate(
        self, data: bytes | memoryview, encoding: str | None, is_ended: Callable[[], bool]
    ) -> bytes | memoryview:
        if is_ended():
            return b""
        try:
            return inflate(data, encoding, self._max_bytes)
        except MemoryError as error:
            raise no_memory() from error
