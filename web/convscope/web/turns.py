"""Limits how many images and inference requests of each model wait in the server at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Turns"]

# As `classify_many` has it: enough for full batches, and below the server's default queue, which
# rejects what exceeds it.
IMAGES_AT_ONCE = 192


class Turns:
    """Lets the images of a model wait here, in order, while enough of them are in the server.

    A burst of requests then takes longer instead of filling the server's queue.
    """

    def __init__(self) -> None:
        self._limits: dict[str, _Limit] = {}

    @property
    def models(self) -> int:
        """The number of models of which images wait or are in the server."""
        return len(self._limits)

    @asynccontextmanager
    async def of(self, model: str) -> AsyncIterator[None]:
        """Wait for the turn of an image, which ends with the block."""
        limit = self._limits.setdefault(model, _Limit())
        limit.images += 1
        try:
            async with limit.semaphore:
                yield
        finally:
            limit.images -= 1
            if not limit.images:  # the names come from callers
                del self._limits[model]


class _Limit:
    """The limit of one model, and how many images need it."""

    def __init__(self) -> None:
        self.semaphore = asyncio.Semaphore(IMAGES_AT_ONCE)
        self.images = 0
