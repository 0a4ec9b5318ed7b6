"""Large replies, whose bytes count until the caller has read them."""

from starlette.types import Message, Send

from convscope.web.memory import MemoryBudget

__all__ = ["PART_BYTES", "send_in_parts"]

# About what a connection buffers before it waits for the caller.
PART_BYTES = 64 * 1024


async def send_in_parts(send: Send, message: Message, budget: MemoryBudget) -> None:
    """Send a large part of a reply in small ones, each when the caller has read those before.

    At once, all of it would be in the buffer of the connection after its request has ended.
    """
    body: bytes = message["body"]
    budget.hold(len(body))
    try:
        for start in range(0, len(body), PART_BYTES):
            end = start + PART_BYTES
            more = end < len(body) or message.get("more_body", False)
            await send({"type": message["type"], "body": body[start:end], "more_body": more})
    finally:
        budget.release(len(body))
