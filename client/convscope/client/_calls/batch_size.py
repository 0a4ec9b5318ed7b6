"""How many images a request should hold, learned from the replies."""

from typing import Final

from convscope.client._connection.channel import MIB
from convscope.client.errors import (
    ConvscopeError,
    DeadlineExceededError,
    InvalidInputError,
    OverloadedError,
)

__all__ = ["MANY_IMAGES", "MAX_IMAGES", "BatchSize"]

# More would not be faster, and fewer requests would be in flight. A server may allow fewer.
MAX_IMAGES: Final = 64
# Every server in use allows so many. For more, it is asked.
MANY_IMAGES: Final = 8

_MAX_REPLY_BYTES: Final = 8 * MIB
# Sharing a request saves each image a call, about half a millisecond of client and
# server. It also makes the first image wait for the last, and makes the server run
# all of them as one batch, which is not optimal for larger networks. So only images
# that take little longer than their call share requests.
_QUICK_SECONDS: Final = 0.002
_SLOW_SECONDS: Final = 0.004


class BatchSize:
    """How many images the next request may hold.

    Args:
        start: How many the first requests hold.
        limit: How many any request may hold.
    """

    def __init__(self, start: int, limit: int) -> None:
        self.images = min(start, limit)
        self._limit = limit
        self._overloaded_at = limit + 1

    def set_limit(self, limit: int) -> None:
        """Set how many images any request may hold, once the server's limit is known."""
        self._limit = max(1, min(self._limit, limit))
        self.images = min(self.images, self._limit)

    def succeeded(self, images: int, seconds: float, reply_bytes: int) -> None:
        """Adjust the size to a reply.

        Args:
            images: How many images the request held.
            seconds: From the start of the first image to the end of the last.
            reply_bytes: The size of one image's result, or 0 if results are small.
        """
        limit = min(self._limit, _MAX_REPLY_BYTES // max(1, reply_bytes))
        if seconds > _SLOW_SECONDS * images:
            limit = min(limit, images // 2)
        elif seconds < _QUICK_SECONDS * images and images == self.images:
            self.images = min(2 * images, max(images, self._overloaded_at - 1))
            self._overloaded_at += 1  # the server may be less busy by now
        self.images = max(1, min(self.images, limit))

    def failed(self, images: int, error: ConvscopeError) -> None:
        """Adjust the size to the failure of a whole request."""
        fewer = max(1, images // 2)
        if isinstance(error, InvalidInputError):  # the server's limit may be below ours
            self._limit = min(self._limit, fewer)
        if isinstance(error, OverloadedError):
            self._overloaded_at = min(self._overloaded_at, images)
        if isinstance(error, InvalidInputError | DeadlineExceededError | OverloadedError):
            self.images = min(self.images, fewer)
