"""Request batches over calls that block."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from convscope.client._calls.image_stream import ImageStream
from convscope.client._calls.request_batch import RequestBatch
from convscope.client._connection.forks import CALLS
from convscope.client._results.results import Outcome
from convscope.client.errors import ConvscopeError
from convscope.v1 import inference_pb2 as pb

__all__ = ["Sender", "stream_outcomes"]

Future: TypeAlias = "grpc.Future[pb.ClassifyResponse]"


@dataclass(frozen=True)
class Sender:
    """Sends request batches.

    Args:
        call: Starts the call of a batch.
        translate_errors: Raises gRPC's errors as a `ConvscopeError`.
    """

    call: Callable[[RequestBatch], Future]
    translate_errors: Callable[[], AbstractContextManager[None]]

    def start(self, batch: RequestBatch) -> Future | None:
        """Start the call of a batch, if there is anything to send."""
        if batch.is_empty:
            return None
        with self.translate_errors():
            CALLS.begin()
            try:
                future = self.call(batch)
            except BaseException:
                CALLS.end()
                raise
        future.add_done_callback(lambda _: batch.replied())
        future.add_done_callback(lambda _: CALLS.end())
        return future

    def finish(self, batch: RequestBatch, future: Future | None) -> None:
        """Wait until each image of a batch has its outcome."""
        if future is None:
            return
        try:
            with self.translate_errors():
                response = future.result()
            batch.succeed(response)
        except ConvscopeError as error:
            batch.fail(error)
        except BaseException:  # such as Ctrl-C
            future.cancel()
            raise
        if batch.retries:
            time.sleep(batch.pause_seconds)
            for retry in batch.retries:
                self.finish(retry, self.start(retry))
            batch.merge_retries()


def stream_outcomes(stream: ImageStream, sender: Sender) -> Generator[Outcome, None, None]:
    """Yield the outcome of each image of a stream, in order."""
    in_flight: deque[tuple[RequestBatch, Future | None]] = deque()

    def start(batch: RequestBatch) -> None:
        in_flight.append((batch, sender.start(batch)))

    def finish() -> Generator[Outcome, None, None]:
        batch, future = in_flight[0]  # it stays in the queue until then, to be cancelled if need be
        sender.finish(batch, future)
        in_flight.popleft()
        yield from stream.outcomes(batch)

    try:
        stream.resume(time.perf_counter())
        for image in stream.images:
            for batch in stream.add(stream.encode(image), time.perf_counter()):
                start(batch)
                while in_flight and (stream.is_window_full or _is_done(in_flight[0][1])):
                    yield from finish()
                stream.resume(time.perf_counter())
            if stream.has_ended:
                break
        for batch in stream.flush():
            start(batch)
        while in_flight:
            yield from finish()
    finally:
        for _, future in in_flight:
            if future is not None:
                future.cancel()


def _is_done(future: Future | None) -> bool:
    return future is None or future.done()
