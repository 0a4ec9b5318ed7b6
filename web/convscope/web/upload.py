"""Reads the body of a request within its limits."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from grpc import StatusCode
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from convscope.web.errors import HttpError, invalid, too_large
from convscope.web.lingering import CLOSE
from convscope.web.memory import MemoryBudget, Reservation
from convscope.web.settings import WebSettings

__all__ = ["Upload", "Uploads"]

Result = TypeVar("Result")
# The message, the bytes that gRPC makes of it, and its buffers are copies of the body.
COPIES = 5
# Of a request whose length isn't known before.
CHUNKED_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """The body of a request.

    Args:
        body: The body.
        reservation: Counts its bytes.
        reply_bytes: The bytes of its reply, which count as well.
    """

    body: bytes
    reservation: Reservation
    reply_bytes: int

    def count(self, size: int) -> None:
        """Count what was read from the body, which may be larger.

        Raises:
            HttpError: It doesn't fit.
        """
        self.reservation.grow_to(COPIES * size + self.reply_bytes, is_read=True)


class Uploads:
    """Reads the bodies of all requests of the process.

    Args:
        settings: The limits.
        budget: The memory for all of them.
    """

    def __init__(self, settings: WebSettings, budget: MemoryBudget) -> None:
        self._pause_seconds = settings.upload_timeout_seconds
        self._budget = budget
        self._parsing = asyncio.Lock()

    async def parse(self, function: Callable[[], Result]) -> Result:
        """Run a function that reads a large body, in a thread.

        Only one runs at a time: the objects of JSON can have 30 times its bytes.
        """
        async with self._parsing:
            return await asyncio.to_thread(function)

    @asynccontextmanager
    async def read(
        self, request: Request, limit: int, wait_seconds: float, reply_bytes: int = 0
    ) -> AsyncIterator[Upload]:
        """Yield the body. Its bytes count until the end of the block.

        Args:
            request: The request.
            limit: The largest body.
            wait_seconds: How long the request may wait until its bytes fit.
            reply_bytes: The bytes of a large reply, to be counted as well.

        Raises:
            HttpError: The body is too large, or doesn't arrive.
        """
        length = content_length(request)
        if length is not None and length > limit:
            raise too_large(_over(limit, f"{length:,}"))
        size = COPIES * (CHUNKED_BYTES if length is None else length) + reply_bytes
        async with self._budget.reserve(size, wait_seconds) as reservation:
            body = await self._read(request, limit, length, reservation, reply_bytes)
            yield Upload(body, reservation, reply_bytes)

    async def _read(
        self,
        request: Request,
        limit: int,
        length: int | None,
        reservation: Reservation,
        reply_bytes: int,
    ) -> bytes:
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive(request)
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise too_large(_over(limit, "more"))
            if length is None:
                reservation.grow_to(COPIES * size + reply_bytes)
            chunks.append(chunk)
            more = message.get("more_body", False)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _receive(self, request: Request) -> Message:
        try:
            async with asyncio.timeout(self._pause_seconds):
                message = await request.receive()
        except TimeoutError as error:
            raise HttpError(
                StatusCode.DEADLINE_EXCEEDED,
                f"nothing of the body arrived for {self._pause_seconds:g} s; send it at once",
                status=408,
                headers=CLOSE,
            ) from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        return message


def content_length(request: Request) -> int | None:
    """Return the stated length of the body, or None if it isn't stated.

    Raises:
        HttpError: It isn't a number.
    """
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise invalid(f"Content-Length is {text[:20]!r}; give the number of bytes")
    return int(text)


def _over(limit: int, size: str) -> str:
    return (
        f"the body has {size} bytes; the limit of a request is {limit:,}; scale the image down, "
        "save it as JPEG, or send fewer images"
    )
