"""Request batches over calls that are awaited."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import TypeAlias

from convscope.client._calls.image_stream import ImageStream
from convscope.client._calls.request_batch import Item, RequestBatch
from convscope.client._calls.threads import in_thread
from convscope.client._results.results import Outcome
from convscope.client.errors import ConvscopeError
from convscope.client.types import ImageLike
from convscope.v1 import inference_pb2 as pb

__all__ = ["Call", "send_batch", "start_with", "stream_outcomes_async"]

Call: TypeAlias = Callable[[RequestBatch], Awaitable[pb.ClassifyResponse]]
"""Makes the call of a batch that raises nothing but a `ConvscopeError`."""


async def send_batch(batch: RequestBatch, call: Call) -> None:
    """Send a batch, and wait until each of its images has its outcome."""
    if batch.is_empty:
        return
    try:
        batch.succeed(await call(batch))
    except ConvscopeError as error:
        batch.fail(error)
    if batch.retries:
        await asyncio.sleep(batch.pause_seconds)
        await asyncio.gather(*(send_batch(retry, call) for retry in batch.retries))
        batch.merge_retries()


async def stream_outcomes_async(stream: ImageStream, call: Call) -> AsyncGenerator[Outcome, None]:
    """Yield the outcome of each image of a stream, in order."""
    in_flight: deque[tuple[RequestBatch, asyncio.Task[None]]] = deque()

    def start(batch: RequestBatch) -> None:
        in_flight.append((batch, asyncio.create_task(send_batch(batch, call))))

    async def finish() -> Iterator[Outcome]:
        batch, task = in_flight[0]  # it stays in the queue until then, to be cancelled if need be
        await task
        in_flight.popleft()
        return stream.outcomes(batch)

    try:
        stream.resume(time.perf_counter())
        for image in stream.images:
            for batch in stream.add(await _encode(stream, image), time.perf_counter()):
                start(batch)
                while in_flight and (stream.is_window_full or in_flight[0][1].done()):
                    for outcome in await finish():
                        yield outcome
                stream.resume(time.perf_counter())
            if stream.has_ended:
                break
        for batch in stream.flush():
            start(batch)
        while in_flight:
            for outcome in await finish():
                yield outcome
    finally:
        for _, task in in_flight:
            task.cancel()


async def start_with(
    find_model: Callable[[], Awaitable[str]], start: Callable[[str], AsyncGenerator[Outcome, None]]
) -> AsyncGenerator[Outcome, None]:
    """Yield the outcomes of a stream that starts when its model is known."""
    async with aclosing(start(await find_model())) as outcomes:
        async for outcome in outcomes:
            yield outcome


async def _encode(stream: ImageStream, image: ImageLike) -> Item:
    if stream.is_slow(image):
        return await in_thread(stream.encode, image)
    return stream.encode(image)
