"""Replies to requests whose body isn't read to its end."""

import asyncio
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

__all__ = ["CLOSE", "LingeringResponse"]

CLOSE: Final = {"Connection": "close"}
LINGER_SECONDS = 2.0
LINGER_BYTES = 64 * 2**20


class LingeringResponse(Response):
    """A reply before the end of the body.

    If the connection were closed while bytes of the body arrive, the kernel would reset it,
    and the caller could lose the reply. So for a moment they are read and discarded.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the reply, and end the connection when the caller has stopped to send."""
        start = {"type": "http.response.start", "status": self.status_code}
        await send(start | {"headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                await _discard(receive)
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    size = 0
    while size < LINGER_BYTES:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
