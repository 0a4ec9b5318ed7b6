"""Asking about the images of one request, from asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from convscope.client._codec import Outcome
from convscope.client._packing import Pack
from convscope.client.errors import ConvscopeError
from convscope.v1 import inference_pb2 as pb

__all__ = ["Call", "ask"]

Call: TypeAlias = Callable[[pb.ClassifyRequest], Awaitable[pb.ClassifyResponse]]
"""Makes a call that fails with nothing but a `ConvscopeError`."""


async def ask(pack: Pack, call: Call) -> list[Outcome]:
    """Send a request, and give what became of each image.

    Those that are to be asked about again are sent once more.
    """
    try:
        pack.answer(await call(pack.request()))
    except ConvscopeError as error:
        pack.fail(error)
    if pack.again:
        await asyncio.sleep(pack.pause_seconds)
        parts = await asyncio.gather(*(ask(pack.part(indices), call) for indices in pack.again))
        for indices, outcomes in zip(pack.again, parts, strict=True):
            pack.put(indices, outcomes)
    return pack.outcomes
